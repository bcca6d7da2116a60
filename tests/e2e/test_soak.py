"""A few seconds of the soak campaign (campaigns/soak.py), without disks that fill up. `make soak` runs all of it."""

from __future__ import annotations

from pathlib import Path

from campaigns.soak import Course, soak
from campaigns.soak_troubles import Rhythm


def test_nothing_is_lost_and_nothing_is_twice(tmp_path: Path) -> None:
    rhythm = Rhythm(between_kills_s=(1.0, 1.6), between_outages_s=(1.0, 1.5), lasting_s=(0.2, 0.5))
    report = soak(Course(seconds=3, files=120, seed=2, plain=True, rhythm=rhythm), tmp_path)
    assert report.account.wrong == []
    assert report.account.done + report.account.failed.total() == 120
    assert report.tally["starts"] >= 2
    assert report.tally["outages"] >= 1
