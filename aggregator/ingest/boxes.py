"""How each box is: when it was heard, its own report, its clock, what of it is missing or refused.

The counters are clear to anybody at the aggregator; nothing here tells what was seen.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.store import Store
from protocol.directory import BOX, Directory
from protocol.telemetry import OFFLINE, Health

_LARGEST_FIGURE = 1e15
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
    ``clock_wrong`` tells whether that, or a message dated ahead, is beyond the limit.
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


def note_heard(connection: sqlite3.Connection, heard_ms: Mapping[str, int]) -> None:
    """Note when verified messages of boxes came (box to our time)."""
    connection.executemany(
        "INSERT INTO boxes (box, last_seen_ms) VALUES (?, ?) ON CONFLICT (box) DO UPDATE SET"
        " last_seen_ms = excluded.last_seen_ms",
        list(heard_ms.items()),
    )


def note_health(
    connection: sqlite3.Connection, health: Health, *, received_ms: int, retained: bool
) -> bool:
    """Note a verified health report; return False when a newer one is known already.

    The clock is judged by reports that were published just now: not by retained ones, nor by a
    will, which carries the time at which the box connected.
    """
    row = connection.execute(
        "SELECT reported_ms, state FROM boxes WHERE box = ?", (health.box,)
    ).fetchone()
    known_ms = None if row is None else row[0]
    if known_ms is not None and known_ms > received_ms + _AHEAD_MS:
        known_ms = None  # from a clock that was ahead: set right, it would not be heard for so long
    is_will = health.state == OFFLINE
    if known_ms is not None and health.reported_at_ms < known_ms and (not is_will or retained):
        return False
    judged = not retained and not is_will
    connection.execute(
        "INSERT INTO boxes (box, last_seen_ms, state, version, reported_ms,"
        " reported_received_ms, clock_offset_ms, figures)"
        " VALUES (:box, :seen, :state, :version, :reported, :received, :offset, :figures)"
        " ON CONFLICT (box) DO UPDATE SET last_seen_ms = max(last_seen_ms, :seen),"
        " state = :state, version = :version,"
        " reported_ms = :reported,"
        " reported_received_ms = :received,"
        " clock_offset_ms = coalesce(:offset, clock_offset_ms), figures = :figures",
        {
            "box": health.box,
            "seen": 0 if retained or is_will else received_ms,
            "state": health.state,
            "version": health.version,
            "reported": max(known_ms or 0, health.reported_at_ms),
            "received": received_ms,
            "offset": health.reported_at_ms - received_ms if judged else None,
            "figures": json.dumps(_finite(health.figures)),
        },
    )
    return True


def newest_report_ms(store: Store) -> int | None:
    """Return the newest time that two boxes have signed in a report (with one box: that one).

    Two, so that one box cannot say alone what time it is; None when none has reported.
    """
    rows = store.reading().conn.execute(
        "SELECT reported_ms FROM boxes WHERE reported_ms IS NOT NULL"
        " ORDER BY reported_ms DESC LIMIT 2"
    )
    return min((int(row[0]) for row in rows), default=None)


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that JSON can say."""
    return {name: value for name, value in figures.items() if abs(value) < _LARGEST_FIGURE}


def statuses(store: Store, directory: Directory, *, clock_skew_ms: int) -> list[BoxStatus]:
    """Return the state of every box in the directory, by name; revoked ones too."""
    connection = store.reading().conn
    heard = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT box, last_seen_ms, state, version, reported_ms, clock_offset_ms, figures"
            " FROM boxes"
        )
    }
    gaps: dict[str, list[OpenGap]] = {}
    for box, camera, first, last, opened_ms, lost in connection.execute(
        "SELECT box, camera, first, last, opened_ms, lost FROM gaps"
        " JOIN streams ON streams.id = gaps.stream WHERE closed_ms IS NULL ORDER BY camera, first"
    ):
        gaps.setdefault(box, []).append(OpenGap(camera, first, last, opened_ms, bool(lost)))
    rejects: dict[str, list[RejectCount]] = {}
    for box, *count in connection.execute(
        "SELECT box, camera, reason, count, last_ms, detail FROM rejects"
    ):
        rejects.setdefault(box, []).append(RejectCount(*count))
    waiting = {
        row[0]: (row[1], bool(row[2]))
        for row in connection.execute(
            "SELECT box, count(*), max(reason = 'clock-ahead') FROM quarantine"
            " JOIN streams ON streams.id = quarantine.stream GROUP BY box"
        )
    }
    found = []
    for name, principal in sorted(directory.principals.items()):
        if BOX not in principal.duties:
            continue
        seen, state, version, reported, offset, figures = heard.get(name, (None,) * 6)
        quarantined, ahead = waiting.get(name, (0, False))
        found.append(
            BoxStatus(
                box=name,
                cameras=principal.cameras,
                revoked=principal.revoked_at_ms is not None,
                last_seen_ms=seen or None,
                state=state,
                version=version,
                reported_ms=reported,
                clock_offset_ms=offset,
                clock_wrong=ahead or (offset is not None and abs(offset) > clock_skew_ms),
                figures=json.loads(figures) if figures else {},
                gaps=tuple(gaps.get(name, ())),
                rejects=tuple(rejects.get(name, ())),
                quarantined=quarantined,
            )
        )
    return found
