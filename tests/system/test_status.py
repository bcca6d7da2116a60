"""`status`: every file is counted once, wherever it stands, and what it says of each is true."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from canarysync import pulse
from canarysync.census import LISTED_MOST, NOT_LOOKED_AT, Census, Counting, OpenFile, ToMend
from canarysync.display import columns
from canarysync.errors import Exit
from canarysync.pulse import RoutePulse
from canarysync.sandbox import Sandbox
from canarysync.service import service
from canarysync.status import ApiStatus, Process, RouteStatus, Status, exit_code, gather
from canarysync.views_status import status_json, status_lines
from tests.support import Site, score

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
WATCH = RoutePulse("events", "ext4", 60.0, NOW - timedelta(seconds=30), False, "", {})
NEVER_OPENED = RoutePulse("", "", 60.0, None, False, "cannot open the route: Permission denied", {"full": 1})


def status(site: Site) -> Status:
    return gather(site.config, datetime.now(UTC))


def only(site: Site) -> Census:
    (route,) = status(site).routes
    return route.files


def adds_up(files: Census) -> bool:
    return files.seen == files.waiting + files.in_doubt + files.done + files.failed


def page(found: Status, width: int | None = None) -> str:
    return "\n".join(status_lines(found, None, width))


def hold(site: Site, sandbox: Sandbox) -> None:
    """held.json: sent, the answer lost, and the API does not tell what it has."""
    sandbox.faults.replace("put:drop_after,times=1", "scores:status=403")
    site.put("held.json", score(1))
    assert site.once(wait_s=5.0).held == 1


def test_every_file_is_counted_where_it_stands(site: Site, sandbox: Sandbox) -> None:
    site.put("good.json", score(2))
    site.put("bad.json", "{")
    site.put("export.json", "{}")
    site.once()
    hold(site, sandbox)
    site.put("twin.yaml", "".join(f"{key}: {value}\n" for key, value in score(1).items()))
    site.put("half.json", '{"assessmentId"')
    site.put("new.json", score(3))
    site.put("notes.txt", "")

    files = only(site)

    assert adds_up(files)
    assert (files.seen, files.waiting, files.in_doubt, files.held, files.done, files.failed) == (7, 3, 1, 1, 1, 2)
    assert (files.done_1h, files.done_24h, files.failed_24h) == (1, 1, {"invalid": 1, "syntax": 1})
    assert (files.to_mend, files.to_mend_by_code) == (2, {"invalid": 1, "syntax": 1})
    assert files.skipped == {"files that no pattern matches": 1}
    whys = {each.file: each.why for each in files.waits}
    assert whys["twin.yaml"] == "the same score as held.json, which is held for a person"
    assert whys["half.json"].startswith("is being written")
    assert whys["new.json"] == "until canarysync runs"


def test_a_person_is_needed_only_until_failed_files_have_left(site: Site) -> None:
    site.put("bad.json", "{")
    site.once()
    before = exit_code(status(site))
    (site.failed / "bad.json").unlink()
    (site.failed / "bad.json.error.json").unlink()

    assert (before, exit_code(status(site))) == (Exit.NEEDS_A_PERSON, Exit.OK)
    assert only(site).failed == 1, "it still was seen"


def test_a_file_that_is_in_no_place_is_told_of(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.replace("put:status=408,times=1")
    path = site.put("deferred.json", score(1))
    site.once()
    assert adds_up(only(site))
    path.unlink()

    files = only(site)

    assert not adds_up(files)
    assert files.missing == ["deferred.json"]
    assert "in none of these places: deferred.json" in page(status(site))


def test_a_folder_that_cannot_be_looked_at_hides_no_other_route(site: Site) -> None:
    site.once()
    (route,) = site.config.routes
    broken = replace(route, drop=site.home / ("x" * 300))  # the system names another error than "not there"
    other = replace(route, name="other")

    found = gather(replace(site.config, routes=(broken, other)), datetime.now(UTC))

    assert [route.files.gone for route in found.routes] == [
        "the drop folder cannot be looked at: File name too long", "",
    ]  # fmt: skip
    assert exit_code(found) == Exit.TRY_AGAIN


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_files_that_cannot_be_looked_at_do_not_end_the_status(site: Site) -> None:
    site.put("new.json", score(1))
    site.drop.chmod(0o600)
    assert only(site).gone == "the folders cannot be looked at: Permission denied"


def test_a_route_that_never_opened_is_told_while_canarysync_runs(site: Site) -> None:
    site.once()
    last = pulse.read(site.config.state)
    assert last is not None

    with service(site.config, os.environ, once=True):
        now = datetime.now(UTC)
        pulse.write(site.config.state, replace(last, pid=os.getpid(), at=now, routes={"clinic": NEVER_OPENED}))
        at_work = status(site)
    after = status(site)

    assert exit_code(at_work) == Exit.NEEDS_A_PERSON
    assert "needs a person: clinic is not watched\x1b" in page(at_work)
    assert "not watched: cannot open the route: Permission denied" in page(at_work)
    assert exit_code(after) == Exit.OK
    assert "Permission denied" not in page(after)


def test_what_a_route_left_behind_is_shown(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox)
    (site.home / "other").mkdir()
    site.config_path.write_text(site.config_path.read_text().replace("folder: clinic", "folder: other"))
    site.once()

    found = status(site)

    assert [(route.name, bool(route.folder)) for route in found.routes] == [("other", True), ("clinic", False)]
    assert found.routes[1].files.held == 1
    assert exit_code(found) == Exit.NEEDS_A_PERSON
    assert "(not in the config)" in page(found)


def test_a_run_once_leaves_word_of_itself(site: Site) -> None:
    never = status(site)
    site.once()
    after = status(site)

    assert "canarysync is not running\n" in page(never)
    assert "canarysync is not running; the last run-once ended " in page(after)
    assert after.routes[0].watch is not None
    assert after.routes[0].watch.scanned_at is not None


def test_a_pulse_that_is_none_counts_for_nothing(site: Site) -> None:
    site.once()
    path = site.home / "state" / pulse.PULSE_NAME
    for garbage in (b"", b"[]", b"{}", b'{"routes": 1}', b"\xff", b"[" * 100_000):
        path.write_bytes(garbage)
        assert status(site).process.heard_at is None


@pytest.mark.parametrize("forged", [{"troubles": 5}, {"rescan_s": "x"}, {"scanned_at": "2026-01-01T00:00:00"}])
def test_a_pulse_that_somebody_altered_keeps_nobody_from_the_status(forged: dict[str, object], site: Site) -> None:
    site.once()
    path = site.home / "state" / pulse.PULSE_NAME
    told = json.loads(path.read_bytes())
    told["routes"]["clinic"] |= forged
    path.write_text(json.dumps(told))
    assert page(status(site))


def test_a_pulse_counts_for_the_process_that_wrote_it_and_not_for_ever(site: Site) -> None:
    site.once()
    last = pulse.read(site.config.state)
    assert last is not None
    with service(site.config, os.environ, once=True):
        now = datetime.now(UTC)
        pulse.write(site.config.state, replace(last, once=False, at=now - timedelta(hours=1)))  # a pid of old
        before = gather(site.config, now)
        pulse.write(site.config.state, replace(last, once=False, at=now))
        most_s = 2 * site.config.routes[0].rescan_s + 60
        fresh, stuck = (gather(site.config, now + timedelta(seconds=most_s + more_s)) for more_s in (-1, 1))

    assert (before.process.fresh, fresh.process.fresh, stuck.process.fresh) == (False, True, True)
    assert (fresh.process.silent, stuck.process.silent) == (False, True)
    assert exit_code(stuck) == Exit.NEEDS_A_PERSON
    assert "canarysync hangs" in page(stuck)


# --- what follows from it --------------------------------------------------------------------------


def made(files: Census, watch: RoutePulse | None = WATCH, *, overdue: bool = False) -> Status:
    route = RouteStatus("clinic", "/srv/clinic/drop", files, watch, overdue)
    return Status(NOW, Process("process 7", NOW, 7, True, "1.0", False, NOW), ApiStatus("https://api"), [route])


def waiting(minutes: float) -> Census:
    return Census(waiting=1, oldest_at=NOW - timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("found", "plain", "within_10_minutes"),
    [
        (made(Census(done=9)), 0, 0),
        (made(waiting(9)), 75, 0),
        (made(waiting(11)), 75, 1),
        (made(Census(in_doubt=1, oldest_at=NOW)), 75, 0),
        (made(Census(in_doubt=1, held=1)), 1, 1),
        (made(Census(failed=3)), 0, 0),
        (made(Census(failed=3, to_mend=1)), 1, 1),
        (made(Census(), overdue=True), 1, 1),
        (made(Census(), NEVER_OPENED), 1, 1),
        (made(Census(gone="unmounted"), replace(WATCH, trouble="unmounted")), 75, 0),
        (made(Census(gone="unmounted")), 75, 0),
        (made(Census(obstacle="no room in done/")), 1, 1),
        (made(Census(), None), 0, 1),
        (made(Census(), replace(WATCH, scanned_at=NOW - timedelta(minutes=11))), 0, 1),
    ],
)
def test_the_exit_code(found: Status, plain: int, within_10_minutes: int) -> None:
    assert (exit_code(found), exit_code(found, 600.0)) == (plain, within_10_minutes)


ODD = [
    "a\x1b[31m\nb.json",
    "x" * 250 + ".json",
    os.fsdecode(b"\xff\xfe.yaml"),
    "日本語の名前" * 7 + ".json",
    "a b.json",
]


def test_a_page_fits_its_terminal_and_is_whole_without_one() -> None:
    files = [
        OpenFile(name, f"the same score as {name}, which is held for a person", NOW, "id", again_at=NOW) for name in ODD
    ]
    codes = {"invalid": 9000, "syntax": 900, "too_large": 90, "refused": 9, "gave_up": 1}
    found = made(
        Census(
            waiting=10_000, waits=files, in_doubt=5, held=5, doubts=files, unfiled=files, missing=ODD[4:],
            failed=10_000, failed_by_code=codes, to_mend=10_000, to_mend_by_code=codes,
            mend=[ToMend(name, "invalid", "line 1: `x` is not a known key.") for name in ODD],
        )
    )  # fmt: skip

    narrow, whole = page(found, 80), page(found)

    plain = [line.removeprefix("\x1b[33m").removesuffix("\x1b[0m") for line in narrow.split("\n")[1:]]
    assert [line for line in plain if "\x1b" not in line and columns(line) > 80] == []
    assert len(plain) < 70
    assert all(
        told in whole for told in (r"a\x1b[31m\nb.json", "x" * 250 + ".json", r"\xff\xfe.yaml", ODD[3], "a b.json")
    )


def test_files_that_wait_for_the_same_stand_in_one_item() -> None:
    files = [OpenFile(f"{n}.json", "until canarysync runs", NOW) for n in range(3)]
    found = page(made(Census(waiting=3, waits=files)))
    assert "· 0.json, 1.json, 2.json: until canarysync runs" in found


def test_what_keeps_all_files_stands_in_the_first_line_with_its_remedy() -> None:
    away = replace(made(waiting(1)), api=ApiStatus("https://api", "the API does not accept the API key (HTTP 401)"))
    assert page(away).startswith("\x1b[33m\x1b[1mnot done yet: 1 waiting, the API cannot be used")
    assert "→ canarysync check tells more; once it is mended, all goes on by itself" in page(away)
    assert "well so far: 1 waiting" in "\n".join(status_lines(waiting_for_a_minute := made(waiting(1)), 600.0, None))
    assert exit_code(waiting_for_a_minute, 600.0) == Exit.OK


@pytest.mark.parametrize(("once", "line"), [(False, "well so far: canarysync is not running"), (True, "all well")])
def test_a_daemon_that_is_gone_stands_in_the_first_line(once: bool, line: str) -> None:
    gone = replace(made(Census()), process=Process(once=once, heard_at=NOW))
    assert page(gone).startswith(f"\x1b[32m\x1b[1m{line}\x1b")
    assert exit_code(gone) == Exit.OK


def test_what_is_wrong_with_a_failed_file_is_told(site: Site) -> None:
    site.put("a.json", json.dumps(score(1)).replace("scoreType", "scoretype"))
    site.once()
    found = page(status(site))
    assert "· a.json: line 1: `scoretype` is not a known key. Did you mean `scoreType`?" in found
    for path in site.failed.iterdir():
        path.unlink()
    assert "to mend     nothing: what failed has left failed/" in page(status(site))


def test_of_a_held_score_all_is_told_that_a_person_needs_to_look_for_it(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox)
    found = page(status(site))
    assert f"; assessment {score(1)['assessmentId']}, " in found
    assert "canarysync resolve held.json --uploaded UUID" in found


def test_of_what_was_not_looked_at_no_reason_is_made_up(site: Site) -> None:
    for number in range(LISTED_MOST + 3):
        site.put(f"{number}.json", score(number))
    assert only(site).waiting_by_why == {"until canarysync runs": LISTED_MOST, NOT_LOOKED_AT: 3}


def test_a_full_disk_of_the_ledger_is_why_files_wait(site: Site) -> None:
    site.put("a.json", score(1))
    full = Counting(None, NOW, running=True, idle="its turn will come", obstacle="no room for the ledger in /x")
    census = full.census(site.config.routes[0])
    assert (census.obstacle, census.waits[0].why) == (full.obstacle, f"not sent: {full.obstacle}")


@pytest.mark.parametrize(
    ("in_flight", "auto", "words"), [(12, True, "12 of 84 (auto)"), (3, False, "3 of 84"), (0, True, "")]
)
def test_what_is_in_flight_is_told_while_there_is_any(in_flight: int, auto: bool, words: str) -> None:
    found = replace(made(waiting(1)), api=ApiStatus("https://api", in_flight=in_flight, limit=84, auto=auto))
    told = [line for line in page(found).splitlines() if line.startswith("API:")]
    assert told == ["API: https://api" + (f"; in flight {words}" if words else "")]
    assert status_json(found, None)["api"].limit == 84
