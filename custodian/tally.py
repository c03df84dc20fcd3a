"""Counts what has been opened for each query one by one: distinct rows, distinct stills.

The count is durable before the log tells of it, and the log before the answer leaves. What was
counted when a crash came in between is settled by the log itself: if that tells of it, it counts.

Only keyed digests of the sightings are kept. A list in the clear would tell a thief of this disk
where and when a patient was found; the key comes of this custodian's identity, which is sealed on
the disk. With a new identity rows that were opened before count once more: too early an end, never
too late.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from custodian.store import Store
from protocol.auditlog import Entry
from protocol.encoding import encode
from protocol.errors import ScopeExceeded
from protocol.names import SightingName
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog

ROWS, STILLS = "rows", "evidence"
"""What is counted; each the kind of log entry that tells of it."""
MOST_REPEATS = 1000
"""So many answers of a query may open nothing new: one that was lost is asked for again, also by an
aggregator that has started anew. Each is kept and logged: without an end they would fill a disk."""
_MARKS = b"sealtrace/v2/opened-marks"


class Tally:
    """Counts under the gate of the withdrawals: one release at a time."""

    def __init__(self, store: Store, log: AuditLog, key: SigningKey) -> None:
        """Settle what a crash left open.

        Raises:
            StorageError: it cannot be read or kept.
        """
        self._store = store
        self._log = log
        self._key = hmac.digest(key.seed, _MARKS, "sha256")
        self.settle()

    def settle(self) -> None:
        """Settle what was counted and never told: it counts if the log tells of it.

        Raises:
            StorageError: it cannot be kept.
        """
        for kind, size in self._store.pending_opened():
            told = any(Entry.parse(entry).kind == kind for entry in self._log.entries(size))
            self._store.settle_opened(kind, logged=told)

    def count(
        self, kind: str, query_digest: bytes, names: Sequence[SightingName], *, most: int
    ) -> int:
        """Count sightings as opened for a query; return how many are in all, these included.

        Raises:
            ScopeExceeded: they would be more than ``most``, then none of them counts; or all have
                been opened before, too often.
            StorageError: it cannot be kept.
        """
        self.settle()
        marks = [self._mark(query_digest, name) for name in names]
        known, new = self._store.count_opened(
            query_digest, kind, marks, most=most, log_size=self._log.size
        )
        if known + new > most:
            raise ScopeExceeded(
                f"{known} {_CALLED[kind]} of this query have been opened, {new} more are asked "
                f"for, and {_CAPS[kind]} permits {most}: ask for fewer, or for a wider query"
            )
        if not new and self._store.answered(query_digest, kind) >= most + MOST_REPEATS:
            raise ScopeExceeded(
                f"{_CALLED[kind]} of this query that were opened before have been asked for again "
                f"{MOST_REPEATS} times: keep what was answered"
            )
        return known + new

    def opened(
        self, kind: str, query_digest: bytes, names: Sequence[SightingName]
    ) -> set[SightingName]:
        """Return those of ``names`` that have been opened for a query."""
        self.settle()
        marks = {self._mark(query_digest, name): name for name in names}
        return {marks[m] for m in self._store.which_opened(query_digest, kind, list(marks))}

    def keep(
        self,
        kind: str,
        query_digest: bytes,
        message: bytes,
        *,
        entry_index: int,
        readers: Sequence[str],
    ) -> None:
        """Keep the signed answer that is about to leave, for those who confirm the query's hits.

        Raises:
            StorageError: it cannot be kept: it must not leave.
        """
        self._store.keep_receipt(
            query_digest, kind, message, entry_index=entry_index, readers=readers
        )

    def _mark(self, query_digest: bytes, name: SightingName) -> bytes:
        return hmac.digest(self._key, encode([query_digest, name.to_value()]), "sha256")


_CALLED = {ROWS: "rows", STILLS: "stills"}
_CAPS = {ROWS: "its max_candidates", STILLS: "its evidence_stills"}
