"""SQLite's own connections, with what they execute written down."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any


class Watched(sqlite3.Connection):
    """A connection that writes down what it executes, and can refuse to end a transaction."""

    closed = False
    statements: list[str]
    refuses_to_commit = refuses_to_roll_back = False

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        self.statements.append(sql)
        if (self.refuses_to_commit and sql == "COMMIT") or (self.refuses_to_roll_back and sql == "ROLLBACK"):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *arguments)

    def close(self) -> None:
        self.closed = True
        super().close()


@dataclass
class Spy:
    """All connections made, in order, and all that they executed."""

    connections: list[Watched] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    @property
    def writer(self) -> Watched:
        return self.connections[0]

    @property
    def reader(self) -> Watched:
        return self.connections[1]

    def commits(self) -> int:
        return self.statements.count("COMMIT")
