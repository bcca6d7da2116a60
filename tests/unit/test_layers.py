"""The table under "Layers" in the README is true: who may import whom, and who may touch the world (DESIGN §2)."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
PACKAGE = README.parent / "canarysync"

EXEMPT = {"__init__.py", "__main__.py"}
PURE_ROWS = {0, 1, 2}
IMPURE = {"os", "time", "random", "requests", "sqlite3", "watchdog", "socket", "threading"}
SOLE_USERS = {
    "requests": "upload.py",
    "sqlite3": "ledger_sqlite/",
    "watchdog": "discover.py",
    "yaml": "parse/",
    "prometheus_client": "metrics.py",
}


def rows_in(markdown: str) -> list[tuple[int, str]]:
    """The (row, module) pairs of the table ``| row | module | its one job |`` under ``## Layers``."""
    section = re.search(r"^## Layers\n(.*?)(?=^## |\Z)", markdown, re.MULTILINE | re.DOTALL)
    assert section is not None, "the README has no section '## Layers'"
    lines = re.findall(r"^\|\s*(\d+)\s*\|([^|]+)\|\s*\S[^|]*\|$", section[1], re.MULTILINE)
    return [(int(row), module) for row, cell in lines for module in re.findall(r"`([^`]+)`", cell)]


def imported(source: str) -> set[str]:
    """All dotted names that a module imports, wherever in it; ``from a import b`` may mean ``a`` or ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "imports are absolute"
            assert node.level == 0, "imports are absolute"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def modules() -> dict[str, set[str]]:
    """Each module of the package, a folder as one (``parse/``), and what it imports."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).parts
        if inside[0] not in EXEMPT:
            module = inside[0] if len(inside) == 1 else inside[0] + "/"
            found.setdefault(module, set()).update(imported(path.read_text(encoding="utf-8")))
    return found


def ours(names: set[str]) -> set[str]:
    """The modules of the package among dotted names: ``canarysync.parse.source`` is ``parse/``."""
    heads = {name.split(".")[1] for name in names if name.startswith("canarysync.")}
    return {module for module in modules() if module.removesuffix("/").removesuffix(".py") in heads}


@pytest.fixture(scope="module")
def rows() -> list[tuple[int, str]]:
    return rows_in(README.read_text(encoding="utf-8"))


def test_every_module_stands_in_exactly_one_row(rows: list[tuple[int, str]]) -> None:
    assert Counter(module for _, module in rows) == Counter(list(modules()))


def test_a_module_imports_only_from_lower_rows(rows: list[tuple[int, str]]) -> None:
    row_of = {name: row for row, name in rows}
    pairs = [(user, used) for user, names in modules().items() for used in ours(names) - {user}]
    assert not [
        f"{user} (row {row_of[user]}) imports {used} (row {row_of[used]})"
        for user, used in sorted(pairs)
        if row_of[used] >= row_of[user]
    ]


def test_the_lowest_rows_are_pure(rows: list[tuple[int, str]]) -> None:
    touched = {module: world(module) & IMPURE for row, module in rows if row in PURE_ROWS}
    assert touched
    assert not {module: names for module, names in touched.items() if names}


@pytest.mark.parametrize("library", SOLE_USERS)
def test_a_library_has_one_user(library: str) -> None:
    assert [module for module in modules() if library in world(module)] == [SOLE_USERS[library]]


def world(module: str) -> set[str]:
    """The top-level packages that a module imports."""
    return {name.partition(".")[0] for name in modules()[module]}


# --- the readers above can see what they have to see ------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "import canarysync.parse.source",
        "import os, canarysync.parse.source as s",
        "from canarysync import parse",
        "from canarysync.parse import parse",
        "from canarysync.parse.source import Fault as F",
        "def f():\n    from canarysync.parse import parse",
        "if TYPE_CHECKING:\n    from canarysync.parse import parse",
        "try:\n    import canarysync.parse\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_is_seen_wherever_it_stands(source: str) -> None:
    assert ours(imported(source)) == {"parse/"}


def test_the_version_is_no_module() -> None:
    assert ours(imported("import canarysync\nfrom canarysync import __version__")) == set()


def test_a_table_is_read() -> None:
    text = (
        "# x\n| 9 | `no.py` | other |\n## Layers\nwords `os`\n\n| row | module | its one job |\n|---|---|---|\n"
        "| 1 | `a.py`, `b/` | both, of `c.py` |\n| 0 | `d.py` | one |\n\n## Next\n| 0 | `e.py` | other |\n"
    )
    assert rows_in(text) == [(1, "a.py"), (1, "b/"), (0, "d.py")]
