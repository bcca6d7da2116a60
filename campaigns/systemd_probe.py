"""What the sandbox forbids, tried from within it. Runs alone in the machine, and prints JSON: attempt → "" or why not.

python systemd_probe.py FOLDER          a folder that the service may write to
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
_FINIT_MODULE = 313  # x86-64
SETUID_PROGRAM = "/usr/local/bin/id-as-root"


def _write(path: str) -> Callable[[], object]:
    def attempt() -> None:
        probe = Path(path, ".probe")
        probe.write_text("x")
        probe.unlink()

    return attempt


def _overwrite(path: str) -> Callable[[], object]:
    return lambda: os.close(os.open(path, os.O_WRONLY))


def _read(path: str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()


def _find_in(folder: str) -> Callable[[], object]:
    return lambda: os.listdir(folder)[0]


def _call(name: str, *arguments: int | bytes | None) -> Callable[[], object]:
    def attempt() -> None:
        if getattr(_LIBC, name)(*arguments) == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return attempt


def _open_socket(family: int, kind: int, protocol: int = 0) -> Callable[[], object]:
    return lambda: socket.socket(family, kind, protocol).close()


def _see_first_process() -> None:
    os.stat("/proc/1/status")


def _run_setuid() -> None:
    told = subprocess.run([SETUID_PROGRAM, "-u"], capture_output=True, text=True, check=True)
    if told.stdout.strip() != "0":
        raise PermissionError(f"it ran as {told.stdout.strip()}")


def _written_code() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _mount(folder: str) -> Callable[[], object]:
    def attempt() -> None:
        _call("mount", b"none", folder.encode(), b"tmpfs", 0, None)()
        _call("umount", folder.encode())()

    return attempt


def _give_away(folder: str) -> Callable[[], object]:
    def attempt() -> None:
        probe = Path(folder, ".probe-owner")
        probe.touch()
        try:
            os.chown(probe, 1, 1)
        finally:
            probe.unlink()

    return attempt


def _mode(folder: str, mode: int) -> Callable[[], object]:
    def attempt() -> None:
        probe = Path(folder, ".probe-mode")
        probe.mkdir()
        try:
            probe.chmod(mode)
        finally:
            probe.rmdir()

    return attempt


def forbidden(folder: str) -> dict[str, Callable[[], object]]:
    """What must not succeed."""
    return {
        "write to /etc": _write("/etc"),
        "write to /usr": _write("/usr"),
        "write to /var": _write("/var"),
        "write to its own program": _write("/opt/canarysync"),
        "write to its configuration": _overwrite("/etc/canarysync/canarysync.yaml"),
        "write beside its folders": _write("/srv"),
        "change a kernel setting": _overwrite("/proc/sys/kernel/core_pattern"),
        "change a cgroup": _write("/sys/fs/cgroup"),
        "read the key's file": _read("/etc/canarysync/api-key"),
        "read what only root may": _read("/etc/shadow"),
        "see what is in /home": _find_in("/home"),
        "see what is in /root": _find_in("/root"),
        "see others' temporary files": _read("/tmp/of-others"),
        "see the first process": _see_first_process,
        "read the kernel's log": _read("/dev/kmsg"),
        "open a disk or memory": _read("/dev/mem"),
        "gain rights by a setuid program": _run_setuid,
        "become root": _call("setuid", 0),
        "make a setuid folder": _mode(folder, 0o4770),
        "make a setgid folder": _mode(folder, 0o2770),
        "give a file away": _give_away(folder),
        "load a module": _call("syscall", _FINIT_MODULE, -1, b"", 0),
        "mount": _mount(folder),
        "make a user namespace": _call("unshare", _CLONE_NEWUSER),
        "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "set the host's name": lambda: socket.sethostname(socket.gethostname()),
        "open a raw socket": _open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "open a packet socket": _open_socket(socket.AF_PACKET, socket.SOCK_RAW),
        "open a netlink socket": _open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "take the processor": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "run what was written": _written_code,
        "trace a process": _call("ptrace", 0, 0, None, None),
    }


def allowed(folder: str) -> dict[str, Callable[[], object]]:
    """What must succeed: a probe that can do nothing proves nothing."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")
    return {
        "write to its folders": _write(folder),
        "write to its state": _write("/var/lib/canarysync"),
        "read its credential": _read(f"{credentials}/api-key"),
        "read its configuration": _read("/etc/canarysync/canarysync.yaml"),
        "tell which boot this is": _read("/proc/sys/kernel/random/boot_id"),
        "see what it uses itself": _read("/proc/stat"),
        "open a TCP socket": _open_socket(socket.AF_INET, socket.SOCK_STREAM),
        "open a local socket": _open_socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    }


def tried(attempt: Callable[[], object]) -> str:
    """Empty if it succeeded, else why it did not. Each in a child: one that succeeds must not change the next."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(there, _outcome(attempt).encode())
        os._exit(0)
    os.close(there)
    with open(here, encoding="utf-8") as told:
        outcome = told.read()
    _, status = os.waitpid(child, 0)
    return outcome if status == 0 else f"killed: {status}"


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (OSError, IndexError, subprocess.CalledProcessError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    folder = sys.argv[1]
    groups = {"forbidden": forbidden(folder), "allowed": allowed(folder)}
    print(json.dumps({kind: {what: tried(do) for what, do in group.items()} for kind, group in groups.items()}))


if __name__ == "__main__":
    main()
