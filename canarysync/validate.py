"""From a document to a score that is ready to be sent, or to everything that is wrong with it."""

from __future__ import annotations

from canarysync import schema
from canarysync.encode import encode
from canarysync.identity import identify
from canarysync.model import Code, Document, JsonValue, Rejection, Score
from canarysync.parse import places


def validate(document: Document) -> Score | Rejection:
    """Hold ``document`` to the put-score contract (API.md, ``schemas/put-score.schema.json``).

    The score's body holds all fields but assessmentId, in the order of the file. A UUID's case means nothing
    (RFC 9562 §4), so the assessment's is lowered: it is a path of the API and half of the score's identity.
    """
    problems = schema.check(document.value, schema.SchemaName.SCORE, lambda: places(document))
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        return Rejection(Code.INVALID, f"The file is not a valid score: {count}.", problems)
    fields = _fields(document.value)
    assessment_id = _text(fields.pop("assessmentId")).lower()
    return Score(
        assessment_id=assessment_id,
        score_id=_text(fields["scoreId"]),
        identity=identify(assessment_id, fields),
        body=encode(fields),
    )


def _fields(value: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(value, dict), "the schema takes objects only"
    return dict(value)


def _text(value: JsonValue) -> str:
    assert isinstance(value, str), "the schema takes strings only here"
    return value
