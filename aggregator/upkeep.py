"""What has to be done now and then: receipts, a look at the gaps, the end of retention."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from aggregator.ingest.boxes import newest_report_ms
from aggregator.ingest.intake import Intake
from aggregator.ingest.receipts import Receipts
from aggregator.store import Store
from aggregator.store.retention import purge
from protocol.names import EPOCH_MS, epoch_of
from runtime.clock import since_boot_ms
from runtime.clocksteps import Moment, read_moment
from runtime.database import StorageError
from runtime.lifecycle import Stop
from runtime.mqtt import Session
from runtime.mqtt_brokers import Brokers

_log = structlog.get_logger()
_GAPS_EVERY_S = 5.0


class Upkeep:
    """Runs the chores of one aggregator; `run` is the body of the thread ``upkeep``.

    Args:
        store: purged at the start, and when a UTC day is over.
        intake: its gaps are reviewed every five seconds.
        receipts: published every ``receipt_interval_s``; None where others take in.
        session: publishes them.
        retention_days: gives the policy's retention.
        purges: whether this process deletes what is past it; of several, one does.
        receipt_interval_s: see above.
        now_ms: our clock.
        boot_ms: the clock that nobody sets.
    """

    def __init__(
        self,
        *,
        store: Store,
        intake: Intake,
        receipts: Receipts | None,
        session: Brokers | Session,
        retention_days: Callable[[], int],
        receipt_interval_s: float,
        now_ms: Callable[[], int],
        boot_ms: Callable[[], int] = since_boot_ms,
        purges: bool = True,
    ) -> None:
        self._store = store
        self._intake = intake
        self._receipts = receipts
        self._session = session
        self._retention_days = retention_days
        self._receipt_interval_s = receipt_interval_s
        self._now_ms = now_ms
        self._boot_ms = boot_ms
        self._sure: Moment | None = None
        self._purged_epoch = -1
        self._purges = purges

    def run(self, stop: Stop) -> None:
        """Do the chores until ``stop``."""
        next_gaps_s = 0.0
        while not stop.wait(self._receipt_interval_s):
            now_s = time.monotonic()
            try:
                if self._receipts is not None and now_s >= next_gaps_s:
                    next_gaps_s = now_s + _GAPS_EVERY_S
                    self._receipts.note(self._intake.review_gaps())
                if self._purges and self._purged_epoch != (today := epoch_of(self.deletion_ms())):
                    self.purge()
                    self._purged_epoch = today
            except StorageError as error:
                _log.warning("upkeep_postponed", reason=str(error))
            if self._receipts is not None:
                self._receipts.publish(self._session)

    def deletion_ms(self) -> int:
        """Return the time by which retention is judged, as far as others' clocks bear it out.

        Our clock alone, set ahead, would have everything deleted that boxes sent. So it counts only
        up to a day after the time that boxes have signed last; from there real time goes on. It is
        0, and nothing is deleted, until a box has reported.
        """
        now = read_moment(self._now_ms, self._boot_ms)
        borne_ms = (newest_report_ms(self._store) or -EPOCH_MS) + EPOCH_MS
        if self._sure is not None:
            passed_ms = now.since_boot_ms - self._sure.since_boot_ms
            borne_ms = max(borne_ms, self._sure.wall_ms + passed_ms)
        self._sure = Moment(min(now.wall_ms, borne_ms), now.since_boot_ms)
        return self._sure.wall_ms

    def purge(self) -> None:
        """Remove what is past retention by `deletion_ms`.

        Raises:
            StorageError: the store cannot be written.
        """
        purged = purge(
            self._store, now_ms=self.deletion_ms(), retention_days=self._retention_days()
        )
        if purged.envelopes or purged.announcements or purged.quarantined:
            _log.info(
                "retention_purged",
                envelopes=purged.envelopes,
                announcements=purged.announcements,
                quarantined=purged.quarantined,
            )
