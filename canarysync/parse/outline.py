"""Where the values of a document begin, as a tree: what aliases share is stored once, not once a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from canarysync.model import Path, Places, Position
from canarysync.parse.source import Lines


@dataclass(slots=True)
class Node:
    """One value: the offset where it begins, and its members by object key or array index."""

    start: int
    members: dict[str | int, Member] = field(default_factory=dict)


class Member(NamedTuple):
    """One member of an object or array. ``key_start`` is the offset of its key, None in an array."""

    key_start: int | None
    node: Node


Offset = Callable[[Member], int | None]


class _Offsets(Mapping[Path, Position]):
    """One position per path, found by walking the tree. ``offset`` says which; None is no entry."""

    def __init__(self, root: Node, lines: Lines, offset: Offset) -> None:
        self._root = Member(None, root)
        self._lines = lines
        self._offset = offset

    def __getitem__(self, path: Path) -> Position:
        member = self._root
        for step in path:
            member = member.node.members[step]
        offset = self._offset(member)
        if offset is None:
            raise KeyError(path)
        return self._lines.position(offset)

    def __iter__(self) -> Iterator[Path]:
        waiting: list[tuple[Path, Member]] = [((), self._root)]
        while waiting:
            path, member = waiting.pop()
            if self._offset(member) is not None:
                yield path
            waiting += [((*path, step), inner) for step, inner in member.node.members.items()]

    def __len__(self) -> int:
        return sum(1 for _ in self)


def places(root: Node, lines: Lines) -> Places:
    """The positions in the tree under ``root``. Costs nothing until it is asked."""
    return Places(
        values=_Offsets(root, lines, lambda member: member.node.start),
        keys=_Offsets(root, lines, lambda member: member.key_start),
    )
