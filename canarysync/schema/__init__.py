"""The bundled JSON Schemas (draft 2020-12): the put-score contract, and the keys of the configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from canarysync.model import JsonValue, Places, Problem
from canarysync.schema.predicate import Predicate, predicate
from canarysync.schema.wording import Finding, describe

_UNFINISHED = Problem("There may be further problems; they are not listed.")


class SchemaName(StrEnum):
    """The schemas there are."""

    SCORE = "score"
    CONFIG = "config"


_FILES = {SchemaName.SCORE: "put-score.schema.json", SchemaName.CONFIG: "config.schema.json"}


@cache
def load(name: SchemaName) -> dict[str, Any]:
    """The schema as plain JSON. It is read once and shared: do not change it."""
    text = (files("canarysync") / "schemas" / _FILES[name]).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def check(
    value: JsonValue, name: SchemaName, places: Callable[[], Places], most: int | None = 100
) -> tuple[Problem, ...]:
    """All that is wrong with ``value`` by the schema, in file order; ``()`` for nothing.

    ``places`` is asked where things stand only if something is wrong. After ``most`` problems (a large file
    of nothing but unknown keys) the search ends, and a last problem says so; None sets no end.
    """
    if _predicate(name)(value):  # nearly always; jsonschema judges all else, and says what is wrong
        return ()
    findings = list(islice(_finder(name)(value), most))
    if not findings:
        return ()
    problems = describe(findings, load(name), places())
    return problems if len(findings) != most else (*problems, _UNFINISHED)


@cache
def _predicate(name: SchemaName) -> Predicate:
    return predicate(load(name))


@cache
def _finder(name: SchemaName) -> Callable[[JsonValue], Iterator[Finding]]:
    from canarysync.schema.validator import build  # jsonschema loads slowly, and is needed only if something is wrong

    return build(load(name))
