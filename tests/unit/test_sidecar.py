"""Receipts and error sidecars (DESIGN §8)."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.ledger import Entry, Past
from canarysync.model import Code, Identity, Problem, Proof, Signature, State
from canarysync.sidecar import error, message_for, outcome_of, past, receipt

AT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
UUID = "7f0c3b1a-9c1e-4c55-8a39-1f2e3d4c5b6a"
ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
URL = "https://rest.eus.canaryspeech.com"

UPLOADED = Entry(
    id="e1", route_id="r1", name="visit.json", sha256="ab" * 32, signature=Signature(1, 2, 3, 4),
    state=State.UPLOADED, created_at=AT, changed_at=AT, attempts=2, assessment_id=ASSESSMENT,
    identity=Identity("f" * 64, "a" * 64, "b" * 64), uuid=UUID, proof=Proof.RESPONSE, target="visit-1.json",
)  # fmt: skip
REFUSED = UPLOADED._replace(state=State.REFUSED, code=Code.REFUSED, status=422, uuid=None, proof=None)
REJECTED = REFUSED._replace(
    state=State.REJECTED, code=Code.INVALID, status=None, identity=None, assessment_id=None, attempts=0
)

texts = st.text(st.characters(categories=["Cc", "Cf", "Cs"]) | st.characters())
"""With many controls, marks and lone surrogates, which plain text rarely holds."""

file_names = (
    st.binary(min_size=1)
    .filter(lambda name: name not in (b".", b"..") and not {0, ord("/")} & set(name))
    .map(os.fsdecode)
)
"""Whatever a file can be called, in UTF-8 or not."""


def read(data: bytes) -> dict[str, Any]:
    assert data.endswith(b"}\n")
    content = json.loads(data)
    assert isinstance(content, dict)
    return content


def test_a_receipt_in_full() -> None:
    assert read(receipt(UPLOADED, URL, "PHQ9", missing=False)) == {
        "sidecarVersion": 1,
        "outcome": "uploaded",
        "uuid": UUID,
        "assessmentId": ASSESSMENT,
        "scoreId": "PHQ9",
        "file": "visit.json",
        "sha256": "ab" * 32,
        "proof": "response",
        "attempts": 2,
        "uploadedAt": "2026-01-01T12:00:00.123Z",
        "endpoint": URL,
        "entryId": "e1",
        "scores": [{"fingerprint": "f" * 64, "matchKey": "a" * 64, "uuid": UUID, "outcome": "uploaded"}],
    }


def test_an_error_in_full() -> None:
    problem = Problem("is missing", "/scoreId", 3, 7, "a string", "add it")
    sidecar = read(error(REFUSED, "No.", (problem, Problem("second")), "the server's words", missing=False))
    assert "the drop folder again" in sidecar.pop("advice")
    assert sidecar == {
        "sidecarVersion": 1,
        "code": "refused",
        "message": "No.",
        "problems": [
            {
                "message": "is missing", "path": "/scoreId", "line": 3, "column": 7,
                "expected": "a string", "hint": "add it",
            },
            {"message": "second", "path": "", "line": None, "column": None, "expected": "", "hint": ""},
        ],
        "status": 422,
        "response": "the server's words",
        "file": "visit.json",
        "sha256": "ab" * 32,
        "attempts": 2,
        "failedAt": "2026-01-01T12:00:00.123Z",
        "entryId": "e1",
        "scores": [{"fingerprint": "f" * 64, "matchKey": "a" * 64, "uuid": None, "outcome": "refused"}],
    }  # fmt: skip


def test_a_file_that_holds_no_score_has_no_scores() -> None:
    sidecar = read(error(REJECTED, "No.", (), None, missing=False))
    assert (sidecar["code"], sidecar["scores"], sidecar["status"], sidecar["response"]) == ("invalid", [], None, None)


@pytest.mark.parametrize(
    ("state", "proof", "expected"),
    [
        (State.UPLOADED, Proof.RESPONSE, "uploaded"),
        (State.UPLOADED, Proof.READ_BACK, "recovered"),
        (State.DUPLICATE, Proof.RESPONSE, "duplicate"),
        (State.DUPLICATE, Proof.READ_BACK, "duplicate"),
    ],
)
def test_the_outcome_of_what_is_done(state: State, proof: Proof, expected: str) -> None:
    entry = UPLOADED._replace(state=state, proof=proof)
    sidecar = read(receipt(entry, URL, None, missing=False))
    assert outcome_of(entry) == sidecar["outcome"] == sidecar["scores"][0]["outcome"] == expected
    assert sidecar["proof"] == proof.value
    assert sidecar["scoreId"] is None


@pytest.mark.parametrize("missing", [False, True])
def test_a_missing_file_is_told(missing: bool) -> None:
    done = read(receipt(UPLOADED, URL, "PHQ9", missing=missing))
    failed = read(error(REFUSED, "No.", (), None, missing=missing))
    assert done.get("fileMissing") is failed.get("fileMissing") is (True if missing else None)


@pytest.mark.parametrize("possible", [False, True])
def test_a_possible_duplicate_is_told(possible: bool) -> None:
    sidecar = read(receipt(UPLOADED._replace(possible_duplicate=possible), URL, "PHQ9", missing=False))
    assert sidecar.get("possibleDuplicate") is (True if possible else None)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (AT, "2026-01-01T12:00:00.123Z"),
        (AT.replace(microsecond=0), "2026-01-01T12:00:00.000Z"),
        (AT.replace(microsecond=999_999), "2026-01-01T12:00:00.999Z"),
        (AT.astimezone(timezone(timedelta(hours=-5))), "2026-01-01T12:00:00.123Z"),
    ],
)
def test_times_are_utc_to_the_millisecond(at: datetime, expected: str) -> None:
    entry = UPLOADED._replace(changed_at=at)
    assert read(receipt(entry, URL, "PHQ9", missing=False))["uploadedAt"] == expected
    assert read(error(REFUSED._replace(changed_at=at), "No.", (), None, missing=False))["failedAt"] == expected


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_message(code: Code) -> None:
    """A crash may have lost the details; a sidecar without a reason is worse than none."""
    messages = [message_for(other, 422) for other in Code]
    assert message_for(code, 422).endswith(".")
    assert messages.count(message_for(code, 422)) == 1


@pytest.mark.parametrize("code", Code)
def test_every_code_has_an_advice(code: Code) -> None:
    sidecar = read(error(REFUSED._replace(code=code), "No.", (), None, missing=False))
    assert sidecar["code"] == code.value
    assert "the drop folder again" in sidecar["advice"]


def test_the_message_of_a_refusal_names_its_status() -> None:
    assert "422" in message_for(Code.REFUSED, 422)


def test_a_name_of_bytes_that_are_no_utf8_comes_back_as_it_was() -> None:
    data = receipt(UPLOADED._replace(name="\udcff.json"), URL, "PHQ9", missing=False)
    assert read(data)["file"].encode("utf-8", "surrogateescape") == b"\xff.json"


def test_letters_stay_readable() -> None:
    assert "déjà-日本".encode() in receipt(UPLOADED._replace(name="déjà-日本.json"), URL, "PHQ9", missing=False)


@given(texts, texts)
def test_any_name_and_any_words_give_valid_json(name: str, words: str) -> None:
    """Names may hold bytes that are no UTF-8 (as lone surrogates), and servers say anything."""
    sidecar = read(error(REFUSED._replace(name=name), "No.", (), words, missing=False))
    # A high and a low surrogate side by side are one character once they have been through JSON.
    assert sidecar["file"] == json.loads(json.dumps(name))
    assert sidecar["response"] == json.loads(json.dumps(words))


read_back = texts.map(lambda text: json.loads(json.dumps(text)))


@given(read_back, read_back, st.booleans())
def test_a_sidecar_is_laid_out_as_by_json_indented_by_two(name: str, words: str, bare: bool) -> None:
    problems = () if bare else (Problem(words, "/a", 3), Problem(""))
    failed = REFUSED._replace(name=name, identity=None if bare else REFUSED.identity)
    for data in (
        receipt(UPLOADED._replace(name=name), URL, None if bare else words, missing=bare),
        error(failed, words, problems, None, missing=bare),
    ):
        again = json.dumps(read(data), ensure_ascii=False, indent=2) + "\n"
        assert data.decode() == again.encode("utf-8", "backslashreplace").decode()


# --- back into the ledger --------------------------------------------------------------------------

ENTRY_ID = "01900000-0000-7000-8000-000000000001"


def back(sidecar: bytes) -> Past | None:
    return past(sidecar, "visit-1.json", "r1", URL)


@pytest.mark.parametrize("proof", Proof)
@given(name=file_names)
def test_a_receipt_tells_the_ledger_what_it_needs(proof: Proof, name: str) -> None:
    entry = UPLOADED._replace(id=ENTRY_ID, name=name, proof=proof, possible_duplicate=True)

    assert back(receipt(entry, URL, None, missing=False)) == Past(
        entry_id=ENTRY_ID, route_id="r1", name=name, target="visit-1.json", sha256="ab" * 32, state=State.UPLOADED,
        at=AT.replace(microsecond=123000), attempts=2, assessment_id=ASSESSMENT, uuid=UUID, proof=proof,
        identity=Identity("f" * 64, "a" * 64, ""), possible_duplicate=True,
    )  # fmt: skip


def test_an_error_tells_it_what_it_needs() -> None:
    refused = back(error(REFUSED._replace(id=ENTRY_ID), "no", (), None, missing=False))
    rejected = back(error(REJECTED._replace(id=ENTRY_ID, sha256=None), "no", (), None, missing=False))

    assert refused is not None
    assert (refused.state, refused.code, refused.status, refused.uuid) == (State.REFUSED, Code.REFUSED, 422, None)
    assert rejected is not None
    assert (rejected.state, rejected.sha256, rejected.identity) == (State.REJECTED, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"sidecarVersion": 2}, {"entryId": "e1"}, {"entryId": None}, {"uuid": "abc"}, {"file": 7}, {"scores": None},
        {"scores": [{}]}, {"scores": [7]}, {"uploadedAt": "yesterday"}, {"proof": "hearsay"}, {"attempts": "many"},
        {"sha256": []}, {"endpoint": "https://another"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_quite_a_receipt_is_none(change: dict[str, object]) -> None:
    good = read(receipt(UPLOADED._replace(id=ENTRY_ID), URL, None, missing=False))

    assert back(json.dumps(good | change).encode()) is None


plain = st.none() | st.booleans() | st.integers() | texts
trees = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(texts, inner))


@given(st.binary() | trees.map(lambda value: json.dumps(value).encode()))
def test_reading_a_sidecar_never_raises(data: bytes) -> None:
    back(data)
