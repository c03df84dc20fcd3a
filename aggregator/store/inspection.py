"""Look into a store beside the service that runs: tables, counts, rows without what is sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

Shown = int | float | str | None
"""A value for people: identifiers in hex, of every other run of bytes its length alone."""


@dataclass(frozen=True, slots=True)
class TableSummary:
    """A table: how many rows it has, and of which columns."""

    name: str
    rows: int
    columns: tuple[str, ...]


class Inspector(Protocol):
    """Reads a store that somebody else may be writing; never writes it. Raises StorageError."""

    def tables(self) -> list[TableSummary]:
        """Return all tables by name."""

    def rows(self, table: str, *, limit: int) -> list[dict[str, Shown]]:
        """Return a table's last rows by its key, the last first.

        Raises:
            KeyError: there is no such table.
        """

    def close(self) -> None:
        """Close the store."""
