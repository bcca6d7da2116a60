"""The bundled schemas, their formats, and the words for what breaks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from canarysync.hosts import is_loopback
from canarysync.model import JsonValue, Number, Path, Places, Position, Problem
from canarysync.quantity import duration_s, size_bytes, whole
from canarysync.schema import SchemaName, check, load
from canarysync.schema.formats import FORMATS, conforms
from canarysync.schema.wording import Finding, describe, nearest

NOWHERE = Places({}, {})
SCORE: dict[str, JsonValue] = {
    "assessmentId": "0192530c-4ce5-7aa1-be9b-bc52dec8a184",
    "dateRecorded": "2026-01-01T12:00:00Z",
    "scoreId": "PHQ9",
    "scoreType": "sum",
    "scoreData": {"value": Number("12")},
}

UUIDS = [
    # RFC 9562 §4: UUID = 4hexOctet "-" 2hexOctet "-" 2hexOctet "-" 2hexOctet "-" 6hexOctet, any case
    ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", True),
    ("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6", True),
    ("f81D4fae-7deC-11d0-a765-00a0c91e6Bf6", True),
    ("00000000-0000-0000-0000-000000000000", True),  # §5.9 nil
    ("ffffffff-ffff-ffff-ffff-ffffffffffff", True),  # §5.10 max
    ("017f22e2-79b0-7cc3-98c4-dc0c0c07398f", True),  # appendix A.6, version 7
    ("2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", True),  # appendix B.1, version 8
    ("", False),
    ("abc123", False),
    ("f81d4fae7dec11d0a76500a0c91e6bf6", False),
    ("{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}", False),
    ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", False),
    ("f81d4fae-7dec-11d0-a765-00a0c91e6bf", False),
    ("f81d4fae-7dec-11d0-a765-00a0c91e6bf66", False),
    ("f81d4fae-7dec-11d0-a765-00a0c91e6bfg", False),
    ("f81d4fae-7dec-11d0a-765-00a0c91e6bf6", False),
    ("f81d4fae_7dec_11d0_a765_00a0c91e6bf6", False),
    ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6\n", False),
    (" f81d4fae-7dec-11d0-a765-00a0c91e6bf6", False),
    ("f81d4fae-7dec-11d0-a765-00a0c91e6bf\u0666", False),
]

FORMAT_CASES = [
    # (format, accepted, refused)
    (
        "duration",
        ["500ms", "2s", "5m", "1h", "30d", "0s"],
        ["", "2", "2 s", "2.5h", "-1s", "2S", "1h30m", "never"],
    ),
    ("duration-or-never", ["never", "30d"], ["Never", "", "no"]),
    ("size", ["1MiB", "500KiB"], ["", "1MB", "1 MiB", "-1KiB", "1024", "1mib"]),
    ("path", ["/srv/a", "a b", "../x", "a~b", "ü"], ["", "~/x", "~bob", "a\nb", "a\n", "a\x00", "a\x7f"]),
    (
        "api-url",
        [
            "https://rest.eus.canaryspeech.com",
            "https://h:8443/base/",
            "https://[::1]:1",
            "http://localhost:8080",
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]",
        ],
        [
            "",
            "rest.lab.example",
            "ftp://h",
            "https://",
            "https:h",
            "http://example.com",
            "http://127.0.0.1.example.com",
            "http://128.0.0.1",
            "http://0.0.0.0",
            "http://[::2]",
            "https://user:pw@h",
            "https://h?q",
            "https://h?",
            "https://h#f",
            "https://h#",
            "https://h:99999",
            "https://h:x",
            "https://h:0",
            "https://[::1",
            "https://h/ x",
            "https://h\n",
            "https://h\\x",
            "https://hö",
        ],
    ),
    (
        "proxy-url",
        ["http://p:3128", "https://p/"],
        ["", "p:3128", "socks5://p:1", "http://u:p@p:1", "http://p/x"],
    ),
    (
        "listen-address",
        ["127.0.0.1:9464", "0.0.0.0:1", "[::1]:9464", "[::]:0"],
        ["", ":9464", "9464", "localhost:9464", "::1:9464", "[127.0.0.1]:1", "1.2.3:4", "127.0.0.1:65536", "1.2.3.4:x"],
    ),
    (
        "route-name",
        ["clinic-a", "A.1_b", "7"],
        ["", ".", "..", "-x", ".x", "a b", "a/b", "a\n", "ü", "a" * 101],
    ),
    ("group-name", ["lab", "_lab"], ["", "a b", "a:b"]),
    (
        "file-pattern",
        ["*.json", "*.YAML", "phq9-*.Yml", "a?[0-9].json"],
        ["", "*", "*.csv", "sub/*.json", "a\n.json"],
    ),
    ("secret-file", ["/etc/key", "key"], ["", "~/key", "1A2B3C:c2VjcmV0", "eyJhbGciOiJIUzI1NiJ9.e30.x"]),
    (
        "env-name",
        ["CANARY_TOKEN", "_a1"],
        ["", "1A", "A-B", "$X", "A=B", "1A2B3C:c2VjcmV0", "eyJhbGci.e30.x"],
    ),
    (
        "credential-name",
        ["api-key", "a.b"],
        ["", "a/b", "..", "1A2B3C:c2VjcmV0", "eyJhbGciOiJIUzI1NiJ9.e30.x"],
    ),
]


@pytest.mark.parametrize(("text", "valid"), UUIDS)
def test_uuid_is_the_form_of_rfc_9562(text: str, valid: bool) -> None:
    assert conforms("uuid", text) is valid


@pytest.mark.parametrize(("name", "accepted", "refused"), FORMAT_CASES)
def test_formats_are_really_checked(name: str, accepted: list[str], refused: list[str]) -> None:
    assert [text for text in accepted if not conforms(name, text)] == []
    assert [text for text in refused if conforms(name, text)] == []
    for text in refused:
        assert FORMATS[name].hint(text).endswith(".")


def test_every_format_that_a_schema_names_exists_and_can_refuse() -> None:
    found = (part.get("format") for name in SchemaName for _, part in parts(load(name)))
    named = {name for name in found if isinstance(name, str)}
    assert named == set(FORMATS)
    assert {name for name in named if conforms(name, "\n")} == set()


@pytest.mark.parametrize("name", SchemaName)
def test_the_schemas_are_valid_drafts_with_valid_examples(name: SchemaName) -> None:
    schema = load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    for example in schema["examples"]:
        assert check(numbered(example), name, lambda: NOWHERE) == ()


@pytest.mark.parametrize("name", SchemaName)
def test_every_field_is_described_with_an_example(name: SchemaName) -> None:
    schema = load(name)
    fields = [
        field
        for _, part in parts({key: value for key, value in schema.items() if key != "allOf"})
        for field in part.get("properties", {}).items()
    ]
    assert len(fields) >= 6
    assert [key for key, field in fields if not (field.get("description") and field.get("examples"))] == []


def test_every_object_of_the_configuration_is_closed() -> None:
    closed = [
        part.get("additionalProperties") is False or "propertyNames" in part
        for _, part in parts(load(SchemaName.CONFIG))
        if part.get("type") == "object"
    ]
    assert len(closed) > 5
    assert all(closed)


def test_durations_and_sizes() -> None:
    assert duration_s("500ms") == 0.5
    assert duration_s("5m") == 300
    assert duration_s("30d") == 2_592_000
    assert size_bytes("1MiB") == 1_048_576
    assert size_bytes(Number("2000")) == 2000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("8.0", 8),
        ("80e-1", 8),
        ("-0", 0),
        ("1e17", 10**17),
        ("8.5", None),
        ("1e18", None),
        ("1e-999999999999999999999", None),
        ("1e" + "9" * 400, None),
    ],
)
def test_a_whole_number_is_known_by_its_value(text: str, value: int | None) -> None:
    assert whole(Number(text)) == value


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("extradata", "extraData"),
        ("ExtraData", "extraData"),
        ("extra_data", "extraData"),
        ("extraDta", "extraData"),
        ("score_id", "scoreId"),
        ("scoreTyp", "scoreType"),
        ("comment", ""),
        ("x" * 100_000, ""),
    ],
)
def test_did_you_mean(word: str, meant: str) -> None:
    assert nearest(word, load(SchemaName.SCORE)["properties"]) == meant


def test_a_valid_value_is_never_asked_for_its_places() -> None:
    def places() -> Places:
        raise AssertionError("asked")

    assert check(SCORE, SchemaName.SCORE, places) == ()


def test_problems_end_after_a_hundred_and_say_so() -> None:
    value: dict[str, JsonValue] = {**SCORE, **{f"x{index}": None for index in range(5000)}}
    problems = check(value, SchemaName.SCORE, lambda: NOWHERE)
    assert len(problems) == 101
    assert "further problems" in problems[-1].message
    assert len(check(value, SchemaName.SCORE, lambda: NOWHERE, most=None)) == 5000


def test_a_strange_key_is_shown_safely_and_a_very_long_one_is_cut() -> None:
    value: dict[str, JsonValue] = {**SCORE, "\x1b[31m": None, "k" * 5000: None}
    escape, long = sorted(check(value, SchemaName.SCORE, lambda: NOWHERE), key=lambda problem: len(problem.message))
    assert "\x1b" not in escape.message + long.message
    assert len(long.message) < 100
    assert long.path == ""


def test_a_keyword_without_words_of_its_own_is_told_by_the_description() -> None:
    part = {"description": "Something rare", "const": 1}
    found = Finding("const", 1, ("a", 0), "the value", part, ("const",))
    at = Places({("a", 0): Position(3, 4)}, {})
    expected = Problem("`a[0]` is not as it must be.", "/a/0", 3, 4, "Something rare")
    assert describe([found], {}, at) == (expected,)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.255", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example", "10.0.0.1", "::", "::ffff:127.0.0.1", "127.1", "2130706433"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def parts(schema: Any, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every object in ``schema``, examples and defaults left out."""
    if isinstance(schema, dict):
        yield path, schema
        for key, child in schema.items():
            if key not in {"examples", "default"}:
                yield from parts(child, (*path, key))
    if isinstance(schema, list):
        for index, child in enumerate(schema):
            yield from parts(child, (*path, index))


def numbered(value: Any) -> JsonValue:
    """Plain JSON as the parser would have given it."""
    if isinstance(value, dict):
        return {key: numbered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbered(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(repr(value))
    result: JsonValue = value
    return result
