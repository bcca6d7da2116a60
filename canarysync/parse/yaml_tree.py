"""A YAML value while it is being put together."""

from __future__ import annotations

from dataclasses import dataclass

from canarysync.model import JsonValue
from canarysync.parse.outline import Member, Node
from canarysync.parse.source import Fault


@dataclass(slots=True)
class Built:
    """A value and where it begins. In place of a value that is wrong stands its fault."""

    value: JsonValue | Fault
    node: Node
    weight: int = 1
    """Values in it, itself included, and characters in those, with aliases written out."""
    height: int = 0
    """How many arrays and objects stand inside one another in it."""


@dataclass(slots=True)
class Frame:
    """An array or object that is still open."""

    built: Built
    anchor: str | None
    awaits_key: bool = False
    step: str | int | None = None
    """Where the next value goes; None after a key that is no string, and before a key."""
    _key_start: int | None = None

    def __post_init__(self) -> None:
        self._expect_next()

    def set_key(self, key: Built) -> None:
        self._grow(key)
        self.step = key.value if isinstance(key.value, str) else None
        self._key_start = key.node.start
        self.awaits_key = False

    def add(self, member: Built) -> None:
        """Put a value where ``step`` says; a value whose key is wrong is dropped."""
        self._grow(member)
        if self.step is not None:
            self.built.node.members[self.step] = Member(self._key_start, member.node)
            self._store(member.value)
        self._expect_next()

    def _store(self, value: JsonValue | Fault) -> None:
        if isinstance(value, Fault):
            return
        container = self.built.value
        if isinstance(container, dict) and isinstance(self.step, str):
            container[self.step] = value
        elif isinstance(container, list):
            container.append(value)

    def _expect_next(self) -> None:
        container = self.built.value
        self.awaits_key = isinstance(container, dict)
        self.step = None if self.awaits_key else len(self.built.node.members)

    def _grow(self, inner: Built) -> None:
        self.built.weight += inner.weight
        if inner.height > self.built.height:
            self.built.height = inner.height


Anchored = Built | Frame
"""What an anchor names: a value, or one that is still open, to which an alias would be recursive."""
