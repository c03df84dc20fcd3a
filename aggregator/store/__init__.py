"""The aggregator's store: what came in, sealed, and what was asked of it. All SQL is in here."""

from __future__ import annotations

from pathlib import Path

from aggregator.store.interface import ReaderSource, SegmentReader, Segments, Store, Unit
from aggregator.store.ledger import Ledger, LedgerReading
from aggregator.store.sqlite.store import SqliteStore

__all__ = [
    "Ledger",
    "LedgerReading",
    "ReaderSource",
    "SegmentReader",
    "Segments",
    "Store",
    "Unit",
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
