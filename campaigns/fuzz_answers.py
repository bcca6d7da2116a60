"""What must hold of all that reads answers, sidecars and configurations, whatever the bytes (see fuzz_readers)."""

from __future__ import annotations

import base64
import json
import random
import re
import sqlite3
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache, partial
from pathlib import Path

from campaigns.fuzz_oracles import Refused, strict_json
from campaigns.fuzz_readers import MARK, planted, quick, text_of
from canarysync import answers, sidecar
from canarysync.answers import Answer, Deferred, HoldApi, InDoubt, Unauthorized, Uploaded, judge_other, judge_put
from canarysync.auth import ExchangedToken
from canarysync.config import Config, load
from canarysync.display import shown
from canarysync.encode import encode
from canarysync.errors import ConfigError
from canarysync.filing import sweep_stale_errors
from canarysync.folder import route_id_in
from canarysync.instant import parse_instant, why_not
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.model import Document, Number, Problem, State, Syntax, Token
from canarysync.parse import parse
from canarysync.quantity import duration_s, size_bytes, whole
from canarysync.readback import scores_in
from canarysync.retry import RETRY_AFTER_MOST_S, retry_after_s

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
SUFFIX = ".error.json"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[-+]\d\d:[0-5]\d)", re.ASCII | re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1)


@cache
def _home() -> tempfile.TemporaryDirectory[str]:
    """Where targets that need a file have it; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="canarysync-fuzz-")


def a_listing_is_understood_or_none(data: bytes) -> Hashable:
    found = quick(lambda: scores_in(data, ASSESSMENT))
    strict, lax = _scores(lambda: strict_json(text_of(data) or "")), _scores(lambda: _lax_json(data))
    assert found is None or lax is not None, "what is no listing is taken for one"
    assert found is not None or strict is None, "a listing is not understood"
    if found is None:
        return None
    expected = [score for score in lax or [] if isinstance(score, dict)]
    assert len(found) == len(expected), "a score is left out"
    for score, listed in zip(found, expected, strict=True):
        assert score.uuid is None or _UUID.fullmatch(score.uuid), "a uuid that is none"
        assert score.uuid in (None, str(listed.get("uuid")).lower()), "another uuid"
    return min(len(found), 3), len({score.match_key for score in found}), any(score.uuid for score in found)


def _scores(read: Callable[[], object]) -> list[object] | None:
    """The list in ``{"scores": [...]}``; None if it is not that."""
    try:
        answer = read()
    except (ValueError, RecursionError):
        return None
    scores = answer.get("scores") if isinstance(answer, dict) else None
    return scores if isinstance(scores, list) else None


def _lax_json(data: bytes) -> object:
    text = data.decode("utf-8-sig", "replace")
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str, strict=False)


def reply_in(data: bytes) -> Answer:
    """A reply: status, content type and Retry-After, a line each; a blank line; the body."""
    head, _, body = data.partition(b"\n\n")
    status, kind, after = [*head.decode("latin-1").split("\n"), "", "", ""][:3]
    number = int(status) if re.fullmatch(r"[1-9][0-9]{2}", status) else 200
    return Answer(number, kind, body, after or None, complete=not kind.endswith(" "))


def an_answer_means_what_the_table_says(data: bytes) -> Hashable:
    reply = reply_in(data)
    put, other = quick(lambda: judge_put(reply, NOW, 0)), quick(lambda: judge_other(reply, NOW))
    status = reply.status
    if 200 <= status < 300:
        assert isinstance(put, Uploaded | InDoubt), "a 2xx is neither uploaded nor in doubt"
        assert other is reply, "a 2xx is not handed back"
    else:
        assert not isinstance(put, Uploaded), "uploaded without a 2xx"
        assert isinstance(put, InDoubt) or 300 <= status < 500 or status == 503, "no doubt where there should be"
    if isinstance(put, Uploaded):
        assert reply.complete, "proof from half an answer"
        assert _UUID.fullmatch(put.uuid), "a uuid that is none"
        assert put.uuid in reply.body.decode("utf-8", "replace").lower() or b"\\u" in reply.body or b"\0" in reply.body
    if isinstance(put, answers.Refused):
        assert 400 <= status < 500, "refused without a 4xx"
        assert len(put.words) <= 2001, "the server's words at length"
    if isinstance(put, Unauthorized | HoldApi):
        assert isinstance(other, type(put)), "a PUT holds the API, and a GET does not"
    pause_s = put.retry_after_s if isinstance(put, Deferred) else None
    assert pause_s is None or 0 <= pause_s <= RETRY_AFTER_MOST_S, "a pause out of bounds"
    return type(put).__name__, type(other).__name__, pause_s is None


def a_pause_is_bounded(data: bytes) -> Hashable:
    text = data.decode("latin-1")
    pause_s = quick(lambda: retry_after_s(text, NOW))
    assert pause_s is None or 0 <= pause_s <= RETRY_AFTER_MOST_S, "a pause out of bounds"
    if re.fullmatch(r"[0-9]{1,300}", text):
        assert pause_s == min(int(text), RETRY_AFTER_MOST_S), "seconds are read as something else"
    return pause_s is None, pause_s == 0


def a_token_is_usable_or_none(data: bytes) -> Hashable:
    """``data`` as the whole answer to an API key, and as the claims of an access token in a good answer."""
    jwt = f"e30.{base64.urlsafe_b64encode(data).decode().rstrip('=')}.c2ln"
    good = json.dumps({"accessToken": jwt, "refreshToken": "r"}).encode()
    from_claims = _token_from(good)
    assert from_claims, "a good token is not taken for what it says of its life"
    return _token_from(data), from_claims


def _token_from(body: bytes) -> Hashable:
    source = ExchangedToken(lambda: "1A2B3C:a2V5", lambda path, headers, content: Answer(200, "", body), lambda: NOW)
    token = quick(source.current)
    if not isinstance(token, Token):
        assert isinstance(token, Deferred), "a bad answer does more than defer"
        return None
    assert re.fullmatch(r"[!-~]+", token.secret), "no header takes this token"
    assert token.renew_at is None or NOW <= token.renew_at <= NOW + timedelta(days=366), "renewed at no sensible time"
    return token.renew_at is None, token.renew_at == NOW


def a_sidecar_is_ours_or_left_alone(data: bytes) -> Hashable:
    """``data`` as an error sidecar whose file is gone; as the first line of a drop folder's marker."""
    path = Path(_home().name) / f"visit.json{SUFFIX}"
    path.write_bytes(data)
    quick(lambda: sweep_stale_errors(path.parent, SUFFIX, {"e1"}))
    gone = not path.exists()
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if gone:
        assert isinstance(content, dict), "what is no sidecar is removed"
        assert content.get("entryId") != "e1", "a sidecar that is still needed is removed"
        assert "fileMissing" not in content, "a receipt that stands alone is removed"
    elif isinstance(content, dict) and isinstance(entry_id := content.get("entryId"), str):
        assert entry_id in ("", "e1") or "fileMissing" in content, "a stale sidecar is left"
    route_id = route_id_in(data)
    assert route_id == "" or _UUID.fullmatch(route_id), "a route's id that is none"
    return gone, route_id == ""


def a_sidecar_is_taken_in_or_passed_over(data: bytes) -> Hashable:
    """Each line of ``data`` as a sidecar, for a ledger that was lost."""
    read = partial(sidecar.past, target="visit.json", route_id="r1", endpoint="https://rest.eus.canaryspeech.com")
    pasts = [past for past in map(read, data.splitlines()[:4]) if past]
    for past in pasts:
        assert "/" not in past.name, "a name that leads elsewhere"
    ledger = _empty_ledger()
    for past in pasts:
        ledger.take_in([past], NOW)
    ledger.take_in(pasts, NOW)
    assert ledger.counts("r1").done <= len(pasts), "more is done than was told"
    for entry_id in {past.entry_id for past in pasts}:
        assert ledger.entry(entry_id).state is not State.IN_DOUBT, "what is decided is in doubt"
    return tuple(sorted((past.state, past.code is None, past.identity is None) for past in pasts))


@cache
def _ledger() -> tuple[SqliteLedger, sqlite3.Connection]:
    """One for all inputs, as making it takes longest; and a way to empty it."""
    path = Path(_home().name) / "ledger.sqlite3"
    return SqliteLedger(path), sqlite3.connect(path, isolation_level=None)


def _empty_ledger() -> SqliteLedger:
    ledger, connection = _ledger()
    connection.executescript("PRAGMA synchronous = OFF; DELETE FROM scores; DELETE FROM entries;")
    return ledger


def an_instant_is_read_as_by_datetime(data: bytes) -> Hashable:
    text = data.decode("utf-8", "replace")
    found = quick(lambda: parse_instant(text))
    if found is None:
        assert why_not(text).endswith("."), "no hint"
    expected = _by_datetime(text)
    if expected is None:
        shape = _RFC_3339.fullmatch(text)
        assert found is None or shape, "what is no RFC 3339 date-time is taken"
        assert found is None or text.startswith("0000") or shape[2].endswith(":60"), "there is no such instant"  # type: ignore[index]
    else:
        assert found is not None, "an instant is refused"
        assert (found.epoch_s, found.epoch_ms) == expected, "another instant is read"
    return found is None, expected is None


def _by_datetime(text: str) -> tuple[int, int] | None:
    """Seconds and milliseconds since 1970 by datetime.fromisoformat, which has no year 0 and no leap seconds."""
    shape = _RFC_3339.fullmatch(text)
    if shape is None:
        return None
    day, time, fraction, offset = shape.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{time}")
        east = datetime.fromisoformat(f"2000-01-01T00:00{offset.upper()}").utcoffset() or timedelta()
    except ValueError:
        return None
    epoch_s = (local - _EPOCH - east) // timedelta(seconds=1)
    return epoch_s, epoch_s * 1000 + int((fraction or ".")[1:4].ljust(3, "0"))


def a_quantity_is_exact(data: bytes) -> Hashable:
    text = data.decode("utf-8", "replace")
    duration, size = duration_s(text), size_bytes(text)
    assert duration is None or re.fullmatch(r"\d+(ms|[smhd])", text, re.ASCII), "what is no duration is taken"
    assert size is None or re.fullmatch(r"\d+[KM]iB", text, re.ASCII), "what is no size is taken"
    try:
        number = strict_json(text)
    except Refused:
        number = None
    if not isinstance(number, Number):
        return duration is None, size is None, None
    count = quick(lambda: whole(number))
    assert count is None or _decimal(number.text) == count, "a number is read as another"
    if re.fullmatch(r"-?[0-9]{1,18}(\.0{1,30})?", number.text):
        assert count == int(number.text.partition(".")[0]), "a whole number is not seen"
    return duration is None, size is None, count is None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def a_config_loads_or_says_why(data: bytes) -> Hashable:
    document = parse(data, Syntax.YAML)
    if isinstance(document, Document):
        told = _loaded(encode(planted(document.value, random.Random(zlib.crc32(data)))))
        assert MARK not in repr(told) or isinstance(told, Config), "a problem quotes a value"
    found = _loaded(data)
    if isinstance(found, Config):
        _is_sound(found)
        return len(found.routes), found.api.proxy is None
    assert found, "a ConfigError without problems"
    assert all(problem.message.endswith(".") for problem in found), "a message that is no sentence"
    return frozenset(re.sub(r"`[^`]*`|[0-9]+", "", problem.message) for problem in found)


def _loaded(data: bytes) -> Config | Sequence[Problem]:
    path = Path(_home().name) / "canarysync.yaml"
    path.write_bytes(data)
    try:
        return quick(lambda: load(path))
    except ConfigError as error:
        return error.problems


def _is_sound(config: Config) -> None:
    assert config.routes, "a config without routes"
    assert config.api.url.startswith(("https://", "http://")), "no url"
    assert (config.api.api_key is None) != (config.api.token is None), "no secret, or two"
    assert config.state.is_absolute(), "a path that is not absolute"
    assert config.api.concurrency is None or 1 <= config.api.concurrency <= 128, "concurrency out of bounds"
    for route in config.routes:
        assert {route.drop.is_absolute(), route.done.is_absolute(), route.failed.is_absolute()} == {True}
        assert len({route.drop, route.done, route.failed}) == 3, "folders that are one"
        assert 0 < route.max_size_bytes <= 16 << 20, "max_size out of bounds"
        assert 1 <= route.rescan_s <= 3600, "rescan out of bounds"
        assert 0 < route.retry.first_s <= route.retry.most_s, "retry out of order"


def nothing_harmful_is_shown(data: bytes) -> Hashable:
    text = data[1:].decode("utf-8", "surrogateescape")
    most = max(2, data[0] if data else 255)
    safe = quick(lambda: shown(text, most))
    assert len(safe) <= most, "it is longer than it may be"
    kinds = {unicodedata.category(character) for character in safe}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}, "a character that a terminal may act on"
    safe.encode("utf-8")
    return tuple(sorted(kinds))
