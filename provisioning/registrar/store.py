"""What the registrar remembers: claims, boxes, certificates, the newest admissions and CRL.

One SQLite file, shared by the service and the commands beside it (`sealtrace box claim`, `revoke`,
...). Claims are kept as their SHA-256 only. Every commit survives a power cut.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.database import Migration, open_database, write_transaction
from runtime.fsio import private_folder

ADMISSIONS, CRL = "admissions", "crl"
_MIGRATIONS = (
    Migration(
        "claims, boxes, certificates, documents",
        """
        CREATE TABLE claims (
            digest BLOB PRIMARY KEY,
            box TEXT NOT NULL,
            expires_ms INTEGER NOT NULL,
            used_ms INTEGER,
            bound BLOB,
            certificate BLOB
        ) WITHOUT ROWID;
        CREATE TABLE boxes (
            name TEXT PRIMARY KEY,
            cameras TEXT NOT NULL,
            settings TEXT NOT NULL,
            verify_key BLOB,
            claimed_ms INTEGER NOT NULL,
            admitted_ms INTEGER
        ) WITHOUT ROWID;
        CREATE TABLE revocations (
            name TEXT PRIMARY KEY,
            at_ms INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE certificates (
            serial TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            issued_ms INTEGER NOT NULL,
            not_after_ms INTEGER NOT NULL,
            revoked_ms INTEGER
        ) WITHOUT ROWID;
        CREATE INDEX certificates_by_name ON certificates (name);
        CREATE TABLE documents (
            name TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            data BLOB NOT NULL
        ) WITHOUT ROWID;
        """,
    ),
)
SCHEMA = len(_MIGRATIONS)
"""How many steps of its schema this program knows."""


_BOXES = (
    "SELECT name, cameras, settings, verify_key, claimed_ms, admitted_ms,"
    " (SELECT at_ms FROM revocations r WHERE r.name = boxes.name) FROM boxes"
)
_KEPT_MS = 90 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim; ``bound`` and ``certificate`` are the keys that used it, and what they got."""

    box: str
    expires_ms: int
    used_ms: int | None
    bound: bytes | None
    certificate: bytes | None


@dataclass(frozen=True, slots=True)
class BoxRecord:
    """A box that was claimed here; ``verify_key`` is set once it was admitted."""

    name: str
    cameras: tuple[dict[str, Any], ...]
    settings: dict[str, Any]
    verify_key: bytes | None
    claimed_ms: int
    admitted_ms: int | None
    revoked_ms: int | None

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The names of its cameras."""
        return tuple(str(camera["name"]) for camera in self.cameras)


@dataclass(frozen=True, slots=True)
class Certificate:
    """An issued certificate."""

    serial: int
    name: str
    fingerprint: str
    not_after_ms: int
    revoked_ms: int | None


class Store:
    """The database; safe in several threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        Raises:
            StorageError: it cannot be opened.
        """
        private_folder(path.parent)
        self._db = open_database(path, _MIGRATIONS, synchronous="FULL", across_threads=True)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.conn.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Do everything inside the block, or nothing; others wait."""
        with self._lock, write_transaction(self._db):
            yield

    # ------------------------------------------------------------------ claims

    def put_claim(self, digest: bytes, box: str, *, expires_ms: int) -> None:
        """Keep a new claim of ``box``; earlier ones that were not used are void."""
        self._do("DELETE FROM claims WHERE box = ? AND used_ms IS NULL", box)
        self._do(
            "INSERT INTO claims (digest, box, expires_ms) VALUES (?, ?, ?)", digest, box, expires_ms
        )

    def claim(self, digest: bytes) -> Claim | None:
        """Return the claim with this SHA-256."""
        row = self._one(
            "SELECT box, expires_ms, used_ms, bound, certificate FROM claims WHERE digest = ?",
            digest,
        )
        return None if row is None else Claim(*row)

    def use_claim(self, digest: bytes, *, at_ms: int, bound: bytes, certificate: bytes) -> None:
        """Note that a claim was used, by which keys, and what they got."""
        self._do(
            "UPDATE claims SET used_ms = ?, bound = ?, certificate = ? WHERE digest = ?",
            at_ms,
            bound,
            certificate,
            digest,
        )

    def open_claim(self, box: str) -> Claim | None:
        """Return the claim of ``box`` that waits to be used."""
        row = self._one(
            "SELECT box, expires_ms, used_ms, bound, certificate FROM claims"
            " WHERE box = ? AND used_ms IS NULL",
            box,
        )
        return None if row is None else Claim(*row)

    def void_claims(self, box: str) -> None:
        """Forget every claim of ``box``."""
        self._do("DELETE FROM claims WHERE box = ?", box)

    # ------------------------------------------------------------------ boxes

    def put_box(
        self,
        name: str,
        cameras: Sequence[dict[str, Any]],
        settings: dict[str, Any],
        *,
        claimed_ms: int,
    ) -> None:
        """Keep a box's cameras and settings, new or changed; its key stays."""
        self._do(
            "INSERT INTO boxes (name, cameras, settings, claimed_ms) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET cameras = excluded.cameras,"
            " settings = excluded.settings, claimed_ms = excluded.claimed_ms",
            name,
            json.dumps(list(cameras)),
            json.dumps(settings),
            claimed_ms,
        )

    def admit(self, name: str, verify_key: bytes, *, at_ms: int) -> None:
        """Keep the key of a box that was admitted."""
        self._do(
            "UPDATE boxes SET verify_key = ?, admitted_ms = ? WHERE name = ?",
            verify_key,
            at_ms,
            name,
        )

    def box(self, name: str) -> BoxRecord | None:
        """Return a box that was claimed here."""
        rows = self._all(f"{_BOXES} WHERE name = ?", name)
        return _record(rows[0]) if rows else None

    def boxes(self) -> list[BoxRecord]:
        """Return every box that was claimed here, by name."""
        return [_record(row) for row in self._all(f"{_BOXES} ORDER BY name")]

    def revoke(self, name: str, *, at_ms: int) -> bool:
        """Revoke a box and its certificates, and void its claims; tell whether that was new."""
        self.void_claims(name)
        self._do(
            "UPDATE certificates SET revoked_ms = ? WHERE name = ? AND revoked_ms IS NULL",
            at_ms,
            name,
        )
        return bool(
            self._do("INSERT OR IGNORE INTO revocations (name, at_ms) VALUES (?, ?)", name, at_ms)
        )

    def revocations(self) -> dict[str, int]:
        """Return who was revoked here, and when (ms)."""
        return dict(self._all("SELECT name, at_ms FROM revocations ORDER BY name"))

    # ------------------------------------------------------------------ certificates

    def put_certificate(self, certificate: Certificate, *, issued_ms: int) -> None:
        """Keep an issued certificate; those that ran out a season ago are forgotten."""
        self._do("DELETE FROM certificates WHERE not_after_ms < ?", issued_ms - _KEPT_MS)
        self._do(
            "INSERT INTO certificates (serial, name, fingerprint, issued_ms, not_after_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            f"{certificate.serial:x}",
            certificate.name,
            certificate.fingerprint,
            issued_ms,
            certificate.not_after_ms,
        )

    def certificates(self, name: str | None = None) -> list[Certificate]:
        """Return every certificate, or those of one box, in order of issue."""
        rows = self._all(
            "SELECT serial, name, fingerprint, not_after_ms, revoked_ms FROM certificates"
            " WHERE ? IS NULL OR name = ? ORDER BY issued_ms, serial",
            name,
            name,
        )
        return [Certificate(int(serial, 16), *rest) for serial, *rest in rows]

    # ------------------------------------------------------------------ documents

    def document(self, name: str) -> tuple[int, bytes] | None:
        """Return version and content of the newest document of a name."""
        row = self._one("SELECT version, data FROM documents WHERE name = ?", name)
        return None if row is None else (int(row[0]), bytes(row[1]))

    def put_document(self, name: str, version: int, data: bytes) -> None:
        """Keep the newest document of a name."""
        self._do(
            "INSERT INTO documents (name, version, data) VALUES (?, ?, ?) ON CONFLICT (name)"
            " DO UPDATE SET version = excluded.version, data = excluded.data",
            name,
            version,
            data,
        )

    # ------------------------------------------------------------------ inside

    def _do(self, sql: str, *values: object) -> int:
        with self._lock:
            return int(self._db.conn.execute(sql, values).rowcount)

    def _one(self, sql: str, *values: object) -> Any:
        with self._lock:
            cursor: sqlite3.Cursor = self._db.conn.execute(sql, values)
            return cursor.fetchone()

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            return list(self._db.conn.execute(sql, values).fetchall())


def _record(row: Any) -> BoxRecord:
    name, cameras, settings, *rest = row
    return BoxRecord(name, tuple(json.loads(cameras)), json.loads(settings), *rest)
