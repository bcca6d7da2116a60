"""Limits that one thread watches over: they cut in time, whatever else is under way, and are forgotten at their end."""

from __future__ import annotations

import threading
import weakref

from canarysync.deadlines import Deadlines
from tests.support import PATIENCE_S


class Cut(threading.Event):
    def __call__(self) -> None:
        self.set()


def test_a_limit_that_ends_sooner_is_seen_though_it_comes_later() -> None:
    deadlines, late, soon, again = Deadlines(), Cut(), Cut(), Cut()
    with deadlines.within(3600.0, late):
        with deadlines.within(0.0, soon):
            assert soon.wait(PATIENCE_S)
        with deadlines.within(0.01, again):
            assert again.wait(PATIENCE_S)
        assert not late.is_set()
    deadlines.close()


def test_nothing_is_kept_of_a_limit_that_is_over() -> None:
    """Thousands a second pass, and each would be kept for the minute that it might have lasted."""
    deadlines, first, cut = Deadlines(), Cut(), Cut()
    over = weakref.ref(cut)
    with deadlines.within(3600.0, first), deadlines.within(3600.0, cut):
        pass
    del cut
    assert over() is None
    deadlines.close()
