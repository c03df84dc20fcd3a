"""How each box was over the last days: its reports of a quarter hour, put together in one row.

Of each figure the value that is worst is kept: the fewest frames a second, the longest queue. Only
figures about the machine and its cameras are, of cameras that the directory lists, so that a box
can fill no disk by inventing names; nothing tells what was seen, as in the reports themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aggregator.store import Ledger
from aggregator.store.rows import HealthRow
from protocol.names import SLOT_MS
from protocol.telemetry import Health

REPORT_EVERY_MS = 30_000
HEARD_WITHIN_MS = 3 * REPORT_EVERY_MS
"""Of so long without a report nobody speaks: one that is lost is no silence."""
_LARGEST_FIGURE = 1e15
_LOWEST = ("disk_free_bytes", "day_keys.known")
_HIGHEST = (
    "outbox.queued",
    "outbox.in_memory",
    "outbox.bytes",
    "outbox.disk_full",
    "disk_total_bytes",
    "temperature_c",
)
_LOWEST_OF_CAMERA = ("camera.{}.fps", "camera.{}.state")
_HIGHEST_OF_CAMERA = ("trouble.view.{}", "trouble.camera.{}")


def add_to_history(
    ledger: Ledger, health: Health, *, received_ms: int, cameras: Collection[str]
) -> None:
    """Add a report that has just come to the history of its box.

    Args:
        ledger: inside a transaction.
        health: verified.
        received_ms: by our clock, to whose quarter hours the history is kept.
        cameras: the names that the directory lists for the box.
    """
    slot = received_ms // SLOT_MS
    known = ledger.newest_health(health.box, through_slot=slot)
    silent_ms = 0 if known is None else received_ms - known.last_ms
    if silent_ms <= HEARD_WITHIN_MS:
        silent_ms = 0
    here = known if known is not None and known.slot == slot else None
    ledger.put_health(
        HealthRow(
            box=health.box,
            slot=slot,
            reports=1 + (here.reports if here else 0),
            last_ms=max(received_ms, here.last_ms if here else 0),
            silent_ms=silent_ms + (here.silent_ms if here else 0),
            version=health.version,
            worst=_worst(here.worst if here else {}, health.figures, cameras),
        )
    )


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that JSON can say."""
    return {name: value for name, value in figures.items() if abs(value) < _LARGEST_FIGURE}


def _worst(
    known: Mapping[str, float], figures: Mapping[str, float], cameras: Collection[str]
) -> dict[str, float]:
    """Return of each kept figure the worse value of the two."""
    found, told = dict(known), finite(figures)
    for choose, names in (
        (min, [*_LOWEST, *_of(cameras, _LOWEST_OF_CAMERA)]),
        (max, [*_HIGHEST, *_of(cameras, _HIGHEST_OF_CAMERA)]),
    ):
        for name in names:
            if name in told:
                found[name] = choose(found.get(name, told[name]), told[name])
    return found


def _of(cameras: Collection[str], names: Collection[str]) -> list[str]:
    return [name.format(camera) for camera in cameras for name in names]
