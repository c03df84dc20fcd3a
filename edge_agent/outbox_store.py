"""The SQLite file under the outbox: rows of sealed messages, within a limit of bytes.

What may be dropped when the limit is reached, in this order: live envelopes whose segment is here
(nothing is lost), then a live envelope that has just come, then, for a segment, the newest live
envelopes. The oldest messages are never dropped for newer ones of their own kind.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from runtime.database import (
    Migration,
    StorageError,
    open_database,
    storage_errors,
    write_transaction,
)
from runtime.errors import OperationError

EPOCH, LIVE, SEGMENT = "epoch", "live", "segment"
ROW_BYTES = 256  # what SQLite needs for a message beside its payload, roughly
_SCHEMA = """
CREATE TABLE camera (
    name TEXT PRIMARY KEY,
    next_sequence INTEGER NOT NULL,
    generation INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE message (
    camera TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('epoch', 'live', 'segment')),
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    sightings INTEGER NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (camera, sequence)
);
CREATE INDEX message_by_slot ON message (kind, camera, epoch, generation, slot);
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
"""
_SPARE_PAGES = 256
MIGRATIONS = (Migration("messages, cameras and counters", _SCHEMA),)
_COVERED = """
SELECT rowid, camera, sequence, size, sightings FROM message AS l
WHERE kind = 'live' AND EXISTS (
    SELECT 1 FROM message AS s WHERE s.kind = 'segment' AND s.camera = l.camera
    AND s.epoch = l.epoch AND s.generation = l.generation AND s.slot = l.slot)
ORDER BY rowid
"""
_NEWEST_LIVE = """
SELECT rowid, camera, sequence, size, sightings FROM message
WHERE kind = 'live' ORDER BY rowid DESC
"""


class OutboxFull(OperationError):
    """There is no room for this message; it was not stored and took no sequence number."""


@dataclass(frozen=True, slots=True)
class SlotName:
    """Which slot of which announced generation a message belongs to; -1 for an announcement."""

    epoch: int
    generation: int
    slot: int


@dataclass(frozen=True, slots=True)
class Row:
    """A message to store; ``sightings`` is how many are sealed in it."""

    camera: str
    sequence: int
    kind: str
    name: SlotName
    sightings: int
    payload: bytes

    @property
    def size(self) -> int:
        """The bytes that count against the limit."""
        return len(self.payload) + ROW_BYTES


@dataclass(slots=True)
class Removed:
    """What was deleted to make room: camera and sequence, and counts by name."""

    messages: list[tuple[str, int]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    bytes: int = 0

    def add(self, camera: str, sequence: int, size: int, what: str, sightings: int) -> None:
        """Note one deleted message."""
        self.messages.append((camera, sequence))
        self.bytes += size
        self.counts[f"dropped_{what}"] = self.counts.get(f"dropped_{what}", 0) + 1
        if what != "live_covered":
            name = f"dropped_{what}_sightings"
            self.counts[name] = self.counts.get(name, 0) + sightings


class Store:
    """The file. Its owner calls it from one thread at a time.

    Raises:
        StorageError: the file cannot be opened (from the constructor), read or written.
        StorageFull: the disk is full; nothing of that call was stored.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_pages: int | None = None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._database = open_database(
            path, MIGRATIONS, synchronous="FULL", max_pages=max_pages, across_threads=True
        )
        with storage_errors(path):
            connection = self._database.conn
            if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("VACUUM")
            query = "SELECT COALESCE(SUM(size), 0) FROM message"
            self._kept = int(connection.execute(query).fetchone()[0])

    @property
    def kept_bytes(self) -> int:
        """Bytes of messages that count against the limit."""
        return self._kept

    def cameras(self) -> dict[str, tuple[int, int]]:
        """Return each camera's next sequence number and last generation."""
        with storage_errors(self._path):
            rows = self._database.conn.execute("SELECT name, next_sequence, generation FROM camera")
            return {name: (sequence, generation) for name, sequence, generation in rows.fetchall()}

    def sequences(self) -> list[tuple[str, int]]:
        """Return camera and sequence of every message, ascending."""
        with storage_errors(self._path):
            query = "SELECT camera, sequence FROM message ORDER BY camera, sequence"
            return list(self._database.conn.execute(query).fetchall())

    def counters(self) -> dict[str, int]:
        """Return the saved counters."""
        with storage_errors(self._path):
            return dict(self._database.conn.execute("SELECT name, value FROM counter").fetchall())

    def read(self, camera: str, sequence: int) -> tuple[str, bytes] | None:
        """Return kind and payload of a message, None if it is not here."""
        with storage_errors(self._path):
            row = self._database.conn.execute(
                "SELECT kind, payload FROM message WHERE camera = ? AND sequence = ?",
                (camera, sequence),
            ).fetchone()
        return None if row is None else (str(row[0]), bytes(row[1]))

    def insert(
        self,
        row: Row,
        *,
        camera: tuple[int, int],
        counters: Mapping[str, int],
        spare: Collection[tuple[str, int]],
    ) -> Removed:
        """Store a message as the last of its camera's sequence, in one transaction.

        Whatever stood at its number or after it is replaced.

        Args:
            row: the message.
            camera: the camera's next sequence number and generation from now on.
            counters: the counters so far, to which drops are added.
            spare: camera and sequence of messages that must not be dropped now.

        Returns:
            What was dropped to make room.

        Raises:
            OutboxFull: over the limit, and nothing may be dropped for it.
        """
        removed = Removed()
        with write_transaction(self._database) as database:
            replaced = database.conn.execute(
                "DELETE FROM message WHERE camera = ? AND sequence >= ? RETURNING size",
                (row.camera, row.sequence),
            ).fetchall()
            replaced_bytes = sum(size for (size,) in replaced)
            over = self._kept - replaced_bytes + row.size - self._max_bytes
            if over > 0 and row.kind != EPOCH:  # without its announcement nothing can be opened
                self._make_room(row, over, removed, spare)
            self._put_message("INSERT", row)
            self._put_camera(row.camera, camera)
            for name, amount in removed.counts.items():
                self._put_counter(name, counters.get(name, 0) + amount)
        self._kept += row.size - replaced_bytes - removed.bytes
        return removed

    def adopt(self, rows: Sequence[Row]) -> int:
        """Store messages of another outbox under their own numbers; return how many were new."""
        with write_transaction(self._database):
            new = [row for row in rows if self._put_message("INSERT OR IGNORE", row)]
        self._kept += sum(row.size for row in new)
        return len(new)

    def _put_message(self, insert: str, row: Row) -> bool:
        values = (
            row.camera,
            row.sequence,
            row.kind,
            row.name.epoch,
            row.name.generation,
            row.name.slot,
            row.sightings,
            row.size,
            row.payload,
        )
        cursor = self._database.conn.execute(
            f"{insert} INTO message (camera, sequence, kind, epoch, generation, slot, sightings,"
            " size, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return bool(cursor.rowcount == 1)

    def _make_room(
        self, row: Row, over: int, removed: Removed, spare: Collection[tuple[str, int]]
    ) -> None:
        self._drop(_COVERED, over, "live_covered", removed, spare)
        if removed.bytes < over and row.kind == SEGMENT:
            self._drop(_NEWEST_LIVE, over, "live", removed, spare)
        if removed.bytes < over:
            raise OutboxFull(
                f"the outbox holds its {self._max_bytes} bytes (outbox.max_mb) and headquarters "
                "has not taken them; check the network, or give the outbox more room"
            )

    def _drop(
        self,
        query: str,
        over: int,
        what: str,
        removed: Removed,
        spare: Collection[tuple[str, int]],
    ) -> None:
        rows: Iterable[tuple[int, str, int, int, int]] = self._database.conn.execute(
            query
        ).fetchall()
        for number, camera, sequence, size, sightings in rows:
            if removed.bytes >= over:
                return
            if (camera, sequence) in spare:
                continue
            self._database.conn.execute("DELETE FROM message WHERE rowid = ?", (number,))
            removed.add(camera, sequence, size, what, sightings)

    def delete_through(self, camera: str, sequence: int, *, but: Sequence[int]) -> list[int]:
        """Delete a camera's messages up to ``sequence`` except ``but``; return their numbers."""
        with write_transaction(self._database) as database:
            rows = database.conn.execute(
                "DELETE FROM message WHERE camera = ? AND sequence <= ? AND sequence NOT IN"
                " (SELECT value FROM json_each(?)) RETURNING sequence, size",
                (camera, sequence, json.dumps(sorted(but))),
            ).fetchall()
        self._kept -= sum(size for _, size in rows)
        return [number for number, _ in rows]

    def save(self, *, cameras: Mapping[str, tuple[int, int]], counters: Mapping[str, int]) -> None:
        """Save cameras' numbers and counters."""
        with write_transaction(self._database):
            for name, value in cameras.items():
                self._put_camera(name, value)
            for name, amount in counters.items():
                self._put_counter(name, amount)

    def shrink(self) -> None:
        """Give freed pages back to the disk, some at a time; a few stay for what comes next."""
        with storage_errors(self._path):
            connection = self._database.conn
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            if free > _SPARE_PAGES:
                pages = min(512, free - _SPARE_PAGES)
                # The pragma frees one page a step, and execute() makes one step alone.
                connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def close(self) -> None:
        """Close the file."""
        self._database.conn.close()

    def _put_camera(self, name: str, numbers: tuple[int, int]) -> None:
        self._database.conn.execute(
            "INSERT INTO camera VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " next_sequence = excluded.next_sequence, generation = excluded.generation",
            (name, *numbers),
        )

    def _put_counter(self, name: str, value: int) -> None:
        self._database.conn.execute("INSERT OR REPLACE INTO counter VALUES (?, ?)", (name, value))


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What a camera has in the outbox, as read beside a running agent."""

    name: str
    next_sequence: int
    generation: int
    messages: int
    bytes: int
    oldest_sequence: int | None


def read_status(path: Path) -> tuple[list[CameraStatus], dict[str, int]]:
    """Return every camera's status and the counters, without touching the file.

    Raises:
        StorageError: there is no outbox, or it cannot be read.
    """
    if not path.is_file():
        raise StorageError(f"there is no outbox {path}; has the agent run with this configuration?")
    with storage_errors(path), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as c:
        rows = c.execute(
            "SELECT c.name, c.next_sequence, c.generation, COUNT(m.sequence),"
            " COALESCE(SUM(m.size), 0), MIN(m.sequence) FROM camera AS c"
            " LEFT JOIN message AS m ON m.camera = c.name GROUP BY c.name ORDER BY c.name"
        ).fetchall()
        counters = dict(c.execute("SELECT name, value FROM counter ORDER BY name").fetchall())
    return [CameraStatus(*row) for row in rows], counters
