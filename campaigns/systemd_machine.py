"""A Debian machine of its own for a while: made by debootstrap, booted by systemd-nspawn, told what to do by nsenter.

What debootstrap makes is kept in a folder, and never changed after: each boot writes to an overlay above it. The
machine has no network but its own loopback. It ends with this process, whatever becomes of that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import wait_for

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,python3-venv,ca-certificates"
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter", "unshare")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_COMMAND_S = 120.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted machine: ``root`` is its root folder as seen from outside, ``leader`` its first process."""

    root: Path
    leader: int

    def run(
        self, *command: str, check: bool = True, patience_s: float = _COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """A command in the machine, as its root; its output as text. Raises CalledProcessError unless it is 0."""
        into = ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--net", "--pid"]
        clean = ["env", "--ignore-environment", f"PATH={_PATH}", "LANG=C.UTF-8"]
        return subprocess.run(
            [*into, *clean, *command], capture_output=True, text=True, check=check, timeout=patience_s
        )

    def shell(self, script: str, check: bool = True) -> str:
        """What a shell script prints in the machine."""
        return self.run("sh", "-euc", script, check=check).stdout

    def path(self, inside: str) -> Path:
        """A file of the machine, as seen from outside. What is mounted in the machine is not seen from there."""
        return self.root / inside.lstrip("/")


def missing_tools() -> list[str]:
    """What has to be installed first: `apt install debootstrap systemd-container`."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def debian(cache: Path, mirror: str | None) -> Path:
    """The folder of a fresh Debian; made once, in some minutes, from the mirror that this machine's apt uses."""
    made = cache / SUITE
    if made.is_dir():
        return made
    source = mirror or _mirror()
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = cache / f"{SUITE}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(unfinished), source]
    with (cache / "debootstrap.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    return unfinished.rename(made)


def _mirror() -> str:
    """Where this machine's apt finds the release; it need not be said here."""
    asked = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    found = [line.split()[1] for line in told.splitlines() if line.split()[:1] == [SUITE]]
    if not found:
        sys.exit(f"apt knows no mirror of Debian {SUITE} here: name one with --mirror")
    return found[0]


def in_namespace(module: str) -> None:
    """Start anew where mounts are ours alone, and vanish with us."""
    if os.environ.get("_CANARYSYNC_NAMESPACE"):
        return
    os.environ["_CANARYSYNC_NAMESPACE"] = "yes"
    options = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    os.execvp("unshare", ["unshare", *options, sys.executable, "-m", module, *sys.argv[1:]])


@contextmanager
def booted(debian_root: Path, scratch: Path) -> Iterator[Machine]:
    """The machine, from an overlay in the empty folder ``scratch``, once its systemd says that it runs."""
    _mount("cgroup2", "cgroup2", Path("/sys/fs/cgroup"))  # nspawn looks there; some machines have the old kind
    root, upper, work = (scratch / name for name in ("root", "upper", "work"))
    for folder in (root, upper, work):
        folder.mkdir()
    _mount("overlay", "overlay", root, f"lowerdir={debian_root},upperdir={upper},workdir={work}")
    command = ["systemd-nspawn", f"--directory={root}", "--boot", "--private-network", "--console=pipe"]
    command += ["--machine=canarysync-campaign", "--register=no", "--keep-unit"]
    with (scratch / "boot.log").open("wb") as log:
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(lambda: nspawn.poll() is not None or _up(root, nspawn.pid), "the machine to boot", 90)
        if nspawn.poll() is not None:
            sys.exit(f"systemd-nspawn does not start:\n{(scratch / 'boot.log').read_text()}")
        yield Machine(root, _children(nspawn.pid)[0])
    finally:
        nspawn.terminate()  # as power off does, it ends all that runs in it
        try:
            nspawn.wait(60)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()
        subprocess.run(["umount", "--lazy", root], check=False)


def _mount(kind: str, source: str, target: Path, options: str = "rw") -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, source, target], check=True)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _up(root: Path, nspawn: int) -> bool:
    """Whether the machine has booted. nspawn's first child is there for a moment only; the next one is its init."""
    machines = [Machine(root, child) for child in _children(nspawn)]
    asked = [machine.run("systemctl", "is-system-running", check=False).stdout.strip() for machine in machines]
    return asked in (["running"], ["degraded"])
