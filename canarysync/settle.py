"""When is a file complete? Pure: what was seen, and the time, in; what to do next, out."""

from __future__ import annotations

from dataclasses import dataclass

from canarysync.model import Kind, Observation

NETWORK_QUIET_S = 10.0
"""The least quiet period on a network mount, where attributes may be cached for seconds."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Nothing changed for the whole quiet period."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at ``until_s`` (monotonic): it may be complete then."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such file any more."""


def unchanged_since(earlier: Observation | None, latest: Observation) -> Observation:
    """The observation from which the file has been as it is in ``latest``.

    Only our own monotonic clock counts: copies keep old mtimes, and a server's clock may be wrong.
    """
    if earlier is not None and (earlier.kind, earlier.signature) == (latest.kind, latest.signature):
        return earlier
    return latest


def settle(since: Observation, now_s: float, quiet_s: float) -> Ready | Wait | Gone:
    """Judge a file that has been unchanged ``since`` then."""
    if since.kind is Kind.MISSING:
        return Gone()
    ready_s = since.seen_at_s + quiet_s
    return Ready() if now_s >= ready_s else Wait(ready_s)


def quiet_period_s(configured_s: float, on_network: bool) -> float:
    """The quiet period in force on a route."""
    return max(configured_s, NETWORK_QUIET_S) if on_network else configured_s
