"""Change the store and have the audit log tell of it: both happen, or neither does.

The store and the log are two files, so that a crash can come between them. An entry is therefore
committed in the store together with what it records, and appended to the log from there; what a
crash left over is appended at the next start, once. Nothing is built on a change before the log
tells of it: who goes on calls `Records.flush` first, and fails while the log cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aggregator.store import Store, Unit
from runtime.auditlog import AuditLog
from runtime.clock import system_ms


class Records:
    """The store and the log of one aggregator; several over the same two files get on.

    Args:
        store: where what happens is kept.
        log: where it is told.
        actor: the aggregator's name, as it stands in the log.
    """

    def __init__(self, store: Store, log: AuditLog, actor: str) -> None:
        self._store = store
        self._log = log
        self._actor = actor

    @contextmanager
    def writing(self) -> Iterator[Unit]:
        """Hold one transaction of the store, with its `note`s; at its end the log is written.

        Raises:
            StorageFull, StorageError: before the transaction, or in it: nothing happened; after it:
                it happened, and nobody goes on until the log can be written.
        """
        self.flush()
        with self._store.writing(durable=True) as unit:
            yield unit
        self.flush()

    def note(self, kind: str, query_id: bytes | None, body: Mapping[str, object]) -> None:
        """Have the log tell of what the transaction that is open here does."""
        entry = self._log.seal(kind, system_ms(), self._actor, query_id, body)
        with self._store.writing() as unit:
            unit.ledger.add_entry(entry, log_size=self._log.size)

    def append(self, kind: str, query_id: bytes | None, body: Mapping[str, object]) -> None:
        """Tell the log of something that leaves nothing in the store, before it is done.

        Raises:
            StorageFull, StorageError: it could not be written: do not do it.
        """
        self.flush()
        self._log.append(kind, system_ms(), self._actor, query_id, body)

    def flush(self) -> None:
        """Append what was noted and is not in the log yet.

        Raises:
            StorageFull, StorageError: the log cannot be written, or the store.
        """
        if not self._store.ledger.pending_entries():
            return
        with self._store.writing() as unit:
            for pending in unit.ledger.pending_entries():
                self._log.append_once(pending.entry, since=pending.log_size)
                unit.ledger.drop_entry(pending.number)
