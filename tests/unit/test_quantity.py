"""Quantities as people read them."""

from __future__ import annotations

import pytest

from canarysync.quantity import told_bytes, told_s


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0 s"), (0, "0 s"), (0.44, "0.4 s"), (1, "1 s"), (12.4, "12 s"), (119, "119 s"), (120, "2 min"),
        (90 * 60, "90 min"), (2 * 3600, "2 h"), (47.9 * 3600, "48 h"), (48 * 3600, "2 days"), (400 * 86400, "400 days"),
    ],
)  # fmt: skip
def test_durations(seconds: float, told: str) -> None:
    assert told_s(seconds) == told


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 bytes"), (1023, "1023 bytes"), (1 << 20, "1.0 MiB"), (99 << 30, "99 GiB")]
)
def test_sizes(count: int, told: str) -> None:
    assert told_bytes(count) == told
