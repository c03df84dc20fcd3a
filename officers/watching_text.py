"""Lay out what cameras watched and how many people they counted: the worst first, others folded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from officers.desk.afterwards import Afterwards
from officers.desk.coverage_hours import (
    ALMOST_ALL,
    BLIND,
    HOUR_MS,
    NOT_GRANTED,
    PARTLY,
    REFUSED,
    STATES,
    UNWATCHED,
    WATCHED,
    CameraHour,
    worst_hours_first,
)
from officers.desk.moments import duration_text, span_text
from officers.desk.watching import gaps, number_text, people_text, worst_first
from protocol.names import SLOT_MS
from protocol.query import Query
from protocol.watching import CameraWatch, PlaceCounts, Watching
from runtime.terminal import plain_table

_MARK = {WATCHED: "#", PARTLY: "+", BLIND: "-", UNWATCHED: ".", REFUSED: "x", NOT_GRANTED: "?"}
_MARKS, _NAME_WIDTH = 48, 24
NOT_TOLD = (
    "nothing has been told of these cameras and hours yet: that nobody was found there says nothing"
)
_SHOWN, _GAPS_SHOWN, _NAMES_SHOWN, _PLACES_SHOWN = 20, 3, 10, 40
_LEGEND = "<5 is 0 to 4; 28+ is 28 and some below five; - is withheld"
_REASONS = {
    "missing_s": "nothing came",
    "offline_s": "no picture",
    "dark_s": "dark",
    "blind_s": "blind",
    "frozen_s": "frozen",
    "standing_in_s": "a film stood in",
    "untold_s": "not running",
    "version_1_s": "not told (version 1)",
}


def coverage_lines(watching: Watching) -> str:
    """Return of which time it is told, and which cameras need not be listed."""
    span = span_text(watching.from_ms, watching.until_ms)
    head = f"watched, {span} (the boxes' word, added up by headquarters)"
    if not watching.slots:
        return f"{head}: no quarter hour has ended yet"
    well = sorted(one.camera for one in watching.watches() if _watched_well(one))
    lines = [head]
    if well:
        every = len(well) == len(watching.cameras) and not watching.cameras_left_out
        which = f"all {len(well)} cameras" if every and len(well) > 1 else _names(well)
        lines.append(f"{which}: all of it, but for {1 - ALMOST_ALL:.1%} at most")
    if watching.cameras_left_out:
        lines.append(f"of {watching.cameras_left_out} more cameras there was no room to tell")
    return "\n".join(lines)


def hours_lines(hours: Sequence[CameraHour], *, every: bool = False) -> str:
    """Return a line a camera, a mark an hour, the worst first; empty if all was watched.

    Of a long window a mark stands for several hours, and for the worst of them.

    Args:
        hours: of all cameras of a query.
        every: also beyond the first `_SHOWN` cameras.
    """
    missed = {
        camera: its
        for camera, its in worst_hours_first(tuple(hours)).items()
        if any(one.state != WATCHED for one in its)
    }
    if not missed:
        return ""
    longest = max(map(len, missed.values()))
    each = -(-longest // _MARKS)
    begins_ms = min(its[0].hour_ms for its in missed.values())
    ends_ms = max(its[-1].hour_ms for its in missed.values()) + HOUR_MS
    step = "an hour" if each == 1 else f"{each} hours, the worst of them"
    legend = "  ".join(f"{mark} {state}" for state, mark in _MARK.items())
    lines = [f"by the hour, {span_text(begins_ms, ends_ms)}; a mark is {step}:", f"  {legend}"]
    shown = list(missed) if every else list(missed)[:_SHOWN]
    width = min(_NAME_WIDTH, max(map(cell_len, shown)))
    for camera in shown:
        states = [one.state for one in missed[camera]]
        parts = (states[at : at + each] for at in range(0, len(states), each))
        marks = "".join(_MARK[min(part, key=STATES.index)] for part in parts)
        lines.append(f"  {set_cell_size(camera, width)}  {marks}")
    if len(missed) > len(shown):
        lines.append(f"  … {len(missed) - len(shown)} more (--all shows them)")
    return "\n".join(lines)


def coverage_table(watching: Watching, *, every: bool = False) -> Table | None:
    """Return the cameras that missed something, the worst first; None if none did.

    Args:
        every: also beyond the first `_SHOWN`.
    """
    missed = [one for one in worst_first(watching) if not _watched_well(one)]
    if not missed or not watching.slots:
        return None
    table = plain_table("camera", "watched", "not watched, and why", "when")
    for one in missed if every else missed[:_SHOWN]:
        share = math.floor(100 * one.watched_s / one.total_s)
        cells = (one.camera, f"{share} %", _reasons(one), _when(one, watching.from_ms))
        table.add_row(*(Text(cell) for cell in cells))
    if len(missed) > _SHOWN and not every:
        table.add_row(Text("…"), Text(""), Text(f"{len(missed) - _SHOWN} more (--all shows them)"))
    return table


def counts_table(watching: Watching, *, every: bool = False) -> Table | None:
    """Return how many people were where in which quarter hour; None if five were nowhere.

    Args:
        every: also beyond the first `_PLACES_SHOWN`.
    """
    places = sorted(watching.places(), key=lambda one: (one.begins_ms, one.camera))
    if not places:
        return None
    columns = ("camera", "quarter hour (local)", "people", "mask", "no mask", "both", "unknown")
    table = plain_table(*columns, "most at once, in 5 min")
    for one in places if every else places[:_PLACES_SHOWN]:
        table.add_row(*(Text(cell) for cell in _place_cells(one)))
    if len(places) > _PLACES_SHOWN and not every:
        rest = len(places) - _PLACES_SHOWN
        table.add_row(Text("…"), Text(f"{rest} more (--all shows them)"))
    return table


def counts_line(watching: Watching) -> str:
    """Return what the numbers are, and of how many quarter hours there are none."""
    counted = 0 if watching.counted is None else int(watching.counted.sum())
    fewer = counted - len(watching.counts if watching.counts is not None else ())
    fewer -= watching.counts_left_out
    missing = watching.slots * len(watching.cameras) - counted
    parts = [
        "people at the same place (numbers, not who; who stays is counted in each quarter hour)",
        f"fewer than 5 in {fewer} of {counted} quarter hours of cameras that were counted",
        f"{_LEGEND}, since a number below five could be computed from it",
    ]
    if missing:
        parts.append(f"{missing} were not counted")
    if watching.counts_left_out:
        parts.append(f"{watching.counts_left_out} with fewer people are left out")
    return "; ".join(parts)


def _place_cells(one: PlaceCounts) -> Sequence[str]:
    return (
        one.camera,
        span_text(one.begins_ms, one.begins_ms + SLOT_MS),
        people_text(one),
        *map(number_text, (one.masked, one.unmasked, one.changed, one.unknown)),
        ", ".join(map(number_text, one.at_once)),
    )


def afterwards_line(query: Query) -> str:
    """Return what the numbers of `afterwards_table` are."""
    return (
        "people in the same room after the subject, until "
        f"{duration_text(query.asks.afterwards_min * 60)} later (numbers, not who; "
        f"{_LEGEND})"
    )


def afterwards_table(rows: Sequence[Afterwards], *, every: bool = False) -> Table | None:
    """Return how many people came where the subject had been; None if there is nothing to tell.

    Args:
        every: also beyond the first `_PLACES_SHOWN`.
    """
    if not rows:
        return None
    table = plain_table("room", "camera", "quarter hour (local)", "people", "mask", "no mask")
    for one in rows if every else rows[:_PLACES_SHOWN]:
        room = ", ".join(filter(None, [one.place, one.room]))
        counts = one.counts
        numbers = (
            ("not counted", "", "")
            if counts is None
            else (people_text(counts), *map(number_text, (counts.masked, counts.unmasked)))
        )
        when = span_text(one.begins_ms, one.begins_ms + SLOT_MS)
        table.add_row(*(Text(cell) for cell in (room, one.camera, when, *numbers)))
    if len(rows) > _PLACES_SHOWN and not every:
        table.add_row(Text("…"), Text(f"{len(rows) - _PLACES_SHOWN} more (--all shows them)"))
    return table


def _watched_well(one: CameraWatch) -> bool:
    return one.watched_s >= ALMOST_ALL * one.total_s


def _reasons(one: CameraWatch) -> str:
    """Return for how long a camera did not watch, by reason, the longest first."""
    lost = {words: int(getattr(one, name)) for name, words in _REASONS.items()}
    ordered = sorted(lost.items(), key=lambda item: -item[1])
    return ", ".join(f"{words} {duration_text(seconds)}" for words, seconds in ordered if seconds)


def _when(one: CameraWatch, from_ms: int) -> str:
    spans = list(gaps(one, from_ms))
    shown = [span_text(begins_ms, ends_ms) for begins_ms, ends_ms in spans[:_GAPS_SHOWN]]
    return "\n".join([*shown, *_more(len(spans) - _GAPS_SHOWN)])


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"and {count} more"


def _names(names: Sequence[str]) -> str:
    return ", ".join([*names[:_NAMES_SHOWN], *_more(len(names) - _NAMES_SHOWN)])
