"""A subject's trace beside what the cameras watched meanwhile: a row a camera, and stops in order.

Pure: no clock, no files, no keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.coverage_hours import Spell, spells_by_camera
from officers.desk.traces import Stay, Trace
from protocol.query import Query
from protocol.watching import Watching


@dataclass(frozen=True, slots=True)
class Stop:
    """A hit with its place in the order of time, 1, 2, ..."""

    number: int
    stay: Stay


@dataclass(frozen=True, slots=True)
class Lane:
    """One camera over the query's window.

    Args:
        stops: where the subject was before it.
        spells: how it watched, in order of time, as far as the window has ended.
        watched_s, total_s: seconds of that.
    """

    camera: str
    stops: tuple[Stop, ...]
    spells: tuple[Spell, ...]
    watched_s: int
    total_s: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """One subject's.

    Args:
        from_ms, to_ms: the query's window.
        until_ms: until when it is told what was watched.
        stops: the hits in order of time.
        lanes: the cameras: those of stops first, in the order of these; then who watched least.
        seconds_known: whether it is told of each camera how long it watched.
    """

    from_ms: int
    to_ms: int
    until_ms: int
    stops: tuple[Stop, ...]
    lanes: tuple[Lane, ...]
    seconds_known: bool

    @property
    def unwatched(self) -> float | None:
        """The share of all cameras' time that nobody watched, or of which it is not known that.

        None before any of it has ended.
        """
        total = sum(one.total_s for one in self.lanes)
        return None if total <= 0 else 1 - sum(one.watched_s for one in self.lanes) / total


def timeline_of(query: Query, watching: Watching | None, trace: Trace) -> Timeline:
    """Return a subject's stops, and how each camera of the query watched.

    Args:
        query: the subject's.
        watching: what was told of it; None where nothing was yet.
        trace: the subject's.
    """
    ordered = sorted(trace.hits, key=lambda stay: (stay.from_ms, stay.to_ms, stay.numbers))
    stops = tuple(Stop(number, stay) for number, stay in enumerate(ordered, start=1))
    spells = spells_by_camera(watching, query)
    watched = {} if watching is None else {one.camera: one for one in watching.watches()}
    until_ms = query.window_to_ms if watching is None else watching.until_ms
    ended_s = max(0, until_ms - query.window_from_ms) // 1000
    lanes = []
    for camera in query.cameras:
        its = tuple(stop for stop in stops if stop.stay.address.camera == camera)
        told = watched.get(camera)
        seconds = 0 if told is None else told.watched_s
        lanes.append(Lane(camera, its, spells[camera], seconds, ended_s))
    lanes.sort(
        key=lambda one: (
            one.stops[0].number if one.stops else len(stops) + 1,
            one.watched_s,
            one.camera,
        )
    )
    return Timeline(
        query.window_from_ms,
        query.window_to_ms,
        until_ms,
        stops,
        tuple(lanes),
        watching is not None and not watching.cameras_left_out,
    )
