"""May a request go to the API now? A pure state for the whole daemon: open, or shut with one probe at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from canarysync.retry import RetryPolicy, backoff_s

PROBES = RetryPolicy(first_s=1.0, most_s=60.0)
"""How a shut API is probed, whatever the routes say of their files."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Open when ``reason`` is empty. Shut, it lets one probe through once ``until_s`` (monotonic) has come.

    ``asked``: the API itself asked for the pause, so that only a probe can end it.
    """

    reason: str = ""
    until_s: float = 0.0
    asked: bool = False
    failures: int = 0
    probing: bool = False


def may_send(gate: Gate, now_s: float) -> bool:
    """Whether one more request may start now. When it may through a shut gate, it is the probe: see ``probe``."""
    return not gate.reason or (not gate.probing and now_s >= gate.until_s)


def probe(gate: Gate) -> Gate:
    """A request was started through a shut gate; no other may follow until it has been answered."""
    return replace(gate, probing=True)


def shut(gate: Gate, reason: str, now_s: float, chance: float, at_least_s: float = 0.0) -> Gate:
    """The API could not be used. ``chance`` is uniform in [0, 1); ``at_least_s`` is what the server asked for."""
    failures = gate.failures + 1
    # Half of the ceiling at least: the probe of a dead API must not spin.
    pause_s = backoff_s(PROBES, failures, 0.5 + chance / 2)
    return Gate(reason, now_s + max(pause_s, at_least_s), at_least_s > 0, failures, probing=False)


def extend(gate: Gate, now_s: float, at_least_s: float) -> Gate:
    """A request that was under way when the gate shut brought another pause that the API asks for."""
    return replace(gate, until_s=max(gate.until_s, now_s + at_least_s), asked=True)


def opened() -> Gate:
    """The API answered."""
    return Gate()


def not_used(gate: Gate) -> Gate:
    """The probe ended before it asked the API anything: another may take its place."""
    return replace(gate, probing=False)
