"""Look over the gaps now and then: report what re-ordering no longer explains, give up the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from aggregator.ingest.positions import STALLED_MS, Positions
from aggregator.ingest.rejects import Audit
from aggregator.ingest.sequence import Gap
from aggregator.store import Ledger
from protocol.names import CameraAddress
from runtime.clocksteps import StepWatch, read_moment

_log = structlog.get_logger()
_MOST_GAPS_TOLD = 8


class GapReview:
    """Judges gaps by their age, as far as the clock can be believed.

    Args:
        positions: where the streams stand.
        grace_s: the age from which a gap is reported.
        now_ms: our clock.
        boot_ms: the clock that nobody sets, against which steps of the first are noticed.
        audit: appends to the audit log.
    """

    def __init__(
        self,
        positions: Positions,
        *,
        grace_s: int,
        now_ms: Callable[[], int],
        boot_ms: Callable[[], int],
        audit: Audit,
    ) -> None:
        self._positions = positions
        self._grace_ms = grace_s * 1000
        self._now_ms = now_ms
        self._boot_ms = boot_ms
        self._audit = audit
        self._steps = StepWatch()
        self._ages_hold_from_ms = 0  # by `boot_ms`

    def review(self, ledger: Ledger, *, now_ms: int) -> list[tuple[CameraAddress, Gap]]:
        """Report gaps, in the ledger and in the audit log; return those that were given up."""
        now = read_moment(self._now_ms, self._boot_ms)
        if self._steps.step_ms(now) > 0:  # what is a second old looks as old as the step is long
            self._ages_hold_from_ms = now.since_boot_ms + STALLED_MS
        patient = now.since_boot_ms < self._ages_hold_from_ms
        due: list[tuple[CameraAddress, Gap]] = []
        given_up: list[tuple[CameraAddress, Gap]] = []
        for address, position in self._positions.all():
            for gap in position.gaps:
                if gap.reported_ms is None and now_ms - gap.opened_ms >= self._grace_ms:
                    self._positions.report(ledger, gap, now_ms=now_ms)
                    due.append((address, gap))
            if not patient:
                lost = self._positions.give_up(ledger, position, now_ms=now_ms)
                given_up.extend((address, gap) for gap in lost)
        for address, first, last in _summed(due):
            named = {"box": address.box, "camera": address.camera}
            _log.warning("gap_reported", **named, first=first, last=last)
            self._audit("gap", {**named, "first": first, "last": last})
        return given_up


def tell(event: str, address: CameraAddress, gap: Gap) -> None:
    """Log what became of a gap."""
    _log.warning(event, box=address.box, camera=address.camera, first=gap.first, last=gap.last)


def _summed(gaps: Sequence[tuple[CameraAddress, Gap]]) -> list[tuple[CameraAddress, int, int]]:
    """Return the gaps to report: one for all of a camera that has many, lest it flood the log."""
    by_camera: dict[CameraAddress, list[Gap]] = {}
    for address, gap in gaps:
        by_camera.setdefault(address, []).append(gap)
    told = []
    for address, found in by_camera.items():
        if len(found) > _MOST_GAPS_TOLD:
            told.append((address, found[0].first, found[-1].last))
        else:
            told.extend((address, gap.first, gap.last) for gap in found)
    return told
