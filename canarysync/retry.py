"""When to try again: a pure policy that returns times and never sleeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

RETRY_AFTER_MOST_S = 3600.0
"""A server that asks for a longer pause than this is asked again after this."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter. ``give_up_after_s`` is None for never."""

    first_s: float = 1.0
    most_s: float = 300.0
    give_up_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at ``at`` (aware UTC)."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The policy allows no further attempt."""


def backoff_s(policy: RetryPolicy, attempts: int, chance: float) -> float:
    """Seconds to wait after the ``attempts``-th failure (>= 1); ``chance`` is uniform in [0, 1).

    Full jitter: anywhere between nothing and the doubled ceiling, so that many files (or many sites) that
    failed together do not come back together.
    """
    ceiling = min(policy.most_s, policy.first_s * 2.0 ** min(attempts - 1, 60))
    return chance * ceiling


def next_attempt(
    policy: RetryPolicy,
    attempts: int,
    first_at: datetime,
    now: datetime,
    chance: float,
    retry_after_s: float | None = None,
) -> RetryAt | GiveUp:
    """Decide what follows the ``attempts``-th failure of a file first tried at ``first_at``."""
    if policy.give_up_after_s is not None and (now - first_at).total_seconds() >= policy.give_up_after_s:
        return GiveUp()
    return RetryAt(now + timedelta(seconds=max(backoff_s(policy, attempts, chance), retry_after_s or 0.0)))


def wait_s(at: datetime, now: datetime, most_s: float) -> float:
    """Seconds from ``now`` to ``at``, between 0 and ``most_s``: a clock that jumped back cannot strand a file."""
    return min(max((at - now).total_seconds(), 0.0), most_s)


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110 §10.2.3: seconds, or an HTTP-date); None when absent or senseless."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # 12 digits outlast any cap; int() of a server's endless digits is not worth the risk.
        return min(float(text.lstrip("0")[:12] or 0), RETRY_AFTER_MOST_S)
    try:
        at = parsedate_to_datetime(text)
        # An asctime-date names no zone; it is UTC (RFC 9110 §5.6.7).
        return wait_s(at if at.tzinfo else at.replace(tzinfo=UTC), now, RETRY_AFTER_MOST_S)
    except (ValueError, OverflowError):
        return None
