"""The gate of the API: open, or shut with one probe at a time (DESIGN §6, "never sent")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.gate import PROBES, Gate, may_send, not_used, opened, probe, shut

chances = st.floats(0, 1, exclude_max=True)


def test_an_open_gate_lets_any_number_through() -> None:
    gate = opened()
    for _ in range(100):
        assert may_send(gate, 0.0)
        gate = probe(gate)


@pytest.mark.parametrize(
    ("failures", "least_s", "most_s"),
    [(0, 0.5, 1), (1, 1, 2), (2, 2, 4), (5, 16, 32), (6, 30, 60), (7, 30, 60), (100, 30, 60), (10**6, 30, 60)],
)
def test_each_failed_probe_waits_longer_and_never_spins(failures: int, least_s: float, most_s: float) -> None:
    before = Gate("no connection", until_s=1000.0, failures=failures, probing=True)
    assert shut(before, "no connection", 1000.0, 0.0).until_s == 1000.0 + least_s
    assert shut(before, "no connection", 1000.0, 1.0).until_s == 1000.0 + most_s


@pytest.mark.parametrize(("asked_s", "until_s"), [(0.0, 100.75), (0.5, 100.75), (30.0, 130.0), (3600.0, 3700.0)])
def test_the_pause_that_the_server_asked_for_is_kept(asked_s: float, until_s: float) -> None:
    gate = shut(opened(), "HTTP 503", 100.0, 0.5, asked_s)
    assert gate.until_s == until_s
    assert not may_send(gate, until_s - 0.001)
    assert may_send(gate, until_s)


def test_behind_a_shut_gate_only_one_goes() -> None:
    gate = probe(shut(opened(), "no connection", 0.0, 0.0))
    assert not may_send(gate, 1e9)


def test_a_probe_that_asked_nothing_makes_room_for_another_at_once() -> None:
    gate = shut(opened(), "no connection", 0.0, 0.0)
    again = not_used(probe(gate))
    assert again == gate
    assert may_send(again, gate.until_s)


def test_an_answer_forgets_all_failures() -> None:
    gate = opened()
    for _ in range(10):
        gate = shut(gate, "no connection", 0.0, 0.5)
    assert gate.failures == 10
    assert shut(opened(), "no connection", 0.0, 0.5).failures == 1


def test_the_first_trouble_shuts_even_while_others_are_under_way() -> None:
    gate = shut(opened(), "no connection", 10.0, 0.0)
    assert not may_send(gate, 10.0)
    assert gate.reason == "no connection"


class Requests:
    """What goes through a gate, by the rules of its caller: only the probe's answer changes a shut gate."""

    def __init__(self) -> None:
        self.gate = opened()
        self.probes = 0

    def start(self, now_s: float) -> None:
        if may_send(self.gate, now_s):
            self.probes += bool(self.gate.reason)
            self.gate = probe(self.gate)

    def answer(self, kind: str, now_s: float, chance: float) -> None:
        if self.gate.reason and not self.probes:
            return
        self.probes = 0
        if kind == "down":
            self.gate = shut(self.gate, "no connection", now_s, chance)
        else:
            self.gate = opened() if kind == "up" else not_used(self.gate)


@given(st.lists(st.tuples(st.sampled_from(["start", "up", "down", "unused"]), st.floats(0, 100), chances)))
def test_never_more_than_one_probe_and_never_before_its_time(events: list[tuple[str, float, float]]) -> None:
    requests, now_s = Requests(), 0.0
    for kind, passed_s, chance in events:
        now_s += passed_s
        before = requests.probes
        if kind == "start":
            requests.start(now_s)
        else:
            requests.answer(kind, now_s, chance)
        assert requests.probes <= 1
        if requests.probes > before:
            assert now_s >= requests.gate.until_s


@given(st.lists(st.tuples(st.floats(0, 100), chances), min_size=1, max_size=80))
def test_a_dead_api_is_probed_for_ever(waits: list[tuple[float, float]]) -> None:
    gate, now_s = opened(), 0.0
    for passed_s, chance in waits:
        now_s += passed_s
        gate = shut(gate, "no connection", now_s, chance)
        assert 0 < gate.until_s - now_s <= PROBES.most_s + 1e-6
        assert may_send(gate, gate.until_s)
        gate = probe(gate)
