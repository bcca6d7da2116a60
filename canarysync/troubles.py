"""Troubles that many files share, or that come and go: said once, then counted, and their end is said."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

LINGER_S = 60.0
"""A trouble is over when nobody has had it for so long: one that comes and goes is one trouble."""

_FIRST_REMINDER_S = 60.0
_REMINDERS_GROW = 8
_REMINDERS_MOST_S = 86400.0


@dataclass(slots=True)
class Story:
    """What is known of one trouble: how many files have it now, how many have had it (one that comes
    back counts again), how often it was met.

    Times are monotonic seconds; ``since_s`` is when the last one was rid of it, None while one has it.
    """

    began_s: float
    now: int = 0
    files: int = 0
    times: int = 0
    since_s: float | None = None
    reminders_s: float = _FIRST_REMINDER_S
    remind_at_s: float = 0.0

    def lasted_s(self, now_s: float) -> float:
        """How long it has been there, or was."""
        return (now_s if self.since_s is None else self.since_s) - self.began_s


class Troubles(Generic[K]):
    """All troubles that there are now, by whatever tells them apart."""

    def __init__(self) -> None:
        self._stories: dict[K, Story] = {}

    def __len__(self) -> int:
        return len(self._stories)

    def begins(self, key: K, now_s: float) -> bool:
        """One more file has it. Returns whether that is news."""
        story = self._stories.get(key)
        news = story is None
        if story is None:
            story = self._stories[key] = Story(now_s, remind_at_s=now_s + _FIRST_REMINDER_S)
        story.now, story.files, story.times, story.since_s = story.now + 1, story.files + 1, story.times + 1, None
        return news

    def goes_on(self, key: K) -> None:
        """A file has met it once more."""
        self._stories[key].times += 1

    def turns_into(self, key: K, other: K) -> None:
        """It goes on, for another reason."""
        self._stories[other] = self._stories.pop(key)

    def ends(self, key: K, now_s: float) -> None:
        """A file is rid of it."""
        story = self._stories[key]
        story.now -= 1
        story.since_s = None if story.now else now_s

    def over(self, now_s: float, linger_s: float = LINGER_S) -> list[tuple[K, Story]]:
        """Those that nobody has had for ``linger_s``; they are forgotten by this."""
        ended = [
            (key, story)
            for key, story in self._stories.items()
            if story.since_s is not None and now_s - story.since_s >= linger_s
        ]
        for key, _ in ended:
            del self._stories[key]
        return ended

    def to_remind_of(self, now_s: float) -> Iterator[tuple[K, Story]]:
        """Those that are still there and were not spoken of for long: after 1 min, 8 min, 1 h, 9 h, then each day."""
        for key, story in self._stories.items():
            if story.now and now_s >= story.remind_at_s:
                story.reminders_s = min(story.reminders_s * _REMINDERS_GROW, _REMINDERS_MOST_S)
                story.remind_at_s = now_s + story.reminders_s
                yield key, story

    def lasting(self) -> list[tuple[K, Story]]:
        """Those that somebody has now."""
        return [(key, story) for key, story in self._stories.items() if story.now]
