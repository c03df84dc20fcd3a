"""What every part of the embedded backend stands on: a connection, and short ways to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from sqlite3 import Cursor
from typing import Any

from sqlite_utils import Database
from sqlite_utils.db import Table


class Tables:
    """Tables behind a connection, which is asked for anew each time: a thread has its own."""

    def __init__(self, connection: Callable[[], Database]) -> None:
        self._connection = connection

    def _run(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> Cursor:
        return self._connection().execute(sql, values)

    def _run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        self._connection().conn.executemany(sql, rows)

    def _number(self, sql: str, values: Sequence[object] = ()) -> int:
        """Return the one number that a statement asks for; 0 for NULL."""
        return int(self._run(sql, values).fetchone()[0] or 0)

    def _table(self, name: str) -> Table:
        return self._connection().table(name)

    def _drop(self, table: str, condition: str, limit: int, most: int) -> int:
        """Delete a few rows of ``table`` (both texts are this package's own); return how many."""
        return self._run(
            f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - our own words
            f" (SELECT id FROM {table} WHERE {condition} LIMIT {int(most)})",
            (limit,),
        ).rowcount


def one(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first row, None when there is none."""
    return next(iter(rows), None)
