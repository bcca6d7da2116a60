"""The formats that the bundled schemas name, each really checked, with words for what is expected.

A format judges strings and, as JSON Schema has it, lets every other type pass. No hint repeats the text
that it is about.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from canarysync import dated
from canarysync.hosts import is_loopback
from canarysync.instant import parse_instant, why_not
from canarysync.model import Number
from canarysync.quantity import duration_s, rate_per_s, size_bytes, whole

_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LISTEN = re.compile(r"(?P<host>[0-9.]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_SECRET = re.compile(r"[0-9A-Fa-f]{4,}:.*|eyJ.*", re.DOTALL)  # an API key (1A2B3C:base64), a JWT


@dataclass(frozen=True, slots=True)
class Format:
    """One format: which texts it takes, what they look like, and how to mend one that it does not take."""

    accepts: Callable[[str], bool]
    expected: str
    hint: Callable[[str], str]


def conforms(name: str, value: object) -> bool:
    """Whether ``value`` is right for the format called ``name``."""
    return not isinstance(value, str) or FORMATS[name].accepts(value)


def amount(value: object, name: str) -> float | None:
    """``value`` as a number; in bytes if its format is called ``name`` ``size``, else in seconds. None for what is no
    amount (``never``)."""
    if isinstance(value, Number):
        return whole(value)
    if isinstance(value, str):
        return size_bytes(value) if name == "size" else duration_s(value)
    return value if type(value) is int else None  # a bound in the schema; bool is an int too


def is_uuid(text: str) -> bool:
    """The textual form of RFC 9562 §4: 8-4-4-4-12 hexadecimal digits of any case, of any version, nil too."""
    return _UUID.fullmatch(text) is not None


def is_route_name(text: str) -> bool:
    """A name that is safe in paths, logs and command lines: it starts with no dot and no hyphen."""
    return _NAME.fullmatch(text) is not None


def _is_path(text: str) -> bool:
    return text != "" and not text.startswith("~") and _CONTROL.search(text) is None


def _is_dated_path(text: str) -> bool:
    parts = dated.split(text)[1].split("/")
    return _is_path(text) and not dated.unknown(text) and not any(part.startswith(".") for part in parts)


def _is_secret_file(text: str) -> bool:
    return _is_path(text) and not _looks_secret(text)


def _is_credential_name(text: str) -> bool:
    return is_route_name(text) and not _looks_secret(text)


def _looks_secret(text: str) -> bool:
    return _SECRET.fullmatch(text) is not None


def _is_file_pattern(text: str) -> bool:
    suffixed = text.lower().endswith((".json", ".yaml", ".yml"))
    return suffixed and "/" not in text and _CONTROL.search(text) is None


def _is_api_url(text: str) -> bool:
    url = _split(text)
    if url is None or url.query or url.fragment or "?" in text or "#" in text:
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))


def _is_proxy_url(text: str) -> bool:
    url = _split(text)
    return url is not None and url.scheme in {"http", "https"} and url.path in {"", "/"} and not url.query


def _is_listen_address(text: str) -> bool:
    found = _LISTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        return False
    host = found["host"].strip("[]")
    try:
        return ipaddress.ip_address(host).version == (6 if text.startswith("[") else 4)
    except ValueError:
        return False


def _split(text: str) -> SplitResult | None:
    """The parts of a URL with a host and without user, password, blanks or tricks; else None."""
    if not text.isascii() or not text.isprintable() or re.search(r"[\s\\@]", text):
        return None
    try:
        url = urlsplit(text)
        usable = bool(url.hostname) and url.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return None
    return url if usable else None


def _path_hint(text: str) -> str:
    if text.startswith("~"):
        return "~ is not expanded here: write the absolute path."
    if text == "":
        return "It is empty: write a path, or remove this key."
    return "Remove the control character."


def _dated_path_hint(text: str) -> str:
    if not _is_path(text):
        return _path_hint(text)
    if dated.unknown(text):
        return f"Only {', '.join(dated.DATES)} are known, and %% for a percent sign."
    return "From the first date on, no part of it starts with a point."


def _secret_hint(text: str) -> str:
    if _looks_secret(text):
        return "This looks like the secret itself: write it into a file, and the path of that file here."
    if not _is_path(text):
        return _path_hint(text)
    return "Write the name only, of letters, digits, _, - and points."


def _pattern_hint(text: str) -> str:
    if "/" in text:
        return "Write a file name only: subfolders are not watched."
    return "The suffix decides how a file is read: end the pattern with .json, .yaml or .yml."


def _url_hint(text: str) -> str:
    if "@" in text:
        return "A secret is never written into the configuration: remove the user and password."
    if text.lower().startswith("http:"):
        return "Scores are health data: write https://; plain http is for loopback only."
    return "Write scheme and host, as in https://rest.eus.canaryspeech.com, with no ? or # behind."


def _proxy_hint(text: str) -> str:
    if "@" in text:
        return "A secret is never written into the configuration: set HTTPS_PROXY for a proxy with a password."
    return "Write scheme, host and port, as in http://proxy.example:3128."


def _uuid_hint(text: str) -> str:
    if re.fullmatch(r"(?i)urn:uuid:.*|\{.*\}", text, re.DOTALL):
        return "Write the bare UUID, without urn:uuid: and without braces."
    return "Write 32 hexadecimal digits as 8-4-4-4-12, with hyphens."


def _duration_hint(text: str) -> str:
    if re.fullmatch(r"[0-9]+", text):
        return "Add the unit, as in 30s."
    return "Write one whole number and one unit, without a space: 90m, not 1h 30m or 1.5h."


def _says(hint: str) -> Callable[[str], str]:
    return lambda _: hint


_DURATION = "a duration such as 500ms, 2s, 5m, 1h or 30d"
_UUID_FORM = "a UUID such as 0192530c-4ce5-7aa1-be9b-bc52dec8a184"
_INSTANT = "an RFC 3339 date-time (date, time and offset) such as 2026-01-01T12:00:00Z"
_NAME_HINT = _says("Use ASCII letters, digits, _, - and . only, and neither - nor . at the start.")

FORMATS = {
    "date-time": Format(lambda text: parse_instant(text) is not None, _INSTANT, why_not),
    "uuid": Format(is_uuid, _UUID_FORM, _uuid_hint),
    "duration": Format(lambda text: duration_s(text) is not None, _DURATION, _duration_hint),
    "duration-or-never": Format(
        lambda text: text == "never" or duration_s(text) is not None, f"{_DURATION}, or never", _duration_hint
    ),
    "size": Format(
        lambda text: size_bytes(text) is not None,
        "a size such as 500KiB, 1MiB, or a count of bytes",
        _says("Write one whole number with KiB or MiB, without a space."),
    ),
    "auto": Format(lambda text: text == "auto", "auto or a whole number", _says("Write auto, or a number such as 8.")),
    "rate": Format(
        lambda text: rate_per_s(text) is not None,
        "a rate such as 50/s, 600/min or 1000/h",
        _says("Write one whole number above 0, a slash and s, min or h, without spaces."),
    ),
    "path": Format(_is_path, "a path", _path_hint),
    "dated-path": Format(_is_dated_path, "a path, with dates perhaps such as done/%Y-%m-%d", _dated_path_hint),
    "api-url": Format(_is_api_url, "an https address such as https://rest.eus.canaryspeech.com", _url_hint),
    "proxy-url": Format(_is_proxy_url, "the address of a proxy such as http://proxy.example:3128", _proxy_hint),
    "listen-address": Format(
        _is_listen_address,
        "an IP address and a port such as 127.0.0.1:9464 or [::1]:9464",
        _says("Write the address in digits; 0.0.0.0 (and [::] for IPv6) means all of this machine."),
    ),
    "route-name": Format(is_route_name, "a short name such as clinic-a", _NAME_HINT),
    "group-name": Format(is_route_name, "the name of a group", _NAME_HINT),
    "file-pattern": Format(_is_file_pattern, "a pattern of file names such as *.json", _pattern_hint),
    "secret-file": Format(_is_secret_file, "the path of a file that holds the secret", _secret_hint),
    "env-name": Format(
        lambda text: _ENV_NAME.fullmatch(text) is not None,
        "the name of an environment variable such as CANARY_API_KEY",
        _secret_hint,
    ),
    "credential-name": Format(_is_credential_name, "the name of a systemd credential", _secret_hint),
}
