"""Durations and sizes as people write them in the configuration: ``2s``, ``1MiB``."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from canarysync.model import Number

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZE = re.compile(r"([0-9]{1,9})(KiB|MiB)")
_UNIT_BYTES = {"KiB": 1024, "MiB": 1024**2}


def duration_s(text: str) -> float | None:
    """Seconds in a duration such as ``500ms``, ``2s``, ``5m``, ``1h`` or ``30d``; None when it is none."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * _UNIT_S[found[2]] if found else None


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
