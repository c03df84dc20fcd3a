"""Say of each camera and hour of a query whether it was watched, and if not, why not.

Nothing found in an hour that was watched is silence; in any other it is absence of data. It is the
boxes' word, added up by headquarters, as `officers.desk.watching` reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from officers.desk.moments import iso_utc
from protocol import watching as told_of
from protocol.names import SLOT_MS
from protocol.query import Query
from protocol.v2.rows import SLOT_S
from protocol.watching import CameraWatch, Watching

HOUR_MS = 3_600_000
WATCHED, PARTLY, BLIND = "watched", "partly", "blind"
UNWATCHED, REFUSED, NOT_GRANTED = "unwatched", "refused", "not granted"
STATES = (REFUSED, NOT_GRANTED, UNWATCHED, BLIND, PARTLY, WATCHED)
"""The worst first.

``watched``: all of it, but for 0.5% at most. ``partly``: some of it, or by a box that does not tell
how much. ``blind``: the box ran and saw nothing (no picture, dark, covered, frozen). ``unwatched``:
nothing came from any box. ``refused``, ``not granted``: custodians released no keys."""
_CLOSED = {
    told_of.OPENED: UNWATCHED,
    told_of.NOT_GRANTED: NOT_GRANTED,
    told_of.REFUSED: REFUSED,
    told_of.VERSION_1: PARTLY,
}
ALMOST_ALL = 0.995
"""A camera that watched so much of the time watched all of it."""


@dataclass(frozen=True, slots=True)
class CameraHour:
    """One hour of one camera.

    Args:
        hour_ms: when it begins, ms UTC.
        state: one of `STATES`.
        watched_s: how many seconds of it.
    """

    camera: str
    hour_ms: int
    state: str
    watched_s: int


def hours_of(
    watching: Watching | None, query: Query, *, zone: tzinfo | None = UTC
) -> tuple[CameraHour, ...]:
    """Return every hour of a query's window that has ended, camera by camera in the query's order.

    Of a window that begins or ends within an hour, the part of it counts.

    Args:
        watching: what was told; None: nothing, as nothing was opened yet.
        zone: by whose hours; None: this machine's.
    """
    told = {} if watching is None else {one.camera: one for one in watching.watches()}
    until_ms = query.window_to_ms if watching is None else watching.until_ms
    slots = range(query.window_from_ms, until_ms, SLOT_MS)[: told_of.MAX_SLOTS]
    begins = [_hour_of(at_ms, zone) for at_ms in slots]
    return tuple(
        hour
        for camera in query.cameras
        for hour in _hours_of_one(camera, begins, told.get(camera), started=watching is not None)
    )


@dataclass(frozen=True, slots=True)
class Spell:
    """Quarter hours in a row of one camera in one state, ms UTC; ``watched_s``: seconds of them."""

    from_ms: int
    to_ms: int
    state: str
    watched_s: int


def spells_by_camera(watching: Watching | None, query: Query) -> dict[str, tuple[Spell, ...]]:
    """Return of each camera, in the query's order, how it watched what has ended of the window.

    Args:
        watching: what was told; None: nothing, as nothing was opened yet.
    """
    told = {} if watching is None else {one.camera: one for one in watching.watches()}
    until_ms = query.window_to_ms if watching is None else watching.until_ms
    slots = range(query.window_from_ms, until_ms, SLOT_MS)[: told_of.MAX_SLOTS]
    found: dict[str, tuple[Spell, ...]] = {}
    for camera in query.cameras:
        spells: list[Spell] = []
        for at, begins_ms in enumerate(slots):
            state, watched_s = _slot(at, told.get(camera), started=watching is not None)
            ends_ms, last = begins_ms + SLOT_MS, spells[-1] if spells else None
            if last is not None and last.state == state:
                spells[-1] = Spell(last.from_ms, ends_ms, state, last.watched_s + watched_s)
            else:
                spells.append(Spell(begins_ms, ends_ms, state, watched_s))
        found[camera] = tuple(spells)
    return found


def worst_hours_first(hours: tuple[CameraHour, ...]) -> dict[str, tuple[CameraHour, ...]]:
    """Return the hours by camera, the camera that watched least first."""
    by_camera: dict[str, list[CameraHour]] = {}
    for one in hours:
        by_camera.setdefault(one.camera, []).append(one)
    order = sorted(by_camera, key=lambda name: (sum(h.watched_s for h in by_camera[name]), name))
    return {name: tuple(by_camera[name]) for name in order}


def hour_values(hours: tuple[CameraHour, ...]) -> list[dict[str, Any]]:
    """Return hours as JSON values, those of one camera together."""
    return [
        {
            "camera": camera,
            "hours": [
                {"from": iso_utc(one.hour_ms), "state": one.state, "watched_s": one.watched_s}
                for one in its
            ],
        }
        for camera, its in worst_hours_first(hours).items()
    ]


def _hours_of_one(
    camera: str, begins: list[int], watch: CameraWatch | None, *, started: bool
) -> Iterator[CameraHour]:
    by_hour: dict[int, list[tuple[str, int]]] = {}
    for at, hour_ms in enumerate(begins):
        by_hour.setdefault(hour_ms, []).append(_slot(at, watch, started=started))
    for hour_ms, slots in by_hour.items():
        watched_s = sum(seconds for _, seconds in slots)
        yield CameraHour(camera, hour_ms, _state(slots, watched_s), watched_s)


def _slot(at: int, watch: CameraWatch | None, *, started: bool) -> tuple[str, int]:
    """Return what a quarter hour was, and the seconds watched."""
    if not started:
        return NOT_GRANTED, 0
    if watch is None or not watch.by_slot:
        return PARTLY, 0  # there was no room to tell
    seconds = watch.by_slot[at]
    if seconds is None:
        return _CLOSED[watch.closed[at] if watch.closed else told_of.OPENED], 0
    return (WATCHED if seconds >= ALMOST_ALL * SLOT_S else PARTLY if seconds else BLIND), seconds


def _state(slots: list[tuple[str, int]], watched_s: int) -> str:
    if watched_s >= ALMOST_ALL * SLOT_S * len(slots):
        return WATCHED
    states = Counter(state for state, _ in slots)
    if watched_s or states[PARTLY]:
        return PARTLY
    return max(STATES, key=lambda state: states[state])  # of as many, the worst


def _hour_of(at_ms: int, zone: tzinfo | None) -> int:
    try:
        offset = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).utcoffset()
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        offset = None
    shift_ms = 0 if offset is None else round(offset.total_seconds() * 1000)
    return (at_ms + shift_ms) // HOUR_MS * HOUR_MS - shift_ms
