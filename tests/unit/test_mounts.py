"""Which mount is a folder on, and is it a network one? (proc(5), /proc/self/mountinfo)"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.mounts import Mount, mount_of


def line(point: str, fs_type: str, optional: str = "") -> str:
    return f"36 35 98:0 / {point} rw,noatime{' ' + optional if optional else ''} - {fs_type} /dev/sda1 rw,errors=x\n"


INFO = (
    line("/", "ext4", "shared:1")
    + line("/srv", "xfs", "shared:2 master:1")
    + line("/srv/share", "cifs")
    + line("/srv/with\\040blank", "nfs4", "propagate_from:2 unbindable")
    + line("/srv/tab\\011new\\012back\\134slash", "nfs")
    + line("/mnt/over", "nfs")
    + line("/mnt/over", "ext4")
    + line("/srv/déjà", "fuse.sshfs")
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Mount("/", "ext4")),
        ("/home/lab/drop", Mount("/", "ext4")),
        ("/srv", Mount("/srv", "xfs")),
        ("/srv/drop", Mount("/srv", "xfs")),
        ("/srvother/drop", Mount("/", "ext4")),
        ("/srv/share", Mount("/srv/share", "cifs")),
        ("/srv/share/a/b", Mount("/srv/share", "cifs")),
        ("/srv/shared", Mount("/srv", "xfs")),
        ("/srv/with blank/drop", Mount("/srv/with blank", "nfs4")),
        ("/srv/with", Mount("/srv", "xfs")),
        ("/srv/tab\tnew\nback\\slash/drop", Mount("/srv/tab\tnew\nback\\slash", "nfs")),
        ("/mnt/over/drop", Mount("/mnt/over", "ext4")),
        ("/srv/déjà/drop", Mount("/srv/déjà", "fuse.sshfs")),
    ],
)
def test_the_nearest_mount_holds_the_path(path: str, expected: Mount) -> None:
    assert mount_of(INFO, path) == expected


def test_the_example_of_the_manual() -> None:
    text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
    assert mount_of(text, "/mnt2/x") == Mount("/mnt2", "ext3")


# The kernel escapes blank, tab, newline and backslash only; str.splitlines knows more ends of a line.
@pytest.mark.parametrize("character", ["\r", "\x0c", "\x85", "\u2028"], ids=ascii)
def test_only_a_newline_ends_a_line(character: str) -> None:
    point = f"/mnt/a{character}b"
    assert mount_of(line("/", "ext4") + line(point, "nfs"), point + "/drop") == Mount(point, "nfs")


@pytest.mark.parametrize("text", ["", "\n\n", "garbage", "36 35 98:0 /\n", "1 2 3 4 /x rw ext4 /dev/x rw\n", " - \n"])
def test_what_cannot_be_read_is_an_unknown_local_mount(text: str) -> None:
    mount = mount_of(text, "/srv/drop")
    assert mount == Mount("/", "unknown")
    assert not mount.network


NETWORK = (
    "nfs nfs4 cifs smb3 9p afs ceph glusterfs lustre gpfs virtiofs vboxsf "
    "fuse fuse.sshfs fuse.s3fs fuse.rclone fuse.davfs fuse.glusterfs"
)
LOCAL = "ext2 ext3 ext4 xfs btrfs zfs tmpfs overlay vfat exfat ntfs3 bcachefs f2fs fuseblk fuse.mergerfs unknown"


def test_network_types() -> None:
    assert [fs_type for fs_type in NETWORK.split() if not Mount("/srv", fs_type).network] == []
    assert [fs_type for fs_type in LOCAL.split() if Mount("/srv", fs_type).network] == []


@given(st.text(st.sampled_from("/ab\\0 -1\n"), max_size=60), st.text(st.sampled_from("/ab"), max_size=10))
def test_any_text_gives_a_mount_that_holds_the_path(text: str, rest: str) -> None:
    path = "/" + rest
    mount = mount_of(text, path)
    assert mount.point == "/" or path == mount.point or path.startswith(mount.point + "/")
