"""What the systemd campaign works with: canarysync as a service in the machine, its folders, and the simulated API."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaigns.systemd_machine import Machine
from canarysync.candidates import RECEIPT_SUFFIX
from canarysync.sandbox import SANDBOX_API_KEY
from tests.support import score, wait_for

PROGRAM = "/opt/canarysync/bin/canarysync"
PYTHON = "/opt/canarysync/bin/python"
UNIT = "canarysync.service"
HOME = "/srv/canary"
URL = "http://127.0.0.1:8787"
GROUP = "lab"
PATIENCE_S = 30.0

_ASK = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], sys.argv[2].encode() or None).read().decode())"


@dataclass(frozen=True, slots=True)
class Place:
    """The machine with canarysync in it. Paths are those inside; ``at`` leads to them from outside."""

    machine: Machine

    def at(self, inside: str) -> Path:
        """A path of the machine, through the eyes of its first process: with all that is mounted there."""
        return Path(f"/proc/{self.machine.leader}/root") / inside.lstrip("/")

    # --- the service ---------------------------------------------------------------------------------

    @contextmanager
    def running(self, routes: Sequence[str] = ("clinic-a",), drop_in: str = "", unit: str = UNIT) -> Iterator[None]:
        """The service, started anew with routes of these names and more lines for its unit; stopped in the end."""
        self.configure(routes)
        with self.drop_in(drop_in, unit):
            self.systemctl("start", unit)
            try:
                yield
            finally:
                self.systemctl("stop", unit, check=False)

    @contextmanager
    def drop_in(self, lines: str, unit: str = UNIT) -> Iterator[None]:
        """More lines for a unit, from `[Service]` on, as `systemctl edit` makes them."""
        folder = self.at(f"/run/systemd/system/{unit}.d")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "campaign.conf").write_text(f"[Service]\n{lines}\n")
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed", unit, check=False)
        try:
            yield
        finally:
            (folder / "campaign.conf").unlink()
            self.systemctl("daemon-reload")

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.machine.run("systemctl", "--no-pager", *words, check=check).stdout

    def show(self, name: str, unit: str = UNIT) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit).strip()

    def wait_until(self, name: str, value: str, unit: str = UNIT) -> None:
        """Return when a property of a unit is what it should be."""
        wait_for(lambda: self.show(name, unit) == value, f"{name} of {unit} to be {value}", PATIENCE_S)

    def kill(self, signal: str, unit: str = UNIT) -> None:
        self.systemctl("kill", "--kill-who=main", f"--signal={signal}", unit)

    def journal(self, since: str, unit: str = UNIT) -> list[Mapping[str, Any]]:
        """What the service itself has logged since a cursor, as the journal has it."""
        command = ["journalctl", f"--unit={unit}", "--output=json", f"--after-cursor={since}"]
        lines = self.machine.run(*command).stdout.splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if entry.get("SYSLOG_IDENTIFIER") == "canarysync"]

    def systemd_said(self, text: str, since: str, unit: str = UNIT) -> bool:
        """Whether systemd itself has logged this of a unit since a cursor."""
        command = ["journalctl", f"--unit={unit}", "--output=cat", f"--after-cursor={since}", "_PID=1"]
        return text in self.machine.run(*command).stdout

    def cursor(self) -> str:
        """The journal's end at this moment."""
        self.machine.run("journalctl", "--sync")
        [found] = re.findall(r"^-- cursor: (.*)$", self.machine.shell("journalctl -n 0 --show-cursor"), re.MULTILINE)
        return str(found)

    # --- files ---------------------------------------------------------------------------------------

    def configure(self, routes: Sequence[str], file: str = "canarysync", **changes: object) -> None:
        """Write a configuration for routes below HOME, as root would: the service may read it, no more."""
        name = "" if file == "canarysync" else f"/{file}"
        config = {
            "api": {"url": URL, "api_key": {"credential": "api-key"}, "read_back": {"wait": "2s"}},
            "routes": [{"folder": f"{HOME}/{route}", "group": GROUP, "rescan": "1s"} for route in routes],
            "state": f"/var/lib/canarysync{name}",
            **changes,
        }
        path = self.at(f"/etc/canarysync/{file}.yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config, indent=2))  # which is YAML too
        path.chmod(0o644)

    def drop(self, route: str, name: str, number: int) -> None:
        """A score arrives by rename, readable by the group of the folder and by nobody else."""
        folder = self.at(f"{HOME}/{route}/drop")
        passing = folder / f"{name}.part"
        passing.write_text(json.dumps(score(number)))
        passing.chmod(0o640)
        passing.rename(folder / name)

    def done(self, route: str, name: str) -> bool:
        folder = self.at(f"{HOME}/{route}/done")
        return (folder / name).is_file() and (folder / (name + RECEIPT_SUFFIX)).is_file()

    def wait_until_done(self, route: str, *names: str) -> None:
        wait_for(
            lambda: all(self.done(route, name) for name in names), f"{len(names)} files in done/ of {route}", PATIENCE_S
        )

    def receipt(self, route: str, name: str) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(self.at(f"{HOME}/{route}/done/{name}{RECEIPT_SUFFIX}").read_text())
        return found

    # --- the API -------------------------------------------------------------------------------------

    def start_api(self) -> None:
        command = [PROGRAM, "sandbox", "--port", "8787", "--quiet"]
        self.machine.run("systemd-run", "--unit=api", "--quiet", *command)
        wait_for(self._api_answers, "the simulated API", PATIENCE_S)

    def faults(self, *texts: str) -> None:
        """These faults, and no others, from now on."""
        self._ask("/sandbox/faults", json.dumps(texts))

    def uuids(self) -> list[str]:
        """Of all scores at the API; a score that was created twice has two."""
        return [stored["uuid"] for stored in json.loads(self._ask("/sandbox/scores"))["scores"]]

    def _ask(self, path: str, body: str = "") -> str:
        return self.machine.run(PYTHON, "-c", _ASK, URL + path, body).stdout

    def _api_answers(self) -> bool:
        try:
            return bool(self._ask("/sandbox/requests"))
        except subprocess.CalledProcessError:
            return False


def install(place: Place, wheels: Path) -> None:
    """As the README says, from wheels beside, since the machine has no network; then what the command says itself."""
    inside = "/root/wheels"
    place.at(inside).mkdir()
    for wheel in wheels.iterdir():
        (place.at(inside) / wheel.name).write_bytes(wheel.read_bytes())
    place.machine.shell(
        "python3 -m venv /opt/canarysync\n"
        f"/opt/canarysync/bin/pip install --quiet --no-index --find-links {inside} canarysync\n"
        f"groupadd {GROUP}\n"
        "install -d -m 755 /etc/canarysync\n"
        f"(umask 077; echo {SANDBOX_API_KEY} > /etc/canarysync/api-key)"
    )
    place.configure(["clinic-a", "clinic-b"])
    for options in ("--timer", ""):
        said = place.machine.shell(f"{PROGRAM} systemd --install {options}")
        steps = [line.strip().replace("sudo ", "") for line in said.split("Next, as root:\n")[1].splitlines()]
        place.machine.shell(
            "\n".join(step for step in steps if not step.startswith(("systemctl enable", "systemctl restart")))
        )
    # The template as it comes: for those who copy it by hand.
    template = "/opt/canarysync/lib/python3.11/site-packages/canarysync/systemd/canarysync@.service"
    place.machine.run("cp", template, "/etc/systemd/system")
    place.start_api()
