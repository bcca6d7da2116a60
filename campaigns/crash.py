"""Crash at every system call: the real program is killed (or made to fail) at each, started again, and looked at.

    make crash            every point
    python -m campaigns.crash --step 10 --kinds kill

For every N of every call that changes or asks anything (CALLS), `run-once` runs over a few files under strace, which
kills it at the N-th call of one of its threads, or lets that call fail. Then it runs again, undisturbed, and everything
has to be as if nothing had happened: each file in one place with a true sidecar, each score at the API once, no
leftovers. Imports are done before strace takes hold, so that the counting starts with the work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canarysync import tree
from canarysync.sandbox import Sandbox, StoredScore
from tests.support import Site, make_site, score, unique_assessment, wait_for

CALLS = (
    "rename", "renameat2", "link", "unlink", "mkdir", "chmod", "fsync", "fdatasync", "pwrite64", "write", "openat",
    "flock", "ftruncate", "sendto", "recvfrom", "syncfs",
)  # fmt: skip
ERRORS = ("ENOSPC", "EIO", "EACCES", "EMFILE", "EROFS")
FAILING = (
    "rename",
    "renameat2",
    "link",
    "unlink",
    "fsync",
    "fdatasync",
    "pwrite64",
    "write",
    "openat",
    "ftruncate",
    "syncfs",
)

_LAUNCHER = """
import os, signal
from canarysync import cli, demo, durable, sandbox, service, views  # all that a run imports
import jsonschema, yaml, requests, sqlite3
durable.TOGETHER_FROM = 1  # the campaign has few files
os.kill(os.getpid(), signal.SIGSTOP)
cli.main()
"""
_OURS = ("-b", "execve")
"""Not the process that makes the requests, which changes nothing on disk; the soak kills that one."""
_NAMES = ("good.json", "also-good.yaml", "twin.json", "bad.json", "refused.json")


@dataclass(frozen=True, slots=True)
class Point:
    """The ``number``-th ``call`` of a thread is where it happens: SIGKILL, or the call fails with ``error``."""

    call: str
    number: int
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.call}#{self.number} {self.error or 'SIGKILL'}"


def available() -> bool:
    """Whether strace is there and may trace."""
    return (
        shutil.which("strace") is not None and subprocess.run(["strace", "-qq", "-o/dev/null", "true"]).returncode == 0
    )


def set_out(home: Path, url: str, *, dated: bool = False) -> tuple[Site, str]:
    """A site with the files of the campaign, of an assessment of their own. ``dated``: done/ has a folder for each
    month of each year."""
    home.mkdir()
    done = "clinic/done/%Y/%m" if dated else None
    site = make_site(home, url, api__concurrency=2, api__timeout__read="2s", routes__done=done)
    assessment = unique_assessment()
    site.put("good.json", score(1, assessmentId=assessment))
    site.put("also-good.yaml", json.dumps(score(2, assessmentId=assessment)))
    site.put("twin.json", json.dumps(score(1, assessmentId=assessment)) + "\n")
    site.put("bad.json", score(3, assessmentId=assessment, dateRecorded=None))
    site.put("refused.json", score(4, assessmentId="00000000-0000-0000-0000-000000000000"))
    return site, assessment


def run_under_strace(site: Site, *options: str, wait: str = "0s") -> int:
    """One `run-once` with strace attached from its first line of work on; its exit code (negative: the signal)."""
    command = [sys.executable, "-c", _LAUNCHER, "run-once", "--wait", wait, "-c", str(site.config_path)]
    with (site.home / "log").open("a") as log:
        program = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(lambda: _state(program.pid) == "T", "the program to stop before its work")
            tracer = subprocess.Popen(["strace", "-qq", "-f", "-p", str(program.pid), *options], stderr=log)
            wait_for(lambda: _is_traced(program.pid) or tracer.poll() is not None, "strace to take hold")
            os.kill(program.pid, signal.SIGCONT)
            code = program.wait(60)
            tracer.wait(60)
            return code
        finally:
            program.kill()
            program.wait()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return re.search(r"^TracerPid:\s+[1-9]", status, re.MULTILINE) is not None


def count_calls(home: Path, url: str, *, dated: bool = False) -> dict[str, int]:
    """How often each call is made at most by one thread, in a run that is left alone (strace counts by thread)."""
    site, _ = set_out(home, url, dated=dated)
    trace = home / "trace"
    run_under_strace(site, *_OURS, "-o", str(trace), "-e", f"trace={','.join(CALLS)}")
    seen = Counter(re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE))
    most: dict[str, int] = {}
    for (_, call), count in seen.items():
        most[call] = max(most.get(call, 0), count)
    return {call: most.get(call, 0) for call in CALLS}


def points(counts: dict[str, int], kinds: Sequence[str]) -> Iterator[Point]:
    """Every point there is. Two more of each call than were counted, since no two runs are quite alike."""
    for call, most in counts.items():
        for number in range(1, most + 3 if most else 1):
            if "kill" in kinds:
                yield Point(call, number)
            if "error" in kinds and call in FAILING:
                yield Point(call, number, ERRORS[number % len(ERRORS)])


def try_point(point: Point, home: Path, sandbox: Sandbox, *, dated: bool = False) -> tuple[bool, list[str]]:
    """Whether it struck, and all that was wrong after the program had run again."""
    site, assessment = set_out(home, sandbox.url, dated=dated)
    fault = f"error={point.error}" if point.error else "signal=SIGKILL"
    inject = f"inject={point.call}:{fault}:when={point.number}"
    code = run_under_strace(site, *_OURS, "-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject)
    struck = code == -signal.SIGKILL or point.error is not None
    wrong = start_again(site)
    return struck, wrong + what_is_wrong(site, [s for s in sandbox.scores if s.assessment_id == assessment])


def start_again(site: Site) -> list[str]:
    """Run once more, undisturbed; all that is wrong with that, and with what the log says."""
    again = site.cli("run-once", "--wait", "30s", "-c", str(site.config_path))
    with (site.home / "log").open("a") as log:
        log.write(again.stderr)
    wrong = []
    if again.returncode not in (0, 1):
        wrong.append(f"the run after it exits with {again.returncode}: {again.stderr[-600:]}")
    if "Traceback" in site.log() or "defect" in site.log():
        wrong.append("a defect in the log")
    return wrong


def what_is_wrong(site: Site, stored: Sequence[StoredScore]) -> list[str]:
    """Everything that is not as it has to be in the end."""
    wrong = []
    inside = max(tree.folders(site.done), key=len)
    places = {
        "drop": site.waiting(),
        "done": os.listdir(site.done / inside),
        "failed": os.listdir(site.failed),
    }
    expected = {
        "drop": set(),
        "done": {f"{n}{s}" for n in ("good.json", "also-good.yaml", "twin.json") for s in ("", ".receipt.json")},
        "failed": {f"{n}{s}" for n in ("bad.json", "refused.json") for s in ("", ".error.json")},
    }
    for folder, names in places.items():
        if set(names) != expected[folder]:
            wrong.append(f"{folder}/ holds {sorted(names)}")
    if wrong:
        return [*wrong, f"the API has {len(stored)} scores"]
    try:
        receipts = {
            name: site.receipt(os.path.join(inside, name)) for name in ("good.json", "also-good.yaml", "twin.json")
        }
        errors = {name: site.error(name) for name in ("bad.json", "refused.json")}
    except ValueError as error:
        return [f"a sidecar is no JSON: {error}"]
    files = {site.done / inside / name: receipt for name, receipt in receipts.items()}
    files |= {site.failed / name: error for name, error in errors.items()}
    return [*_wrong_in_receipts(receipts, stored), *_wrong_in_errors(errors), *_other_bytes(files)]


def _wrong_in_receipts(receipts: Mapping[str, dict[str, Any]], stored: Sequence[StoredScore]) -> list[str]:
    wrong = []
    uuids = {name: receipt["uuid"] for name, receipt in receipts.items()}
    if uuids["good.json"] != uuids["twin.json"] or len(stored) != 2 or {s.uuid for s in stored} != set(uuids.values()):
        wrong.append(f"the API has {len(stored)} scores, the receipts say {uuids}")
    duplicates = {name for name, receipt in receipts.items() if receipt["outcome"] == "duplicate"}
    if duplicates not in ({"good.json"}, {"twin.json"}):  # whichever came second
        wrong.append(f"the receipts call {sorted(duplicates)} duplicates")
    missing = [name for name, receipt in receipts.items() if "fileMissing" in receipt]
    return [*wrong, *(f"the receipt of {name} says that the file is missing" for name in missing)]


def _wrong_in_errors(errors: Mapping[str, dict[str, Any]]) -> list[str]:
    codes = {name: error["code"] for name, error in errors.items()}
    return [] if codes == {"bad.json": "invalid", "refused.json": "refused"} else [f"the error sidecars say {codes}"]


def _other_bytes(sidecars: Mapping[Path, dict[str, Any]]) -> list[str]:
    hashes = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in sidecars}
    return [
        f"{f.name} holds other bytes than its sidecar says" for f, s in sidecars.items() if s["sha256"] != hashes[f]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--step", type=int, default=1, help="try every STEP-th point only")
    parser.add_argument("--kinds", default="kill,error", help="kill, error, or both")
    parser.add_argument("--dated", action="store_true", help="with dated folders in done/")
    arguments = parser.parse_args()
    if not available():
        sys.exit("strace is missing, or may not trace here: sudo apt install strace")
    started_s, struck, failed, tried = time.monotonic(), 0, 0, 0
    with tempfile.TemporaryDirectory() as home, Sandbox() as sandbox:
        counts = count_calls(Path(home) / "count", sandbox.url, dated=arguments.dated)
        print("calls by one thread:", ", ".join(f"{call} {count}" for call, count in counts.items() if count))
        for number, point in enumerate(points(counts, arguments.kinds.split(","))):
            if number % arguments.step:
                continue
            tried += 1
            hit, wrong = try_point(point, Path(home) / f"point-{number}", sandbox, dated=arguments.dated)
            struck += hit
            failed += bool(wrong)
            for line in wrong:
                print(f"{point}: {line}", flush=True)
            shutil.rmtree(Path(home) / f"point-{number}")
    print(f"{tried} points tried, {struck} struck, {failed} failed, {time.monotonic() - started_s:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
