"""Change the store and have the audit log tell of it: both happen, or neither does.

The store and the log are two files, so that a crash can come between them. An entry is therefore
committed in the store together with what it records, and appended to the log from there; what a
crash left over is appended at the next start, once. Nothing is built on a change before the log
tells of it: who goes on calls `Records.flush` first, and fails while the log cannot be written.
Of several processes one alone appends to the log (`aggregator.processes.logs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from aggregator.processes.logs import NotedLog, WrittenLog
from aggregator.store import Store, Unit
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.lifecycle import Stop

_log = structlog.get_logger()
_WRITE_EVERY_S = 0.05
AnyLog = AuditLog | NotedLog
"""The log that this process writes, or the one that it notes entries for."""


class Records:
    """The store and the log of one aggregator; several over the same two files get on.

    Args:
        store: where what happens is kept.
        log: where it is told.
        actor: the aggregator's name, as it stands in the log.
    """

    def __init__(self, store: Store, log: AnyLog, actor: str) -> None:
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
        """Append what was noted and is not in the log yet; or wait until its writer has.

        Raises:
            StorageFull, StorageError: the log cannot be written, or the store.
            LeaseLost: another process is the log's writer by now.
        """
        if not self._store.ledger.pending_numbers():
            return
        if isinstance(self._log, NotedLog):
            self._log.wait_told()
            return
        lease = self._log.lease if isinstance(self._log, WrittenLog) else None
        with self._store.writing() as unit:
            if lease is not None:
                unit.ledger.check_leases([lease])
            for pending in unit.ledger.pending_entries():
                self._log.append_once(pending.entry, since=pending.log_size)
                unit.ledger.drop_entry(pending.number)
            if lease is not None:
                unit.ledger.note_log_size(self._log.size)

    def write_noted(self, stop: Stop) -> None:
        """Write what other processes note, until ``stop``; the body of the thread ``audit``."""
        failing = ""
        while not stop.wait(_WRITE_EVERY_S):
            try:
                self.flush()
                failing = ""
            except OperationError as error:
                if str(error) != failing:
                    _log.error("audit_log_not_written", reason=str(error))
                failing = str(error)
