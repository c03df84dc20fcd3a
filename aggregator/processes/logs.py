"""The audit log of an aggregator of several processes: one writes it, the others note for it.

The one is who holds the duty ``upkeep`` (`WrittenLog`). The others (`NotedLog`) put entries, sealed
as ever, into the ledger, where the writer finds them within a moment; whoever goes on from an entry
waits until the log has it (`aggregator.records.Records.flush`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from aggregator.store import Store
from aggregator.store.leases import Lease
from protocol import hpke
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog, sealed
from runtime.database import StorageError
from runtime.errors import OperationError

_LOOK_S = 0.01
_WAIT_S = 10.0


class LogElsewhere(OperationError):
    """The audit log on this machine is shorter than what was written: it is not the newest."""


class WrittenLog(AuditLog):
    """The log, in the process that alone may write it.

    Args:
        path: the SQLite file, created when absent.
        origin: the log's name.
        signing_key: signs its checkpoints.
        auditors: to whom entries are sealed.
        store: knows how long the log is at least.
        lease: ours for as long as we may write; None where nobody else ever does.

    Raises:
        LogElsewhere: the file on this machine is an older one, or none.
        StorageError: see `runtime.auditlog.AuditLog`.
    """

    def __init__(
        self,
        path: Path,
        origin: str,
        signing_key: SigningKey,
        auditors: Mapping[str, hpke.PublicKey],
        *,
        store: Store,
        lease: Lease | None = None,
    ) -> None:
        known = store.ledger.log_size()
        if known and not path.exists():
            raise LogElsewhere(_elsewhere(path, 0, known))
        super().__init__(path, origin, signing_key, auditors)
        self._store = store
        self.lease = lease
        if self.size < known:
            size = self.size
            self.close()
            raise LogElsewhere(_elsewhere(path, size, known))

    def append(
        self,
        kind: str,
        time_ms: int,
        actor: str,
        query_id: bytes | None,
        body: Mapping[str, object],
    ) -> int:
        """Append an entry (`runtime.auditlog.AuditLog.append`), and note how long the log is.

        Raises:
            LeaseLost: another process is the log's writer by now; there is no entry.
            StorageError: see there. With a store that fails afterwards there is an entry, too.
        """
        lease = self.lease
        if lease is None:
            return super().append(kind, time_ms, actor, query_id, body)
        with self._store.writing() as unit:
            unit.ledger.check_leases([lease])
            index = super().append(kind, time_ms, actor, query_id, body)
            unit.ledger.note_log_size(self.size)
        return index


class NotedLog:
    """The log, in a process that does not write it.

    Args:
        store: holds the entries until the writer takes them.
        auditors: to whom entries are sealed; assign ``auditors`` when the site's change.
        wait_s: how long the writer may take.
    """

    def __init__(
        self, store: Store, auditors: Mapping[str, hpke.PublicKey], *, wait_s: float = _WAIT_S
    ) -> None:
        self.auditors = dict(auditors)
        self._store = store
        self._wait_s = wait_s
        self._waiting = threading.Event()  # never set: only waited on

    @property
    def size(self) -> int:
        """How many entries there are at least."""
        return self._store.ledger.log_size()

    def seal(
        self,
        kind: str,
        time_ms: int,
        actor: str,
        query_id: bytes | None,
        body: Mapping[str, object],
    ) -> bytes:
        """Return an entry, sealed to the auditors.

        Raises:
            ValueError: no such kind of entry.
        """
        return sealed(kind, time_ms, actor, query_id, body, auditors=self.auditors)

    def append(
        self,
        kind: str,
        time_ms: int,
        actor: str,
        query_id: bytes | None,
        body: Mapping[str, object],
    ) -> None:
        """Have the writer append an entry, and return once it has.

        Raises:
            StorageError: it has not: do not do what the entry was to record. It may still be
                appended, when the writer is back.
        """
        entry = self.seal(kind, time_ms, actor, query_id, body)
        with self._store.writing(durable=True) as unit:
            unit.ledger.add_entry(entry, log_size=self.size)
        self.wait_told()

    def wait_told(self) -> None:
        """Wait until the log has what is noted by now.

        Raises:
            StorageError: nobody has written it in time.
        """
        ledger = self._store.ledger
        until = ledger.pending_numbers().stop
        deadline = time.monotonic() + self._wait_s
        while (pending := ledger.pending_numbers()) and pending.start < until:
            if time.monotonic() >= deadline:
                raise StorageError(
                    f"the audit log was not written for {self._wait_s:.0f} s, and nothing is done "
                    "that it does not tell of; is a process with the duty `upkeep` running?"
                )
            self._waiting.wait(_LOOK_S)


def _elsewhere(path: Path, size: int, known: int) -> str:
    return (
        f"{path} has {size} entries of the audit log, and {known} were written: they are on the "
        "machine that had the duty `upkeep` before; bring its file (all of audit.db*, while it is "
        "stopped) or give that machine the duty again. A log begun anew would contradict what "
        "auditors hold"
    )
