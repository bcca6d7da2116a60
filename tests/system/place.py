"""A drop folder and a done folder with one file on its way between them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from canarysync.candidates import PASSAGE, RECEIPT_SUFFIX
from canarysync.filing import file_away
from canarysync.moving import Move
from canarysync.reading import look
from tests.support import finished

ENTRY = "019b796d-d600-745f-8fa6-9900b268e9c0"
DATA = b'{"what": "was sent"}\n'
OTHER = b'{"what": "came in its place"}\n'


_rename = os.rename  # what others do fails in no test


@dataclass(frozen=True)
class Place:
    """``name``: the file's, in both folders. ``strangers``: what others have put in its place so far."""

    drop: Path
    done: Path
    name: str = "visit.json"
    strangers: list[bytes] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.drop / self.name

    @property
    def receipt(self) -> str:
        return self.name + RECEIPT_SUFFIX

    def move(self, content: bytes | None = None, *, unread: bool = False, name: str | None = None) -> Move:
        """The file that is in the drop folder now, about to be filed; ``content``: it is still in memory."""
        signature = look(self.source)[1]
        assert signature is not None
        return Move(
            entry_id=ENTRY,
            drop=str(self.drop),
            source=str(self.source),
            folder=str(self.done),
            target=name or self.name,
            suffix=RECEIPT_SUFFIX,
            signature=signature,
            sha256=None if unread else hashlib.sha256(DATA).hexdigest(),
            sidecar=sidecar,
            content=content,
            again=False,
        )

    def replace(self, content: bytes = OTHER) -> None:
        """Another file takes the place of the one that we know, as a producer that writes and renames does it."""
        (self.drop.parent / "writing").write_bytes(content)
        _rename(self.drop.parent / "writing", self.source)
        self.strangers.append(content)

    def change(self) -> None:
        """The file itself gets another content."""
        self.source.write_bytes(OTHER)
        self.strangers.append(OTHER)

    def take_away(self) -> None:
        """Somebody moves the file to a place of their own."""
        _rename(self.source, self.drop.parent / "taken away")

    def in_drop(self) -> dict[str, bytes]:
        """With what is left in the passage."""
        passage = self.drop / PASSAGE
        return _contents(self.drop) | (_contents(passage) if passage.exists() else {})

    def in_done(self) -> dict[str, bytes]:
        return _contents(self.done)

    def assert_filed(self) -> None:
        """The file in done/, a sidecar that says so, and nothing else anywhere."""
        assert self.in_done() == {self.name: DATA, self.receipt: sidecar(False)}
        assert self.in_drop() == {}

    def assert_receipt_alone(self) -> None:
        assert self.in_done() == {self.receipt: sidecar(True)}


def sidecar(missing: bool) -> bytes:
    content: dict[str, Any] = {"entryId": ENTRY, "fileMissing": missing}
    return json.dumps(content).encode()


def make_place(home: Path, name: str = "visit.json", content: bytes = DATA) -> Place:
    place = Place(home / "drop", home / "done", name)
    place.drop.mkdir(parents=True)
    place.done.mkdir(parents=True, exist_ok=True)
    place.source.write_bytes(content)
    return place


def again(move: Move) -> bool:
    """What a new process does with an entry that was not filed: all that was in memory is gone."""
    return finished(file_away(replace(move, content=None, again=True)))


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        for path in folder.iterdir()
        if path.name != PASSAGE
    }
