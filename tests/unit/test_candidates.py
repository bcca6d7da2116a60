"""Which names are score files? (DESIGN §5, "What is skipped")"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX, Matcher, Skipped, syntax_of
from canarysync.model import Syntax

DEFAULT = Matcher(["*.json", "*.yaml", "*.yml"])

TAKEN = [
    "visit.json", "visit.yaml", "visit.yml", "VISIT.JSON", "Visit.YmL", "a b.json", "visit.2026.json", "~visit.json",
    "$visit.json", "visit~.json", "visit.tmp.json", "visit\n.json", "déjà.json", "\udcff.json", "-rf.json", "x[1].json",
    "receipt.json", "error.json", "visit.receipt.yaml", "tmp.json", "part.json",
]  # fmt: skip

SKIPPED = [
    (".visit.json", Skipped.HIDDEN),
    (".canarysync", Skipped.OURS),
    (".canarysync.json", Skipped.HIDDEN),
    (".json", Skipped.HIDDEN),
    (".visit.json.tmp", Skipped.HIDDEN),
    ("visit.json~", Skipped.PASSING),
    ("~$visit.json", Skipped.PASSING),
    ("~$VISIT.JSON", Skipped.PASSING),
    ("visit.json.tmp", Skipped.PASSING),
    ("visit.json.part", Skipped.PASSING),
    ("visit.json.partial", Skipped.PASSING),
    ("visit.json.filepart", Skipped.PASSING),
    ("visit.json.crdownload", Skipped.PASSING),
    ("visit.json.download", Skipped.PASSING),
    ("visit.json.swp", Skipped.PASSING),
    ("VISIT.JSON.TMP", Skipped.PASSING),
    ("visit.json.receipt.json", Skipped.SIDECAR),
    ("visit.yaml.error.json", Skipped.SIDECAR),
    ("VISIT.JSON.RECEIPT.JSON", Skipped.SIDECAR),
    ("visit.txt", Skipped.NO_PATTERN),
    ("visit", Skipped.NO_PATTERN),
    ("visit.json.bak", Skipped.NO_PATTERN),
    ("visit.json\n", Skipped.NO_PATTERN),
    ("visitjson", Skipped.NO_PATTERN),
    ("visit.jsonl", Skipped.NO_PATTERN),
]


@pytest.mark.parametrize("name", TAKEN, ids=ascii)
def test_a_candidate(name: str) -> None:
    assert DEFAULT.skipped(name) is None


@pytest.mark.parametrize(("name", "reason"), SKIPPED, ids=ascii)
def test_a_skipped_name_has_its_reason(name: str, reason: Skipped) -> None:
    assert DEFAULT.skipped(name) is reason


def test_no_pattern_takes_what_is_always_skipped() -> None:
    always = [(name, reason) for name, reason in SKIPPED if reason is not Skipped.NO_PATTERN]
    assert [(name, Matcher(["*"]).skipped(name)) for name, _ in always] == always


@pytest.mark.parametrize(
    ("patterns", "name", "taken"),
    [
        (["phq9-*.json"], "phq9-7.json", True),
        (["phq9-*.json"], "gad7-7.json", False),
        (["PHQ9-*.json"], "phq9-7.JSON", True),
        (["visit?.json"], "visit7.json", True),
        (["visit?.json"], "visit.json", False),
        (["[A-C]*.json"], "b1.json", True),
        (["[!A-C]*.json"], "B1.json", False),
        (["a.json"], "axjson", False),
        (["a.json"], "xa.json", False),
        (["a.json", "b.json"], "b.json", True),
        (["*a*b*.json", "*c*d*.json"], "xcxdx.json", True),
        (["*a*b*.json", "*c*d*.json"], "xaxdx.json", False),
        (["(*.json"], "(1.json", True),
        (["*.json|x"], "a.json", False),
    ],
)
def test_patterns(patterns: list[str], name: str, taken: bool) -> None:
    assert (Matcher(patterns).skipped(name) is None) is taken


@given(st.text(max_size=30))
def test_our_own_sidecars_are_never_taken(name: str) -> None:
    assert Matcher(["*"]).skipped(name + RECEIPT_SUFFIX) is not None
    assert Matcher(["*"]).skipped(name + ERROR_SUFFIX) is not None


@pytest.mark.parametrize("stars", [5, 30])
def test_a_pattern_of_many_stars_is_no_trap(stars: int) -> None:
    """Backtracking over 30 stars would take longer than the universe has."""
    assert Matcher(["*a" * stars + ".json"]).skipped("a" * 250) is Skipped.NO_PATTERN


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("a.json", Syntax.JSON),
        ("A.JSON", Syntax.JSON),
        ("a.yaml.json", Syntax.JSON),
        ("a.yaml", Syntax.YAML),
        ("a.YML", Syntax.YAML),
        ("a.json.yml", Syntax.YAML),
    ],
)
def test_the_suffix_says_how_to_read(name: str, syntax: Syntax) -> None:
    assert syntax_of(name) is syntax
