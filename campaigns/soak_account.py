"""The account of the soak campaign: every file in one place with a true sidecar, every score at the API once."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaigns.soak_files import Drop, Files, Sort
from campaigns.soak_world import SUFFIXES, World
from canarysync.sandbox import StoredScore


@dataclass(slots=True)
class Account:
    """What came of everything. ``wrong`` says all that is not as it has to be: nothing, if all is well.

    ``twice`` counts the second copies at the API. ``possible_duplicates`` are the scores whose receipts say that
    there may be one: most of them because the last look failed.
    """

    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    twice: int = 0
    possible_duplicates: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Filed:
    """A file that was filed away: what it is, and what its sidecar says."""

    route: str
    folder: str
    sha256: str
    sidecar: Mapping[str, Any]


def account(world: World, files: Files, dropped: Sequence[Drop], stored: Sequence[StoredScore]) -> Account:
    """Hold what is on disk and at the API against what was dropped."""
    made = Account()
    filed: dict[tuple[str, str], list[_Filed]] = {}
    for one in _all_filed(world, made.wrong):
        filed.setdefault((one.route, one.sidecar["file"]), []).append(one)
    scores = {score.uuid: score for score in stored}
    for drop in dropped:
        found = filed.pop((drop.route, drop.name), [])
        if len(found) != 1:
            made.lost += not found
            made.wrong.append(f"{drop.name}: filed {len(found)} times")
        for one in found:
            made.wrong += [f"{drop.name}: {problem}" for problem in _untrue(one, drop, files, scores)]
            _count(made, one, drop)
    made.wrong += [f"{name} was filed, and never dropped" for _, name in filed]
    _count_scores(made, files, dropped, stored)
    return made


def _all_filed(world: World, wrong: list[str]) -> Iterator[_Filed]:
    """Every file in done/, failed/ and the archive; leftovers, and what stands alone, are ``wrong``."""
    for route, folder, place in world.filed():
        for where in (place, world.archive / route / folder):
            names = set(os.listdir(where))
            suffix = SUFFIXES[folder]
            sidecars = {name for name in names if name.endswith(suffix)}
            files = names - sidecars
            wrong += [f"{folder}/{name} stands alone" for name in files if f"{name}{suffix}" not in sidecars]
            wrong += [f"{folder}/{name} stands alone" for name in sidecars if name.removesuffix(suffix) not in files]
            for name in files & {sidecar.removesuffix(suffix) for sidecar in sidecars}:
                try:
                    sidecar = json.loads((where / f"{name}{suffix}").read_bytes())
                except ValueError:
                    wrong.append(f"the sidecar of {folder}/{name} is torn")
                else:
                    yield _Filed(route, folder, _sha256(where / name), sidecar)


def _sha256(path: Path) -> str:
    content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def _untrue(one: _Filed, drop: Drop, files: Files, scores: Mapping[str, StoredScore]) -> Iterator[str]:
    """All that is not true of a filed file and its sidecar."""
    sidecar = one.sidecar
    if one.sha256 != hashlib.sha256(drop.content).hexdigest():
        yield "its bytes are not those that were dropped"
    if drop.sort not in (Sort.TOO_LARGE, Sort.UNSAFE) and sidecar["sha256"] != one.sha256:
        yield "its sidecar tells of other bytes"
    if "fileMissing" in sidecar:
        yield "its sidecar calls it missing"
    if one.folder != ("failed" if drop.code else "done"):
        yield f"a {drop.sort} file in {one.folder}/"
    elif drop.code:
        if sidecar["code"] != drop.code:
            yield f"a {drop.sort} file failed as {sidecar['code']}"
    elif sidecar["uuid"] not in scores:
        yield "the API does not have the uuid of its receipt"
    elif _number_at(scores[sidecar["uuid"]], files) != drop.number:
        yield "the API has another score under the uuid of its receipt"


def _number_at(stored: StoredScore, files: Files) -> int | None:
    """Which score it is that the API has; None for one that nobody dropped."""
    body = json.loads(stored.body)
    number = int(body["scoreData"]["value"])
    return number if files.score(number) == {"assessmentId": stored.assessment_id, **body} else None


def _count(made: Account, one: _Filed, drop: Drop) -> None:
    if one.folder == "failed":
        made.failed[one.sidecar["code"]] += 1
        return
    made.done += 1
    made.outcomes[one.sidecar["outcome"]] += 1
    if "possibleDuplicate" in one.sidecar:
        made.possible_duplicates.add(drop.number)


def _count_scores(made: Account, files: Files, dropped: Iterable[Drop], stored: Iterable[StoredScore]) -> None:
    """Each score has to be at the API once. A second copy is a breach even where its receipt owns up to it: no fault of
    this campaign is so late that both looks could miss what it carries out."""
    copies = Counter(_number_at(score, files) for score in stored)
    for number, count in copies.items():
        if number is not None and count > 1:
            made.twice += count - 1
            told = "says so" if number in made.possible_duplicates else "does not say so"
            made.wrong.append(f"score {number} is at the API {count} times, and its receipt {told}")
    missing = {drop.number for drop in dropped if not drop.code} - set(copies)
    made.wrong += [f"score {number} is not at the API" for number in missing]
    if copies[None]:
        made.wrong.append(f"the API has {copies[None]} scores that nobody dropped")


def wrong_in_status(status: Mapping[str, Any], made: Account) -> list[str]:
    """What ``canarysync status --json`` tells differently."""
    told: Counter[str] = Counter()
    for route in status["routes"]:
        told.update({key: route[key] for key in ("waiting", "inDoubt", "held", "done", "failed", "withdrawn")})
        told.update({f"failed as {code}": count for code, count in route["failedByCode"].items()})
        told.update({"not moved": len(route["unfiled"]), "left alone": sum(route["skipped"].values())})
    counted = Counter({"done": made.done, "failed": made.failed.total()})
    counted.update({f"failed as {code}": count for code, count in made.failed.items()})
    return [
        f"status says {told[key]} {key}, and it is {counted[key]}"
        for key in told | counted
        if told[key] != counted[key]
    ]
