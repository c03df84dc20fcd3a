"""Write a moved ledger into PostgreSQL, and read back what was written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from aggregator.store.moving.digests import Content
from aggregator.store.place import StorePlace
from aggregator.store.postgresql.days import Days
from aggregator.store.postgresql.sessions import Row, Server, Transaction
from aggregator.store.postgresql.store import PostgresqlStore
from runtime.database import StorageError

_LEDGER = ("streams", "queries", "boxes", "rejects", "quarantine", "log_outbox")
"""A database in which one of these has a row is somebody's."""
_FIRST = ("models", "streams", "queries", "results", "openings", "packs")
"""Others refer to these, so they are written before them."""
_DROPPED_AT_ONCE = 10_000
_PORTION = 2_000
_COLUMNS = """
SELECT a.attname::text, t.typname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_DAY_COLUMN = """
SELECT a.attname::text FROM pg_partitioned_table p
JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
WHERE p.partrelid = to_regclass(%s)
"""
_COUNTED = """
SELECT c.relname::text, a.attname::text,
    pg_get_serial_sequence(quote_ident(c.relname), a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL
"""


class NotTheSame(StorageError):
    """What was read back is not what was written."""


class Target:
    """A database that a ledger is moved into, under a mark that tells whose it is.

    Raises:
        StorageError: it cannot be used, or holds another ledger.
    """

    def __init__(self, place: StorePlace, mark: str, source: str) -> None:
        PostgresqlStore(place, moving=True).close()  # brings the schema up to date
        self._mark = mark
        self._server = Server(place)
        self._days = Days(self._server)
        self._types: dict[str, dict[str, str]] = {}
        with self.writing() as unit:
            self._claim(unit, place.name, source)

    def close(self) -> None:
        """Close every connection."""
        self._server.close()

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Hold one transaction."""
        with self._server.alone() as connection, connection.transaction():
            yield Transaction(connection, self._server.name)

    def is_finished(self) -> bool:
        """Tell whether the move was finished before."""
        with self.writing() as unit:
            rows = unit.rows("SELECT finished_at IS NOT NULL FROM moved_from WHERE mark = %s",
                             [self._mark])  # fmt: skip
        return bool(rows and rows[0][0])

    def moved_up_to(self, table: str) -> int:
        """Return up to which number a table has been moved."""
        with self.writing() as unit:
            rows = unit.rows(
                "SELECT up_to FROM moved_up_to WHERE mark = %s AND name = %s", [self._mark, table]
            )
        return int(rows[0][0]) if rows else 0

    # ------------------------------------------------------------------ writing

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Write the next rows of a numbered table, and read them back; all or nothing.

        Raises:
            NotTheSame: they are not what was written.
        """
        at = columns.index("id")
        first, last = rows[0][at], rows[-1][at]
        with self.writing() as unit:
            written = self._copy(unit, table, columns, rows)
            select = f"SELECT {_named(columns)} FROM {table} WHERE id BETWEEN %s AND %s"  # noqa: S608 - names of tables that are there
            if Content(unit.rows(select, (first, last))) != written:
                raise NotTheSame(f"{table} {first} to {last} came out otherwise than it went in")
            unit.change(
                "INSERT INTO moved_up_to (mark, name, up_to) VALUES (%s, %s, %s)"
                " ON CONFLICT (mark, name) DO UPDATE SET up_to = excluded.up_to",
                (self._mark, table, last),
            )

    def keep_only(self, table: str, numbers: npt.NDArray[np.int64], unit: Transaction) -> None:
        """Delete a numbered table's rows that are not among ``numbers`` (n,).

        Raises:
            NotTheSame: the rest is not what it should be.
        """
        there = np.fromiter((row[0] for row in unit.rows(f"SELECT id FROM {table}")), np.int64)  # noqa: S608 - names of tables that are there
        gone = np.setdiff1d(there, numbers)
        for start in range(0, len(gone), _DROPPED_AT_ONCE):
            some = gone[start : start + _DROPPED_AT_ONCE].tolist()
            unit.change(f"DELETE FROM {table} WHERE id = ANY (%s)", [some])  # noqa: S608 - names of tables that are there
        if len(there) - len(gone) != len(numbers):
            raise NotTheSame(f"{table} has {len(there) - len(gone)} rows, not {len(numbers)}")

    def empty(self, tables: Collection[str], unit: Transaction) -> None:
        """Empty tables that are going to be written whole."""
        unit.change(f"TRUNCATE {', '.join(sorted(tables))}")
        unit.holds_tables = True

    def write_whole(
        self, table: str, columns: Sequence[str], rows: Iterable[Row], unit: Transaction
    ) -> int:
        """Write a whole table, and read it back; return how many rows it has.

        Raises:
            NotTheSame: they are not what was written.
        """
        written = self._copy(unit, table, columns, rows)
        with unit.connection.cursor() as cursor:
            select = f"SELECT {_named(columns)} FROM {table}".encode()  # noqa: S608 - names of tables that are there
            if Content(cursor.stream(select, binary=True, size=_PORTION)) != written:
                raise NotTheSame(f"{table} came out otherwise than it went in")
        return written.count

    def count_on(self, last_numbers: dict[str, int], unit: Transaction) -> None:
        """Have every table give numbers behind those that were ever given."""
        for table, column, sequence in unit.rows(_COUNTED):
            top = unit.rows(f'SELECT coalesce(max("{column}"), 0) FROM {table}')[0][0]  # noqa: S608 - names of tables that are there
            if last := max(int(top), last_numbers.get(table, 0)):
                unit.rows("SELECT setval(%s, %s)", [sequence, last])

    def finish(self, unit: Transaction) -> None:
        """Note that all is here."""
        unit.change("UPDATE moved_from SET finished_at = now() WHERE mark = %s", [self._mark])

    def types(self, table: str) -> dict[str, str]:
        """Return the types of a table's columns; empty where there is no such table."""
        if table not in self._types:
            with self.writing() as unit:
                self._types[table] = dict(unit.rows(_COLUMNS, [table]))
        return self._types[table]

    # ------------------------------------------------------------------ inside

    def _claim(self, unit: Transaction, name: str, source: str) -> None:
        unit.change("LOCK TABLE moved_from IN SHARE ROW EXCLUSIVE MODE")
        marks = [row[0] for row in unit.rows("SELECT mark FROM moved_from")]
        if marks and self._mark not in marks:
            raise StorageError(f"{name} holds a ledger that was moved from elsewhere: name another")
        if self._mark in marks:
            return
        held = [one for one in _LEDGER if unit.rows(f"SELECT 1 FROM {one} LIMIT 1")]  # noqa: S608 - our own words
        if held:
            raise StorageError(
                f"{name} is not empty (there is something in {', '.join(held)}): it is another"
                " ledger; make a new database and name that"
            )
        unit.change("INSERT INTO moved_from (mark, source) VALUES (%s, %s)", [self._mark, source])

    def _copy(
        self, unit: Transaction, table: str, columns: Sequence[str], rows: Iterable[Row]
    ) -> Content:
        """Write rows, making the days that they need; return what was written."""
        types = self.types(table)
        kinds = [types[name] for name in columns]
        by = self._day_column(table, columns, unit)
        booleans = [at for at, kind in enumerate(kinds) if kind == "bool"]
        written = Content()
        portion: list[Row] = []

        def write() -> None:
            if by is not None:
                self._days.ensure([table], {row[by] for row in portion}, unit)
            unit.copy(table, _named(columns), kinds, portion)
            portion.clear()

        for row in rows:
            sent = [one.replace("\0", "\ufffd") if isinstance(one, str) else one for one in row]
            for at in booleans:
                sent[at] = bool(sent[at])
            written.add(sent)
            portion.append(tuple(sent))
            if len(portion) == _PORTION:
                write()
        if portion:
            write()
        return written

    @staticmethod
    def _day_column(table: str, columns: Sequence[str], unit: Transaction) -> int | None:
        """Return where in a row the day stands that a table is partitioned by; None if by none."""
        rows = unit.rows(_DAY_COLUMN, [table])
        return columns.index(rows[0][0]) if rows else None


def in_order(tables: Collection[str]) -> list[str]:
    """Return tables so that those which others refer to come before them."""
    first = [name for name in _FIRST if name in tables]
    return [*first, *sorted(set(tables) - set(first))]


def _named(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)
