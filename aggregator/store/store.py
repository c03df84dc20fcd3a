"""Open the store, write to it one transaction at a time, and answer what is in a scope."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from aggregator.store.envelopes import read_envelope
from aggregator.store.schema import MIGRATIONS, PAGE_BYTES
from protocol.names import EPOCH_MS, CameraAddress, slots_in_window
from protocol.sealing import Envelope
from runtime.database import connection_to, open_database, storage_errors, write_transaction

_WRITER_CACHE_KIB = 32 * 1024
_READER_CACHE_KIB = 8 * 1024
_PURGE_ROWS = 500
_MAX_CAMERAS_A_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class StoredAnnouncement:
    """An epoch announcement: which keys it is about, and the signed message as it came."""

    address: CameraAddress
    epoch: int
    generation: int
    signed: bytes


@dataclass(frozen=True, slots=True)
class ScopeCount:
    """How much a scope holds; ``by_model`` maps a face model's id to its sightings."""

    segments: int
    live_envelopes: int
    sightings: int
    by_model: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge removed."""

    envelopes: int
    announcements: int
    quarantined: int


class Store:
    """The aggregator's database, shared by the threads of one process.

    Writers take turns (`writing`); every thread reads through a connection of its own (`reading`)
    and sees what was committed. Other processes open it themselves (`aggregator.matching.pool`).
    """

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
        self._local = threading.local()
        # Weak: a thread's connection goes with the thread.
        self._readers: weakref.WeakSet[Database] = weakref.WeakSet()
        self._writer.conn.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        # What is deleted is sealed: overwriting it is worth no disk access of its own.
        self._writer.conn.execute("PRAGMA secure_delete = FAST")
        self._writer.conn.execute("PRAGMA wal_autocheckpoint = 4000")

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Database]:
        """Hold the write lock for one transaction: committed at the end, undone on an error.

        Inside another of the same thread it is part of that one.

        Args:
            durable: what is committed survives a power cut.

        Raises:
            StorageFull, StorageError: see `runtime.database.write_transaction`.
        """
        with self._lock:
            if self._writer.conn.in_transaction:
                yield self._writer
                return
            with storage_errors(self.path):
                self._writer.conn.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with write_transaction(self._writer) as database:
                yield database

    def reading(self) -> Database:
        """Return this thread's own connection for reading; do not keep it across threads."""
        database: Database | None = getattr(self._local, "database", None)
        if database is None:
            database = open_for_reading(self.path)
            self._local.database = database
            self._readers.add(database)
        return database

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for reader in list(self._readers):
                reader.conn.close()
            self._writer.conn.close()

    # ------------------------------------------------------------------ what a scope holds

    def streams(self, cameras: Sequence[str]) -> dict[int, CameraAddress]:
        """Return the streams (one a box that ever spoke for it) of ``cameras``: id to address."""
        found: dict[int, CameraAddress] = {}
        for start in range(0, len(cameras), _MAX_CAMERAS_A_STATEMENT):
            names = cameras[start : start + _MAX_CAMERAS_A_STATEMENT]
            marks = ",".join("?" * len(names))
            rows = self.reading().conn.execute(
                f"SELECT id, site, box, camera FROM streams WHERE camera IN ({marks})",  # noqa: S608 - marks only
                list(names),
            )
            found.update({row[0]: CameraAddress(*row[1:]) for row in rows})
        return found

    def announcements(
        self, cameras: Sequence[str], *, from_ms: int, to_ms: int, after: int = 0
    ) -> list[StoredAnnouncement]:
        """Return the announcements of ``cameras`` whose epochs overlap ``[from_ms, to_ms)``.

        In the order camera's stream, epoch, generation: what a grant request carries.

        Args:
            cameras: names.
            from_ms: begin of the window.
            to_ms: its end, exclusive.
            after: only announcements received after this cursor (see `newest_announcement`).
        """
        first, last = from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS
        connection = self.reading().conn
        return [
            StoredAnnouncement(address, *row)
            for stream, address in sorted(self.streams(cameras).items())
            for row in connection.execute(
                "SELECT epoch, generation, signed FROM announcements"
                " WHERE stream = ? AND epoch BETWEEN ? AND ? AND id > ? ORDER BY epoch, generation",
                (stream, first, last, after),
            )
        ]

    def newest_announcement(self) -> int:
        """Return a cursor: the number of the newest announcement, 0 when there is none."""
        row = self.reading().conn.execute("SELECT max(id) FROM announcements").fetchone()
        return int(row[0] or 0)

    def newest_envelope(self) -> int:
        """Return a cursor: the number of the newest envelope in store, 0 when there is none."""
        row = self.reading().conn.execute("SELECT max(id) FROM envelopes").fetchone()
        return int(row[0] or 0)

    def count_scope(self, cameras: Sequence[str], *, from_ms: int, to_ms: int) -> ScopeCount:
        """Count what is stored for ``cameras`` in the slots that overlap ``[from_ms, to_ms)``.

        Reads counters only (they are in the clear), for estimates before anyone signs.
        """
        connection = self.reading().conn
        segments = live = sightings = 0
        by_model: dict[str, int] = {}
        names = {row[0]: row[1] for row in connection.execute("SELECT id, model FROM models")}
        for stream in self.streams(cameras):
            for epoch in range(from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS + 1):
                slots = slots_in_window(epoch, from_ms, to_ms)
                if not slots:
                    continue
                for segment, model, envelopes, count in connection.execute(
                    "SELECT segment, face_model, count(*), sum(count) FROM envelopes"
                    " WHERE stream = ? AND epoch = ? AND slot BETWEEN ? AND ?"
                    " GROUP BY segment, face_model",
                    (stream, epoch, slots.start, slots.stop - 1),
                ):
                    segments += envelopes if segment else 0
                    live += 0 if segment else envelopes
                    sightings += count
                    if model is not None:
                        by_model[names[model]] = by_model.get(names[model], 0) + count
        return ScopeCount(segments, live, sightings, by_model)

    def envelope(self, number: int) -> Envelope:
        """Return a stored envelope byte for byte as it came.

        Raises:
            KeyError: there is none of that number (any more).
        """
        return read_envelope(self.reading(), number)

    # ------------------------------------------------------------------ retention

    def purge(self, *, now_ms: int, retention_days: int) -> Purged:
        """Remove what is older than the retention and one day: its keys are destroyed anyway.

        Works in short transactions, so that ingest is not held up.

        Raises:
            StorageError: see `runtime.database.write_transaction`.
        """
        oldest = now_ms // EPOCH_MS - retention_days - 1
        envelopes = self._delete("envelopes", "epoch < ?", oldest)
        announcements = self._delete("announcements", "epoch < ?", oldest)
        quarantined = self._delete("quarantine", "received_ms < ?", oldest * EPOCH_MS)
        self._delete("gaps", "coalesce(closed_ms, opened_ms) < ?", oldest * EPOCH_MS)
        with self.writing() as database:
            database.conn.execute("DELETE FROM rejects WHERE last_ms < ?", (oldest * EPOCH_MS,))
        for (stream,) in self.reading().conn.execute("SELECT id FROM streams").fetchall():
            with self.writing() as database:
                database.conn.execute(
                    "DELETE FROM sequences WHERE stream = ? AND epoch < ?", (stream, oldest)
                )
        return Purged(envelopes, announcements, quarantined)

    def _delete(self, table: str, condition: str, limit: int) -> int:
        """Delete from ``table`` (both texts are this module's own) a few rows at a time."""
        removed = 0
        while True:
            with self.writing() as database:
                cursor = database.conn.execute(
                    f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - our own words
                    f" (SELECT id FROM {table} WHERE {condition} LIMIT {_PURGE_ROWS})",
                    (limit,),
                )
            removed += cursor.rowcount
            if cursor.rowcount < _PURGE_ROWS:
                return removed


def open_for_reading(path: Path) -> Database:
    """Open an existing store that this connection will never write.

    Raises:
        StorageError: it is missing or unreadable.
    """
    with storage_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=10.0,
            isolation_level=None,
            check_same_thread=False,
            factory=connection_to(path),
        )
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return Database(connection, execute_plugins=False)
