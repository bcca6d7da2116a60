"""A thinned run of the power-loss campaign (campaigns/powerloss.py). `make powerloss` tries every fsync."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaigns import crash, powerloss
from campaigns.disk import Variant

RUNS = 6

pytestmark = pytest.mark.skipif(not crash.available(), reason="strace is missing: sudo apt install strace")


def test_a_power_cut_costs_nothing(tmp_path: Path) -> None:
    recording = powerloss.record(powerloss.set_out(tmp_path / "first"), tmp_path / "recorded")
    left = powerloss.different(powerloss.outages(recording, list(Variant), 1, every=False))
    assert len(left) >= 10 * RUNS
    assert {len(outage.taken) for outage in left} == {0, 1, 2}
    for outage, wrong in powerloss.try_all(left[:: len(left) // RUNS], tmp_path / "tries"):
        assert not wrong, f"{outage.where}, {len(outage.taken)} at the API: {wrong}"
