"""The store in one SQLite file: one connection writes, every thread reads through its own."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from aggregator.store.sqlite.connections import open_for_reading
from aggregator.store.sqlite.intake import IntakeTables
from aggregator.store.sqlite.leases import LeaseTables
from aggregator.store.sqlite.packs import PackTables
from aggregator.store.sqlite.queries import QueryTables
from aggregator.store.sqlite.schema import MIGRATIONS, PAGE_BYTES
from aggregator.store.sqlite.segments import SegmentTables
from aggregator.store.sqlite.stills import StillTables
from runtime.database import StorageError, open_database, storage_errors, write_transaction

_WRITER_CACHE_KIB = 32 * 1024


class LedgerTables(IntakeTables, QueryTables, StillTables, PackTables, LeaseTables):
    """The whole ledger."""


@dataclass(frozen=True, slots=True)
class SqliteUnit:
    """One transaction, on the connection that writes."""

    ledger: LedgerTables
    segments: SegmentTables


class SqliteStore:
    """The embedded backend (`aggregator.store.interface.Store`)."""

    def __init__(self, path: Path, *, max_pages: int | None = None) -> None:
        """Open or create the file at ``path``; its folder must exist.

        Raises:
            StorageError: see `runtime.database.open_database`.
        """
        self.path = path
        self._writer = open_database(
            path, MIGRATIONS, page_size=PAGE_BYTES, max_pages=max_pages, across_threads=True
        )
        self._lock = threading.RLock()
        self._local: threading.local | None = threading.local()
        # Weak: a thread's connection goes with the thread.
        self._readers: weakref.WeakKeyDictionary[Database, threading.Thread] = (
            weakref.WeakKeyDictionary()
        )
        self._writer.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        # What is deleted is sealed: overwriting it is worth no disk access of its own.
        self._writer.execute("PRAGMA secure_delete = FAST")
        self._writer.execute("PRAGMA wal_autocheckpoint = 4000")
        self.ledger, self.segments = self._over(self._reader)
        self._unit = SqliteUnit(*self._over(lambda: self._writer))

    @contextmanager
    def writing(self, *, durable: bool = False, beside: bool = False) -> Iterator[SqliteUnit]:
        """Hold one transaction: see `aggregator.store.interface.Store`.

        SQLite has one writer: those that may write ``beside`` others take turns, too.

        Raises:
            StorageFull, StorageError: see `runtime.database.write_transaction`.
        """
        with self._lock:
            if self._writer.conn.in_transaction:
                yield self._unit
                return
            with storage_errors(self.path):
                self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            try:
                with write_transaction(self._writer):
                    yield self._unit
            except BaseException:
                self._unit.segments.forget_models()
                raise

    def close(self) -> None:
        """Close every connection; one that another thread reads by goes when it has read.

        Closed beneath a statement, SQLite would free what that thread still uses.
        """
        with self._lock:
            readers, self._local = list(self._readers.items()), None
            for reader, thread in readers:
                if thread is threading.current_thread() or not thread.is_alive():
                    reader.conn.close()
            self._writer.conn.close()

    def _over(self, connection: Callable[[], Database]) -> tuple[LedgerTables, SegmentTables]:
        return LedgerTables(connection), SegmentTables(connection, self.path)

    def _reader(self) -> Database:
        """Return this thread's own connection for reading, which goes with the thread."""
        local = self._local
        if local is None:
            raise StorageError(f"{self.path} is closed")
        database: Database | None = getattr(local, "database", None)
        if database is None:
            database = local.database = open_for_reading(self.path)
            self._readers[database] = threading.current_thread()
        return database
