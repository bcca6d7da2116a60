"""Pure: how many requests may go out in a second? A token bucket (as in RFC 2697 §3)."""

from __future__ import annotations

_ROUNDING = 1e-6


class Bucket:
    """Holds a tenth of a second's tokens, and one at least; it starts full. ``per_s``: so many flow in, a second.

    Times are monotonic seconds. More may be spent than is there: it is made up for.
    """

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self._most = max(per_s / 10, 1.0)
        self._tokens = self._most
        self._at_s = 0.0

    def has(self, now_s: float) -> bool:
        """Whether a whole token is there."""
        self._tokens = min(self._tokens + (now_s - self._at_s) * self.per_s, self._most)
        self._at_s = now_s
        return self._tokens > 1.0 - _ROUNDING

    def spend(self) -> None:
        """Take a token out."""
        self._tokens -= 1.0

    def due_s(self) -> float:
        """When a whole token is there."""
        return self._at_s + max(1.0 - self._tokens, 0.0) / self.per_s
