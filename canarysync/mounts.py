"""What kind of file system is a folder on? By /proc/self/mountinfo (proc(5))."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

_NETWORK_TYPES = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph glusterfs gfs2 ocfs2 lustre beegfs orangefs coda ncpfs "
    "virtiofs vboxsf vmhgfs prl_fs gpfs".split()
)
# FUSE file systems see only what passes through this mount; a few are known to be local disks.
_LOCAL_FUSE = frozenset("fuseblk fuse.ntfs-3g fuse.lxcfs fuse.fuse-overlayfs fuse.mergerfs".split())
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """The mount that holds a path. On a ``network`` one, other machines' changes raise no events here."""

    point: str
    fs_type: str

    @property
    def network(self) -> bool:
        if self.fs_type.startswith("fuse"):
            return self.fs_type not in _LOCAL_FUSE
        return self.fs_type in _NETWORK_TYPES


def mount_at(folder: Path) -> Mount:
    """The mount that a folder is on."""
    return mount_of(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"), os.path.realpath(folder))


def mount_of(mountinfo: str, path: str) -> Mount:
    """The mount of an absolute, resolved ``path``; of two at one place, the last listed hides the other."""
    found = Mount("/", "unknown")
    for line in mountinfo.split("\n"):  # a path may hold any other line end
        mount = _parse(line)
        if mount is not None and len(mount.point) >= len(found.point) and _holds(mount.point, path):
            found = mount
    return found


def _holds(point: str, path: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")


def _parse(line: str) -> Mount | None:
    """``36 35 98:0 /root /mnt/point rw,noatime master:1 - ext3 /dev/root rw`` (proc(5))."""
    before, separator, after = line.partition(" - ")
    fields = before.split(" ")
    if not separator or len(fields) < 5:
        return None
    return Mount(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4]), after.split(" ", 1)[0])
