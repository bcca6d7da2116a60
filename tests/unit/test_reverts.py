"""What campaigns/reverts.py takes back is still there. `make reverts` runs the other tests without it."""

from __future__ import annotations

import pytest

from campaigns.reverts import REVERTS, ROOT, Revert, reverted


@pytest.mark.parametrize("revert", REVERTS, ids=lambda revert: revert.what.partition(":")[0])
def test_each_revert_still_fits_the_code(revert: Revert) -> None:
    for name, text in reverted(revert).items():
        compile(text, name, "exec")
    assert all((ROOT / path).exists() for path in revert.watched_by)
