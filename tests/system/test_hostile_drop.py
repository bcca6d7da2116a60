"""What somebody who may write into the drop folder puts in the place of what is ours there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from canarysync.candidates import MARKER, PASSAGE
from canarysync.errors import Exit
from canarysync.step import Outcome
from tests.support import Site, score
from tests.system.faults import no_renameat2


@pytest.mark.parametrize("leads_to", [".", "../done", "../../state"])
def test_a_link_in_the_place_of_the_passage_is_not_followed(leads_to: str, site: Site) -> None:
    """What it leads to would be put back as what a crash left: the drop folder onto itself, the ledger into it."""
    site.put("first.json", score(1))
    site.once()
    before = {path: sorted(os.listdir(path)) for path in (site.done, site.home / "state")}
    site.put("waits.yaml", "{")
    site.told("hold", "clinic")
    (site.drop / PASSAGE).symlink_to(leads_to)

    site.once()

    (site.drop / PASSAGE).unlink()
    assert site.waiting() == ["waits.yaml"]
    assert {path: sorted(os.listdir(path)) for path in before} == before


def test_nothing_goes_through_such_a_link(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a move needs the passage, the file waits in drop/, with its outcome, until the link is gone."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (site.drop / PASSAGE).symlink_to(elsewhere)
    site.put("visit.json", score(1))
    no_renameat2(monkeypatch)

    site.once()
    assert (os.listdir(site.done), os.listdir(elsewhere)) == (["visit.json.receipt.json"], [])

    (site.drop / PASSAGE).unlink()
    assert site.once(5.0).outcomes == {Outcome.UPLOADED: 1}
    assert site.filed() == ["visit.json"]


def test_a_pipe_in_the_place_of_the_marker_holds_nobody_up(site: Site) -> None:
    site.put("visit.json", "{")
    site.once()
    (site.drop / MARKER).unlink()
    os.mkfifo(site.drop / MARKER)

    requeued = site.cli("requeue", "--all", "-c", str(site.config_path))

    assert (requeued.returncode, "marker is missing" in requeued.stdout) == (Exit.NEEDS_A_PERSON, True)
