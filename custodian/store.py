"""What a custodian remembers besides keys: withdrawals, directories, times, what it has opened.

Every commit survives a power cut (``synchronous = FULL``): a withdrawal that was acknowledged
stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from protocol.signing import Signed
from runtime.database import Migration, open_database, write_transaction

_MIGRATIONS = (
    Migration(
        "withdrawals, facts",
        """
        CREATE TABLE withdrawals (
            query_digest BLOB NOT NULL,
            signer TEXT NOT NULL,
            message BLOB NOT NULL,
            received_ms INTEGER NOT NULL,
            logged INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (query_digest, signer)
        ) WITHOUT ROWID;
        CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        """,
    ),
    Migration(
        "directories that changed among whom keys are shared",
        """
        CREATE TABLE directories (
            version INTEGER PRIMARY KEY,
            signed BLOB NOT NULL,
            until_ms INTEGER
        ) STRICT;
        """,
    ),
    Migration(
        "rows and stills opened for each query, and receipts of them",
        """
        CREATE TABLE opened (
            query_digest BLOB NOT NULL,
            kind TEXT NOT NULL,
            mark BLOB NOT NULL,
            pending_from INTEGER,
            PRIMARY KEY (query_digest, kind, mark)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX opened_pending ON opened (kind, pending_from)
            WHERE pending_from IS NOT NULL;
        CREATE TABLE receipts (
            query_digest BLOB NOT NULL,
            kind TEXT NOT NULL,
            entry_index INTEGER NOT NULL,
            message BLOB NOT NULL,
            PRIMARY KEY (query_digest, kind, entry_index)
        ) STRICT;
        CREATE TABLE readers (
            query_digest BLOB NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (query_digest, name)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    Migration(
        "which box might speak for which camera, and until when",
        """
        CREATE TABLE box_rights (
            box TEXT NOT NULL,
            verify_key BLOB NOT NULL,
            camera TEXT NOT NULL,
            recording INTEGER NOT NULL,
            until_ms INTEGER,
            version_1_until_ms INTEGER,
            PRIMARY KEY (box, verify_key, camera, recording)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
)
SCHEMA = len(_MIGRATIONS)
"""How many steps of its schema this program knows."""
MAX_DIRECTORIES = 64
BoxRight = tuple[str, bytes, str, int, int | None, int | None]


class Store:
    """The custodian's database; safe in several threads, and beside the command line's."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        Raises:
            StorageError: it cannot be opened.
        """
        self._db = open_database(path, _MIGRATIONS, synchronous="FULL", across_threads=True)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.conn.close()

    def add_withdrawal(self, query_digest: bytes, withdrawal: Signed, *, received_ms: int) -> bool:
        """Keep a verified withdrawal; tell whether it is new."""
        with self._lock, write_transaction(self._db):
            cursor = self._db.conn.execute(
                "INSERT OR IGNORE INTO withdrawals (query_digest, signer, message, received_ms)"
                " VALUES (?, ?, ?, ?)",
                (query_digest, withdrawal.signer, withdrawal.to_bytes(), received_ms),
            )
            return bool(cursor.rowcount == 1)

    def withdrawals(self, query_digest: bytes) -> list[bytes]:
        """Return the withdrawals kept for one query, encoded."""
        with self._lock:
            rows = self._db.conn.execute(
                "SELECT message FROM withdrawals WHERE query_digest = ? ORDER BY signer",
                (query_digest,),
            ).fetchall()
        return [bytes(row[0]) for row in rows]

    def unlogged_withdrawals(self) -> list[tuple[bytes, str, bytes]]:
        """Return digest, signer and message of those that the audit log may not hold yet."""
        with self._lock:
            rows = self._db.conn.execute(
                "SELECT query_digest, signer, message FROM withdrawals WHERE logged = 0"
                " ORDER BY received_ms"
            ).fetchall()
        return [(bytes(row[0]), str(row[1]), bytes(row[2])) for row in rows]

    def mark_withdrawal_logged(self, query_digest: bytes, signer: str) -> None:
        """Note that the audit log holds a withdrawal."""
        with self._lock, write_transaction(self._db):
            self._db.conn.execute(
                "UPDATE withdrawals SET logged = 1 WHERE query_digest = ? AND signer = ?",
                (query_digest, signer),
            )

    def count_withdrawals(self) -> int:
        """Return how many withdrawals are kept."""
        with self._lock:
            return int(self._db.conn.execute("SELECT count(*) FROM withdrawals").fetchone()[0])

    def directories(self) -> list[tuple[int, bytes, int | None]]:
        """Return version and bytes of the directories kept, and until when each was in force."""
        with self._lock:
            rows = self._db.conn.execute(
                "SELECT version, signed, until_ms FROM directories ORDER BY version"
            ).fetchall()
        return [(int(row[0]), bytes(row[1]), row[2]) for row in rows]

    def add_directory(self, version: int, signed: bytes, *, now_ms: int) -> None:
        """Keep a directory that came into force at ``now_ms``; the newest 64 stay."""
        with self._lock, write_transaction(self._db):
            execute = self._db.conn.execute
            execute("UPDATE directories SET until_ms = ? WHERE until_ms IS NULL", (now_ms,))
            execute(
                "INSERT OR REPLACE INTO directories (version, signed) VALUES (?, ?)",
                (version, signed),
            )
            execute(
                "DELETE FROM directories WHERE version NOT IN"
                " (SELECT version FROM directories ORDER BY version DESC LIMIT ?)",
                (MAX_DIRECTORIES,),
            )

    def box_rights(self) -> list[BoxRight]:
        """Return box, key, camera, whether for recordings, until when, last time in version 1."""
        with self._lock:
            return list(self._db.conn.execute("SELECT * FROM box_rights"))

    def keep_box_rights(self, rights: Sequence[BoxRight], *, forget_before_ms: int) -> None:
        """Keep rights in place of what was kept of them; forget those that ended before a time."""
        with self._lock, write_transaction(self._db):
            self._db.conn.executemany(
                "INSERT OR REPLACE INTO box_rights VALUES (?, ?, ?, ?, ?, ?)", rights
            )
            self._db.conn.execute("DELETE FROM box_rights WHERE until_ms < ?", (forget_before_ms,))

    def count_opened(
        self, query_digest: bytes, kind: str, marks: Sequence[bytes], *, most: int, log_size: int
    ) -> tuple[int, int]:
        """Count ``marks`` as opened unless more than ``most`` of the query would be.

        They are pending until `settle_opened`, from an audit log of ``log_size`` entries on.

        Returns:
            how many had been opened before, and how many of ``marks`` are new.
        """
        with self._lock, write_transaction(self._db):
            execute = self._db.conn.execute
            known = self._opened(query_digest, kind)
            new = [
                mark
                for mark in marks
                if not execute(
                    "SELECT 1 FROM opened WHERE query_digest = ? AND kind = ? AND mark = ?",
                    (query_digest, kind, mark),
                ).fetchone()
            ]
            if known + len(new) <= most:
                self._db.conn.executemany(
                    "INSERT INTO opened VALUES (?, ?, ?, ?)",
                    [(query_digest, kind, mark, log_size) for mark in new],
                )
            return known, len(new)

    def _opened(self, query_digest: bytes, kind: str) -> int:
        row = self._db.conn.execute(
            "SELECT count(*) FROM opened WHERE query_digest = ? AND kind = ?",
            (query_digest, kind),
        ).fetchone()
        return int(row[0])

    def which_opened(self, query_digest: bytes, kind: str, marks: Sequence[bytes]) -> set[bytes]:
        """Return those of ``marks`` that have been opened for a query."""
        with self._lock:
            return {
                mark
                for mark in marks
                if self._db.conn.execute(
                    "SELECT 1 FROM opened WHERE query_digest = ? AND kind = ? AND mark = ?"
                    " AND pending_from IS NULL",
                    (query_digest, kind, mark),
                ).fetchone()
            }

    def pending_opened(self) -> list[tuple[str, int]]:
        """Return kind and size of the log then of what was counted and is not settled."""
        with self._lock:
            rows = self._db.conn.execute(
                "SELECT DISTINCT kind, pending_from FROM opened WHERE pending_from IS NOT NULL"
            ).fetchall()
        return [(str(row[0]), int(row[1])) for row in rows]

    def settle_opened(self, kind: str, *, logged: bool) -> None:
        """Keep what is pending if the audit log tells of it, else forget that it was counted."""
        with self._lock, write_transaction(self._db):
            self._settle(kind, logged=logged)

    def _settle(self, kind: str, *, logged: bool) -> None:
        self._db.conn.execute(
            "UPDATE opened SET pending_from = NULL WHERE kind = ? AND pending_from IS NOT NULL"
            if logged
            else "DELETE FROM opened WHERE kind = ? AND pending_from IS NOT NULL",
            (kind,),
        )

    def keep_receipt(
        self,
        query_digest: bytes,
        kind: str,
        message: bytes,
        *,
        entry_index: int,
        readers: Sequence[str],
    ) -> None:
        """Settle what is pending, and keep the signed answer that is about to leave."""
        with self._lock, write_transaction(self._db):
            self._settle(kind, logged=True)
            self._db.conn.execute(
                "INSERT INTO receipts VALUES (?, ?, ?, ?)",
                (query_digest, kind, entry_index, message),
            )
            self._db.conn.executemany(
                "INSERT OR IGNORE INTO readers VALUES (?, ?)",
                [(query_digest, name) for name in readers],
            )

    def answered(self, query_digest: bytes, kind: str) -> int:
        """Return how many answers are kept of a query."""
        with self._lock:
            row = self._db.conn.execute(
                "SELECT count(*) FROM receipts WHERE query_digest = ? AND kind = ?",
                (query_digest, kind),
            ).fetchone()
        return int(row[0])

    def receipts(
        self, query_digest: bytes, kind: str, *, from_entry: int, max_bytes: int
    ) -> list[bytes]:
        """Return kept answers in their order: as many as fit, one at least if there is one."""
        found: list[bytes] = []
        room = max_bytes
        with self._lock:
            rows = self._db.conn.execute(
                "SELECT message FROM receipts WHERE query_digest = ? AND kind = ?"
                " AND entry_index >= ? ORDER BY entry_index",
                (query_digest, kind, from_entry),
            )
            for (message,) in rows:
                room -= len(message)
                if found and room < 0:
                    break
                found.append(bytes(message))
        return found

    def readers(self, query_digest: bytes) -> set[str]:
        """Return who confirms hits of a query; empty while nothing has been opened for it."""
        with self._lock:
            rows = self._db.conn.execute(
                "SELECT name FROM readers WHERE query_digest = ?", (query_digest,)
            ).fetchall()
        return {str(row[0]) for row in rows}

    def fact(self, name: str) -> str | None:
        """Return a remembered fact, None if there is none of that name."""
        with self._lock:
            row = self._db.conn.execute(
                "SELECT value FROM facts WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Remember a fact."""
        self.change_facts((), lambda _kept: {name: value})

    def change_facts(
        self, names: Sequence[str], change: Callable[[dict[str, str | None]], Mapping[str, str]]
    ) -> None:
        """Remember what ``change`` makes of the facts ``names``; nobody changes them meanwhile."""
        with self._lock, write_transaction(self._db):
            kept = {name: self.fact(name) for name in names}
            self._db.conn.executemany(
                "INSERT INTO facts (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                list(change(kept).items()),
            )
