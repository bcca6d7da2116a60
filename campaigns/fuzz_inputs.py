"""What the fuzzing starts from (examples, tables of the tests, tokens), and how it changes bytes."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from canarysync.parse import MAX_DEPTH
from tests.unit import test_parse_json, test_parse_yaml

MOST_BYTES = 65_536
EXAMPLES = Path(__file__).parents[1] / "examples"

JSON_TOKENS = rb"""
{ } [ ] , : " \ \" \\ \/ \u0000 \ud800 \udc00 \u00e9 \uFEFF // /* */ # ' 0 -0 1e5 1E+ -1 .5 01 1. 0x1F NaN Infinity
null true false True None {"a": [[ ]] {} [] "" "a" \ufeff \x00 assessmentId dateRecorded scoreId scoreType scoreData
extraData value data OVERSEER uuid scores
""".split()
_YAML_WORDS = rb"""
- ? : , [ ] { } # & * ! | > ' " % @ ` -- --- ... << ~ !!str !!int !!float
!!bool !!null !!map !!seq
!<tag:yaml.org,2002:str> !e! %TAG %YAML 1.1 1.2 &a *a &b *b |+ >- |2 >1- null yes no 0o17 0x1F +1
.5 1. .nan .inf 1_000 12:30:00 2026-01-01 \x41
\u00e9 \N \L \_ \e \  %ED%A0%80 %00 %41 {a: [a: ?a :a a:b a#b
""".split()
YAML_TOKENS = [
    *_YAML_WORDS, b"\n", b"\r", b"\r\n", b"\t", b" ", b"  ", b"\n- ", b"\n  ", b"\n? ", b": ", b", ", b" #",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xee\x80\x80", b"\x7f", b"\xf0\x9f\x98\x80",
    b"\n---\n", b"\n...\n", b"'a'", b'"a"', b"\\\n",
]  # fmt: skip
INSTANTS = [
    "2026-01-01T12:00:00Z", "2026-01-01t14:00:00.25+02:00", "0000-02-29T23:59:59.999999999-23:59",
    "2016-12-31T23:59:60Z", "2017-01-01T05:29:60+05:30", "9999-12-31T23:59:59+00:00", "2026-02-29T00:00:00Z",
    "2026-01-01T24:00:00Z", "2026-01-01 12:00:00Z", "2026-01-01",
]  # fmt: skip
SIDECAR_TOKENS = [
    *JSON_TOKENS, b'"\\ud800"', b'"../a"', b'"/"', b"99999999999999999999", b'"0001-01-01T00:00:00+23:59"',
    b'"entryId": 5', b'"uuid": 5', b'"attempts": 1e400', b'"possibleDuplicate": true', b'"proof": "read-back"',
    b'"code": "invalid"',
]  # fmt: skip
RETRY_AFTER = [
    "120", "0", "999999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "-1", "1.5",
    "Sun Nov  6 08:49:37 1994", "Fri, 31 Dec 9999 23:59:59 -2359", "Tue, 1 Jan 2030 00:00 +9999", "(a) 1 Jan 30 0:0:0",
]  # fmt: skip
INSTANT_TOKENS = [
    b" ", *b"0 1 5 9 60 24 59 - + : . , T t Z z e E ms s m h d KiB MiB 0000 9999 00:00 23:59 02-29".split()
]  # fmt: skip
PAUSE_TOKENS = [*INSTANT_TOKENS, *b"Mon Sunday, Jan Feb GMT UT EST ( ) \\ -0000 +9999 99".split()]
QUANTITIES = ["500ms", "2s", "5m", "1h", "30d", "500KiB", "1MiB", "1048576", "1e6", "1.0", "1e-1", "0e99", "never"]


# The keys of the configuration, and values that some of them take.
CONFIG_TOKENS = [
    *YAML_TOKENS,
    *b"""api region url api_key token file env credential ca_bundle proxy concurrency timeout connect read read_back
    wait routes folder name drop done failed match settle rescan max_size retry first most give_up_after in_doubt group
    state log level format eus hold never /srv/a ../a ~/a http://[::1]:1 https://a/ https://a@b 0s 1ms 999999999d 16MiB
    1.0 9999999999999999999 "*.json" {} [] "" null""".split(),
]


def scores() -> list[bytes]:
    return [
        path.read_bytes()
        for kind in ("scores", "errors")
        for path in sorted((EXAMPLES / kind).iterdir())
        if path.is_file()
    ]


def json_texts() -> list[bytes]:
    deep = [b"[" * depth + b"1" + b"]" * depth for depth in (MAX_DEPTH, MAX_DEPTH + 1)]
    tables = (test_parse_json.ACCEPTED, test_parse_json.REFUSED)
    return scores() + deep + [text.encode() for table in tables for texts in table.values() for text in texts]


def yaml_texts() -> list[bytes]:
    told = _cases(test_parse_yaml.test_yaml_1_2_takes) + _cases(
        test_parse_yaml.test_a_problem_names_its_place_and_a_remedy
    )
    told += ["- &x [&x a]\n- *x", "- *a\n", "a: |+\n 1\n\nb: >-\n  2\n\n  3\n"]
    words = [*test_parse_yaml.NUMBERS, *test_parse_yaml.NEAR_THE_PATTERNS, *test_parse_yaml.MISSPELLED]
    return scores() + [text.encode() for text in told + [f"a: {word}" for word in words]]


def _cases(test: Any) -> list[str]:
    """The first argument of each case of a parametrized test."""
    return [str(case.values[0]) for mark in test.pytestmark for case in mark.args[1]]


def listings() -> list[bytes]:
    body = json.loads((EXAMPLES / "scores" / "2026-03-02_visit-017_phq9.json").read_bytes())
    one = body | {"uuid": "7f0c9a52-3d8e-4b61-9f57-2a1e6c4d8b30", "assessmentUUIDs": [body["assessmentId"]]}
    odd = [b'{"scores": [1, {}, null]}', b'{"scores": [{"a": NaN}, {"uuid": "\xff\n"}]}']
    return [json.dumps({"scores": [one] * number}).encode() for number in range(3)] + odd


def replies() -> list[bytes]:
    """As fuzz_answers.reply_in reads them: status, content type, Retry-After, a blank line, the body."""
    heads = [f"{status}\n{kind}\n{after}\n\n" for status in (200, 302, 401, 403, 404, 409, 429, 500, 503, 199)
             for kind, after in (("application/json", ""), ("text/html; charset=x", "120"))]  # fmt: skip
    bodies = [
        b'{"uuid": "7F0C9A52-3d8e-4b61-9f57-2a1e6c4d8b30"}',
        b'{"uuid": "7f0c9a52-3d8e-4b61-9f57-2a1e6c4d8b30x"}',
        b'{"message": "no"}',
        b"<html>",
        b"",
        b"[" * 3000,
    ]
    return [head.encode() + body for head in heads for body in bodies]


def token_answers() -> list[bytes]:
    claims = ['{"exp": 1800000000}', '{"exp": 1e300, "iat": 5}', '{"exp": "x"}', "[]", '{"exp": NaN}', '{"exp": true}',
              '{"exp": 1e999, "iat": -Infinity}']  # fmt: skip
    payloads = [base64.urlsafe_b64encode(claim.encode()).decode().rstrip("=") for claim in claims]
    answers = [f'{{"accessToken": "eyJh.{payload}.sig", "refreshToken": "r"}}' for payload in payloads]
    return [text.encode() for text in [*answers, *claims, '{"accessToken": "a b"}', '{"accessToken": 1}']]


def sidecars() -> list[bytes]:
    texts = ['{"entryId": "e1"}', '{"entryId": "e2", "fileMissing": true}', '{"entryId": []}', "[]", "{}", '"x"',
             '{"entryId": "e2"}', '{"routeId": "0192530c-4ce5-7aa1-be9b-bc52dec8a184"}', '{"routeId": 5}']  # fmt: skip
    return [text.encode() for text in texts]


def lost_sidecars() -> list[bytes]:
    """Sidecars on one line each; some of them twins, or of one uuid."""
    one, other = ("0192530c-4ce5-7aa1-be9b-bc52dec8a184", "7f0c9a52-3d8e-4b61-9f57-2a1e6c4d8b30")
    receipt: dict[str, object] = {
        "sidecarVersion": 1, "uuid": one, "assessmentId": one, "file": "a.json", "sha256": "ab" * 32,
        "proof": "response", "attempts": 2, "uploadedAt": "2026-01-01T12:00:00.123Z", "entryId": one,
        "scores": [{"fingerprint": "f" * 64, "matchKey": "a" * 64}],
    }  # fmt: skip
    error = {key: receipt[key] for key in ("sidecarVersion", "file", "sha256", "attempts", "entryId")} | {
        "code": "refused", "status": 422, "failedAt": "2026-01-01T12:00:00.123Z", "scores": [],
    }  # fmt: skip
    told = [receipt, receipt | {"entryId": other}, receipt | {"entryId": other, "uuid": other}, error,
            receipt | {"entryId": other, "scores": [{"fingerprint": "e" * 64, "matchKey": "e" * 64}]},
            error | {"code": "invalid", "scores": receipt["scores"], "sha256": None}]  # fmt: skip
    lines = [json.dumps(sidecar).encode() for sidecar in told]
    return [*lines, b"\n".join(lines[:3]), b"\n".join(lines[2:])]


def configs() -> list[bytes]:
    apart = b"api: {url: 'https://a/', token: {env: T}}\nroutes: [{name: a, drop: d, done: e, failed: f}]\nstate: s\n"
    return [*(path.read_bytes() for path in sorted((EXAMPLES / "config").iterdir())), apart]


def instants() -> list[bytes]:
    return [text.encode() for text in INSTANTS]


def pauses() -> list[bytes]:
    return [text.encode() for text in RETRY_AFTER]


def quantities() -> list[bytes]:
    return [text.encode() for text in QUANTITIES]


def mutate(data: bytes, chance: random.Random, tokens: Sequence[bytes], corpus: Sequence[bytes]) -> bytes:
    """``data`` after one to six changes, no longer than MOST_BYTES."""
    for _ in range(chance.randint(1, 6)):
        data = chance.choice(_CHANGES)(data, chance, tokens, corpus)[:MOST_BYTES]
    return data


Change = Callable[[bytes, random.Random, Sequence[bytes], Sequence[bytes]], bytes]


def _span(data: bytes, chance: random.Random, most: int = 32) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.randint(0, most))


def _flip(data: bytes, chance: random.Random, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) or 1)
    return data[:at] + bytes(byte ^ (1 << chance.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _put_byte(data: bytes, chance: random.Random, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + chance.randint(0, 1) :]


def _cut(data: bytes, chance: random.Random, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + data[end:]


def _put_token(data: bytes, chance: random.Random, tokens: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    start, end = _span(data, chance, 4)
    return data[:start] + chance.choice(tokens) + data[chance.choice((start, end)) :]


def _copy(data: bytes, chance: random.Random, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    start, end = _span(data, chance)
    at = chance.randint(0, len(data))
    return data[:at] + data[start:end] + data[at:]


def _repeat(data: bytes, chance: random.Random, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    """A few bytes many times: what takes more than linear time shows it."""
    start, end = _span(data, chance, 8)
    times = chance.choice((2, 10, 101, 1025)) if chance.random() < 0.95 else MOST_BYTES
    return data[:start] + data[start:end] * min(times, MOST_BYTES // max(1, end - start)) + data[end:]


def _splice(data: bytes, chance: random.Random, _: Sequence[bytes], corpus: Sequence[bytes]) -> bytes:
    other = chance.choice(corpus)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


_CHANGES: Sequence[Change] = (_flip, _put_byte, _cut, _put_token, _put_token, _put_token, _copy, _repeat, _splice)
