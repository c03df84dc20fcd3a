"""Witness other roles' audit logs: cosign a checkpoint only if it continues what was seen before.

What was cosigned last of each log is in a SQLite file of the witness's own, synced before the
signature leaves.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from protocol.auditlog import Checkpoint, check_consistency, cosign, signed_alone, verify_checkpoint
from protocol.signing import SigningKey, VerifyKey
from runtime.database import Migration, open_database, storage_errors, write_transaction

_SCHEMA = [
    Migration(
        "last checkpoint seen of each log",
        "CREATE TABLE seen (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL)"
        " STRICT",
    ),
    Migration(
        "what was cosigned, as it can be shown: the log's signature and ours",
        "ALTER TABLE seen ADD COLUMN statement TEXT",
    ),
]
SCHEMA = len(_SCHEMA)
"""How many steps of its schema this program knows."""


class Witness:
    """Cosigns other roles' checkpoints, each only if it continues what was seen of that log.

    Args:
        path: a SQLite file of the witness's own, created when absent.
        name: the witness's name.
        key: its signing key.

    Raises:
        StorageError: the file cannot be used.
    """

    def __init__(self, path: Path, name: str, key: SigningKey) -> None:
        self.name = name
        self._path = path
        self._key = key
        self._lock = threading.Lock()
        self._database = open_database(path, _SCHEMA, synchronous="FULL", across_threads=True)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def last_seen(self, origin: str) -> int:
        """Return the size of the last checkpoint cosigned for ``origin``; 0 before the first."""
        with self._lock, storage_errors(self._path):
            seen = self._seen(origin)
            return seen.size if seen is not None else 0

    def sizes(self) -> dict[str, int]:
        """Return the size of the last checkpoint cosigned of each log."""
        with self._lock, storage_errors(self._path):
            rows = self._database.conn.execute("SELECT origin, size FROM seen")
            return {str(origin): int(size) for origin, size in rows}

    def statements(self) -> tuple[str, ...]:
        """Return what was cosigned last of each log: its checkpoint under its signature and ours.

        For auditors, who hold it against the logs that they were shown. A log that was last
        cosigned by an older version of this program is left out until it is cosigned again.
        """
        with self._lock, storage_errors(self._path):
            rows = self._database.conn.execute(
                "SELECT statement FROM seen WHERE statement IS NOT NULL ORDER BY origin"
            )
            return tuple(str(row[0]) for row in rows.fetchall())

    def cosign(
        self,
        text: str,
        *,
        origin: str,
        key: VerifyKey,
        proof: Mapping[str, object] | None,
        time_s: int,
    ) -> str:
        """Return our signature line under the checkpoint ``text``, remembering it durably first.

        A checkpoint that was cosigned before gets the same line: its time is that of the first.

        Args:
            text: the signed checkpoint.
            origin: the log it must be of.
            key: the key that must have signed it.
            proof: of consistency from `last_seen`; None when that is 0 or the same size.
            time_s: now, seconds since 1970.

        Raises:
            CheckpointInvalid: of another log, or not signed by it.
            LogInconsistent: it does not continue what was seen (``LogForked``: another history of
                the same length). Tell the auditors: this is what witnesses are for.
            StorageError: it cannot be remembered, so it is not cosigned.
        """
        checkpoint = verify_checkpoint(text, origin=origin, key=key)
        with self._lock, write_transaction(self._database):
            seen = self._seen(origin)
            if seen is not None:
                check_consistency(seen, checkpoint, proof)
                if seen == checkpoint and (told := self._statement(origin)):
                    return told.splitlines(keepends=True)[-1]
            line = cosign(checkpoint, witness=self.name, key=self._key, time_s=time_s)
            self._database.conn.execute(
                "INSERT OR REPLACE INTO seen (origin, size, root, statement) VALUES (?, ?, ?, ?)",
                [
                    origin,
                    checkpoint.size,
                    checkpoint.root,
                    signed_alone(text, origin=origin, key=key) + line,
                ],
            )
        return line

    def _statement(self, origin: str) -> str | None:
        row = self._database.conn.execute(
            "SELECT statement FROM seen WHERE origin = ?", [origin]
        ).fetchone()
        return None if row is None or row[0] is None else str(row[0])

    def _seen(self, origin: str) -> Checkpoint | None:
        row = self._database.conn.execute(
            "SELECT size, root FROM seen WHERE origin = ?", [origin]
        ).fetchone()
        return Checkpoint(origin, int(row[0]), bytes(row[1])) if row else None
