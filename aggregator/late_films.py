"""Films that came after a query had ended, of cameras and hours that it had asked for.

They are not compared: what was approved has been carried out. Who asked is told, and may file anew.
Looked up when somebody asks, from up to where the store had come when the query ended.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aggregator.store import LedgerReading
from aggregator.store.rows import COMPLETE, EXPIRED, LateFilm, QueryRecord
from protocol.names import SLOT_MS, slot_start_ms

_CARRIED_OUT = frozenset({COMPLETE, EXPIRED})


@dataclass(frozen=True, slots=True)
class LateFilms:
    """Of one camera.

    Args:
        boxes: who imported them.
        from_ms, to_ms: begin of the first quarter hour that they are of, end of the last one.
        quarter_hours: how many there are.
    """

    camera: str
    boxes: tuple[str, ...]
    from_ms: int
    to_ms: int
    quarter_hours: int


def late_films(ledger: LedgerReading, record: QueryRecord) -> tuple[LateFilms, ...]:
    """Return what came too late for a query, by camera; nothing while it goes on.

    Raises:
        StorageError: the store cannot be read.
    """
    if record.state not in _CARRIED_OUT or record.seen is None:
        return ()
    query = record.query
    came = ledger.films_since(
        query.cameras,
        from_ms=query.window_from_ms,
        to_ms=query.window_to_ms,
        seen=record.seen,
    )
    by_camera: dict[str, list[LateFilm]] = {}
    for one in came:
        by_camera.setdefault(one.camera, []).append(one)
    return tuple(_of_camera(camera, by_camera[camera]) for camera in sorted(by_camera))


def _of_camera(camera: str, came: Collection[LateFilm]) -> LateFilms:
    begins = {slot_start_ms(one.epoch, slot) for one in came for slot in one.slots}
    return LateFilms(
        camera,
        tuple(sorted({one.box for one in came})),
        min(begins),
        max(begins) + SLOT_MS,
        len(begins),
    )
