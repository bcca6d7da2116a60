"""The daemon as a real process, with files coming in every way they do in a lab; and killed in every way it may be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from canarysync.sandbox import Sandbox
from tests.support import PATIENCE_S, Site, make_site, room_for_events, score, stored, wait_for


@contextmanager
def daemon(site: Site) -> Iterator[subprocess.Popen[str]]:
    """`canarysync run`, once it watches; stopped in the end, however the test ends."""
    watching = site.log().count(" watching ") if (site.home / "log").exists() else 0
    process = site.start()
    try:
        wait_for(lambda: site.log().count(" watching ") > watching or process.poll() is not None, "the daemon to watch")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) in (0, -signal.SIGKILL, 130), site.log()[-2000:]


def yaml_of(number: int) -> str:
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in score(number).items())


def write_slowly(path: Path, text: str) -> None:
    """As scp over a slow line does: in parts, with pauses that are shorter than the quiet period."""
    with path.open("w") as file:
        for start in range(0, len(text), 20):
            file.write(text[start : start + 20])
            file.flush()
            time.sleep(0.01)


def test_files_arrive_in_every_way_and_end_in_done_once(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, routes__settle="2s")
    with daemon(site):
        site.put("in-place.json", score(1))
        outside = site.home / "outside.json"
        outside.write_text(json.dumps(score(2)))
        outside.rename(site.drop / "renamed.json")  # LESSONS 8: no close event
        linked = site.home / "linked"
        linked.write_text(json.dumps(score(3)))
        os.link(linked, site.drop / "linked.json")  # only a create event, from another folder of the file system
        site.put("visit.yaml", yaml_of(4))
        write_slowly(site.drop / "slow.json", json.dumps(score(5)))
        write_slowly(site.drop / "slow.yml", yaml_of(6))
        wait_for(lambda: len(site.filed()) == 6, "all six in done/")
    names = ["in-place.json", "linked.json", "renamed.json", "slow.json", "slow.yml", "visit.yaml"]
    site.assert_all_done_once(names, stored(sandbox))


def test_a_half_written_file_waits_and_is_not_rejected_while_it_grows(site: Site, sandbox: Sandbox) -> None:
    text = yaml_of(12)
    cut = text.index("12}") + 1  # `value: 1` is valid YAML, passes the schema, and is the wrong score
    with daemon(site):
        path = site.drop / "visit.yaml"
        with path.open("w") as file:
            file.write(text[:cut] + "}\n")
            file.flush()
            file.seek(cut)
            file.write(text[cut:])
        wait_for(lambda: site.filed() == ["visit.yaml"], "the whole file in done/")
    assert [json.loads(body)["scoreData"] for _, body in stored(sandbox)] == [{"value": 12}]


def test_files_whose_events_are_lost_are_found_long_before_the_rescan(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, routes__rescan="1h")
    names = [f"visit-{number}.json" for number in range(20)]
    noise = [site.drop / ".noise", site.drop / ".more-noise"]
    with daemon(site) as process:
        process.send_signal(signal.SIGSTOP)
        for number in range(room_for_events()):
            noise[number % 2].write_bytes(b"")
        for number, name in enumerate(names):
            site.put(name, score(number))
        for path in noise:
            path.unlink()
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: len(site.filed()) == len(names) and not site.waiting(), "all files in done/")
    site.assert_all_done_once(names, stored(sandbox))


def test_the_api_dies_and_comes_back_under_load_with_new_tokens(site: Site, sandbox: Sandbox) -> None:
    names = [f"visit-{number:03}.json" for number in range(300)]
    with daemon(site):
        for number, name in enumerate(names):
            site.put(name, score(number))
            if number == 100:
                wait_for(lambda: len(sandbox.scores) > 20, "the load to be on")
                sandbox.stop()
            if number == 200:
                wait_for(lambda: "the API cannot be used" in site.log(), "the outage to be noticed")
                sandbox.start()
                sandbox.revoke_tokens()
        wait_for(lambda: len(site.filed()) == 300 and not site.waiting(), "300 files in done/")
    site.assert_all_done_once(names, stored(sandbox))
    assert "the API answers again" in site.log()


def test_killed_three_times_in_the_middle_of_three_hundred(site: Site, sandbox: Sandbox) -> None:
    names = [f"visit-{number:03}.json" for number in range(300)]
    for number, name in enumerate(names):
        site.put(name, score(number))
    sandbox.faults.add("put:delay,delay=0.01", "put:delay_after,delay=0.01")
    for kill in range(1, 4):
        with daemon(site) as process:
            wait_for(lambda kill=kill: len(sandbox.scores) >= 75 * kill, "uploads under way")  # type: ignore[misc]
            process.kill()
            process.wait()
    sandbox.faults.clear()
    with daemon(site):
        wait_for(lambda: len(site.filed()) == 300 and not site.waiting(), "300 files in done/")
    site.assert_all_done_once(names, stored(sandbox))


def test_a_second_instance_is_turned_away_and_told_who_holds_the_route(
    site: Site, sandbox: Sandbox, tmp_path: Path
) -> None:
    with daemon(site) as process:
        same = site.cli("run", "-c", str(site.config_path))
        other_home = tmp_path / "other"
        other_home.mkdir()
        other = make_site(other_home, sandbox.url, routes__folder=str(site.drop.parent))
        elsewhere = site.cli("run-once", "-c", str(other.config_path))
    for turned_away in (same, elsewhere):
        assert turned_away.returncode == 75
        assert f"process {process.pid} on" in turned_away.stderr
    assert "Traceback" not in same.stderr + elsewhere.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_drain(site: Site, sandbox: Sandbox, number: signal.Signals, code: int) -> None:
    """What is on its way when the signal comes is filed before the end; the rest stays, and nothing is in doubt."""
    sandbox.faults.add("put:delay,delay=0.2")
    names = [f"visit-{i:02}.json" for i in range(40)]
    for i, name in enumerate(names):
        site.put(name, score(i))
    with daemon(site) as process:
        wait_for(lambda: len(sandbox.scores) >= 8, "uploads under way")
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == code
    assert len(site.filed()) == len(sandbox.scores)
    assert len(site.filed()) + len(site.waiting()) == 40
    assert sandbox.requests["scores", 200] == 0, "no doubt, so no read-back"
    assert "attempts_in_hand" in site.log()


def test_the_drop_folder_vanishes_and_returns(site: Site, sandbox: Sandbox) -> None:
    """An unmounted share looks like this: gone, or an empty folder in its place. Neither means anything."""
    away = site.home / "away"
    with daemon(site):
        site.put("before.json", score(1))
        wait_for(lambda: site.filed() == ["before.json"], "the first file")
        site.drop.rename(away)
        site.drop.mkdir()  # the empty mount point
        wait_for(lambda: "marker is missing. Is it mounted" in site.log(), "the loss to be noticed")
        assert os.listdir(site.drop) == [], "nothing is created in a folder that is not ours"
        (away / "meanwhile.json").write_text(json.dumps(score(2)))
        site.drop.rmdir()
        away.rename(site.drop)
        wait_for(lambda: len(site.filed()) == 2, "the file that came while it was gone")
        site.put("after.json", score(3))
        wait_for(lambda: len(site.filed()) == 3, "the watch to be armed again")
    site.assert_all_done_once(["after.json", "before.json", "meanwhile.json"], stored(sandbox))
    assert "folder is back" in site.log()


def test_status_beside_a_running_daemon_and_without_one(site: Site, sandbox: Sandbox) -> None:
    (site.drop / "sub").mkdir()
    with daemon(site):
        site.put("good.json", score(1))
        site.put("bad.json", "{}")
        wait_for(lambda: site.filed() and (site.failed / "bad.json").exists(), "both to be filed")
        wait_for(lambda: '"token_until": "2' in (site.home / "state/pulse.json").read_text(), "news of the token")
        running = site.cli("status", "--json", "-c", str(site.config_path))
        on_time = site.cli("status", "--max-age", "1h", "-c", str(site.config_path))
    stopped = site.cli("status", "--json", "-c", str(site.config_path))
    route, process = (json.loads(running.stdout)[part] for part in ("routes", "process"))
    assert (process["running"], process["fresh"], process["once"]) == (True, True, False)
    assert route[0]["watch"]["mode"] == "events"
    assert json.loads(running.stdout)["api"]["tokenUntil"] is not None
    assert json.loads(stopped.stdout)["process"]["running"] is False
    assert json.loads(stopped.stdout)["process"]["heardAt"] >= process["heardAt"]
    assert on_time.stdout.startswith("needs a person: 1 to mend in failed/\ncanarysync is running: version ")
    for told in (running, stopped):
        assert told.returncode == 1, told.stderr
        (route,) = json.loads(told.stdout)["routes"]
        assert (route["done"], route["failed"], route["waiting"]) == (1, 1, 0)
        assert route["skipped"] == {"subfolders": 1}
