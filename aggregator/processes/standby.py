"""Wait for the one duty that a single process may have at a time."""

from __future__ import annotations

import structlog

from aggregator.processes.members import Member
from aggregator.processes.shares import UPKEEP_NUMBER
from aggregator.store import Store
from aggregator.store.leases import DUTY, Lease
from runtime.database import StorageError
from runtime.lifecycle import Stop

_log = structlog.get_logger()
FIRST_MS = 60_000
"""The first lease lasts until the process is put together and renews it."""
_LOOK_S = 1.0


def wait_for_upkeep(store: Store, member: Member, stop: Stop) -> Lease | None:
    """Return the lease of the duty ``upkeep`` once nobody else holds it; None when told to stop."""
    told = ""
    while not stop.is_set():
        try:
            with store.writing(beside=True) as unit:
                lease = unit.ledger.take_lease(DUTY, UPKEEP_NUMBER, member.name, for_ms=FIRST_MS)
            if lease is not None:
                return lease
            said = "another process has the duty upkeep"
        except StorageError as error:
            said = str(error)
        if said != told:
            _log.info("standing_by", reason=said)
            told = said
        stop.wait(_LOOK_S)
    return None
