"""A thinned run of the crash campaign (campaigns/crash.py): a few points of each kind. `make crash` tries them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaigns import crash
from canarysync.sandbox import Sandbox

RUNS = 5

pytestmark = pytest.mark.skipif(not crash.available(), reason="strace is missing: sudo apt install strace")


@pytest.mark.parametrize(("kind", "dated"), [("kill", True), ("error", False)])
def test_nothing_is_lost_and_nothing_is_twice(kind: str, dated: bool, tmp_path: Path, sandbox: Sandbox) -> None:
    counts = crash.count_calls(tmp_path / "count", sandbox.url, dated=dated)
    points = list(crash.points(counts, [kind]))
    assert len(points) >= 20 * RUNS
    chosen, struck = points[:: len(points) // RUNS], 0
    for number, point in enumerate(chosen):
        hit, wrong = crash.try_point(point, tmp_path / str(number), sandbox, dated=dated)
        assert not wrong, f"{point}: {wrong}"
        struck += hit
    assert struck >= len(chosen) // 2
