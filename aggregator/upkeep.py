"""What has to be done now and then: receipts, a look at the gaps, the end of retention."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from aggregator.ingest.intake import Intake
from aggregator.ingest.receipts import Receipts
from aggregator.store import Store
from protocol.names import epoch_of
from runtime.database import StorageError
from runtime.lifecycle import Stop
from runtime.mqtt import Session

_log = structlog.get_logger()
_GAPS_EVERY_S = 5.0


class Upkeep:
    """Runs the chores of one aggregator; `run` is the body of the thread ``upkeep``.

    Args:
        store: purged at the start, and when a UTC day is over.
        intake: its gaps are reviewed every five seconds.
        receipts: published every ``receipt_interval_s``.
        session: publishes them.
        retention_days: gives the policy's retention.
        receipt_interval_s: see above.
        now_ms: our clock.
    """

    def __init__(
        self,
        *,
        store: Store,
        intake: Intake,
        receipts: Receipts,
        session: Session,
        retention_days: Callable[[], int],
        receipt_interval_s: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._intake = intake
        self._receipts = receipts
        self._session = session
        self._retention_days = retention_days
        self._receipt_interval_s = receipt_interval_s
        self._now_ms = now_ms
        self._purged_epoch = -1

    def run(self, stop: Stop) -> None:
        """Do the chores until ``stop``."""
        next_gaps_s = 0.0
        while not stop.wait(self._receipt_interval_s):
            now_s = time.monotonic()
            try:
                if now_s >= next_gaps_s:
                    next_gaps_s = now_s + _GAPS_EVERY_S
                    self._receipts.note(self._intake.review_gaps())
                if self._purged_epoch != (today := epoch_of(self._now_ms())):
                    self.purge()
                    self._purged_epoch = today
            except StorageError as error:
                _log.warning("upkeep_postponed", reason=str(error))
            self._receipts.publish(self._session)

    def purge(self) -> None:
        """Remove what is past retention.

        Raises:
            StorageError: the store cannot be written.
        """
        purged = self._store.purge(now_ms=self._now_ms(), retention_days=self._retention_days())
        if purged.envelopes or purged.announcements or purged.quarantined:
            _log.info(
                "retention_purged",
                envelopes=purged.envelopes,
                announcements=purged.announcements,
                quarantined=purged.quarantined,
            )
