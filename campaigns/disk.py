"""A disk that may lose power: what it was told, what it surely keeps, and what it may hold when the power is gone.

Files and folders are told apart from their names, as inodes are. A change of a file is kept once an fsync of that
file that began after it has returned; a change of names once an fsync of each folder that it touches has. Nothing
else makes anything durable: not time, not a close, not the fsync of a file for its own name (ext4 and others give
that, POSIX does not); and a syncfs keeps all files, and here no names, for which the program is not to rely on it. A
rename or unlink is atomic. Modes are taken to be kept at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from random import Random

PAGE_BYTES = 4096
"""What a kernel writes back at a time: within a page, what came later is never there without what came before."""

SECTOR_BYTES = 512
"""What a drive writes all of or nothing."""


class Variant(StrEnum):
    """One way in which a disk may have kept, or not kept, what was not yet synced."""

    SYNCED = "synced"  # nothing but what was synced
    EMPTY = "empty"  # all names and no contents: delayed allocation's files of no bytes
    ZEROS = "zeros"  # all names, and sizes, with zeros where the contents were to be
    BOTH = "both"  # as empty; of a move between two folders, the old name is there too unless its folder was synced
    TORN = "torn"  # some: the names up to some moment, and each file, or each page of it, at a moment of its own
    ALL = "all"  # everything: as after kill -9


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset; ``data`` None cuts the file there, or lengthens it to there."""

    offset: int
    data: bytes | None


@dataclass(eq=False, slots=True)
class File:
    """``kept`` is its content as of the last sync, ``pending`` what came since. ``origin``: the very file that it
    was before the program began, while it is unchanged."""

    kept: bytes = b""
    pending: list[Write] = field(default_factory=list)
    synced: int = 0  # writes that have left ``pending``
    origin: Path | None = None

    def content(self) -> bytes:
        """As the program sees it."""
        return _written(self.kept, self.pending)


@dataclass(eq=False, slots=True)
class Folder:
    """``at_first`` are its entries before the program began; what came since stands in the disk's journal."""

    at_first: dict[str, Node] = field(default_factory=dict)
    mode: int = 0o700


Node = File | Folder
Place = tuple[Folder, str]
Names = dict[Folder, dict[str, Node]]
"""The entries of folders; one that is not listed has those that it had at first."""


@dataclass(eq=False, slots=True)
class Naming:
    """One change of names, whole or not at all. ``unsynced``: the folders whose fsync it still waits for."""

    adds: tuple[Place, Node] | None
    removes: Place | None
    unsynced: set[Folder]


@dataclass(frozen=True, slots=True)
class Held:
    """What a disk holds, by path: folders with their modes, outer ones first; files with their content, or with
    their origin while they are unchanged; further names of those files."""

    folders: Mapping[PurePath, int]
    files: Mapping[PurePath, bytes | Path]
    links: Mapping[PurePath, PurePath]


def held_at(home: Path) -> Held:
    """What is in ``home``, where nothing may change any more: all files are the origins of themselves."""
    found = {PurePath(path.relative_to(home)): path for path in sorted(home.rglob("*"))}
    folders = {path: real.stat().st_mode & 0o7777 for path, real in found.items() if real.is_dir()}
    return Held(folders, {path: real for path, real in found.items() if path not in folders}, {})


class Disk:
    """Paths are relative to the root. KeyError for a path that is not there: then the record is incomplete."""

    def __init__(self, start: Held) -> None:
        """``start`` is durable from the beginning."""
        self._root = Folder()
        self._journal: list[Naming] = []
        self._now: Names = {}
        for path, mode in start.folders.items():
            self._begin_with(path, Folder(mode=mode))
        for path, content in start.files.items():
            self._begin_with(path, File(kept=content) if isinstance(content, bytes) else File(origin=content))
        for path, first in start.links.items():
            self._begin_with(path, self._node(first))

    def _begin_with(self, path: PurePath, node: Node) -> None:
        folder, name = self._place(path)
        folder.at_first[name] = node
        self._now.clear()

    # --- what it is told -----------------------------------------------------------------------------

    def create(self, path: PurePath) -> None:
        """A new empty file, unless there is one."""
        folder, name = self._place(path)
        if name not in _entries(folder, self._now):
            self._change(((folder, name), File()), None)

    def make_folder(self, path: PurePath) -> None:
        self._change((self._place(path), Folder()), None)

    def write(self, path: PurePath, data: bytes | None, offset: int | None = None) -> None:
        """Bytes at ``offset``, by default at the end; or, as ``Write`` has it, a cut."""
        file = self._file(path)
        file.pending.append(Write(len(file.content()) if offset is None else offset, data))

    def rename(self, source: PurePath, target: PurePath) -> None:
        self._change((self._place(target), self._node(source)), self._place(source))

    def link(self, source: PurePath, target: PurePath) -> None:
        self._change((self._place(target), self._node(source)), None)

    def unlink(self, path: PurePath) -> None:
        self._change(None, self._place(path))

    def sync(self, path: PurePath) -> Callable[[], None]:
        """An fsync begins. It covers what was there by now; call what is returned when it has ended."""
        node = self._node(path)
        if isinstance(node, File):
            until = node.synced + len(node.pending)
            return lambda: _keep(node, until)
        covered = [naming for naming in self._journal if node in naming.unsynced]

        def end() -> None:
            for naming in covered:
                naming.unsynced.discard(node)

        return end

    def sync_all_files(self) -> Callable[[], None]:
        """A syncfs begins: like an fsync of each file, whatever its name is by now."""
        files = [node for node in _nodes(self._root, self._now) if isinstance(node, File)]
        until = [(file, file.synced + len(file.pending)) for file in files]

        def end() -> None:
            for file, last in until:
                _keep(file, last)

        return end

    def _change(self, adds: tuple[Place, Node] | None, removes: Place | None) -> None:
        naming = Naming(adds, removes, {place[0] for place in (adds and adds[0], removes) if place})
        self._journal.append(naming)
        _apply(naming, self._now)

    def _place(self, path: PurePath) -> Place:
        folder = self._node(path.parent)
        assert isinstance(folder, Folder)
        return folder, path.name

    def _file(self, path: PurePath) -> File:
        node = self._node(path)
        assert isinstance(node, File)
        if node.origin is not None:
            node.kept, node.origin = node.origin.read_bytes(), None
        return node

    def _node(self, path: PurePath) -> Node:
        node: Node = self._root
        for name in path.parts:
            assert isinstance(node, Folder)
            node = _entries(node, self._now)[name]
        return node

    # --- what it may hold ----------------------------------------------------------------------------

    def holds(self, variant: Variant, chance: Random) -> Held:
        """What is there if the power goes now. ``chance`` decides where the variant leaves a choice."""
        names: Names = {}
        for naming in self._survivors(variant, chance):
            _apply(naming, names)
        folders: dict[PurePath, int] = {}
        files: dict[File, PurePath] = {}
        links: dict[PurePath, PurePath] = {}
        for path, node in _walk(self._root, names):
            if isinstance(node, Folder):
                folders[path] = node.mode
            elif files.setdefault(node, path) != path:
                links[path] = files[node]
        contents = {path: node.origin or _content(node, variant, chance) for node, path in files.items()}
        return Held(folders, contents, links)

    def _survivors(self, variant: Variant, chance: Random) -> list[Naming]:
        """The changes of names that came through, in their order."""
        pending = [naming for naming in self._journal if naming.unsynced]
        match variant:
            case Variant.SYNCED:
                lost = set(pending)
            case Variant.TORN:
                lost = set(pending[chance.randint(0, len(pending)) :])
            case Variant.BOTH:
                return [_with_its_old_name(naming) for naming in self._journal]
            case _:
                lost = set()
        return [naming for naming in self._journal if naming not in lost]


def _with_its_old_name(naming: Naming) -> Naming:
    """A move between two folders, as it is while only the new name is written."""
    source, target = naming.removes, naming.adds
    if target and source and source[0] is not target[0][0] and source[0] in naming.unsynced:
        return Naming(target, None, naming.unsynced)
    return naming


def _apply(naming: Naming, names: Names) -> None:
    if naming.removes is not None:
        folder, name = naming.removes
        _entries(folder, names).pop(name, None)
    if naming.adds is not None:
        (folder, name), node = naming.adds
        _entries(folder, names)[name] = node


def _entries(folder: Folder, names: Names) -> dict[str, Node]:
    return names.setdefault(folder, dict(folder.at_first))


def _walk(root: Folder, names: Names) -> Iterator[tuple[PurePath, Node]]:
    """Everything below the root, folders before what is in them."""
    for name, node in _entries(root, names).items():
        yield PurePath(name), node
        if isinstance(node, Folder):
            yield from ((name / path, below) for path, below in _walk(node, names))


def _nodes(root: Folder, names: Names) -> Iterator[Node]:
    return (node for _, node in _walk(root, names))


# --- contents ----------------------------------------------------------------------------------------


def _keep(file: File, until: int) -> None:
    """The first ``until`` writes of all that there ever were are durable."""
    count = max(until - file.synced, 0)  # another sync, begun later, may have ended before
    file.kept = _written(file.kept, file.pending[:count])
    del file.pending[:count]
    file.synced += count


def _content(file: File, variant: Variant, chance: Random) -> bytes:
    match variant:
        case Variant.ALL:
            return file.content()
        case Variant.ZEROS:
            size = len(file.content())
            return file.kept[:size].ljust(size, b"\0")
        case Variant.TORN:
            return _torn(file, chance)
        case _:
            return file.kept


def _torn(file: File, chance: Random) -> bytes:
    """The file as it was at a moment since the last sync; or each page at a moment of its own, or torn between two,
    and so the size."""
    moments = [_written(file.kept, file.pending[:count]) for count in range(len(file.pending) + 1)]
    if chance.random() < 0.5:
        return chance.choice(moments)
    size = len(chance.choice(moments))
    pages = (_torn_page(moments, start, chance) for start in range(0, size, PAGE_BYTES))
    return b"".join(pages)[:size]


def _torn_page(moments: list[bytes], start: int, chance: Random) -> bytes:
    page, other = (chance.choice(moments)[start : start + PAGE_BYTES].ljust(PAGE_BYTES, b"\0") for _ in range(2))
    cut = chance.choice((0, chance.randrange(0, PAGE_BYTES, SECTOR_BYTES)))
    return other[:cut] + page[cut:]


def _written(content: bytes, writes: list[Write]) -> bytes:
    made = bytearray(content)
    for write in writes:
        made.extend(bytes(max(write.offset - len(made), 0)))
        if write.data is None:
            del made[write.offset :]
        else:
            made[write.offset : write.offset + len(write.data)] = write.data
    return bytes(made)
