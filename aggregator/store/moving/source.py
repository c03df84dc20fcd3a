"""Read the file of the embedded backend as rows for another: nothing is written to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aggregator.store.sqlite.connections import open_for_reading
from aggregator.store.sqlite.schema import MIGRATIONS
from aggregator.store.sqlite.segments import LIVE_COLUMN
from protocol.keytree import COUNTS, COVER, META, MODALITIES
from runtime.database import StorageError, schema_version

Row = tuple[Any, ...]
ENVELOPES = "envelopes"
ANNOUNCEMENTS = "announcements"
NUMBERED = (ENVELOPES, ANNOUNCEMENTS)
"""Tables whose rows never change, have rising numbers, and are copied while others write."""
_INTO_OTHERS = frozenset({"live_numbers", "sealed_rows"})
"""Tables whose rows stand elsewhere in the other backend, as columns or by an index."""
RENAMED = {"sequences": "digests"}
_NOT_COPIED = {"replaced_numbers": frozenset({"id"})}
"""Columns that the other backend has no need of."""
_SAID_OTHERWISE = {"packed": {"version_2": ("version", "version_2 + 1")}}
"""Columns that have another name and value there."""
_PLAIN = (
    "id", "stream", "epoch", "generation", "slot", "segment", "sequence", "count", "received_ms",
    "salt", "header", "signature",
)  # fmt: skip
_MODELS = tuple(f"{modality}_model" for modality in MODALITIES)


def _envelope_columns() -> dict[str, str]:
    """Return, by column of the other backend, where it stands in the file."""
    found = {name: f"e.{name}" for name in (*_PLAIN, *_MODELS)}
    found["version"] = "e.version_2 + 1"
    found["live"] = f"CASE e.segment WHEN 0 THEN e.{LIVE_COLUMN} END"
    for modality in MODALITIES:
        there = f"e.segment = 1 AND e.{modality}_model IS NOT NULL"
        found[modality] = f"CASE WHEN {there} THEN e.{modality} END"
    found |= {label: f"r.{label}" for label in (COVER, COUNTS)}
    found[META] = f"coalesce(e.{META}, r.{META})"
    return found


_ENVELOPE = _envelope_columns()


class Source:
    """The file at a path, read beside whoever writes it.

    Raises:
        StorageError: it is missing or unreadable, or of another version's schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = open_for_reading(path)
        found = schema_version(self._database)
        if found != len(MIGRATIONS):
            self.close()
            raise StorageError(
                f"{path} has schema {found}, and this program moves schema {len(MIGRATIONS)} alone:"
                " start the service once with this version, then move"
            )

    def close(self) -> None:
        """Close the file."""
        self._database.conn.close()

    def whole_tables(self) -> list[str]:
        """Return the tables that are copied whole, once nobody writes."""
        names = set(self._database.table_names()) - _INTO_OTHERS - set(NUMBERED)
        return sorted(name for name in names if not name.startswith("sqlite_"))

    def columns(self, table: str) -> list[str]:
        """Return the names that a table's columns have in the other backend, in order of rows."""
        return list(_ENVELOPE if table == ENVELOPES else self._columns(table))

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - names of tables that are there

    def rows(self, table: str) -> Iterator[Row]:
        """Yield all rows of a table."""
        names = ", ".join(self._columns(table).values())
        yield from self._database.execute(f"SELECT {names} FROM {table}")  # noqa: S608 - names of tables that are there

    def rows_after(self, table: str, number: int, *, most: int) -> list[Row]:
        """Return a numbered table's next rows behind a number, by number."""
        if table == ENVELOPES:
            select = (
                f"SELECT {', '.join(_ENVELOPE.values())} FROM envelopes e"  # noqa: S608 - our own words
                " LEFT JOIN sealed_rows r ON r.id = e.id WHERE e.id > ? ORDER BY e.id LIMIT ?"
            )
        else:
            names = ", ".join(self._columns(table).values())
            select = f"SELECT {names} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - names of tables that are there
        return self._database.execute(select, (number, most)).fetchall()

    def numbers(self, table: str) -> npt.NDArray[np.int64]:
        """Return the numbers of a table's rows, (n,), rising."""
        rows = self._database.execute(f"SELECT id FROM {table} ORDER BY id")  # noqa: S608 - names of tables that are there
        return np.fromiter((row[0] for row in rows), np.int64)

    def last_numbers(self) -> dict[str, int]:
        """Return by table the highest number that it ever gave, where it counts that."""
        return dict(self._database.execute("SELECT name, seq FROM sqlite_sequence").fetchall())

    def _columns(self, table: str) -> dict[str, str]:
        """Return, by column of the other backend, where it stands in a table."""
        left_out = _NOT_COPIED.get(table, frozenset())
        otherwise = _SAID_OTHERWISE.get(table, {})
        found = [column.name for column in self._database.table(table).columns]
        return dict(
            otherwise.get(name, (name, f'"{name}"')) for name in found if name not in left_out
        )
