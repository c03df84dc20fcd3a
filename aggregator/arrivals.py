"""What boxes have sent since, asked of the store once for all queries that want to know."""

from __future__ import annotations

from aggregator.store import LedgerReading
from aggregator.store.rows import EpochName


class Arrivals:
    """How far the store had come when this was made.

    ``envelope`` and ``announcement`` are cursors: greater than one's own when something came.
    """

    def __init__(self, ledger: LedgerReading) -> None:
        self._ledger = ledger
        self._since: dict[int, frozenset[EpochName]] = {}
        self.envelope = ledger.newest_envelope()
        self.announcement = ledger.newest_announcement()

    def since(self, cursor: int) -> frozenset[EpochName]:
        """Return the announcements under whose keys envelopes came after a cursor."""
        if cursor >= self.envelope:
            return frozenset()
        if cursor not in self._since:
            self._since[cursor] = self._ledger.arrived_since(cursor)
        return self._since[cursor]
