"""What the cameras of a query watched and how many they counted, as its officers read it.

Boxes tell it and the aggregator adds it up; it is no custodian's word. It is sealed to the officers
of this very query, and believed only of the cameras and hours that the query names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from officers.desk.case import Case, CaseInvalid
from officers.desk.moments import iso_utc
from officers.desk.phrases import phrase
from protocol import hpke
from protocol.errors import ProtocolError
from protocol.names import SLOT_MS
from protocol.small_cells import Small, Told
from protocol.v2.rows import SLOT_S
from protocol.watching import SECONDS, CameraWatch, PlaceCounts, Watching


def open_watching(
    sealed: Sequence[bytes], case: Case, sealing: hpke.PrivateKey
) -> tuple[Watching | None, tuple[str, ...]]:
    """Open what the aggregator keeps of a query's cameras; return it, and what is wrong with it.

    Args:
        sealed: as the aggregator gave it: one, or none yet.
    """
    if not sealed:
        return None, ()
    try:
        watching = Watching.open(sealed[-1], sealing, query_digest=case.digest)
        _check(watching, case)
    except (ProtocolError, CaseInvalid) as error:
        return None, (phrase("what the cameras watched cannot be used: {error}", error=error),)
    return watching, ()


def _check(watching: Watching, case: Case) -> None:
    query = case.query
    if not set(watching.cameras) <= set(query.cameras):
        raise CaseInvalid("it is of cameras that the query does not name")
    if watching.from_ms != query.window_from_ms or watching.until_ms > query.window_to_ms:
        raise CaseInvalid("it is of hours that the query does not ask for")
    if watching.counts is not None and not query.asks.same_place_counts:
        raise CaseInvalid("it counts people, and the query does not ask for that")


def worst_first(watching: Watching) -> list[CameraWatch]:
    """Return what each camera watched, the one that missed most first."""
    return sorted(watching.watches(), key=lambda one: (one.watched_s, one.camera))


def gaps(watch: CameraWatch, from_ms: int) -> Iterator[tuple[int, int]]:
    """Yield from when to when a camera has quarter hours in a row that it did not watch wholly.

    None of a camera of which totals alone are told.

    Args:
        from_ms: when the first of them begins.
    """
    begins: int | None = None
    for at, watched in enumerate((*watch.by_slot, SLOT_S)):
        wholly = watched == SLOT_S
        if not wholly and begins is None:
            begins = at
        if wholly and begins is not None:
            yield from_ms + begins * SLOT_MS, from_ms + at * SLOT_MS
            begins = None


def watching_values(watching: Watching) -> dict[str, Any]:
    """Return it as JSON values; seconds are whole, times UTC."""
    return {
        "from": iso_utc(watching.from_ms),
        "to": iso_utc(watching.until_ms),
        "cameras": [_camera_values(one, watching.from_ms) for one in worst_first(watching)],
        "cameras_left_out": watching.cameras_left_out,
        "counts": None if watching.counts is None else list(_count_values(watching)),
        "quarter_hours_counted": None
        if watching.counted is None
        else dict(zip(watching.cameras, watching.counted.tolist(), strict=True)),
        "counts_left_out": watching.counts_left_out,
    }


def _camera_values(watch: CameraWatch, from_ms: int) -> dict[str, Any]:
    return {
        "camera": watch.camera,
        "total_s": watch.total_s,
        **{name: getattr(watch, name) for name in SECONDS},
        "untold_s": watch.untold_s,
        "not_wholly_watched": [
            {"from": iso_utc(begins_ms), "to": iso_utc(ends_ms)}
            for begins_ms, ends_ms in gaps(watch, from_ms)
        ]
        if watch.by_slot
        else None,
    }


def _count_values(watching: Watching) -> Iterator[dict[str, Any]]:
    for one in watching.places():
        yield {
            "camera": one.camera,
            "from": iso_utc(one.begins_ms),
            "to": iso_utc(one.begins_ms + SLOT_MS),
            "people": one.people,
            "people_at_least": one.people_at_least or None,
            "masked": one.masked,
            "unmasked": one.unmasked,
            "changed": one.changed,
            "unknown": one.unknown,
            "most_at_once": list(one.at_once),
        }


def people_text(one: PlaceCounts) -> str:
    """Return how many people were counted: where that is withheld, how many at least."""
    if one.people is Small.WITHHELD and one.people_at_least:
        return f"{one.people_at_least}+"
    return number_text(one.people)


def number_text(number: Told) -> str:
    """Return a number of people as it is shown."""
    return "-" if number is Small.WITHHELD else str(number)
