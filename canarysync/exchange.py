"""A request to the API, and who makes it: what the pipeline's process and the one that sends (sender.py) both speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from canarysync.answers import Answer, NoAnswer, Reply

Then = Callable[[Reply], None]


class Way(NamedTuple):
    """How the API is reached: ``ca_bundle`` is a PEM file (None: the authorities that everybody trusts), ``proxy`` the
    configured one; no more than ``connections`` are kept open."""

    url: str
    proxy: str | None
    ca_bundle: str | None
    connect_timeout_s: float
    read_timeout_s: float
    connections: int

    @property
    def most_s(self) -> float:
        """Within so many seconds a request ends, with an answer or without."""
        return self.connect_timeout_s + 2 * self.read_timeout_s


class Request(NamedTuple):
    """An HTTP request; ``path`` comes after the API's url. Of the answer no more than ``most_bytes`` are read."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    most_bytes: int = 1 << 20


class Exchange(Protocol):
    """Makes requests, each once. Safe to use from many threads."""

    def request(self, request: Request) -> Reply:
        """What comes back."""

    def begin(self, requests: Sequence[tuple[Request, Then]]) -> None:
        """Make them, without waiting: what comes back is handed over in any thread."""


def packed(reply: Reply) -> tuple[Any, ...]:
    """A reply as plain values."""
    if isinstance(reply, NoAnswer):
        return reply.sent, reply.reason
    return reply.status, reply.content_type, reply.body, reply.retry_after, reply.complete, reply.date


def unpacked(values: Sequence[Any]) -> Reply:
    """What ``packed`` made these values of."""
    return NoAnswer(*values) if len(values) == 2 else Answer(*values)
