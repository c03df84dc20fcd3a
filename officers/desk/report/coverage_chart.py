"""Draw for each camera and hour whether it was watched: a square an hour, a row a camera a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from officers.desk.coverage_hours import (
    BLIND,
    HOUR_MS,
    NOT_GRANTED,
    PARTLY,
    REFUSED,
    UNWATCHED,
    WATCHED,
    CameraHour,
)
from officers.desk.report.drawing import Box, Drawing, Ink, Label, Shape
from officers.desk.report.words import Words, marked
from officers.desk.site_clock import by_clocks

INKS = {
    WATCHED: (Ink.GOOD, ""),
    PARTLY: (Ink.PART, "~"),
    BLIND: (Ink.BAD, "x"),
    UNWATCHED: (Ink.NONE, "-"),
    REFUSED: (Ink.NONE, "R"),
    NOT_GRANTED: (Ink.NONE, "N"),
}
"""State to the colour of its square, and the sign in it that tells without colour."""
STATES = {
    WATCHED: marked("watched"),
    PARTLY: marked("partly watched"),
    BLIND: marked("running, but blind"),
    UNWATCHED: marked("nothing came from it"),
    REFUSED: marked("refused by custodians"),
    NOT_GRANTED: marked("not granted"),
}
MOST_ROWS = 160
"""So many rows of a camera and a day are drawn; beyond that the table alone tells."""
_NAME_MM, _CELL_MM, _ROW_MM, _HEAD_MM = 49.0, 5.3, 4.6, 6.0
_LONGEST_NAME = 20


@dataclass(frozen=True, slots=True)
class Spell:
    """Hours in a row of one camera in one state, ms UTC."""

    camera: str
    from_ms: int
    to_ms: int
    state: str
    watched_s: int


def spells_of(hours: Sequence[CameraHour]) -> Iterator[Spell]:
    """Yield the hours of each camera that were not watched whole, those in a row together."""
    run: Spell | None = None
    for hour in hours:
        ends = hour.hour_ms + HOUR_MS
        if run and (run.camera, run.to_ms, run.state) == (hour.camera, hour.hour_ms, hour.state):
            watched = run.watched_s + hour.watched_s
            run = Spell(run.camera, run.from_ms, ends, run.state, watched)
            continue
        if run is not None and run.state != WATCHED:
            yield run
        run = Spell(hour.camera, hour.hour_ms, ends, hour.state, hour.watched_s)
    if run is not None and run.state != WATCHED:
        yield run


def charts(
    hours: Sequence[CameraHour], names: dict[str, str], words: Words
) -> Iterator[tuple[str, Drawing]]:
    """Yield a day and its drawing, by the site's clocks; nothing if it would be too many rows.

    Args:
        hours: of all cameras.
        names: camera to what stands before its row.
        words: in the report's language.
    """
    by_day: dict[str, dict[str, dict[int, str]]] = {}
    for hour in hours:
        at = by_clocks(hour.hour_ms, words.zone)
        by_day.setdefault(f"{at:%Y-%m-%d}", {}).setdefault(hour.camera, {})[at.hour] = hour.state
    if sum(len(cameras) for cameras in by_day.values()) > MOST_ROWS:
        return
    for day in sorted(by_day):
        yield day, _chart(by_day[day], names)


def legend(words: Words) -> Drawing:
    """Draw what the squares mean."""
    shapes: list[Shape] = []
    for at, (state, (ink, sign)) in enumerate(INKS.items()):
        x, y = at % 3 * 58.0, at // 3 * 6.5 + 1
        shapes.append(Box((x, y), _CELL_MM, _ROW_MM - 0.4, ink, Ink.GREY))
        shapes.append(Label((x + _CELL_MM / 2, y + 3.1), sign, 2.8, Ink.BLACK, "middle"))
        shapes.append(Label((x + _CELL_MM + 2, y + 3.2), words.text(STATES[state]), 2.8))
    return Drawing(14.0, tuple(shapes))


def _chart(cameras: dict[str, dict[int, str]], names: dict[str, str]) -> Drawing:
    shapes: list[Shape] = [
        Label((_NAME_MM + (hour + 0.5) * _CELL_MM, 4.0), f"{hour:02}", 2.2, Ink.GREY, "middle")
        for hour in range(24)
    ]
    for row, (camera, states) in enumerate(cameras.items()):
        y = _HEAD_MM + row * _ROW_MM
        name = names.get(camera, camera)
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        shapes.append(Label((0, y + 3.2), short, 2.6))
        for hour, state in sorted(states.items()):
            ink, sign = INKS[state]
            x = _NAME_MM + hour * _CELL_MM
            shapes.append(Box((x, y), _CELL_MM, _ROW_MM - 0.4, ink, Ink.PAPER))
            if sign:
                shapes.append(Label((x + _CELL_MM / 2, y + 3.1), sign, 2.6, Ink.BLACK, "middle"))
    return Drawing(_HEAD_MM + len(cameras) * _ROW_MM + 1, tuple(shapes))
