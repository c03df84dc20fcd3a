"""Say how many people came into the room of a confirmed stay, once the subject had left it.

Indirect exposure: nobody of them is known, and no number below five is told. Rooms are those of the
register of places; where it names none, the place counts, and without a register the camera alone.
People are counted at each camera and quarter hour by itself, and no sum is made: who stays, or
passes two cameras, would be counted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from officers.desk.moments import iso_utc
from officers.desk.traces import Stay, Trace
from protocol.names import SLOT_MS
from protocol.places import Places
from protocol.query import Query
from protocol.small_cells import Small, Told
from protocol.watching import PlaceCounts, Watching

MINUTE_MS = 60_000
NUMBERS = ("people", "masked", "unmasked", "changed", "unknown")
Room = tuple[str, str]
"""Place and room; the room is empty where the register names none."""


@dataclass(frozen=True, slots=True)
class Afterwards:
    """How many people one camera counted in a quarter hour after a subject had been in the room.

    Args:
        subject: who had been there.
        place, room: in words; the camera's name where nothing else is known, the room empty.
        left_ms: when the last confirmed stay there ended before ``begins_ms``, or within it.
        begins_ms: of the quarter hour.
        counts: None where nobody counted.
    """

    subject: str
    place: str
    room: str
    left_ms: int
    camera: str
    begins_ms: int
    counts: PlaceCounts | None


def afterwards(
    traces: Sequence[Trace], query: Query, watching: Watching | None, places: Places | None
) -> tuple[Afterwards, ...]:
    """Return what was counted after the confirmed stays of traces; nothing if nobody asked for it.

    Args:
        traces: of a query.
        query: how long afterwards it asks about, at which cameras.
        watching: what they counted, as far as it was told.
        places: the register of places.
    """
    after_ms = query.asks.afterwards_min * MINUTE_MS
    if not after_ms or watching is None or watching.counts is None:
        return ()
    told = {(one.camera, one.begins_ms): one for one in watching.places()}
    rooms = {camera: _room_of(camera, places) for camera in query.cameras}
    found: list[Afterwards] = []
    for trace in traces:
        for room, stays in _by_room(trace.hits, rooms).items():
            cameras = [camera for camera in query.cameras if rooms[camera] == room]
            for begins_ms, left_ms in _quarter_hours(stays, after_ms, watching):
                found += (
                    Afterwards(
                        trace.subject,
                        *room,
                        left_ms,
                        camera,
                        begins_ms,
                        told.get((camera, begins_ms)) or _few(watching, camera, begins_ms),
                    )
                    for camera in cameras
                )
    return tuple(found)


def afterwards_values(rows: Sequence[Afterwards]) -> list[dict[str, Any]]:
    """Return it as JSON values; times UTC, and `<5` where fewer than five came."""
    return [
        {
            "subject": one.subject,
            "place": one.place,
            "room": one.room or None,
            "subject_left": iso_utc(one.left_ms),
            "camera": one.camera,
            "from": iso_utc(one.begins_ms),
            "to": iso_utc(one.begins_ms + SLOT_MS),
            "counted": one.counts is not None,
            **({} if one.counts is None else _numbers(one.counts)),
        }
        for one in rows
    ]


def _numbers(counts: PlaceCounts) -> dict[str, Told | None]:
    numbers: dict[str, Told | None] = {name: getattr(counts, name) for name in NUMBERS}
    return numbers | {"people_at_least": counts.people_at_least or None}


def _room_of(camera: str, places: Places | None) -> Room:
    known = None if places is None else places.cameras.get(camera)
    return (camera, "") if known is None else (known.place, known.room or "")


def _by_room(stays: Sequence[Stay], rooms: dict[str, Room]) -> dict[Room, list[Stay]]:
    found: dict[Room, list[Stay]] = {}
    for stay in sorted(stays, key=lambda one: one.from_ms):
        room = rooms.get(stay.address.camera)
        if room is not None:
            found.setdefault(room, []).append(stay)
    return found


def _quarter_hours(
    stays: Sequence[Stay], after_ms: int, watching: Watching
) -> Iterator[tuple[int, int]]:
    """Yield the quarter hours after any of some stays, each once, with when the last one ended."""
    left: dict[int, int] = {}
    for stay in stays:
        first = stay.to_ms // SLOT_MS
        for number in range(first, (stay.to_ms + after_ms) // SLOT_MS + 1):
            begins_ms = number * SLOT_MS
            if watching.from_ms <= begins_ms < watching.until_ms:
                left[begins_ms] = max(stay.to_ms, left.get(begins_ms, 0))
    yield from sorted(left.items())


def _few(watching: Watching, camera: str, begins_ms: int) -> PlaceCounts | None:
    """Return that fewer than five were counted; None if nobody counted, or it is not known.

    Where the aggregator had no room for all quarter hours, those with fewest people were left out:
    how many they were is not known then.
    """
    if watching.counted_by_slot is None or camera not in watching.cameras:
        return None
    at, slot = watching.cameras.index(camera), (begins_ms - watching.from_ms) // SLOT_MS
    if not watching.counted_by_slot[at, slot]:
        return None
    few = Small.WITHHELD if watching.counts_left_out else Small.FEW
    return PlaceCounts(camera, begins_ms, few, few, few, few, few, ())
