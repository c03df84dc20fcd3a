"""What a simulated city's queries took, and by a line through that what a whole city takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.city_account import Measured
from benchmarks.city_traffic import Filled
from benchmarks.figures import Figure

CITY_CAMERAS, CITY_DAYS = 10_820, 14
CITY = CITY_CAMERAS * CITY_DAYS
TARGET_S, TARGET_BYTES, TARGET_HIT_S = 300.0, 4e9, 3.0
LEAST_SIZES = 3
"""Of fewer sizes no line is drawn: it would go through both."""
MEMORY_FROM = 500
"""Camera-days of the least size from which memory is projected: up to there buffers fill."""
_LINEAR = 0.1
_WORKERS = "the matching processes"


@dataclass
class Written(Filled):
    """What the traffic came to: CPU seconds of sealing and packing it, bytes of what there is."""

    took_s: float = 0.0
    packed_s: float = 0.0
    stored: int = 0
    announcement: int = 0
    live: int = 0


@dataclass(frozen=True)
class Line:
    """A line through what sizes took; ``residual`` is the largest, as a share of what it took."""

    fixed: float
    each: float
    residual: float

    @classmethod
    def through(cls, sizes: Sequence[float], took: Sequence[float]) -> Line:
        """Return the line of least squares."""
        each, fixed = np.polyfit(sizes, took, 1)
        told = np.polyval((each, fixed), sizes)
        measured = np.asarray(took, float)
        least = max(float(measured.max()) / 20, 1e-9)  # what took next to nothing bends no line
        residuals = np.abs(told - measured) / np.maximum(measured, least)
        return cls(float(fixed), float(each), float(residuals.max()))

    def at(self, size: float) -> float:
        """Return what a size would take."""
        return self.fixed + self.each * size


@dataclass
class Outcome:
    """What was measured.

    Args:
        written: the traffic.
        runs: what each size took.
        live: the same of all cameras, with a live query beside.
        references_us: how fast the machine was meanwhile (`benchmarks.cpu_time.reference_us`).
        failed: what went wrong, after which nothing more was measured; empty if nothing did.
    """

    written: Written
    runs: list[Measured] = field(default_factory=list)
    live: Measured | None = None
    references_us: list[float] = field(default_factory=list)
    failed: str = ""


def figures(outcome: Outcome) -> list[Figure]:
    """Say what was measured, and what a city would take by it."""
    written, runs, live = outcome.written, outcome.runs, outcome.live
    told = [
        Figure("a segment in store, all its blocks", written.size / written.segments, "bytes"),
        Figure("sightings a segment", written.sightings / written.segments, ""),
        Figure(
            "a segment on disk, indexes and all",
            written.stored / written.segments,
            "bytes",
            "its blocks",
            written.stored / written.size,
        ),
    ]
    told += [
        Figure("a day's announcement of a camera", written.announcement, "bytes"),
        Figure("a live envelope of one", written.live, "bytes"),
    ]
    if written.packed_s:
        packing = written.packed_s / written.segments * 1e6
        told.append(Figure("packing a segment, rows deleted", packing, "CPU µs"))
    for one in runs:
        what = f"{one.camera_days:,} camera-days"
        told += [
            Figure(f"{what}: approval to last candidate, wall", one.found_s, "s"),
            Figure(f"{what}: the same on two idle cores", one.ideal_found_s, "s"),
            Figure(f"{what}: to the query's end, wall", one.ended_s, "s"),
            Figure(f"{what}: the same on two idle cores", one.ideal_s, "s"),
            Figure(f"{what}: CPU of the queries' process", one.spent.own, "s"),
            Figure(f"{what}: CPU of {_WORKERS}", one.spent.workers, "s"),
            Figure(f"{what}: CPU of a custodian", max(one.spent.custodians.values()), "s"),
            Figure(f"{what}: most memory, all processes", one.peak / 1e6, "MB"),
            Figure(f"{what}: of which the queries' process", one.own["queries"] / 1e6, "MB"),
            Figure(f"{what}: with pages of the store's files", one.touched / 1e6, "MB"),
        ]
    if runs:
        told += _each(runs[-1], written)
    told += _projection(runs)
    speeds = outcome.references_us
    told += [
        Figure(f"this machine meanwhile, an HMAC in Python: {word}", value, "CPU µs")
        for word, value in (("least", min(speeds)), ("most", max(speeds)))
    ]
    if live is not None and live.hits_s:
        told += _live(live)
    return told


def _each(largest: Measured, written: Written) -> list[Figure]:
    return [
        Figure("a camera-day, CPU here", largest.spent.here / largest.camera_days * 1e3, "ms"),
        Figure("a sighting, CPU here", largest.spent.here / written.sightings * 1e6, "µs"),
        Figure(
            "a camera-day, CPU of a custodian",
            max(largest.spent.custodians.values()) / largest.camera_days * 1e3,
            "ms",
        ),
    ]


def _projection(runs: Sequence[Measured]) -> list[Figure]:
    if len(runs) < LEAST_SIZES:
        return []
    sizes = [float(one.camera_days) for one in runs]
    parts: list[tuple[str, str, list[float], float | None, float]] = [
        (
            "to the last candidate, on two idle cores",
            "s",
            [one.ideal_found_s for one in runs],
            TARGET_S,
            1,
        ),
        ("to the query's end, on two idle cores", "s", [one.ideal_s for one in runs], None, 1),
        ("CPU of the queries' process", "s", [one.spent.own for one in runs], None, 1),
        (f"CPU of {_WORKERS}", "s", [one.spent.workers for one in runs], None, 1),
        (
            "CPU of a custodian",
            "s",
            [max(one.spent.custodians.values()) for one in runs],
            None,
            1,
        ),
    ]
    if min(sizes) >= MEMORY_FROM:
        peaks = [float(one.peak) for one in runs]
        parts.append(("most memory", "GB", peaks, TARGET_BYTES, 1e9))
    told = []
    for what, unit, took, target, per in parts:
        line = Line.through(sizes, took)
        residual = f"largest residual {100 * line.residual:.0f} %"
        bent = ", not linear" if line.residual > _LINEAR else ""
        at = line.at(CITY)
        told.append(
            Figure(
                f"projected, {CITY:,} camera-days: {what} ({residual}{bent})",
                at / per,
                unit,
                "" if target is None else f"the target, {target / per:g} {unit}",
                None if target is None else at / target,
            )
        )
    return told


def _live(live: Measured) -> list[Figure]:
    against = f"the target, {TARGET_HIT_S:g} s"
    quiet = float(np.median(live.hits_s))
    told = [Figure("a live hit, nothing else running, median", quiet, "s", against, quiet / 3)]
    if meanwhile := live.hits_meanwhile_s:
        for word, value in (("median", np.median(meanwhile)), ("worst", max(meanwhile))):
            name = f"a live hit while the large query runs ({len(meanwhile)} of them), {word}"
            told.append(Figure(name, float(value), "s", against, float(value) / TARGET_HIT_S))
    return told
