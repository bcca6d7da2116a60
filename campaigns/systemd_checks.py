"""What a service has to do under a real systemd. Each check begins with the service stopped, and leaves it so."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from campaigns import systemd_probe
from campaigns.systemd_place import GROUP, HOME, PROGRAM, PYTHON, UNIT, Place
from canarysync.errors import Exit
from tests.support import wait_for

WORST_EXPOSURE = 1.5
SERVICES = (UNIT, "canarysync@north.service", "canarysync-once.service")
FAST = "RestartSec=500ms"
SLOW_S = 6
"""How long a slow request takes: longer than anything that may happen before it is looked at."""

_numbers = iter(range(1, 100_000))


def _drop(place: Place, route: str, *names: str) -> None:
    """Files of these names, each with a score of its own."""
    for name in names:
        place.drop(route, name, next(_numbers))


def verify(place: Place) -> None:
    """systemd-analyze verify is silent"""
    units = ("canarysync.service", "canarysync@.service", "canarysync-once.service", "canarysync-once.timer")
    told = place.machine.run("systemd-analyze", "verify", "--recursive-errors=no", *units, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, ""), told


def security(place: Place) -> str:
    """systemd-analyze security rates each service 1.5 or better"""
    found = {}
    for unit in SERVICES:
        told = place.machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
        found[unit] = float(re.findall(r"Overall exposure level for \S+: ([\d.]+)", told)[0])
    assert max(found.values()) <= WORST_EXPOSURE, found
    return ", ".join(f"{unit} {exposure}" for unit, exposure in found.items())


def start(place: Place) -> str:
    """start returns at READY=1, with a status in words"""
    with place.running():
        assert (place.show("ActiveState"), place.show("SubState")) == ("active", "running")
        wait_for(lambda: place.show("StatusText"), "a status text", 10)
        return place.show("StatusText")


def drop(place: Place) -> None:
    """a file that only the group may read is dropped, and done"""
    place.machine.shell(f"id nurse >/dev/null 2>&1 || useradd --groups {GROUP} nurse")
    with place.running():
        _drop(place, "clinic-a", "prepared.json")
        place.wait_until_done("clinic-a", "prepared.json")
        script = f"umask 027; cp {HOME}/clinic-a/done/prepared.json {HOME}/clinic-a/drop/again.json"
        place.machine.run("runuser", "-u", "nurse", "--", "sh", "-euc", script)
        place.wait_until_done("clinic-a", "again.json")
        receipt = f"{HOME}/clinic-a/done/again.json.receipt.json"
        told = place.machine.run("runuser", "-u", "nurse", "--", "cat", receipt).stdout
        assert json.loads(told)["outcome"] == "duplicate"


def journal(place: Place) -> str:
    """journal lines have priorities, and no times of their own"""
    since = place.cursor()
    with place.running():
        _drop(place, "clinic-a", "fine.json")
        place.at(f"{HOME}/clinic-a/drop/broken.json").write_text("{")
        place.wait_until_done("clinic-a", "fine.json")
        failed = place.at(f"{HOME}/clinic-a/failed/broken.json")
        wait_for(failed.exists, "the broken file in failed/", 30)
    place.machine.run("journalctl", "--sync")
    entries = place.journal(since)
    priority_of = {str(entry["MESSAGE"]): int(entry["PRIORITY"]) for entry in entries}
    assert not [message for message in priority_of if re.match(r"\S*\d{4}-\d\d-\d\dT", message)]
    [fine] = [message for message in priority_of if "fine.json" in message and "uploaded" in message]
    [broken] = [message for message in priority_of if "broken.json" in message]
    assert priority_of[fine] == 6, (fine, priority_of[fine])
    assert priority_of[broken] < 6, (broken, priority_of[broken])
    return f"<{priority_of[broken]}> {broken}"


def credential(place: Place) -> None:
    """the key comes by LoadCredential: its file is root's alone, and nobody else sees the credential"""
    key = "/etc/canarysync/api-key"
    owner = place.at(key).stat()
    assert (owner.st_uid, owner.st_mode & 0o777) == (0, 0o600)
    with place.running():
        seen = f"/run/credentials/{UNIT}/api-key"
        assert place.at(seen).is_file()
        for user, file in (("canarysync", key), ("nurse", key), ("nurse", seen)):
            told = place.machine.run("runuser", "-u", user, "--", "cat", file, check=False)
            assert told.returncode != 0, (user, file)
        environment = place.at(f"/proc/{place.show('MainPID')}/environ").read_bytes()
        assert place.at(key).read_bytes().strip() not in environment


def reload(place: Place) -> None:
    """systemctl reload takes an added route, in the same process; a bad configuration is refused"""
    with place.running():
        process = place.show("MainPID")
        place.configure(["clinic-a", "clinic-b"])
        place.systemctl("reload", UNIT)
        _drop(place, "clinic-b", "of-the-new-route.json")
        place.wait_until_done("clinic-b", "of-the-new-route.json")
        place.at("/etc/canarysync/canarysync.yaml").write_text("routes: 7\n")
        place.systemctl("reload", UNIT, check=False)
        _drop(place, "clinic-b", "after-the-bad-one.json")
        place.wait_until_done("clinic-b", "after-the-bad-one.json")
        assert (place.show("MainPID"), place.show("ActiveState")) == (process, "active")


def killed(place: Place) -> str:
    """kill -9 in the middle of a burst: restarted, nothing lost, nothing twice"""
    before = len(place.uuids())
    names = [f"burst-{number}.json" for number in range(60)]
    with place.running(drop_in=FAST):
        place.faults("put:delay_after,delay=0.2")
        _drop(place, "clinic-a", *names)
        wait_for(lambda: sum(place.done("clinic-a", name) for name in names) > 8, "a part of the burst", 30)
        place.kill("SIGKILL")
        place.faults()
        place.wait_until_done("clinic-a", *names)
        restarts = int(place.show("NRestarts"))
    outcomes = [place.receipt("clinic-a", name)["outcome"] for name in names]
    assert restarts == 1
    assert len(place.uuids()) - before == len(names)
    return f"{len(names)} files, of these {outcomes.count('recovered')} recovered"


def watchdog(place: Place) -> str:
    """SIGSTOP: the watchdog ends it, and it is started anew"""
    with place.running(drop_in=f"{FAST}\nWatchdogSec=5s"):
        process, began_s = place.show("MainPID"), time.monotonic()
        place.kill("SIGSTOP")
        _drop(place, "clinic-a", "while-it-hung.json")
        place.wait_until("NRestarts", "1")
        took_s = time.monotonic() - began_s
        place.wait_until_done("clinic-a", "while-it-hung.json")
        assert place.show("MainPID") != process
        return f"WatchdogSec=5s: after {took_s:.1f} s"


def fed(place: Place) -> None:
    """the watchdog is fed while nothing happens, and while a request is slow"""
    with place.running(drop_in=f"{FAST}\nWatchdogSec=3s"):
        place.faults(f"put:delay={SLOW_S},times=1")
        _drop(place, "clinic-a", "slow-and-fed.json")
        place.wait_until_done("clinic-a", "slow-and-fed.json")
        place.faults()
        assert place.show("NRestarts") == "0"


def drained(place: Place) -> str:
    """stop waits for the request in hand, and no longer"""
    before = len(place.uuids())
    with place.running():
        place.faults(f"put:delay={SLOW_S},times=1")
        _drop(place, "clinic-a", "in-hand.json")
        told = (PROGRAM, "history", "in-hand.json", "--config", "/etc/canarysync/canarysync.yaml")
        wait_for(lambda: "intended" in place.machine.run(*told, check=False).stdout, "the request to be in hand")
        began_s = time.monotonic()
        place.systemctl("stop", UNIT)
        took_s = time.monotonic() - began_s
        place.faults()
    assert place.done("clinic-a", "in-hand.json")
    assert place.receipt("clinic-a", "in-hand.json")["proof"] == "response"
    assert (place.show("Result"), len(place.uuids()) - before) == ("success", 1)
    return f"after {took_s:.1f} s"


def bad_config(place: Place) -> None:
    """a bad configuration: failed once with 78, and not started again"""
    with place.drop_in("RestartSec=100ms"):
        place.at("/etc/canarysync/canarysync.yaml").write_text("routes: 7\n")
        place.systemctl("start", UNIT, check=False)
        place.wait_until("ActiveState", "failed")
        time.sleep(2)  # twenty times the pause before a restart
        assert place.show("ExecMainStatus") == str(int(Exit.CONFIG))
        assert (place.show("NRestarts"), place.show("ActiveState")) == ("0", "failed")


def first_start(place: Place) -> str:
    """a first start without folders: told which command makes them, and nothing made"""
    place.at(f"{HOME}/ward").mkdir(exist_ok=True)
    place.machine.run("chown", "canarysync", f"{HOME}/ward")  # so that only the sandbox is in the way
    place.configure(["ward"])
    since = place.cursor()
    with place.drop_in(""):
        place.systemctl("start", UNIT, check=False)
        place.wait_until("ActiveState", "failed")
    assert place.show("ExecMainStatus") == str(int(Exit.CONFIG))
    assert not list(place.at(f"{HOME}/ward").iterdir())
    told = "\n".join(str(entry["MESSAGE"]) for entry in place.journal(since))
    [command] = re.findall(r"sudo (.*/ward/drop.*)", told)
    place.machine.run("sh", "-euc", command.replace("sudo ", ""))
    with place.running(["ward"]):
        _drop(place, "ward", "after-all.json")
        place.wait_until_done("ward", "after-all.json")
    return command


def share(place: Place) -> None:
    """a share is unmounted and mounted again on the host: its route waits and goes on, the other never stops"""
    point = f"{HOME}/share"
    mount = f"mountpoint -q {point} || mount --bind /srv/disk {point}"
    place.machine.shell(f"install -d /srv/disk {point}; {mount}")
    _folders(place, "share")
    try:
        with place.running(["clinic-a", "share"]):
            _drop(place, "share", "before.json")
            place.wait_until_done("share", "before.json")
            since = place.cursor()
            place.machine.shell(f"umount --lazy {point}")  # as the marker is locked, umount alone says that it is busy
            _drop(place, "clinic-a", "meanwhile.json")
            place.wait_until_done("clinic-a", "meanwhile.json")
            wait_for(lambda: _told(place, since, "gone"), "word that the folder is gone", 30)
            assert place.show("ActiveState") == "active"
            assert not list(place.at(point).iterdir()), "something was made where the share had been"
            place.machine.shell(mount)
            _drop(place, "share", "after.json")
            place.wait_until_done("share", "after.json")
    finally:
        place.machine.shell(mount)


def share_later(place: Place) -> None:
    """a share that is mounted after the start is found, also if the unit names its very mount point"""
    point = f"{HOME}/share"
    named = f"ReadWritePaths=\nReadWritePaths={HOME}/clinic-a {point}"
    for number, drop_in in enumerate(("", named)):
        place.machine.shell(f"umount {point}")
        with place.running(["clinic-a", "share"], drop_in=drop_in):
            _drop(place, "clinic-a", f"without-the-share-{number}.json")
            place.wait_until_done("clinic-a", f"without-the-share-{number}.json")
            place.machine.shell(f"mount --bind /srv/disk {point}")
            _drop(place, "share", f"at-last-{number}.json")
            place.wait_until_done("share", f"at-last-{number}.json")
            assert place.show("NRestarts") == "0"


def timer(place: Place) -> None:
    """the timer calls a pass; 75 is no failure, 1 is one"""
    place.configure(["clinic-a"])
    since, once, failed = place.cursor(), "canarysync-once.service", "Failed with result 'exit-code'"
    folder = place.at("/run/systemd/system/canarysync-once.timer.d")
    folder.mkdir(parents=True, exist_ok=True)
    often = "OnCalendar=*:*:0/2\nRandomizedDelaySec=0\nAccuracySec=100ms"
    (folder / "campaign.conf").write_text(f"[Timer]\nOnCalendar=\n{often}\n")
    place.systemctl("daemon-reload")
    try:
        _drop(place, "clinic-a", "by-the-timer.json")
        place.systemctl("start", "canarysync-once.timer")
        place.wait_until_done("clinic-a", "by-the-timer.json")
        place.faults("put:status=503")
        _drop(place, "clinic-a", "later.json")
        place.wait_until("ExecMainStatus", str(int(Exit.TRY_AGAIN)), once)
        assert not place.systemd_said(failed, since, once)
        place.faults()
        place.wait_until_done("clinic-a", "later.json")
        place.at(f"{HOME}/clinic-a/drop/broken-again.json").write_text("{")
        wait_for(lambda: place.systemd_said(failed, since, once), "a pass to fail", 30)
    finally:
        place.faults()
        place.systemctl("stop", "canarysync-once.timer", once)
        (folder / "campaign.conf").unlink()
        place.systemctl("daemon-reload")


def several(place: Place) -> None:
    """three configurations at once: canarysync, one by the template, one as `canarysync systemd` makes it"""
    for name in ("north", "south"):
        _folders(place, name)
        place.configure([name], name)
        place.machine.shell(f"cp -p /etc/canarysync/api-key /etc/canarysync/{name}.api-key")
    place.machine.run(PROGRAM, "systemd", "--install", "--config", "/etc/canarysync/south.yaml")
    place.systemctl("daemon-reload")
    others = ("canarysync@north", "canarysync@south")
    with place.running(), place.drop_in(f"SupplementaryGroups={GROUP}", "canarysync@north.service"):
        place.systemctl("start", *others)
        try:
            for route in ("north", "south", "clinic-a"):
                _drop(place, route, "one-of-several.json")
            for route in ("north", "south", "clinic-a"):
                place.wait_until_done(route, "one-of-several.json")
        finally:
            place.systemctl("stop", *others)
    assert place.at("/var/lib/canarysync/north/ledger.sqlite3").is_file()


def sandbox(place: Place) -> str:
    """what the sandbox forbids is forbidden, and what the service needs is not"""
    program = "/usr/local/lib/systemd_probe.py"
    place.at(program).write_text(Path(systemd_probe.__file__).read_text())
    place.machine.shell(
        f"install -m 4755 /usr/bin/id {systemd_probe.SETUID_PROGRAM}\n"
        "install -d /home/somebody; touch /tmp/of-others /root/notes"
    )
    place.configure(["clinic-a"])
    command = f"{PYTHON} {program} {HOME}/clinic-a/done"
    lines = f"Type=oneshot\nRestart=no\nExecStart=\nExecStart={command}\nStandardOutput=truncate:/run/probe.json"
    with place.drop_in(lines):
        place.systemctl("start", UNIT)
    inside = json.loads(place.at("/run/probe.json").read_text())
    outside = json.loads(place.machine.run(*command.split()).stdout)
    assert not [what for what, why_not in inside["allowed"].items() if why_not], inside["allowed"]
    assert not [what for what, why_not in inside["forbidden"].items() if not why_not], inside["forbidden"]
    no_proof = [what for what, why_not in outside["forbidden"].items() if why_not]
    told = f"{len(inside['forbidden'])} attempts failed, {len(inside['allowed'])} succeeded"
    return f"{told}; root itself cannot in this machine: {', '.join(no_proof) or 'nothing'}"


def uninstall(place: Place) -> str:
    """uninstalling is refused while a unit is enabled, and then leaves nothing but what people own"""
    place.systemctl("enable", UNIT)
    refused = place.machine.run(PROGRAM, "systemd", "--uninstall", check=False)
    assert refused.returncode != 0
    [command] = re.findall(r"what to do: (systemctl disable .*)", refused.stderr)
    place.machine.shell(f"{command}\n{PROGRAM} systemd --uninstall\nsystemctl daemon-reload")
    assert not list(place.at("/etc").glob("[!c]*/**/canarysync*")), "something is left"
    assert place.show("LoadState") == "not-found"
    assert place.at("/var/lib/canarysync/ledger.sqlite3").is_file()
    assert place.at("/etc/canarysync/canarysync.yaml").is_file()
    return command


def _told(place: Place, since: str, word: str) -> bool:
    return any(word in str(entry["MESSAGE"]) for entry in place.journal(since))


def _folders(place: Place, route: str) -> None:
    """The folders of a route, as `canarysync systemd --install` says that they are made."""
    made = f"install -d -o canarysync -g {GROUP}"
    home = f"{HOME}/{route}"
    place.machine.shell(f"{made} -m 2770 {home}/drop; {made} -m 2750 {home}/done {home}/failed")


CHECKS = (
    verify,
    security,
    start,
    drop,
    journal,
    credential,
    reload,
    killed,
    watchdog,
    fed,
    drained,
    bad_config,
    first_start,
    share,
    share_later,
    timer,
    several,
    sandbox,
    uninstall,
)
