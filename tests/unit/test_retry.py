"""The retry policy: backoff with full jitter, giving up, and Retry-After (RFC 9110 §10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.retry import (
    RETRY_AFTER_MOST_S,
    GiveUp,
    RetryAt,
    RetryPolicy,
    backoff_s,
    next_attempt,
    retry_after_s,
    wait_s,
)

NOW = datetime(1994, 11, 6, 8, 48, 37, tzinfo=UTC)
POLICY = RetryPolicy(first_s=1.0, most_s=300.0)

chances = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("attempts", "ceiling_s"),
    [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (11, 300), (61, 300), (10_000, 300), (10**9, 300)],
)
def test_the_ceiling_doubles_up_to_the_most(attempts: int, ceiling_s: float) -> None:
    assert backoff_s(POLICY, attempts, 0.0) == 0
    assert backoff_s(POLICY, attempts, 0.5) == ceiling_s / 2
    assert backoff_s(POLICY, attempts, 1.0) == ceiling_s


@given(st.integers(1, 10**6), chances, st.floats(0.001, 3600), st.floats(0.001, 86_400))
def test_a_backoff_is_never_negative_and_never_longer_than_the_most(
    attempts: int, chance: float, first_s: float, most_s: float
) -> None:
    assert 0 <= backoff_s(RetryPolicy(first_s, most_s), attempts, chance) <= most_s


@pytest.mark.parametrize(
    ("pause_s", "wait"),
    [(None, 1.0), (0.0, 1.0), (0.5, 1.0), (1.5, 1.5), (3600.0, 3600.0)],
    ids=["no Retry-After", "0", "shorter than the backoff", "longer", "an hour"],
)
def test_retry_after_is_obeyed_and_never_shortens_the_backoff(pause_s: float | None, wait: float) -> None:
    assert next_attempt(POLICY, 2, NOW, NOW, 0.5, pause_s) == RetryAt(NOW + timedelta(seconds=wait))


@pytest.mark.parametrize(
    ("give_up_after_s", "tried_for_s", "gives_up"),
    [
        pytest.param(None, 10 * 365 * 86_400, False, id="never"),
        pytest.param(60.0, 59.999, False, id="just before"),
        pytest.param(60.0, 60.0, True, id="just then"),
        pytest.param(60.0, 1e6, True, id="long after"),
        pytest.param(60.0, -1e6, False, id="the clock jumped back"),
        pytest.param(0.0, 0.0, True, id="at once"),
    ],
)
def test_giving_up(give_up_after_s: float | None, tried_for_s: float, gives_up: bool) -> None:
    policy = RetryPolicy(give_up_after_s=give_up_after_s)
    first_at = NOW - timedelta(seconds=tried_for_s)
    assert isinstance(next_attempt(policy, 3, first_at, NOW, 0.5), GiveUp) is gives_up


@pytest.mark.parametrize(
    ("left_s", "most_s", "expected_s"),
    [
        pytest.param(10, 60, 10, id="ahead"),
        pytest.param(0, 60, 0, id="now"),
        pytest.param(-10, 60, 0, id="past"),
        pytest.param(86_400, 60, 60, id="the clock jumped back a day"),
    ],
)
def test_a_jump_of_the_clock_strands_nothing(left_s: float, most_s: float, expected_s: float) -> None:
    assert wait_s(NOW + timedelta(seconds=left_s), NOW, most_s) == expected_s


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        pytest.param(None, None, id="absent"),
        # §10.2.3: delay-seconds = 1*DIGIT
        pytest.param("0", 0, id="§10.2.3 zero"),
        pytest.param("120", 120, id="§10.2.3 example"),
        pytest.param(" 7\t", 7, id="§5.5 whitespace around a field value"),
        pytest.param("007", 7, id="§10.2.3 leading zeros"),
        pytest.param("0" * 20 + "60", 60, id="§10.2.3 many leading zeros"),
        pytest.param("3600", RETRY_AFTER_MOST_S, id="at the cap"),
        pytest.param("3601", RETRY_AFTER_MOST_S, id="capped"),
        pytest.param("9" * 6000, RETRY_AFTER_MOST_S, id="endless digits"),
        # §5.6.7: "MUST accept all three HTTP-date formats"
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", 60, id="§5.6.7 IMF-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", 60, id="§5.6.7 rfc850-date"),
        pytest.param("Sun Nov  6 08:49:37 1994", 60, id="§5.6.7 asctime-date is UTC"),
        pytest.param("Sun, 06 Nov 1994 08:00:00 GMT", 0, id="a date in the past"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MOST_S, id="a far date is capped"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="a word"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="a fraction"),
        pytest.param("1e3", None, id="an exponent"),
        pytest.param("\uff19", None, id="DIGIT is ASCII"),
        pytest.param("60, 120", None, id="two values"),
        pytest.param("Sun, 32 Nov 1994 08:49:37 GMT", None, id="no such day"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +9999999", None, id="no such offset"),
        pytest.param("Sun, 06 Nov 99999999999999999999 08:49:37 GMT", None, id="no such year"),
        pytest.param("Sun, 06 Nov 1994 08:49:99999999999999999999 GMT", None, id="no such second"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +99999999999999999", None, id="an endless offset"),
    ],
)
def test_retry_after(header: str | None, expected_s: float | None) -> None:
    assert retry_after_s(header, NOW) == expected_s


_WORDS = ["Sun,", "Nov", "06", "1994", "08:49:37", "GMT", "+0000", "-2359", ":", ",", "9" * 25, "0"]


@given(st.text(max_size=40) | st.lists(st.sampled_from(_WORDS), max_size=8).map(" ".join))
def test_whatever_the_server_sends_is_read_without_an_error(header: str) -> None:
    seconds = retry_after_s(header, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MOST_S
