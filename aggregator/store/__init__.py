"""The aggregator's store: what came in, sealed, and what was asked of it. All SQL is in here."""

from __future__ import annotations

from pathlib import Path

from aggregator.store.inspection import Inspector
from aggregator.store.interface import ReaderSource, SegmentReader, Segments, Store, Unit
from aggregator.store.ledger import Ledger, LedgerReading
from aggregator.store.sqlite.inspection import SqliteInspector
from aggregator.store.sqlite.store import SqliteStore

__all__ = [
    "Inspector",
    "Ledger",
    "LedgerReading",
    "ReaderSource",
    "SegmentReader",
    "Segments",
    "Store",
    "Unit",
    "open_inspector",
    "open_store",
]


def open_store(database: Path) -> Store:
    """Open the store that the configuration names; a file is made when it is missing.

    Today that is a file of the embedded backend (`aggregator.store.sqlite`); another backend is
    chosen here, and nowhere else.

    Raises:
        StorageError: see `runtime.database.open_database`.
    """
    return SqliteStore(database)


def open_inspector(database: Path) -> Inspector:
    """Open the same store for looking into it, whether or not the service runs.

    Raises:
        StorageError: it is missing or unreadable.
    """
    return SqliteInspector(database)
