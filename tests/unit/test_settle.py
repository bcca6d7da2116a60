"""When is a file complete? (DESIGN §5, "When is a file complete?")"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.model import Kind, Observation, Signature
from canarysync.settle import NETWORK_QUIET_S, Gone, Ready, Wait, quiet_period_s, settle, unchanged_since

SIGNATURE = Signature(size_bytes=10, mtime_ns=5, inode=7, device=1)
SEEN = Observation("visit.json", Kind.FILE, 100.0, SIGNATURE)


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        pytest.param(100.0, Wait(102.0), id="just seen"),
        pytest.param(101.999, Wait(102.0), id="almost"),
        pytest.param(102.0, Ready(), id="the quiet period has passed"),
        pytest.param(1e9, Ready(), id="long ago"),
    ],
)
def test_the_quiet_period(now_s: float, expected: Ready | Wait) -> None:
    assert settle(SEEN, now_s, 2.0) == expected


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.MISSING])
def test_whatever_stands_there_has_its_quiet_period(kind: Kind) -> None:
    seen = Observation("visit.json", kind, 100.0, SIGNATURE if kind is Kind.FILE else None)
    assert settle(seen, 100.0, 2.0) == Wait(102.0)
    assert settle(seen, 102.0, 2.0) == Ready()


def test_a_missing_file_is_gone_at_once() -> None:
    assert settle(Observation("visit.json", Kind.MISSING, 100.0), 100.0, 2.0) == Gone()


CHANGES = {
    "size": SIGNATURE._replace(size_bytes=11),
    "size back": SIGNATURE._replace(size_bytes=0),
    "mtime": SIGNATURE._replace(mtime_ns=6),
    "mtime back (a copy keeps the old one)": SIGNATURE._replace(mtime_ns=4),
    "inode (renamed over it)": SIGNATURE._replace(inode=8),
    "device (mounted over it)": SIGNATURE._replace(device=2),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=list(CHANGES))
def test_any_change_starts_the_quiet_period_anew(changed: Signature) -> None:
    latest = SEEN._replace(seen_at_s=105.0, signature=changed)
    assert unchanged_since(SEEN, latest) is latest


@pytest.mark.parametrize("kind", [Kind.UNSAFE, Kind.MISSING, Kind.UNREADABLE])
def test_another_kind_starts_the_quiet_period_anew(kind: Kind) -> None:
    latest = Observation("visit.json", kind, 105.0)
    assert unchanged_since(SEEN, latest) is latest
    assert unchanged_since(latest, SEEN) is SEEN


def test_no_change_keeps_the_first_observation() -> None:
    assert unchanged_since(None, SEEN) is SEEN
    assert unchanged_since(SEEN, SEEN._replace(seen_at_s=105.0)) is SEEN


looks = st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 1)), min_size=1, max_size=30)


@given(looks)
def test_ready_only_after_a_whole_quiet_period_of_equal_looks(looks: list[tuple[float, int]]) -> None:
    quiet_s, now_s, since = 3.0, 0.0, None
    changed_at_s, size = 0.0, -1
    for passed_s, size_bytes in looks:
        now_s += passed_s
        if size_bytes != size:
            changed_at_s, size = now_s, size_bytes
        seen = SEEN._replace(seen_at_s=now_s, signature=SIGNATURE._replace(size_bytes=size_bytes))
        since = unchanged_since(since, seen)
        assert isinstance(settle(since, now_s, quiet_s), Ready) == (now_s >= changed_at_s + quiet_s)


@pytest.mark.parametrize(
    ("configured_s", "on_network", "expected_s"),
    [(2.0, False, 2.0), (0.1, False, 0.1), (2.0, True, NETWORK_QUIET_S), (10.0, True, 10.0), (30.0, True, 30.0)],
)
def test_on_a_network_mount_it_is_ten_seconds_at_least(
    configured_s: float, on_network: bool, expected_s: float
) -> None:
    assert NETWORK_QUIET_S == 10.0
    assert quiet_period_s(configured_s, on_network) == expected_s
