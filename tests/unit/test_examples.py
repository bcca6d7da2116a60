"""The examples are what users copy: each is what its README says, and the program says what the README says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from canarysync import offline, reading
from canarysync.candidates import Matcher, syntax_of
from canarysync.config import Config, SecretKind, SecretRef, load
from canarysync.encode import encode
from canarysync.model import Document, Kind, Rejection, Score
from canarysync.parse import parse
from canarysync.reading import NotRead
from canarysync.settle import NETWORK_QUIET_S
from canarysync.validate import validate

EXAMPLES = Path(__file__).parents[2] / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the README's tables: a file, where it ends, and for errors why and where in the file."""

    file: str
    ends_in: str
    code: str = ""
    place: str = ""


def rows(section: str) -> list[Row]:
    """The rows of the first table below the heading that ends in the folder ``section``."""
    text = README.split(f"`{section}/`\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"^\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None, section
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
    return [Row(file, *others) for file, _, *others in cells]


SCORES, ERRORS = rows("scores"), rows("errors")
VALID = [EXAMPLES / "scores" / row.file for row in SCORES] + [EXAMPLES / "errors" / "refused-unknown-assessment.json"]


def document(path: Path) -> Document:
    outcome = parse(path.read_bytes(), syntax_of(path.name))
    assert isinstance(outcome, Document), outcome
    return outcome


def score(path: Path) -> Score:
    outcome = validate(document(path))
    assert isinstance(outcome, Score), outcome
    return outcome


def content(name: str) -> Any:
    """What a score file says, for looking at."""
    return document(EXAMPLES / "scores" / name).value


def rejection(file: str) -> Rejection:
    outcome = offline.verdict(EXAMPLES / "errors" / file)
    assert isinstance(outcome, Rejection), file
    return outcome


# --- the tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["scores", "errors"])
def test_every_file_has_its_row(folder: str) -> None:
    assert sorted(row.file for row in rows(folder)) == sorted(path.name for path in (EXAMPLES / folder).iterdir())


def test_every_configuration_is_told_of() -> None:
    for path in (EXAMPLES / "config").iterdir():
        assert f"| `{path.name}` |" in README


def test_every_file_would_be_taken_from_a_drop_folder() -> None:
    skipped = Matcher(["*.json", "*.yaml", "*.yml"]).skipped
    assert [row.file for row in SCORES + ERRORS if skipped(row.file) is not None] == []


@pytest.mark.parametrize("row", SCORES, ids=lambda row: row.file)
def test_scores_are_valid(row: Row) -> None:
    assert row.ends_in == "done/"
    assert offline.verdict(EXAMPLES / "scores" / row.file) is None


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: row.file)
def test_errors_are_what_the_table_says(row: Row) -> None:
    assert row.ends_in == "failed/"
    assert row.file.startswith(f"{row.code}-")
    if row.code == "refused":  # by the API: nothing is wrong with the file itself
        assert offline.verdict(EXAMPLES / "errors" / row.file) is None
        return
    found = rejection(row.file)
    first = found.problems[0] if found.problems else None
    assert found.code == row.code
    assert row.place == (f"{first.line}:{first.column}" if first else "")


# --- the scores ------------------------------------------------------------------------------------------


def test_no_two_files_hold_the_same_score() -> None:
    assert len({score(path).identity.match_key for path in VALID}) == len(VALID)


@pytest.mark.parametrize(
    ("file", "factor"),
    [
        ("2026-03-02_visit-017_phq9.json", 1),
        ("2026-03-02_visit-017_gad7.json", 1),
        ("2026-03-13_visit-023_madrs.json", 1),
        ("2026-03-17_sapporo_jess.yaml", 1),
        ("2026-03-18_visit-024_gad7.yml", 1),
        ("EXPORT_20260316_143005.JSON", 4),
    ],
)
def test_sums_are_the_sums_of_their_items(file: str, factor: int) -> None:
    data = content(file)["scoreData"]
    assert int(data["value"].text) == factor * total(data["items"])


def test_parts_add_up() -> None:
    moca = content("2026-03-04_visit-018_moca.yaml")["scoreData"]
    assert int(moca["value"].text) == total([*moca["domains"].values(), moca["educationPoint"]])
    hads = content("2026-03-09_visit-021_hads.json")["scoreData"]
    scales = hads["subscales"].values()
    assert int(hads["value"].text) == total(scale["value"] for scale in scales)
    assert all(int(scale["value"].text) == total(scale["items"]) for scale in scales)


def total(numbers: Any) -> int:
    return sum(int(number.text) for number in numbers)


def test_numbers_are_sent_as_the_device_wrote_them() -> None:
    actigraph = score(EXAMPLES / "scores" / "2026-03-10_actigraph-0093_week-02.yaml").body
    spirometer = score(EXAMPLES / "scores" / "2026-03-10T0914_spirometer-40217.json").body
    assert all(literal in actigraph for literal in (b":1.10,", b":32.0,", b":1E-3,", b":-4.0e-6}"))
    assert b'"value":3.10,"fvc":4.20,' in spirometer


def test_times_of_day_and_versions_stay_texts() -> None:
    assert content("2026-03-05_home-003_sleep-diary.yaml")["scoreData"]["items"]["intoBed"] == "22:45"
    assert content("2026-03-04_visit-018_moca.yaml")["extraData"]["form"] == "8.1"


def test_the_windows_export_has_what_windows_adds() -> None:
    data = (EXAMPLES / "scores" / "EXPORT_20260316_143005.JSON").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf{\r\n")
    assert data.count(b"\n") == data.count(b"\r\n")


def test_texts_in_any_script_are_sent_as_they_are() -> None:
    body = score(EXAMPLES / "scores" / "2026-03-17_sapporo_jess.yaml").body
    assert encode({"施設": "札幌 第二検査室"}).strip(b"{}") in body


def test_both_kinds_of_overseer_data() -> None:
    data = [content(row.file)["scoreData"]["data"] for row in SCORES if row.file.startswith("overseer_")]
    assert [type(item) for item in data] == [dict, list]


# --- the errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("syntax-trailing-comma.json", "Delete"),
        ("syntax-cut-short.json", "cut short"),
        ("syntax-not-a-number.json", "null"),
        ("syntax-decimal-comma.json", "decimal comma"),
        ("syntax-empty.json", "again"),
        ("syntax-latin-1.json", "UTF-8"),
        ("syntax-tab.yaml", "spaces"),
        ("syntax-duplicate-key.yaml", "line 6, column 3"),
        ("syntax-leading-zero.yaml", "quote it"),
        ("syntax-two-documents.yaml", "one score"),
        ("invalid-misspelt-key.json", "`extraData`"),
        ("invalid-overseer-without-data.json", "`data`"),
        ("invalid-no-offset.yaml", "offset"),
        ("invalid-no-value.json", "`value`"),
    ],
)
def test_the_one_problem_comes_with_a_hint_that_mends_it(file: str, hint: str) -> None:
    (problem,) = rejection(file).problems
    assert hint in problem.hint


def test_many_problems_are_told_at_once() -> None:
    problems = rejection("invalid-many-problems.yaml").problems
    assert [(problem.line, problem.path) for problem in problems] == [
        (1, ""),
        (1, "/assessmentId"),
        (2, "/dateRecorded"),
        (3, "/scoreid"),
        (4, "/scoreData"),
        (5, "/extraData"),
    ]


def test_every_kind_of_syntax_error_is_still_in_its_file() -> None:
    """An editor that tidies up would mend these."""
    errors = EXAMPLES / "errors"
    assert b"\n\tvalue" in (errors / "syntax-tab.yaml").read_bytes()
    assert b"M\xe1laga" in (errors / "syntax-latin-1.json").read_bytes()
    assert (errors / "syntax-empty.json").read_bytes() == b""
    assert not (errors / "syntax-cut-short.json").read_bytes().endswith(b"\n")


def test_the_link_is_a_link_to_a_good_file() -> None:
    link = EXAMPLES / "errors" / "unsafe-link.json"
    assert link.is_symlink()
    assert isinstance(score(link.resolve()), Score)
    assert reading.read(link, 1 << 20) == NotRead(Kind.UNSAFE, reading.look(link)[1])


def test_the_file_that_is_too_large(tmp_path: Path) -> None:
    size = re.search(r"head -c (\d+) /dev/zero", README)
    assert size is not None
    too_large = tmp_path / "too-large.json"
    too_large.write_bytes(b" " * int(size[1]))
    route = load(EXAMPLES / "config" / "one-clinic.yaml").routes[0]
    found = reading.read(too_large, route.max_size_bytes)
    assert isinstance(found, NotRead)
    assert (found.kind, found.changing) == (Kind.FILE, False)


# --- the configurations ----------------------------------------------------------------------------------


def config(name: str) -> Config:
    return load(EXAMPLES / "config" / name)


def test_one_clinic() -> None:
    found = config("one-clinic.yaml")
    assert found.api.url == "https://rest.eus.canaryspeech.com"
    assert found.api.api_key == SecretRef(SecretKind.CREDENTIAL, "api-key")
    assert [(route.name, route.drop) for route in found.routes] == [("clinic-a", Path("/srv/canary/clinic-a/drop"))]
    assert found.state == Path("/var/lib/canarysync")


def test_two_sites() -> None:
    found = config("two-sites.yaml")
    assert found.api.token == SecretRef(SecretKind.CREDENTIAL, "canary-token")
    assert found.api.proxy == "http://proxy.example:3128"
    assert found.log.format == "json"
    local, share = found.routes
    assert (local.name, local.group) == ("helsinki", "lab")
    assert local.match == ("phq9-*.json", "gad7-*.json")
    assert share.settle_s > NETWORK_QUIET_S
    assert (share.retry.first_s, share.retry.most_s, share.retry.give_up_after_s) == (5, 900, 30 * 86_400)


def test_what_two_sites_asks_of_systemd_fits_its_configuration() -> None:
    found = config("two-sites.yaml")
    head, _, _ = found.path.read_text(encoding="utf-8").partition("api:")
    assert found.api.token is not None
    assert f"/etc/canarysync/{found.api.token.name} " in head
    assert "canarysync systemd --install" in head
