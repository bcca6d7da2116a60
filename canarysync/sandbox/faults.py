"""Faults on request: what goes wrong, where, how often; as values, in a text form, and as a list in force."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any

from canarysync.sandbox.wire import Answer, Delivery, Endpoint, error_answer


class Kind(StrEnum):
    """What goes wrong. From ``expired`` on, the request is carried out first."""

    STATUS = "status"  # an error answer in JSON, perhaps with Retry-After; a 3xx points elsewhere
    HTML = "html"  # the same in text/html, as proxies and captive portals answer
    DELAY = "delay"  # late to be carried out: a client that gave up may have its score all the same
    DROP_BEFORE = "drop_before"  # the connection closes unanswered
    RESET_BEFORE = "reset_before"  # the connection is reset
    EXPIRED = "expired"  # all access tokens are revoked, then the request is served as usual
    STATUS_AFTER = "status_after"
    DELAY_AFTER = "delay_after"
    DROP_AFTER = "drop_after"
    RESET_AFTER = "reset_after"
    CUT = "cut"  # the connection closes in the middle of the answer
    GARBAGE = "garbage"  # a 200 that is not JSON
    NO_UUID = "no_uuid"  # a 200 with an empty object


_NOT_CARRIED_OUT = frozenset({Kind.STATUS, Kind.HTML, Kind.DROP_BEFORE, Kind.RESET_BEFORE})
_DELIVERY = {
    Kind.DROP_BEFORE: Delivery.NONE,
    Kind.DROP_AFTER: Delivery.NONE,
    Kind.RESET_BEFORE: Delivery.RESET,
    Kind.RESET_AFTER: Delivery.RESET,
    Kind.CUT: Delivery.CUT,
}
_DEFAULT_STATUS = {Kind.HTML: 403, Kind.GARBAGE: 200, Kind.NO_UUID: 200}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. It strikes requests to one endpoint, or to any (None).

    Of those requests the first ``skip`` are spared; each later one is struck with the probability ``rate``
    (drawn from ``seed``, so a run can be repeated), until ``times`` were struck. ``delay_s`` passes before
    the rest of the fault shows: after the request was carried out, for the kinds that carry it out.
    """

    on: Endpoint | None
    kind: Kind
    status: int | None = None
    retry_after: str | None = None
    delay_s: float = 0.0
    rate: float = 1.0
    times: int | None = None
    skip: int = 0
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Reads ``endpoint:what[,key=value]…``, such as ``put:status=503,retry_after=2,rate=0.1``.

        ``status=`` and ``delay=`` name the kind by themselves; another kind is a bare word, such as
        ``drop_after``. ValueError says what was expected.
        """
        on, colon, rest = text.strip().partition(":")
        if not colon:
            raise ValueError(f"a fault is written endpoint:what, such as put:status=503; this has no colon: {text}")
        # An HTTP-date in retry_after has a comma of its own, before the day: "Wed, 21 Oct 2026 07:28:00 GMT".
        items = [item.strip() for item in re.split(r",(?! ?\d)", rest)]
        words = [item for item in items if "=" not in item]
        options = dict(_option(item) for item in items if "=" in item)
        return cls(_endpoint(on), _kind(words, options), **options)

    @property
    def carried_out(self) -> bool:
        """Whether the request is carried out before the fault shows."""
        return self.kind not in _NOT_CARRIED_OUT

    def spoil(self, answer: Answer) -> Answer:
        """What the client gets in place of ``answer``."""
        match self.kind:
            case Kind.STATUS | Kind.STATUS_AFTER:
                return self._headed(error_answer(self._status, "a fault was asked for"))
            case Kind.HTML:
                page = b"<!doctype html><title>Sign in</title><p>Sign in to use this network.</p>"
                return self._headed(Answer(self._status, page, "text/html; charset=utf-8"))
            case Kind.GARBAGE:
                return self._headed(Answer(self._status, b'{"uuid": "\xff\x00'))
            case Kind.NO_UUID:
                return self._headed(Answer(self._status, b"{}"))
        return replace(answer, delivery=_DELIVERY.get(self.kind, Delivery.WHOLE))

    @property
    def _status(self) -> int:
        return self.status or _DEFAULT_STATUS.get(self.kind, 503)

    def _headed(self, answer: Answer) -> Answer:
        headers = answer.headers
        if self.retry_after is not None:
            headers += (("Retry-After", self.retry_after),)
        if 300 <= answer.status < 400:
            headers += (("Location", "/sign-in"),)
        return replace(answer, headers=headers)


@dataclass(slots=True)
class _Armed:
    """A fault in force, and its count."""

    fault: Fault
    random: Random
    seen: int = 0
    struck: int = 0

    def strikes(self) -> bool:
        """Counts one request that the fault is for, and says whether it is struck."""
        self.seen += 1
        spent = self.fault.times is not None and self.struck >= self.fault.times
        if spent or self.seen <= self.fault.skip or self.random.random() >= self.fault.rate:
            return False
        self.struck += 1
        return True


@dataclass(frozen=True, slots=True)
class Plan:
    """What befalls one request: a wait before anything is done, then perhaps a fault."""

    delay_s: float
    fault: Fault | None


@dataclass(slots=True)
class Faults:
    """The faults in force. Thread-safe."""

    _armed: list[_Armed] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *faults: Fault | str) -> None:
        """Puts more faults in force, as values or in their text form (ValueError, and then none is added)."""
        armed = [_Armed(fault, Random(fault.seed)) for fault in map(_as_fault, faults)]
        with self._lock:
            self._armed += armed

    def replace(self, *faults: Fault | str) -> None:
        """Puts these in the place of all others, at one stroke (ValueError, and then nothing has changed)."""
        armed = [_Armed(fault, Random(fault.seed)) for fault in map(_as_fault, faults)]
        with self._lock:
            self._armed = armed

    def clear(self) -> None:
        """Ends all faults; requests that already wait for one still suffer it."""
        self.replace()

    def plan(self, endpoint: Endpoint) -> Plan:
        """Every delay that strikes is waited for; of the other faults the first that strikes decides."""
        delay_s, decisive = 0.0, None
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                is_delay = fault.kind is Kind.DELAY
                too_late = decisive is not None and not is_delay
                if fault.on not in (None, endpoint) or too_late or not armed.strikes():
                    continue
                if is_delay:
                    delay_s += fault.delay_s
                else:
                    decisive = fault
        return Plan(delay_s, decisive)


def _as_fault(fault: Fault | str) -> Fault:
    return Fault.parse(fault) if isinstance(fault, str) else fault


def _endpoint(text: str) -> Endpoint | None:
    if text == "any":
        return None
    if text not in list(Endpoint):
        raise ValueError(f"no such endpoint: {text}; expected {', '.join(Endpoint)} or any")
    return Endpoint(text)


def _kind(words: list[str], options: Mapping[str, Any]) -> Kind:
    if not words:
        words = ["status"] if "status" in options else ["delay"] if "delay_s" in options else []
    if len(words) != 1 or words[0] not in list(Kind):
        raise ValueError(f"a fault does one thing, not {words}; expected one of {', '.join(Kind)}")
    return Kind(words[0])


def _in_range(convert: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = convert(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return read


_OPTIONS: Mapping[str, tuple[str, Callable[[str], object], str]] = {
    "status": ("status", _in_range(int, 200, 599), "a status from 200 to 599"),
    "retry_after": ("retry_after", str, "seconds or an HTTP-date"),
    "delay": ("delay_s", _in_range(float, 0, 86_400), "seconds"),
    "rate": ("rate", _in_range(float, 0, 1), "a probability from 0 to 1"),
    "times": ("times", _in_range(int, 0, 2**31), "a whole number of requests"),
    "skip": ("skip", _in_range(int, 0, 2**31), "a whole number of requests"),
    "seed": ("seed", int, "a whole number"),
}


def _option(item: str) -> tuple[str, Any]:
    """One ``key=value`` as the field of Fault that it sets, and its value."""
    key, _, text = item.partition("=")
    if key not in _OPTIONS:
        raise ValueError(f"no such option: {key}; expected one of {', '.join(_OPTIONS)}")
    name, convert, expected = _OPTIONS[key]
    try:
        return name, convert(text)
    except ValueError:
        raise ValueError(f"{key} takes {expected}, not {text!r}") from None
