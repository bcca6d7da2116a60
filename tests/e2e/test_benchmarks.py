"""A few files through the benchmarks (benchmarks/): do they measure what they say? `make bench` measures in earnest."""

from __future__ import annotations

import http.client
import math
from urllib.parse import urlsplit

import pytest

from benchmarks import auto, throughput
from benchmarks.players import BARE, CANARYSYNC, SCRIPT
from benchmarks.report import Section, at_least, at_most, done_when, figure, percentile
from benchmarks.sink import PUT_PATH, Sink, Tally, sink
from tests.support import PATIENCE_S

FILES = 20


def put(api: Sink, number: int) -> int:
    connection = asked(api, number)
    return connection.getresponse().status


def asked(api: Sink, number: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=PATIENCE_S)
    connection.request("PUT", PUT_PATH, b'{"scoreData": {"value": %d}}' % number)
    return connection


def test_the_sink_knows_a_score_that_came_twice() -> None:
    with sink() as api:
        assert [put(api, number) for number in (7, 8, 7)] == [200, 200, 200]
        tally = api.tally()
    assert (set(tally.first_at), tally.twice, tally.answers) == ({7, 8}, 1, {200: 3})
    assert sum(second[200] for second in tally.seconds) == 3


def test_the_sink_refuses_what_is_above_its_limit_and_says_whether_enough_has_come() -> None:
    with sink(delay_s=PATIENCE_S, limit=2) as api:
        waiting = [asked(api, 1), asked(api, 2)]
        assert api.wait(2, PATIENCE_S)
        assert put(api, 3) == 429
        assert not api.wait(3, 0.01)
        tally = api.tally()
        for connection in waiting:
            connection.close()
    assert (tally.most_in_flight, tally.answers) == (2, {200: 2, 429: 1})


def test_a_few_files_go_through_the_players_and_make_a_table_with_its_checks() -> None:
    players = (CANARYSYNC, SCRIPT, BARE)
    results = throughput.measure(FILES, rounds=1, most_s=PATIENCE_S, delays_s=[0.0], players=players)
    assert set(results) == {(0.0, player.name) for player in players}
    for (_, name), found in results.items():
        assert (found.arrived, found.twice) == (FILES, 0), name
        assert found.per_s > 0
        assert found.most_mb > 0
        assert math.isnan(found.filed_per_s) == (name == BARE.name), "only the bare loop files nothing"
    section = throughput.section(results, FILES)
    assert all(len(row) == len(section.columns) for row in section.rows)
    assert [check.what.split(" / ")[1] for check in section.checks] == [BARE.name, SCRIPT.name]


def test_a_player_that_takes_too_long_is_stopped_and_counted_until_then() -> None:
    found, _ = throughput.play(BARE, files=1000, most_s=0.5, delay_s=0.05)
    assert 1 < found.arrived < 1000
    assert math.isnan(found.lost), "nobody knows what would have come"


def test_what_was_not_found_is_a_missed_check() -> None:
    missed = [at_least("rate", math.nan, 1, "x"), at_most("p50", math.nan, 5, "ms"), at_most("p50", 6, 5, "ms")]
    kept = [at_least("rate", 1, 1, "x"), at_most("p50", 5, 5, "ms")]
    assert [check.kept for check in (*missed, *kept)] == [False] * 3 + [True] * 2
    lines = done_when([Section("", (), [], [*missed, *kept])]).splitlines()
    assert sum(line.endswith("MISSED |") for line in lines) == 3


def test_figures_have_three_digits_or_all_before_the_point() -> None:
    values = (0, 0.01234, 9.876, 123.4, 12345.6, math.nan)
    assert [figure(value) for value in values] == ["0", "0.0123", "9.88", "123", "12,346", "-"]


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert math.isnan(percentile([], 0.5))


def test_auto_is_judged_by_its_first_full_second_and_by_what_is_refused_once_settled() -> None:
    slow, fast = [number / 10 for number in range(21)], [2 + number / 100 for number in range(1, 100)]
    seconds = [{429: 9}] * auto.SETTLED_S + [{200: 90, 429: 10}] * 2 + [{429: 9}]
    tally = Tally(dict(enumerate(slow + fast)), {}, seconds, 0)
    assert auto.reached_s(tally, 50) == pytest.approx(2.44)
    assert math.isnan(auto.reached_s(tally, 200))
    assert auto.settled(tally) == pytest.approx((0.1, 90 * auto.DELAY_S))
