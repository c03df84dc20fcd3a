"""Messages that are genuine but cannot be believed yet, such as those dated ahead of our clock.

They are kept as they came, and count as received: the box may forget them. An operator admits them
(they are checked again, all but what put them here) or drops them.
"""

from __future__ import annotations

import structlog

from aggregator.store import LedgerReading, Store

_log = structlog.get_logger()
CLOCK_AHEAD, INTERNAL_ERROR = "clock-ahead", "internal-error"


def drop(store: Store, number: int) -> None:
    """Delete a message for good. Its box has been told that it was received.

    Raises:
        KeyError: there is none of that number.
    """
    with store.writing() as unit:
        unit.ledger.take_quarantined(number)


class Room:
    """The room in quarantine; says once that there is none."""

    def __init__(self, limit_mb: int) -> None:
        self._limit_mb = limit_mb
        self._used = 0
        self._told = False
        self._counted = False

    def count(self, ledger: LedgerReading) -> None:
        """Count anew what is there."""
        self._used = ledger.quarantine_bytes()
        self._counted = True

    def begin(self) -> None:
        """Note that a batch begins: an operator may have dropped messages since the last."""
        self._counted = False

    def take(self, size: int) -> None:
        """Note that a message has come in, or (negative) gone out."""
        self._used += size

    def has(self, ledger: LedgerReading, size: int) -> bool:
        """Tell whether there is room for ``size`` bytes more; counts anew once a batch."""
        full = self._is_full(size)
        if full and not self._counted:
            self.count(ledger)
            full = self._is_full(size)
        if full and not self._told:
            _log.error("quarantine_full", limit_mb=self._limit_mb)
        self._told = full
        return not full

    def _is_full(self, size: int) -> bool:
        return self._used + size > self._limit_mb * 2**20
