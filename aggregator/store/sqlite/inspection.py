"""Look into the file of the embedded backend (`aggregator.store.inspection`)."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils.db import Column

from aggregator.store.inspection import Shown, TableSummary
from aggregator.store.sqlite.connections import open_for_reading

_IDENTIFIERS = frozenset({"query_id", "digest", "query_digest", "candidate_id", "grant_id"})
"""Columns whose bytes are shown: hashes and random numbers. Of all others the length is read."""


class SqliteInspector:
    """Reads the file at ``path``.

    Raises:
        StorageError: it is missing or unreadable.
    """

    def __init__(self, path: Path) -> None:
        self._database = open_for_reading(path)

    def tables(self) -> list[TableSummary]:
        tables = (self._database.table(name) for name in sorted(self._database.table_names()))
        return [
            TableSummary(table.name, table.count, tuple(column.name for column in table.columns))
            for table in tables
            if not table.name.startswith("sqlite_")
        ]

    def rows(self, table: str, *, limit: int) -> list[dict[str, Shown]]:
        if table not in {known.name for known in self.tables()}:
            raise KeyError(table)
        found = self._database.table(table)
        last_first = ", ".join(f'"{name}" DESC' for name in found.pks)
        selected = ", ".join(_selected(column) for column in found.columns)
        rows = found.rows_where(select=selected, order_by=last_first, limit=limit)
        return [{name: _shown(value) for name, value in row.items()} for row in rows]

    def close(self) -> None:
        self._database.conn.close()


def _selected(column: Column) -> str:
    """Return what is read of a column: nothing sealed leaves the file."""
    name = f'"{column.name}"'
    if column.type.upper() in {"INTEGER", "TEXT"} or column.name in _IDENTIFIERS:
        return name
    return f"'(' || length({name}) || ' bytes)' AS {name}"


def _shown(value: object) -> Shown:
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, int | float | str):
        return value
    raise TypeError(type(value))
