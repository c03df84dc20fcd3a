"""Keep an append-only audit log on disk: what was appended is durable before anybody acts on it.

The tree is in SQLite (`runtime.merkletable`); entries and checkpoints have the forms of
`protocol.auditlog`. The file is in write-ahead mode with ``synchronous=FULL``, so that each append
is one synced write.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Mapping
from pathlib import Path

from protocol import hpke
from protocol.audit import LogCopy
from protocol.auditlog import (
    KINDS,
    Checkpoint,
    root_of,
    seal_entry,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from protocol.errors import CheckpointInvalid, LogInconsistent, ProofInvalid
from protocol.merkle_proofs import consistency_form, inclusion_form
from protocol.signing import SigningKey, VerifyKey
from runtime.database import (
    Migration,
    StorageError,
    open_database,
    storage_errors,
)
from runtime.merkletable import SCHEMA as MERKLE_TABLES
from runtime.merkletable import MerkleTable

_SCHEMA = [
    Migration(
        "checkpoints and cosignatures",
        """
        CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, root BLOB NOT NULL) STRICT;
        CREATE TABLE cosignature (
            size INTEGER NOT NULL REFERENCES checkpoint(size),
            witness TEXT NOT NULL,
            line TEXT NOT NULL,
            PRIMARY KEY (size, witness)
        ) STRICT;
        """,
    ),
    MERKLE_TABLES,
]
SCHEMA = len(_SCHEMA)
"""How many steps of its schema this program knows."""


def sealed(
    kind: str,
    time_ms: int,
    actor: str,
    query_id: bytes | None,
    body: Mapping[str, object],
    *,
    auditors: Mapping[str, hpke.PublicKey],
) -> bytes:
    """Return an entry as a log has it, sealed to the auditors.

    Raises:
        ValueError: no such kind of entry.
    """
    if kind not in KINDS:
        raise ValueError(f"no such kind of log entry: {kind!r}")
    return seal_entry(
        kind, body, time_ms=time_ms, actor=actor, query_id=query_id, auditors=auditors
    ).to_bytes()


class AuditLog:
    """One role's log; safe to use from several threads, opened by one process at a time.

    Args:
        path: the SQLite file, created when absent.
        origin: the log's name (`protocol.auditlog.origin_of`).
        signing_key: signs its checkpoints.
        auditors: to whom entries are sealed, by name; assign ``auditors`` when the site's change.

    Raises:
        StorageError: the file cannot be used, or is not the history that was signed for.
    """

    def __init__(
        self,
        path: Path,
        origin: str,
        signing_key: SigningKey,
        auditors: Mapping[str, hpke.PublicKey],
    ) -> None:
        self.origin = origin
        self.auditors = dict(auditors)
        self._path = path
        self._key = signing_key
        self._lock = threading.RLock()
        self._database = open_database(path, _SCHEMA, synchronous="FULL", across_threads=True)
        try:
            with storage_errors(path):
                try:
                    self._tree = MerkleTable(self._database)
                except StorageError as error:
                    raise StorageError(
                        f"{path}: entries of the audit log are missing ({error}); keep the file as "
                        "evidence and restore a backup"
                    ) from error
                self._check_history()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(
        self,
        kind: str,
        time_ms: int,
        actor: str,
        query_id: bytes | None,
        body: Mapping[str, object],
    ) -> int:
        """Seal ``body`` to the auditors, append the entry, return its index (from 0).

        When this returns, the entry survives a power cut; when it raises, there is no entry.

        Raises:
            StorageFull, StorageError: it could not be written: do not do what it was to record.
            ValueError: no such kind of entry.
        """
        entry = self.seal(kind, time_ms, actor, query_id, body)
        with self._lock, storage_errors(self._path):
            return self._tree.append(entry)

    def seal(
        self,
        kind: str,
        time_ms: int,
        actor: str,
        query_id: bytes | None,
        body: Mapping[str, object],
    ) -> bytes:
        """Return an entry, sealed to the auditors, for `append_once`.

        Raises:
            ValueError: no such kind of entry.
        """
        return sealed(kind, time_ms, actor, query_id, body, auditors=self.auditors)

    def append_once(self, entry: bytes, *, since: int) -> None:
        """Append what `seal` returned, unless it is among the entries from index ``since`` on.

        Raises:
            StorageFull, StorageError: see `append`.
        """
        with self._lock, storage_errors(self._path):
            if not self._tree.holds(entry, since):
                self._tree.append(entry)

    @property
    def size(self) -> int:
        """How many entries there are."""
        with self._lock, storage_errors(self._path):
            return self._tree.size

    def head(self) -> Checkpoint:
        """Return the size and root now."""
        with self._lock, storage_errors(self._path):
            size = self._tree.size
            return Checkpoint(self.origin, size, self._tree.root(size))

    def root_at(self, size: int) -> bytes:
        """Return the root over the first ``size`` entries, of those that there are."""
        with self._lock, storage_errors(self._path):
            return self._tree.root(min(size, self._tree.size))

    def checkpoint(self, size: int | None = None) -> str:
        """Return the signed checkpoint of the log as it is now, or was at ``size``.

        It carries the cosignatures received for that size, and is kept for `checkpoints`.

        Raises:
            CheckpointInvalid: the log has never had a checkpoint of that size.
        """
        with self._lock, storage_errors(self._path):
            if size is None:
                head = self.head()
                size = head.size
                self._database.conn.execute(
                    "INSERT OR IGNORE INTO checkpoint (size, root) VALUES (?, ?)",
                    [head.size, head.root],
                )
            row = self._database.conn.execute(
                "SELECT root FROM checkpoint WHERE size = ?", [size]
            ).fetchone()
            if row is None:
                raise CheckpointInvalid(f"{self.origin} has published no checkpoint of size {size}")
            text = sign_checkpoint(Checkpoint(self.origin, size, bytes(row[0])), self._key)
            return text + "".join(self._cosignatures(size))

    def checkpoints(self, since: int = 0, limit: int | None = None) -> tuple[str, ...]:
        """Return the checkpoints ever published, oldest first, each with its cosignatures.

        Args:
            since: only those of at least so many entries.
            limit: at most so many; None: all.
        """
        with self._lock, storage_errors(self._path):
            rows = self._database.conn.execute(
                "SELECT size FROM checkpoint WHERE size >= ? ORDER BY size LIMIT ?",
                [since, -1 if limit is None else limit],
            )
            return tuple(self.checkpoint(int(row[0])) for row in rows.fetchall())

    def add_cosignature(self, size: int, line: str, *, witness: str, key: VerifyKey) -> int:
        """Keep the line by which ``witness`` cosigned the checkpoint of ``size``.

        Returns the time at which it says that it did, in seconds since 1970.

        Raises:
            CheckpointInvalid: no such checkpoint, or the line is not that witness's.
        """
        with self._lock, storage_errors(self._path):
            text = self.checkpoint(size).partition("\n\n")[0] + "\n\n" + line
            time_s = verify_cosignature(text, witness=witness, key=key)
            self._database.conn.execute(
                "INSERT OR REPLACE INTO cosignature (size, witness, line) VALUES (?, ?, ?)",
                [size, witness, line],
            )
            return time_s

    def prove_inclusion(self, index: int, size: int | None = None) -> dict[str, object]:
        """Return the proof that entry ``index`` (from 0) is in the log of ``size`` (default: now).

        Raises:
            CheckpointInvalid: there is no such entry, or no such size.
        """
        with self._lock, storage_errors(self._path):
            known = self._tree.size
            if size is not None and size > known:
                raise CheckpointInvalid(f"{self.origin} has {known} entries, not {size}")
            try:
                return inclusion_form(index, known if size is None else size, self._tree.subtree)
            except ProofInvalid as error:
                raise CheckpointInvalid(f"{self.origin} has no entry {index}: {error}") from error

    def prove_consistency(self, earlier: int, later: int | None = None) -> dict[str, object] | None:
        """Return the proof that size ``later`` (default: now) only appends to size ``earlier``.

        None when there is nothing to prove: the sizes are equal, or ``earlier`` is 0.

        Raises:
            CheckpointInvalid: the log is not that long, or ``earlier`` is the longer.
        """
        with self._lock, storage_errors(self._path):
            known = self._tree.size
            size = known if later is None else later
            if earlier in {0, size} and 0 <= earlier <= size <= known:
                return None
            if size > known:
                raise CheckpointInvalid(f"{self.origin} has {known} entries, not {size}")
            try:
                return consistency_form(earlier, size, self._tree.subtree)
            except ProofInvalid as error:
                raise CheckpointInvalid(
                    f"{self.origin} cannot go from {earlier} to {size} entries: {error}"
                ) from error

    def entries(self, start: int = 0, stop: int | None = None) -> list[bytes]:
        """Return the encoded entries from index ``start`` up to, not including, ``stop``."""
        with self._lock, storage_errors(self._path):
            last = self.size if stop is None else stop
            return self._tree.entries(start, last)

    def copy(self) -> LogCopy:
        """Return the whole log as an auditor wants it, under a checkpoint of this moment."""
        with self._lock:
            self.checkpoint()
            return LogCopy(self.origin, tuple(self.entries()), self.checkpoints())

    def continue_by(self, copy: LogCopy) -> int:
        """Append what a copy of this very log has beyond ours; return how many entries.

        Of the copy counts what we have signed for: entries up to its longest checkpoint.

        Raises:
            CheckpointInvalid: it is another log's, or holds no checkpoint that our key has signed.
            LogInconsistent: its entries are not those that were signed for, or do not continue
                ours.
            StorageFull, StorageError: they could not be written; some may have been.
        """
        heads = [self._signed_in(text) for text in copy.checkpoints]
        signed = max(heads, key=lambda head: head.size, default=None)
        if signed is None:
            raise CheckpointInvalid(f"the copy of {copy.origin} holds no checkpoint")
        if len(copy.entries) < signed.size or not hmac.compare_digest(
            root_of(copy.entries[: signed.size]), signed.root
        ):
            raise LogInconsistent(
                f"the copy of {copy.origin} is not what was signed for at {signed.size} entries"
            )
        with self._lock, storage_errors(self._path):
            size = self._tree.size
            common = min(size, signed.size)
            if root_of(copy.entries[:common]) != self._tree.root(common):
                raise LogInconsistent(f"the copy of {copy.origin} tells another history than ours")
            for entry in copy.entries[size : signed.size]:
                self._tree.append(entry)
            self._database.conn.executemany(
                "INSERT OR IGNORE INTO checkpoint (size, root) VALUES (?, ?)",
                [(head.size, head.root) for head in heads if size <= head.size <= signed.size],
            )
        return max(0, signed.size - size)

    def _signed_in(self, text: str) -> Checkpoint:
        return verify_checkpoint(text, origin=self.origin, key=self._key.verify_key)

    def _cosignatures(self, size: int) -> list[str]:
        rows = self._database.conn.execute(
            "SELECT line FROM cosignature WHERE size = ? ORDER BY witness", [size]
        )
        return [str(row[0]) for row in rows.fetchall()]

    def _check_history(self) -> None:
        row = self._database.conn.execute(
            "SELECT size, root FROM checkpoint ORDER BY size DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return
        size, root = int(row[0]), bytes(row[1])
        known = self._tree.size
        if known < size or not hmac.compare_digest(self._tree.recomputed_root(size), root):
            raise StorageError(
                f"{self._path}: the audit log is not the one that was signed for ({known} entries, "
                f"{size} were signed for); keep the file as evidence and restore a backup"
            )
