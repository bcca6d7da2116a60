"""How fast, and how small? canarysync beside the plain alternatives, against one sink: ``python -m benchmarks``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured. ``most_s`` bounds each player's turn in a throughput round."""

    files: int = 3000
    rounds: int = 3
    most_s: float = 10.0
    full: bool = False
    """Also what takes long: a million files."""
