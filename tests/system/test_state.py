"""The state folder: private, local, and one canarysync's at a time."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from canarysync import state
from canarysync.errors import Exit, HeldError, IoTrouble, SetupError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_state_folder_is_private(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        state.take(tmp_path / "var" / "state").release()
    finally:
        os.umask(before)

    assert mode_of(tmp_path / "var" / "state") == 0o700


def test_a_state_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)

    state.take(tmp_path / "state").release()

    assert mode_of(tmp_path / "state") == 0o700


def test_a_state_folder_in_use_is_told(tmp_path: Path) -> None:
    lock = state.take(tmp_path / "state")

    with pytest.raises(HeldError) as caught:
        state.take(tmp_path / "state")

    assert str(os.getpid()) in caught.value.cause
    lock.release()


def test_a_state_folder_of_another_user_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    before = mode_of(tmp_path / "state")
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)

    with pytest.raises(SetupError) as caught:
        state.take(tmp_path / "state")

    assert "chown" in caught.value.hint
    assert str(tmp_path / "state") in caught.value.hint
    assert mode_of(tmp_path / "state") == before
    assert list((tmp_path / "state").iterdir()) == []


def mounts(monkeypatch: pytest.MonkeyPatch, point: Path, fs_type: str) -> None:
    """A system on which ``point`` is a mount of that type."""
    shown = str(point).replace(" ", "\\040")
    text = f"1 0 8:1 / / rw - ext4 /dev/root rw\n2 1 0:9 / {shown} rw shared:7 - {fs_type} nas:/vol rw\n"
    read_text = Path.read_text

    def shows(self: Path, *arguments: str, **options: str) -> str:
        return text if str(self) == "/proc/self/mountinfo" else read_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", shows)


@pytest.mark.parametrize("fs_type", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_state_folder_on_a_network_mount_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fs_type: str
) -> None:
    mounts(monkeypatch, tmp_path.resolve() / "net share", fs_type)
    (tmp_path / "net share").mkdir()
    (tmp_path / "link").symlink_to("net share")

    for path in (tmp_path / "net share" / "state", tmp_path / "link" / "state"):
        with pytest.raises(SetupError) as caught:
            state.take(path)
        assert fs_type in caught.value.cause
        assert not (path / "lock").exists()

    state.take(tmp_path / "net share but local").release()


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "overlay", "tmpfs", "fuseblk"])
def test_a_state_folder_on_a_local_mount_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fs_type: str) -> None:
    mounts(monkeypatch, tmp_path.resolve(), fs_type)

    state.take(tmp_path / "state").release()


def test_a_state_folder_that_cannot_be_made_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SetupError) as caught:
        state.take(tmp_path / "file" / "state")

    assert "install -d -m 700" in caught.value.hint


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_trouble_that_may_pass_is_not_called_bad_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """After exit code 78 systemd does not start it again."""

    def fails(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwrite", fails)
    with pytest.raises(IoTrouble) as caught:
        state.take(tmp_path / "state")
    assert caught.value.exit_code is Exit.TRY_AGAIN
