"""The word that a canarysync at work leaves of itself, for `status` (pulse.py)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from canarysync import __version__
from canarysync.daemon.desks import Desk
from canarysync.daemon.visits import Visits
from canarysync.model import Token
from canarysync.pulse import Pulse, RoutePulse

_EVERY_S = 5.0


class Word:
    """Given to ``publish`` when a scan ended, the API came or went, or there is another token; and every few seconds
    while there is anything to do."""

    def __init__(
        self, desks: Sequence[Desk], visits: Visits, now: Callable[[], datetime], publish: Callable[[Pulse], None],
        *, once: bool,
    ) -> None:  # fmt: skip
        self._desks = desks
        self._visits = visits
        self._now = now
        self._publish = publish
        self._once = once
        self._published: object = None
        self._due_s = 0.0

    def leave(self, now_s: float, token: Token | None) -> None:
        """Leave word if there are news, or the last one is old. ``now_s``: monotonic."""
        scans = [(desk.name, desk.scans_finished, desk.trouble, desk.hangs) for desk in self._desks]
        news = (self._visits.down, self._visits.failures, token, scans)
        if news != self._published or now_s >= self._due_s:
            self._published, self._due_s = news, now_s + _EVERY_S
            self._publish(self._pulse(now_s, token))

    def leave_last(self, now_s: float, token: Token | None) -> None:
        """The last word, if there was any before."""
        if self._published is not None:
            self._publish(self._pulse(now_s, token))

    def _pulse(self, now_s: float, token: Token | None) -> Pulse:
        down, now = self._visits.down, self._now()
        again_at = now + timedelta(seconds=max(self._visits.down_until_s - now_s, 0.0))
        return Pulse(
            version=__version__,
            pid=os.getpid(),
            once=self._once,
            at=now,
            api_down=down,
            api_down_since=self._visits.down_since if down else None,
            api_again_at=again_at if down else None,
            token_until=token.renew_at if token else None,
            in_flight=self._visits.in_flight,
            limit=self._visits.limit.now,
            auto=self._visits.finds_itself,
            routes={desk.name: _of(desk, now, now_s) for desk in self._desks},
        )


def _of(desk: Desk, now: datetime, now_s: float) -> RoutePulse:
    steps = (track.step for _, track in desk.tracks.items())
    return RoutePulse(
        mode=desk.lane.mode,
        file_system=desk.lane.file_system,
        rescan_s=desk.lane.rescan_s,
        scanned_at=now - timedelta(seconds=now_s - desk.scanned_s) if desk.scanned_s is not None else None,
        crowded=desk.tracks.crowded(),
        trouble="hangs: its folder does not answer" if desk.hangs else desk.trouble,
        troubles=dict(Counter(step.reason for step in steps if step is not None and step.trouble)),
    )
