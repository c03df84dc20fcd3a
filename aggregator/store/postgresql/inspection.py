"""Look into the database of this backend (`aggregator.store.inspection`)."""

from __future__ import annotations

from aggregator.store.inspection import Shown, TableSummary
from aggregator.store.place import StorePlace
from aggregator.store.postgresql.sessions import Committed, Server

_IDENTIFIERS = frozenset({"query_id", "digest", "query_digest", "candidate_id", "grant_id"})
"""Columns whose bytes are shown: hashes and random numbers. Of all others the length is read."""
_PLAIN = frozenset({"int2", "int4", "int8", "text", "float8"})
_COLUMNS = """
SELECT c.relname::text, a.attname::text, t.typname::text
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname, a.attnum
"""
_KEYS = """
SELECT a.attname::text FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = %s::regclass AND i.indisprimary ORDER BY array_position(i.indkey, a.attnum)
"""


class PostgresqlInspector:
    """Reads the database at a place.

    Raises:
        StorageError: it cannot be reached, or read.
    """

    def __init__(self, place: StorePlace) -> None:
        self._server = Server(place, read_only=True)
        self._session = Committed(self._server)

    def tables(self) -> list[TableSummary]:
        columns = self._columns()
        return [
            TableSummary(name, self._count(name), tuple(found)) for name, found in columns.items()
        ]

    def rows(self, table: str, *, limit: int) -> list[dict[str, Shown]]:
        columns = self._columns().get(table)
        if columns is None:
            raise KeyError(table)
        keys = [row[0] for row in self._session.rows(_KEYS, [table])]
        if not keys and "id" in columns:
            keys = ["id"]
        last_first = f" ORDER BY {', '.join(f'{key} DESC' for key in keys)}" if keys else ""
        selected = ", ".join(_selected(name, kind) for name, kind in columns.items())
        rows = self._session.rows(
            f"SELECT {selected} FROM {table}{last_first} LIMIT %s",  # noqa: S608 - names of tables that are there
            [limit],
        )
        return [dict(zip(columns, map(_shown, row), strict=True)) for row in rows]

    def close(self) -> None:
        self._server.close()

    def _count(self, table: str) -> int:
        return int(self._session.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - names of tables that are there

    def _columns(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for table, column, kind in self._session.rows(_COLUMNS):
            found.setdefault(table, {})[column] = kind
        return found


def _selected(name: str, kind: str) -> str:
    """Return what is read of a column: nothing sealed leaves the database."""
    if kind in _PLAIN or (kind == "bytea" and name in _IDENTIFIERS):
        return f'"{name}"'
    if kind == "bytea":
        return f"'(' || length(\"{name}\") || ' bytes)'"
    return f'"{name}"::text'


def _shown(value: object) -> Shown:
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, int | float | str):
        return value
    raise TypeError(type(value))
