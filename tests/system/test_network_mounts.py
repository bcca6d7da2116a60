"""A folder on a network mount, by the kernel's own mount table (injected: no test can count on a real share)."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from canarysync import lane, mounts
from canarysync.errors import SetupError
from canarysync.sandbox import Sandbox
from canarysync.service import service
from tests.support import Site, score, stored


def pretend(monkeypatch: pytest.MonkeyPatch, table: Path, folder: Path, fs_type: str) -> None:
    """Let the mount table say that ``folder`` is a mount of ``fs_type``."""
    real = mounts.MOUNTINFO.read_text()
    table.write_text(f"{real}99 1 0:99 / {folder} rw,relatime - {fs_type} server:/export rw\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", table)


@pytest.mark.parametrize("fs_type", ["nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "virtiofs"])
def test_a_network_mount_is_polled_and_the_log_says_so(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fs_type: str
) -> None:
    pretend(monkeypatch, site.home / "mountinfo", site.drop, fs_type)
    monkeypatch.setattr(lane, "NETWORK_RESCAN_S", 0.05)
    monkeypatch.setattr(logging.getLogger("canarysync"), "propagate", True)
    caplog.set_level(logging.INFO, "canarysync")
    site.put("before.json", score(0))
    with service(site.config, {}, observer=lambda event: dropped(event.name)) as daemon:

        def dropped(name: str) -> None:
            if name == "before.json":  # the daemon is at work: this one is found by polling alone
                site.put("while-polling.json", score(1))
            else:
                daemon.stop()

        daemon.run()
    site.assert_all_done_once(["before.json", "while-polling.json"], stored(sandbox))
    watching = [r.__dict__["canarysync_fields"] for r in caplog.records if r.getMessage() == "watching"]
    (fields,) = [fields for fields in watching if fields["folder"] == site.drop]
    assert (fields["mode"], fields["file_system"], fields["settle_s"]) == ("polling", fs_type, 10.0)


def test_the_ledger_is_not_put_on_a_network_mount(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, site.home / "mountinfo", site.home / "state", "nfs4")
    with pytest.raises(SetupError, match="network mount"), service(site.config, {}):
        raise AssertionError("must not start")
