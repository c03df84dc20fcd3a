"""The stills of a box on its disk: sealed, bounded in bytes and in hours, the oldest gone first.

It can be lost without loss of a sighting, so nothing of it ever holds one up: what the disk refuses
is counted and left. A damaged file is deleted and begun anew. Beside the stills it keeps why a
sighting has none, how many of a query were sent, and which requests have been answered.

No sighting's name stands in it: a row is found, and what is in it read, by who names the sighting.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from cryptography.exceptions import InvalidTag
from sqlite_utils import Database

from edge_agent.stills.unnamed import Place
from protocol.encoding import encode
from protocol.names import SightingName, slot_start_ms
from runtime.database import (
    Migration,
    StorageDamaged,
    StorageError,
    forget_damage,
    open_database,
    storage_errors,
    write_transaction,
)

_log = structlog.get_logger()

HOUR_MS: Final = 3_600_000
_SCHEMA = """
CREATE TABLE still (
    name BLOB NOT NULL PRIMARY KEY,
    begins_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX still_begins ON still (begins_ms);
CREATE TABLE sent (
    query BLOB NOT NULL,
    name BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (query, name)
) WITHOUT ROWID;
CREATE TABLE asked (
    officer TEXT NOT NULL,
    nonce BLOB NOT NULL,
    request BLOB NOT NULL,
    times INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (officer, nonce)
) WITHOUT ROWID;
CREATE TABLE made_room (
    begins_ms INTEGER NOT NULL
);
"""


def _forget_names(database: Database) -> None:
    """Put what only the sighting's name finds and opens in the place of plain names."""
    execute = database.conn.execute
    for (name,) in execute("SELECT name FROM still").fetchall():  # all stills would fill memory
        (sealed,) = execute("SELECT sealed FROM still WHERE name = ?", (name,)).fetchone()
        place = Place.of(name)
        execute(
            "UPDATE still SET name = ?, sealed = ? WHERE name = ?",
            (place.mark, place.close(sealed), name),
        )
    for query, name in execute("SELECT query, name FROM sent").fetchall():
        execute(
            "UPDATE sent SET name = ? WHERE query = ? AND name = ?",
            (Place.of(name).mark, query, name),
        )


MIGRATIONS = (
    Migration("stills, those sent, and requests", _SCHEMA),
    Migration("no names of sightings", apply=_forget_names),
)
_MOST_ABSENT = 20_000
"""Reasons kept of sightings without a still."""
_MOST_ASKED = 10_000
"""Requests remembered: more than the rate limit lets through in the time for which they count."""
_AGAIN_S = 60.0
_ROW_BYTES = 256  # a row's mark, its place in two indexes, and what its last page leaves empty


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a sighting: the encoded sealed still, or why there is none."""

    sealed: bytes
    reason: str = ""


class RequestSeen(Exception):
    """A request has been answered before, or another under its number."""


class NoMoreStills(Exception):
    """A query's number of stills is used up."""


class StillRing:
    """The file; safe to use from any thread.

    Args:
        path: of the SQLite file; its folder must exist.
        max_bytes: most bytes of stills.
        hours: how long one is kept after its quarter hour began.
    """

    def __init__(self, path: Path, *, max_bytes: int, hours: float) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._hours = hours
        self._lock = threading.RLock()
        self._opened: Database | None = None
        self._again_s = 0.0
        self._bytes = 0
        self.kept = 0
        """How many stills there are."""
        self.refused = False
        """Whether the disk refused what was to be written last."""

    @property
    def bytes_kept(self) -> int:
        """How many bytes of stills there are."""
        return self._bytes

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._opened is not None:
                self._opened.conn.close()
            self._opened, self._again_s = None, float("inf")

    # ------------------------------------------------------------------ stills

    def put(self, name: SightingName, sealed: bytes, *, reason: str = "") -> None:
        """Keep a still, or why there is none; older ones make room.

        Raises:
            StorageError: it cannot be written; nothing of it was.
        """
        begins_ms = slot_start_ms(name.epoch, name.slot)
        place = Place.of(_encoded(name))
        closed = place.close(sealed)
        with self._writing() as database:
            self._delete(database, "name = ?", (place.mark,))
            database.conn.execute(
                "INSERT INTO still VALUES (?, ?, ?, ?)", (place.mark, begins_ms, closed, reason)
            )
            if closed:
                self._bytes += len(closed) + _ROW_BYTES
                self.kept += 1
            self._make_room(database)

    def _make_room(self, database: Database) -> None:
        while self._bytes > self._max_bytes:
            found = database.conn.execute(
                "SELECT name, begins_ms, length(sealed) FROM still WHERE sealed != x''"
                " ORDER BY begins_ms, rowid LIMIT 1"
            ).fetchone()
            if found is None:
                return
            name, begins_ms, size = found
            database.conn.execute("DELETE FROM still WHERE name = ?", (name,))
            self._bytes -= size + _ROW_BYTES
            self.kept -= 1
            database.conn.execute("DELETE FROM made_room WHERE begins_ms <= ?", (begins_ms,))
            database.conn.execute("INSERT INTO made_room VALUES (?)", (begins_ms,))

    def find(self, name: SightingName) -> Kept | None:
        """Return what is kept of a sighting; None: nothing is known of it.

        Raises:
            StorageError: it cannot be read.
        """
        place = Place.of(_encoded(name))
        with self._lock, storage_errors(self.path):
            row = (
                self._database()
                .conn.execute("SELECT sealed, reason FROM still WHERE name = ?", (place.mark,))
                .fetchone()
            )
        if row is None:
            return None
        try:
            return Kept(place.open(row[0]), row[1])
        except InvalidTag:
            raise StorageError(f"{self.path}: a still is not what was put there") from None

    def why_gone(self, name: SightingName, now_ms: int) -> str:
        """Return why nothing is known of a sighting, as a code.

        Raises:
            StorageError: it cannot be read.
        """
        begins_ms = slot_start_ms(name.epoch, name.slot)
        if begins_ms < now_ms - self._hours * HOUR_MS:
            return "kept-no-longer"
        with self._lock, storage_errors(self.path):
            row = (
                self._database()
                .conn.execute("SELECT 1 FROM made_room WHERE begins_ms >= ?", (begins_ms,))
                .fetchone()
            )
        return "unknown" if row is None else "no-room"

    def move(self, old: SightingName, new: SightingName, sealed: bytes) -> None:
        """Keep a still under another name, sealed anew.

        Raises:
            StorageError: it cannot be written; the old one is there still.
        """
        with self._lock:
            self.put(new, sealed)
            self.drop(old)

    def drop(self, name: SightingName) -> None:
        """Delete a still.

        Raises:
            StorageError: it cannot be written.
        """
        with self._writing() as database:
            self._delete(database, "name = ?", (Place.of(_encoded(name)).mark,))

    def purge(self, now_ms: int, *, hours: float | None = None) -> None:
        """Delete what is older than it is kept, or of a time that has not come (a wrong clock).

        Args:
            now_ms: the wall clock.
            hours: keep them shorter than set up.

        Raises:
            StorageError: it cannot be written.
        """
        keep_ms = min(self._hours, self._hours if hours is None else hours) * HOUR_MS
        with self._writing() as database:
            self._delete(
                database,
                "begins_ms < ? OR begins_ms > ?",
                (round(now_ms - keep_ms), now_ms + 24 * HOUR_MS),
            )
            database.conn.execute(
                "DELETE FROM still WHERE rowid IN (SELECT rowid FROM still WHERE sealed = x''"
                " ORDER BY begins_ms DESC LIMIT -1 OFFSET ?)",
                (_MOST_ABSENT,),
            )
            database.conn.execute("DELETE FROM sent WHERE until_ms < ?", (now_ms,))

    def clear(self) -> None:
        """Delete all stills: they are not permitted any more.

        Raises:
            StorageError: it cannot be written.
        """
        with self._writing() as database:
            self._delete(database, "1", ())

    def _delete(self, database: Database, where: str, values: Sequence[object]) -> None:
        rows = database.conn.execute(
            f"DELETE FROM still WHERE {where} RETURNING length(sealed)",  # noqa: S608 - ours
            tuple(values),
        ).fetchall()
        for (size,) in rows:
            if size:
                self._bytes -= size + _ROW_BYTES
                self.kept -= 1

    # ------------------------------------------------------------------ requests

    def note_asked(
        self, officer: str, nonce: bytes, request: bytes, *, now_ms: int, since_ms: int, most: int
    ) -> None:
        """Remember a request by its digest: it may come again so often, another one never.

        Args:
            officer, nonce: who asked, and the request's number.
            request: SHA-256 of the signed request.
            now_ms: the wall clock.
            since_ms: requests dated before this are refused by their age, and forgotten here.
            most: how often it may come.

        Raises:
            RequestSeen: it came too often, or its number was another's.
            StorageError: it cannot be written.
        """
        with self._writing() as database:
            execute = database.conn.execute
            execute("DELETE FROM asked WHERE at_ms < ? OR at_ms > ?", (since_ms, now_ms + HOUR_MS))
            row = execute(
                "SELECT request, times FROM asked WHERE officer = ? AND nonce = ?", (officer, nonce)
            ).fetchone()
            if row is not None and (row[0] != request or row[1] >= most):
                raise RequestSeen
            if row is None and self._count(database, "asked") >= _MOST_ASKED:
                raise RequestSeen
            times = 1 if row is None else row[1] + 1
            execute(
                "INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?, ?)",
                (officer, nonce, request, times, now_ms),
            )

    def count_sent(self, query: bytes, name: SightingName, *, most: int, until_ms: int) -> int:
        """Count a still before it is sent; return how many sightings of a query that makes.

        Args:
            query: digest of the query, 32 bytes.
            name: whose still; one that was counted is not counted again.
            most: how many there may be.
            until_ms: the count is kept until then: the query's own end.

        Raises:
            NoMoreStills: there are so many already.
            StorageError: it cannot be written.
        """
        mark = Place.of(_encoded(name)).mark
        with self._writing() as database:
            execute = database.conn.execute
            total = int(
                execute("SELECT count(*) FROM sent WHERE query = ?", (query,)).fetchone()[0]
            )
            known = execute(
                "SELECT 1 FROM sent WHERE query = ? AND name = ?", (query, mark)
            ).fetchone()
            if known is not None:
                return total
            if total >= most:
                raise NoMoreStills
            execute("INSERT INTO sent VALUES (?, ?, ?)", (query, mark, until_ms))
            return total + 1

    @staticmethod
    def _count(database: Database, table: str) -> int:
        found = database.conn.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        return int(found[0])

    # ------------------------------------------------------------------ the file

    @contextmanager
    def _writing(self) -> Iterator[Database]:
        """Write within one transaction; what is counted here is right again if it fails."""
        with self._lock:
            database = self._database()
            before = self._bytes, self.kept
            try:
                with write_transaction(database):
                    yield database
                self.refused = False
            except BaseException as error:
                self._bytes, self.kept = before
                self.refused |= isinstance(error, StorageError)
                if isinstance(error, StorageDamaged):
                    self._begin_anew(str(error))
                raise

    def _database(self) -> Database:
        if self._opened is None:
            if time.monotonic() < self._again_s:
                raise StorageError(f"{self.path} could not be opened a moment ago")
            self._again_s = time.monotonic() + _AGAIN_S
            try:
                self._opened = self._open()
            except StorageDamaged as error:
                self._begin_anew(str(error))
                self._opened = self._open()
            with storage_errors(self.path):
                self.kept, self._bytes = self._opened.conn.execute(
                    "SELECT count(*), coalesce(sum(length(sealed) + ?), 0) FROM still"
                    " WHERE sealed != x''",
                    (_ROW_BYTES,),
                ).fetchone()
            self._again_s = 0.0
        return self._opened

    def _open(self) -> Database:
        return open_database(self.path, MIGRATIONS, across_threads=True)

    def _begin_anew(self, reason: str) -> None:
        _log.critical("stills_damaged", reason=reason, effect="all stills so far are deleted")
        if self._opened is not None:
            self._opened.conn.close()
        self._opened, self._again_s, self._bytes, self.kept = None, 0.0, 0, 0
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()
        forget_damage(self.path)


def _encoded(name: SightingName) -> bytes:
    return encode(name.to_value())
