"""How each box is: when it was heard, its own report, its clock, what of it is missing or refused.

The counters are clear to anybody at the aggregator; nothing here tells what was seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aggregator.ingest.health_history import add_to_history, finite
from aggregator.ingest.quarantine import CLOCK_AHEAD
from aggregator.store import Ledger, Store
from aggregator.store.rows import BoxRow
from protocol.directory import BOX, Directory
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH
from protocol.telemetry import OFFLINE, Health

_AHEAD_MS = 120_000


@dataclass(frozen=True, slots=True)
class OpenGap:
    """Messages ``first..last`` of a camera that have not come."""

    camera: str
    first: int
    last: int
    opened_ms: int
    lost: bool


@dataclass(frozen=True, slots=True)
class RejectCount:
    """How often messages said to be of a box were refused for one reason."""

    camera: str
    reason: str
    count: int
    last_ms: int
    detail: str


@dataclass(frozen=True, slots=True)
class BoxStatus:
    """One box as the aggregator knows it.

    ``clock_offset_ms`` is its clock minus ours at its last report, None when it never reported;
    ``clock_wrong`` tells whether that, or a message dated ahead, is beyond the limit. ``protocol``
    is the version in which all of its cameras seal (the earliest, while they differ), None before
    any has announced a day; ``version_1_ms`` when one last announced in version 1, None if none
    that is in store did. ``silent_day_ms`` is how long it was not heard in the last 24 hours, as
    later reports found out: what has gone on since the last one comes to that.
    """

    box: str
    cameras: tuple[str, ...]
    revoked: bool
    last_seen_ms: int | None
    state: str | None
    version: str | None
    reported_ms: int | None
    clock_offset_ms: int | None
    clock_wrong: bool
    figures: Mapping[str, float]
    gaps: tuple[OpenGap, ...]
    rejects: tuple[RejectCount, ...]
    quarantined: int
    protocol: int | None
    version_1_ms: int | None
    silent_day_ms: int = 0


def note_health(
    ledger: Ledger,
    health: Health,
    *,
    received_ms: int,
    retained: bool,
    cameras: Collection[str] = (),
) -> bool:
    """Note a verified health report; return False when a newer one is known already.

    The clock is judged by reports that were published just now: not by retained ones, nor by a
    will, which carries the time at which the box connected; so is the box's history.

    Args:
        ledger: inside a transaction.
        health: the report.
        received_ms: when it came, by our clock.
        retained: whether the broker had kept it.
        cameras: those of the box, of which the history tells.
    """
    known = ledger.box(health.box)
    known_ms = None if known is None else known.reported_ms
    if known_ms is not None and known_ms > received_ms + _AHEAD_MS:
        known_ms = None  # from a clock that was ahead: set right, it would not be heard for so long
    is_will = health.state == OFFLINE
    if known_ms is not None and health.reported_at_ms < known_ms and (not is_will or retained):
        return False
    judged = not retained and not is_will
    ledger.put_box(
        BoxRow(
            box=health.box,
            last_seen_ms=0 if retained or is_will else received_ms,
            state=health.state,
            version=health.version,
            reported_ms=max(known_ms or 0, health.reported_at_ms),
            received_ms=received_ms,
            clock_offset_ms=health.reported_at_ms - received_ms if judged else None,
            figures=finite(health.figures),
        )
    )
    if judged:
        add_to_history(ledger, health, received_ms=received_ms, cameras=cameras)
    return True


def newest_report_ms(store: Store) -> int | None:
    """Return the newest time that two boxes have signed in a report (with one box: that one).

    Two, so that one box cannot say alone what time it is; None when none has reported.
    """
    return min(store.ledger.newest_reports_ms(2), default=None)


def statuses(
    store: Store, directory: Directory, *, clock_skew_ms: int, now_ms: int
) -> list[BoxStatus]:
    """Return the state of every box in the directory, by name; revoked ones too."""
    ledger = store.ledger
    heard = ledger.boxes()
    gaps: dict[str, list[OpenGap]] = {}
    for address, gap in ledger.open_gaps():
        known = OpenGap(address.camera, gap.first, gap.last, gap.opened_ms, gap.lost)
        gaps.setdefault(address.box, []).append(known)
    rejects: dict[str, list[RejectCount]] = {}
    for row in ledger.rejects():
        count = RejectCount(row.camera, row.reason, row.count, row.last_ms, row.detail)
        rejects.setdefault(row.box, []).append(count)
    waiting = ledger.quarantined_by_box()
    versions = ledger.announced_versions()
    slot = now_ms // SLOT_MS
    silences = ledger.silences_ms(from_slot=slot - SLOTS_PER_EPOCH + 1, to_slot=slot + 1)
    found = []
    for name, principal in sorted(directory.principals.items()):
        if BOX not in principal.duties:
            continue
        box = heard.get(name, BoxRow(name, 0))
        offset = box.clock_offset_ms
        quarantined = waiting.get(name, {})
        ahead = CLOCK_AHEAD in quarantined
        told = principal.tells_of
        spoken = [versions[name, one] for one in told if (name, one) in versions]
        found.append(
            BoxStatus(
                box=name,
                cameras=principal.cameras,
                revoked=principal.revoked_at_ms is not None,
                last_seen_ms=box.last_seen_ms or None,
                state=box.state,
                version=box.version,
                reported_ms=box.reported_ms,
                clock_offset_ms=offset,
                clock_wrong=ahead or (offset is not None and abs(offset) > clock_skew_ms),
                figures=dict(box.figures or {}),
                gaps=tuple(gaps.get(name, ())),
                rejects=tuple(rejects.get(name, ())),
                quarantined=sum(quarantined.values()),
                protocol=min((one.newest for one in spoken), default=None),
                version_1_ms=max(
                    (one.version_1_ms for one in spoken if one.version_1_ms is not None),
                    default=None,
                ),
                silent_day_ms=min(silences.get(name, 0), EPOCH_MS),
            )
        )
    return found
