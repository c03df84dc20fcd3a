"""What this box has imported, and what it watched itself: remembered so that nothing counts twice.

Kept on the box's disk and nowhere else. A file is a keyed hash of its content and its camera, so
that who takes the disk, without the box's key, cannot tell whether a film that he has was imported;
neither paths nor names are kept. Seconds are kept by camera and quarter hour, as the outbox keeps
those too.

A quarter hour that is about to be sealed is written down with the sequence number that its segment
will have, before the outbox stores it. After a kill between the two, the outbox's next number tells
whether it did, as long as it is asked before anything else is numbered (`settle_all`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge_agent.footage import seconds as s
from protocol.signing import SigningKey
from runtime.database import (
    Migration,
    StorageDamaged,
    forget_damage,
    open_database,
    storage_errors,
    write_transaction,
)

_log = structlog.get_logger()

LIVE, RECORDED = "live", "recorded"
"""Seconds that this box watched as they were, and seconds that it imported."""

_SCHEMA = """
CREATE TABLE film (
    identity BLOB PRIMARY KEY,
    began_ms INTEGER NOT NULL,
    imported_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE told (
    camera TEXT NOT NULL,
    slot INTEGER NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('live', 'recorded')),
    seconds BLOB NOT NULL,
    PRIMARY KEY (camera, slot, origin)
) WITHOUT ROWID;
CREATE TABLE intent (
    camera TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    seconds BLOB NOT NULL,
    PRIMARY KEY (camera, sequence)
) WITHOUT ROWID;
"""
MIGRATIONS = (Migration("films, seconds told, and intents", _SCHEMA),)
_LABEL = b"sealtrace/v2/imported-films"


@dataclass(frozen=True, slots=True)
class Known:
    """A film that was imported before: as of when it began, and when that was."""

    began_ms: int
    imported_ms: int


class Ledger:
    """The file; safe to use from any thread.

    Args:
        path: of the SQLite file; its folder must exist.
        board: the box's key, from which the key of the hashes comes.

    Raises:
        StorageError: it cannot be opened, or is of a newer version.
    """

    def __init__(self, path: Path, board: SigningKey) -> None:
        self._path = path
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_LABEL).derive(board.seed)
        self._lock = threading.RLock()
        self._database = open_database(path, MIGRATIONS, synchronous="FULL", across_threads=True)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            self._database.conn.close()

    # ------------------------------------------------------------------ films

    def _identity(self, camera: str, content: bytes) -> bytes:
        hashed = HMAC(self._key, SHA256())
        hashed.update(content + camera.encode())
        return hashed.finalize()

    def known(self, camera: str, content: bytes) -> Known | None:
        """Return what is known of a film by camera and content (SHA-256); None: never imported."""
        with self._lock, storage_errors(self._path):
            row = self._database.conn.execute(
                "SELECT began_ms, imported_ms FROM film WHERE identity = ?",
                (self._identity(camera, content),),
            ).fetchone()
        return None if row is None else Known(*row)

    def note_film(self, camera: str, content: bytes, *, began_ms: int, now_ms: int) -> None:
        """Note that all of a film has been imported."""
        with self._lock, write_transaction(self._database) as database:
            database.conn.execute(
                "INSERT OR REPLACE INTO film VALUES (?, ?, ?)",
                (self._identity(camera, content), began_ms, now_ms),
            )

    # ------------------------------------------------------------------ seconds

    def told(self, camera: str, origin: str, first: int, last: int) -> dict[int, int]:
        """Return the seconds told of a camera, by slot number from ``first`` through ``last``."""
        with self._lock, storage_errors(self._path):
            rows = self._database.conn.execute(
                "SELECT slot, seconds FROM told"
                " WHERE camera = ? AND origin = ? AND slot BETWEEN ? AND ?",
                (camera, origin, first, last),
            ).fetchall()
            waiting = self._database.conn.execute(
                "SELECT slot, seconds FROM intent WHERE camera = ? AND slot BETWEEN ? AND ?",
                (camera, first, last),
            ).fetchall()
        found = {slot: s.from_bytes(data) for slot, data in rows}
        for slot, data in waiting if origin == RECORDED else ():
            found[slot] = found.get(slot, 0) | s.from_bytes(data)
        return found

    def note_live(self, camera: str, number: int, seconds: int) -> None:
        """Note what this box watched of a slot, as its segment is sealed; also that it was none."""
        with self._lock, write_transaction(self._database):
            self._add(camera, number, LIVE, seconds)

    def intend(self, camera: str, sequence: int, number: int, seconds: int) -> None:
        """Note that a segment of a slot is about to be stored under this sequence number."""
        with self._lock, write_transaction(self._database) as database:
            database.conn.execute(
                "INSERT OR REPLACE INTO intent VALUES (?, ?, ?, ?)",
                (camera, sequence, number, s.to_bytes(seconds)),
            )

    def settle(self, camera: str, next_sequence: int) -> None:
        """Take an intent of a camera for done if its number has been used, else for undone.

        Args:
            camera: whose.
            next_sequence: the next number of the camera, as the outbox has it on its disk.
        """
        with self._lock, write_transaction(self._database) as database:
            rows = database.conn.execute(
                "DELETE FROM intent WHERE camera = ? RETURNING sequence, slot, seconds", (camera,)
            ).fetchall()
            for sequence, slot, data in rows:
                if sequence < next_sequence:
                    self._add(camera, slot, RECORDED, s.from_bytes(data))

    def settle_all(self, next_sequence: Callable[[str], int]) -> None:
        """Settle what a killed process left open; before anything is numbered.

        Args:
            next_sequence: gives a camera's next number; 0 for one that the outbox does not know.
        """
        with self._lock, storage_errors(self._path):
            rows = self._database.conn.execute("SELECT DISTINCT camera FROM intent").fetchall()
        for (camera,) in rows:
            self.settle(camera, next_sequence(camera))

    def forget_before(self, number: int) -> None:
        """Drop what is known of slots before ``number``: nothing can be imported there."""
        with self._lock, write_transaction(self._database) as database:
            database.conn.execute("DELETE FROM told WHERE slot < ?", (number,))

    def _add(self, camera: str, slot: int, origin: str, seconds: int) -> None:
        key = (camera, slot, origin)
        row = self._database.conn.execute(
            "SELECT seconds FROM told WHERE camera = ? AND slot = ? AND origin = ?", key
        ).fetchone()
        before = 0 if row is None else s.from_bytes(row[0])
        self._database.conn.execute(
            "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)",
            (*key, s.to_bytes(before | seconds)),
        )


def open_ledger(path: Path, board: SigningKey) -> Ledger:
    """Open the ledger; a damaged one is put aside and a new one begun, so that the box watches on.

    Of hours that are forgotten so headquarters tells (`edge_agent.footage.desk`).

    Raises:
        StorageError: it cannot be opened for another reason (permissions, a newer version).
    """
    try:
        return Ledger(path, board)
    except StorageDamaged as error:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns() // 1_000_000}")
        _log.critical("import_ledger_damaged", reason=str(error), put_aside=str(aside))
        for suffix in ("-wal", "-shm", ""):  # what the log holds belongs to the file
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        forget_damage(path)
    return Ledger(path, board)
