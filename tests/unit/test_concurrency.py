"""The limit that finds itself, against simulated APIs (no clock, no threads), and the rate limit."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from canarysync.answers import Answer, NoAnswer, Reply
from canarysync.concurrency import MOST, Limit, Sample
from canarysync.rate import Bucket
from canarysync.traffic import Traffic

NEVER = 10**6


@dataclass
class Run:
    """Uploads against an API that answers after ``latency_s`` of (in flight, time), and pushes back above ``most`` in
    flight; before its request each upload keeps our only core busy for ``own_s``. ``waiting``: how many there are to
    send.
    """

    latency_s: Callable[[int, float], float]
    most: Callable[[float], int] = lambda now_s: NEVER
    own_s: float = 0.0
    waiting: int = NEVER
    limit: Limit = field(default_factory=Limit)
    now_s: float = 0.0
    history: list[tuple[float, int]] = field(default_factory=list)  # (time, limit) at each answer
    refused: list[float] = field(default_factory=list)  # times
    _due: list[tuple[float, int, Sample | None]] = field(default_factory=list)
    _core_s: float = 0.0
    _uploads: int = 0
    _in_flight: int = 0
    _count: int = 0

    def until(self, end_s: float) -> Run:
        while self.now_s < end_s:
            while self._uploads < min(self.limit.now, self.waiting):
                self._uploads += 1
                self._core_s = max(self._core_s, self.now_s) + self.own_s
                self._at(self._core_s, None)
            if self._uploads >= self.limit.now:
                self.limit.reached()
            self.now_s, _, sample = heapq.heappop(self._due)
            self._send() if sample is None else self._answered(sample)
        return self

    def _at(self, at_s: float, sample: Sample | None) -> None:
        self._count += 1
        heapq.heappush(self._due, (at_s, self._count, sample))

    def _send(self) -> None:
        self._in_flight += 1
        pushed_back = self._in_flight > self.most(self.now_s)
        took_s = 0.001 if pushed_back else self.latency_s(self._in_flight, self.now_s)
        took_s *= 1 + self._count * 7919 % 100 / 1000  # some noise, the same in each run
        self._at(self.now_s + took_s, Sample(self.now_s, took_s, pushed_back, self._in_flight))

    def _answered(self, sample: Sample) -> None:
        self._in_flight, self._uploads = self._in_flight - 1, self._uploads - 1
        self.history.append((self.now_s, self.limit.now))
        self.refused += [self.now_s] if sample.pushed_back else []
        self.limit.learn(sample, self.now_s)

    def limits(self, since_s: float) -> list[int]:
        return [limit for at_s, limit in self.history if at_s >= since_s]


def test_a_far_api_without_a_limit_gets_seventy_at_once_in_two_seconds() -> None:
    run = Run(lambda many, now_s: 0.1).until(10.0)
    assert next(at_s for at_s, limit in run.history if limit >= 70) < 2.0
    assert run.limit.now == MOST


def test_below_a_ceiling_hardly_anything_is_pushed_back_and_most_of_it_is_used() -> None:
    run = Run(lambda many, now_s: 0.1, most=lambda now_s: 20).until(300.0)
    settled = run.limits(10.0)
    assert len([at_s for at_s in run.refused if at_s >= 10.0]) < 0.002 * len(settled)
    assert sum(settled) / len(settled) > 19
    assert run.refused[-1] - run.refused[-2] > 50.0, "it asks again, but seldom"


@pytest.mark.parametrize(("before", "after"), [(20, 60), (60, 20)])
def test_another_ceiling_is_found_within_a_few_minutes(before: int, after: int) -> None:
    run = Run(lambda many, now_s: 0.1, most=lambda now_s: before if now_s < 200 else after).until(400.0)
    assert max(run.limits(150.0)[:100]) <= before + 1
    assert after - 1 <= run.limit.now <= after + 1


def test_where_latency_grows_with_the_load_it_stays_near_the_knee() -> None:
    """Twenty at a time are served, the others queue."""
    settled = Run(lambda many, now_s: max(0.1, many * 0.005)).until(120.0).limits(20.0)
    assert 15 <= min(settled) <= max(settled) <= 50


def test_latency_that_is_not_our_doing_does_not_lower_it_for_long() -> None:
    run = Run(lambda many, now_s: 0.1 if now_s < 10 else 0.5).until(90.0)
    assert min(run.limits(10.0)) >= MOST // 2
    assert run.limit.now == MOST


def test_an_api_that_answers_at_once_gets_all_though_we_are_busy_with_ourselves() -> None:
    """One core, 1 ms of work for each upload: together they share what that costs."""
    settled = Run(lambda many, now_s: 0.0004, own_s=0.001).until(5.0).limits(1.0)
    assert set(settled) == {MOST}


def test_who_sends_little_learns_nothing_and_forgets_nothing() -> None:
    run = Run(lambda many, now_s: 0.1, waiting=20).until(60.0)
    assert 20 <= run.limit.now <= 32
    run.waiting = NEVER
    run.until(70.0)
    found, run.waiting = run.limit.now, 1
    assert run.until(600.0).limit.now == found == MOST


def test_one_pushback_never_costs_more_than_half_and_those_sent_before_it_nothing_more() -> None:
    limit = Run(lambda many, now_s: 0.1).until(10.0).limit
    for _ in range(MOST):
        limit.learn(Sample(9.9, 0.01, pushed_back=True, in_flight=1), 10.0)
    assert limit.now == MOST // 2


def test_it_never_leaves_its_bounds() -> None:
    assert set(Run(lambda many, now_s: 0.1, most=lambda now_s: 0).until(20.0).limits(5.0)) == {1}
    fixed = Run(lambda many, now_s: 0.1, most=lambda now_s: 3, limit=Limit(8, 8)).until(20.0)
    assert set(fixed.limits(0.0)) == {8}


@pytest.mark.parametrize(
    ("method", "reply", "heard"),
    [
        ("PUT", Answer(200), [False]),
        ("PUT", Answer(422), []),
        ("PUT", Answer(429), [True]),
        ("PUT", Answer(503), [True]),
        ("PUT", NoAnswer(sent=True, reason="no answer"), [True]),
        ("PUT", NoAnswer(sent=False, reason="no connection"), []),
        ("GET", Answer(200), []),
        ("GET", Answer(429), [True]),
        ("POST", Answer(429), []),
    ],
)
def test_what_counts_as_a_word_on_the_load(method: str, reply: Reply, heard: list[bool]) -> None:
    traffic = Traffic()
    traffic.told(method, reply, 1.0, 0.5, 3)
    assert [sample.pushed_back for sample in traffic.heard()] == heard
    assert not list(traffic.heard())


@pytest.mark.parametrize("per_s", [0.5, 10.0, 50.0, 1000.0])
def test_the_bucket_gives_no_more_than_its_rate_and_a_tenth_of_a_second(per_s: float) -> None:
    bucket, now_s, given = Bucket(per_s), 1000.0, []
    while now_s < 1010.0:
        while bucket.has(now_s):
            bucket.spend()
            given.append(now_s)
        assert bucket.due_s() > now_s, "no busy waiting"
        now_s = bucket.due_s()
    assert len(given) == pytest.approx(10 * per_s + max(per_s / 10, 1), abs=2)
    most = int(per_s * 1.1) + 2
    assert all(later - at_s >= 1 for at_s, later in zip(given, given[most:], strict=False))


def test_what_was_spent_in_advance_is_made_up_for() -> None:
    bucket = Bucket(1.0)
    assert bucket.has(0.0)
    bucket.spend()
    bucket.spend()
    assert not bucket.has(1.5)
    assert bucket.due_s() == pytest.approx(2.0)
