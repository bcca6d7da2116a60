"""A short, always equal run of the fuzzing (campaigns/fuzz.py), and what it has found."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from campaigns.fuzz import TARGETS, check_of, inputs_of
from campaigns.fuzz_engines import Campaign, by_mutation
from campaigns.fuzz_inputs import lost_sidecars
from canarysync.model import Rejection, Syntax
from canarysync.parse import parse

EXECUTIONS = 150


def receipt(**changes: object) -> bytes:
    """A sidecar that is almost ours."""
    [whole, *_] = lost_sidecars()
    return json.dumps(json.loads(whole) | changes).encode()


FOUND = [
    pytest.param("yaml", b"a: !%ED%A0%80 x", id="a tag whose escapes are no UTF-8"),
    pytest.param("yaml", b"%TAG !e! %C0%80\n---\na: b", id="a handle whose escapes are no UTF-8"),
    pytest.param("yaml", b"? [.5]\n: 1", id="file order: a key and what is in it, YAML"),
    pytest.param("json", b'{"":1,"\\ua":1,"\\ua"', id="file order: a key and what is in it, JSON"),
    pytest.param("json", b"[1, // why\n]", id="file order: a comma and the comment behind it"),
    pytest.param("sidecar", b'{"entryId": []}', id="an entryId that is no text"),
    pytest.param("recovery", receipt(entryId=5), id="an entryId that is a number"),
    pytest.param("recovery", receipt(uuid=5), id="a uuid that is a number"),
    pytest.param("recovery", receipt(uploadedAt="0001-01-01T00:00:00+23:59"), id="a time before all times"),
    pytest.param("recovery", receipt(attempts=10**30), id="attempts beyond an integer of SQLite"),
    pytest.param("recovery", receipt(file="\ud800"), id="a file name that no system has"),
    pytest.param("recovery", receipt(file="../a.json"), id="a file name that leads elsewhere"),
    pytest.param("recovery", receipt(sha256="\udc80"), id="a hash that is no text of UTF-8"),
    pytest.param("recovery", receipt(scores=[{"fingerprint": "\ud800", "matchKey": ""}]), id="a fingerprint likewise"),
]


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str, tmp_path: Path) -> None:
    campaign = Campaign(name, check_of(name), tmp_path, math.inf, EXECUTIONS)
    by_mutation(campaign, inputs_of(name, seed=0))
    assert campaign.executions >= EXECUTIONS
    assert not campaign.findings


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_is_mended(name: str, data: bytes) -> None:
    check_of(name)(data)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{value: 1, ?note: 2}", id="§7.3.3 a key that begins with ?"),
        pytest.param("[?a]", id="§7.3.3 a text that begins with ?"),
        pytest.param('{?"a": 1}', id="§7.3.3 quotes behind a ?"),
        pytest.param("a: &x:30", id="§6.9.2 an anchor with a colon in its name"),
        pytest.param("a: !!str &x:30", id="§6.9.2 such an anchor behind a tag"),
        pytest.param("&x:30 {a: b}", id="§6.9.2 such an anchor of an object"),
        pytest.param("- &x k\n- {*x:1}", id="§7.1 an alias with a colon in its name"),
    ],
)
def test_what_libyaml_would_cut_the_head_off_is_refused(text: str) -> None:
    """Two other YAML 1.2 parsers read these otherwise."""
    assert isinstance(parse(text.encode(), Syntax.YAML), Rejection)


@pytest.mark.parametrize(
    "text", ["{? a : 1}", "- &x a\n- *x", "[&x a, *x]", "{&x a: 1, b: *x}", "&x !!str a", "!!str &x a"]
)
def test_what_is_right_is_not(text: str) -> None:
    assert not isinstance(parse(text.encode(), Syntax.YAML), Rejection)


def test_a_finding_is_kept_in_few_bytes(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        assert b"x" not in data, "an x"

    campaign = Campaign("example", check, tmp_path, math.inf)
    for data in (b"a", b"some x in it", b"xx"):
        campaign.try_(data)
    [(failure, path)] = campaign.findings.items()
    assert (failure, path.read_bytes(), campaign.executions) == ("an x", b"x", 3)
