"""Durations, sizes and rates as people write them in the configuration (``2s``, ``1MiB``, ``50/s``), and as they read
them."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from canarysync.model import Number

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZE = re.compile(r"([0-9]{1,9})(KiB|MiB)")
_UNIT_BYTES = {"KiB": 1024, "MiB": 1024**2}
_RATE = re.compile(r"([1-9][0-9]{0,5})/(s|min|h)")
_PER_S = {"s": 1, "min": 60, "h": 3600}


def duration_s(text: str) -> float | None:
    """Seconds in a duration such as ``500ms``, ``2s``, ``5m``, ``1h`` or ``30d``; None when it is none."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * _UNIT_S[found[2]] if found else None


def rate_per_s(text: str) -> float | None:
    """How many a second a rate such as ``50/s``, ``600/min`` or ``1000/h`` means; None when it is none."""
    found = _RATE.fullmatch(text)
    return int(found[1]) / _PER_S[found[2]] if found else None


def size_bytes(value: str | Number) -> int | None:
    """Bytes in a size: ``500KiB``, ``1MiB``, or a plain count of bytes; None when it is none."""
    if isinstance(value, Number):
        return whole(value)
    found = _SIZE.fullmatch(value)
    return int(found[1]) * _UNIT_BYTES[found[2]] if found else None


def whole(number: Number) -> int | None:
    """The integer that ``number`` is (JSON Schema: 1.0 is one); None when it has a fraction or 19 digits."""
    try:
        exact = Decimal(number.text)
    except InvalidOperation:  # an exponent of more digits than any quantity has
        return None
    if exact.adjusted() >= 18 or exact != exact.to_integral_value():
        return None
    return int(exact)


def told_s(seconds: float) -> str:
    """A duration for people, roughly: ``0.4 s``, ``12 s``, ``5 min``, ``3 h``, ``2 days``."""
    seconds = max(seconds, 0.0)
    if seconds < 120:
        return f"{round(seconds, 1 if seconds < 2 else None):g} s"
    for unit_s, most, unit in ((60, 120, "min"), (3600, 48, "h")):
        if seconds < unit_s * most:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def told_bytes(count: int) -> str:
    """A size for people, roughly: ``512 bytes``, ``3.4 MiB``, ``120 GiB``."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
