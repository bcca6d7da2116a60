"""What must hold between the keys of a configuration, beyond what its schema can say of each.

The checks work on the plain values, defaults filled in, and skip the parts that the schema has refused:
so that all problems of all parts come out at once.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from canarysync import dated
from canarysync.model import Path
from canarysync.quantity import duration_s
from canarysync.schema.formats import is_route_name
from canarysync.schema.wording import place_of

Values = Mapping[str, Any]
FOLDERS = ("drop", "done", "failed")


@dataclass(frozen=True, slots=True)
class Clash:
    """Keys that do not go together; ``path`` leads to the one to look at first."""

    path: Path
    message: str
    hint: str = ""


def clashes(config: Values, base: PurePosixPath, sound: Callable[[Path], bool]) -> Iterator[Clash]:
    """All clashes in ``config``. ``base`` is the folder of its file; ``sound`` tells what the schema took."""
    if config["api"] is not None and sound(("api",)):
        yield from _one_of(config["api"], "region", "url")
        yield from _one_of(config["api"], "api_key", "token")
    listed = config["routes"] if isinstance(config["routes"], list) else []
    routes = {index: route for index, route in enumerate(listed) if sound(("routes", index))}
    for index, route in routes.items():
        yield from _incomplete(index, route)
        yield from _retry(index, route["retry"])
        yield from _dates(index, route)
    yield from _same_names(routes)
    folders = [folder for index, route in routes.items() for folder in _folders(index, route, base)]
    yield from _overlaps(folders)
    if sound(("state",)):
        yield from _state(_normal(base, config["state"]), folders)


def route_name(route: Values) -> str:
    """The name of a route: its own, else its folder's."""
    name: str = route["name"] or PurePosixPath(route["folder"] or "").name
    return name


def route_folder(route: Values, kind: str) -> str:
    """A route's ``drop``, ``done`` or ``failed``, perhaps relative: its own key, without its dates, else in
    ``folder``."""
    if kind == "done" and route["done"]:
        return dated.split(route["done"])[0]
    return route[kind] or posixpath.join(route["folder"] or "", kind)


def route_dated(route: Values) -> str:
    """The pattern of the dated folders in ``done``; empty for none."""
    return dated.split(route["done"] or "")[1]


def _one_of(api: Values, one: str, other: str) -> Iterator[Clash]:
    if api[one] is None and api[other] is None:
        yield Clash(("api",), f"`api` needs `{one}` or `{other}`.", f"Add `{one}`.")
    if api[one] is not None and api[other] is not None:
        yield Clash(("api", other), f"`api` has both `{one}` and `{other}`.", "Remove one of them.")


def _incomplete(index: int, route: Values) -> Iterator[Clash]:
    path: Path = ("routes", index)
    name = route_name(route)
    if route["folder"] is None and not all(route[kind] for kind in FOLDERS):
        message = f"`{place_of(path)}` needs `folder`, or `drop`, `done` and `failed`."
        yield Clash(path, message, "Add `folder`.")
    elif not name:
        yield Clash(path, f"`{place_of(path)}` needs `name`, having no `folder` to take it from.", "Add `name`.")
    elif not is_route_name(name):
        message = f"The name of `{place_of((*path, 'folder'))}` cannot be the name of the route."
        yield Clash((*path, "folder"), message, "Add `name`, of ASCII letters, digits, _, - and points.")


def _retry(index: int, retry: Values) -> Iterator[Clash]:
    if (duration_s(retry["first"]) or 0) > (duration_s(retry["most"]) or 0):
        path: Path = ("routes", index, "retry")
        message = f"In `{place_of(path)}`, `first` is longer than `most`."
        yield Clash(path, message, "Make `first` shorter, or `most` longer.")


def _dates(index: int, route: Values) -> Iterator[Clash]:
    for kind in ("drop", "failed"):
        if any(directive in (route[kind] or "") for directive in dated.DATES):
            path: Path = ("routes", index, kind)
            message = f"`{place_of(path)}` has a date in it, which only `done` can have."
            yield Clash(path, message, "Name one folder.")


def _same_names(routes: Mapping[int, Values]) -> Iterator[Clash]:
    taken: dict[str, int] = {}
    for index, route in routes.items():
        first = taken.setdefault(route_name(route), index)
        if first != index and route_name(route):
            message = f"`routes[{index}]` has the same name as `routes[{first}]`."
            yield Clash(("routes", index, "name"), message, "Give each route a `name` of its own.")


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder of a route: where it is, which it is, and the key that says so."""

    at: PurePosixPath
    role: Path
    key: Path


def _folders(index: int, route: Values, base: PurePosixPath) -> Iterator[_Folder]:
    for kind in FOLDERS:
        if route[kind] is not None or route["folder"] is not None:
            key = "folder" if route[kind] is None else kind
            at = _normal(base, route_folder(route, kind))
            yield _Folder(at, ("routes", index, kind), ("routes", index, key))


def _normal(base: PurePosixPath, path: str) -> PurePosixPath:
    """``path`` for comparison: without ``..``, and without the second slash that POSIX keeps at the start."""
    return PurePosixPath("/" + posixpath.normpath(base / path).lstrip("/"))


def _overlaps(folders: list[_Folder]) -> Iterator[Clash]:
    """Every drop, done and failed folder must lie apart from every other; one clash for each key."""
    owners: dict[PurePosixPath, _Folder] = {}
    told: set[Path] = set()
    for folder in folders:
        if owners.setdefault(folder.at, folder) is not folder and folder.key not in told:
            told.add(folder.key)
            message = f"`{place_of(folder.role)}` is the same folder as `{place_of(owners[folder.at].role)}`."
            yield Clash(folder.key, message, "Give each a folder of its own.")
    for folder in folders:
        outer = next((owners[parent] for parent in folder.at.parents if parent in owners), None)
        if outer is not None and folder.key not in told:
            told.add(folder.key)
            message = f"`{place_of(folder.role)}` lies inside `{place_of(outer.role)}`."
            yield Clash(folder.key, message, "Move it out: these folders must lie apart.")


def _state(state: PurePosixPath, folders: list[_Folder]) -> Iterator[Clash]:
    for folder in folders:
        if state == folder.at or folder.at in state.parents:
            message = f"`state` lies in `{place_of(folder.role)}`."
            yield Clash(("state",), message, "Move it out: it holds the ledger, which is no score file.")
            return
