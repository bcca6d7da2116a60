"""The requests to the API that are under way, and what those said that have ended: for the loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from canarysync.answers import Answer, Reply
from canarysync.concurrency import Sample

_MOST = 10_000


class Traffic:
    """Safe to use from many threads; ``heard`` is for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=_MOST)  # if nobody listens
        self.in_flight = 0

    def begins(self) -> int:
        """A request goes out: how many are in flight by now."""
        with self._lock:
            self.in_flight += 1
            return self.in_flight

    def ends(self) -> None:
        """A request has ended, be it with an answer or not."""
        with self._lock:
            self.in_flight -= 1

    def told(self, method: str, reply: Reply, sent_s: float, latency_s: float, in_flight: int) -> None:
        """What came back. Latencies are compared, so that only those of one kind count: of a PUT that was taken."""
        pushed_back = _is_pushback(reply)
        taken = isinstance(reply, Answer) and 200 <= reply.status < 300
        if method != "POST" and (pushed_back or (taken and method == "PUT")):  # POST: the tokens', of another service
            self._samples.append(Sample(sent_s, latency_s, pushed_back, in_flight))

    def heard(self) -> Iterator[Sample]:
        """What came since the last time."""
        while self._samples:
            yield self._samples.popleft()


def _is_pushback(reply: Reply) -> bool:
    """Whether the API has too much to do: it says so, or does not come to an answer."""
    return reply.status in (429, 503) if isinstance(reply, Answer) else reply.sent
