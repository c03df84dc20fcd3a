"""Draw a case's way: on the positions of the register of places and a plan, or in a row without.

No map is fetched from anywhere. Stops are numbered in order of time; who was found by clothes alone
has a hollow stop and a dashed way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from officers.desk.report.drawing import (
    WIDTH_MM,
    Box,
    Disc,
    Drawing,
    Ink,
    Label,
    Path,
    Point,
    Shape,
)
from officers.desk.report.plan import Plan
from officers.desk.report.words import Words

_HEIGHT_MM, _MARGIN_MM = 96.0, 9.0
_METRES_A_DEGREE = 111_320.0
_LEAST_M = 20.0
_STOP_MM, _CAMERA_MM = 2.6, 0.9
_ARROW_MM, _ROW_MM, _STEP_MM = 2.2, 24.0, 44.0
_LABEL_MM = 3.6
_LONGEST_NAME, _SAMPLES = 26, 40
_WIDE = 0x1100
"""Characters from here on, Hangul among them, are about as wide as high."""


_Rectangle = tuple[float, float, float, float]
"""Left, top, right and foot."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A camera at which a case was, in order of time.

    Args:
        camera: its name.
        name: of its place.
        by_appearance: whether the case was found there by clothes alone.
    """

    camera: str
    name: str
    by_appearance: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where cameras are.

    Args:
        positions: (longitude, latitude), or (x, y) in metres on the site's plan.
        globe: whether they are on the globe.
        others: cameras that were asked and where the case was not seen.
        plan: drawn below.
    """

    positions: Mapping[str, Point]
    globe: bool = True
    others: Sequence[str] = ()
    plan: Plan = field(default_factory=Plan)


def route_map(stops: Sequence[Stop], sheet: Sheet, words: Words) -> Drawing:
    """Draw a way. Stops without a position are not on it; `off_map` names them.

    Without a single position the stops stand in a row.
    """
    placed = [stop for stop in stops if stop.camera in sheet.positions]
    if not placed:
        return _in_a_row(stops)
    frame = _Frame(sheet, [sheet.positions[stop.camera] for stop in placed])
    corners = [(0.0, 0.0), (WIDTH_MM, 0.0), (WIDTH_MM, _HEIGHT_MM), (0.0, _HEIGHT_MM), (0.0, 0.0)]
    shapes: list[Shape] = [Path(corners, Ink.GREY, 0.2)]
    shapes += frame.plan(sheet.plan)
    for camera in sheet.others:
        if camera in sheet.positions and frame.holds(sheet.positions[camera]):
            shapes.append(Disc(frame.at(sheet.positions[camera]), _CAMERA_MM, Ink.GREY, Ink.LIGHT))
    shapes += frame.way(placed, sheet.positions)
    shapes += frame.stops(stops, sheet.positions)
    shapes += frame.scale(words)
    return Drawing(_HEIGHT_MM, tuple(shapes))


def off_map(stops: Sequence[Stop], sheet: Sheet) -> list[str]:
    """Return the names of stops that have no position, each once, if others have one."""
    off = [stop.name for stop in stops if stop.camera not in sheet.positions]
    return list(dict.fromkeys(off)) if len(off) < len(stops) else []


class _Frame:
    """The part of the world that is drawn, and where it lies on the sheet."""

    def __init__(self, sheet: Sheet, shown: Sequence[Point]) -> None:
        self._globe = sheet.globe
        self._east = math.cos(math.radians(shown[0][1])) if sheet.globe else 1.0
        metres = [self._metres(point) for point in shown]
        xs, ys = zip(*metres, strict=True)
        self._centre = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
        wide = max(max(xs) - min(xs), _LEAST_M)
        high = max(max(ys) - min(ys), _LEAST_M)
        room = WIDTH_MM - 2 * _MARGIN_MM - 18, _HEIGHT_MM - 2 * _MARGIN_MM - 8
        self._scale = min(room[0] / wide, room[1] / high)

    def _metres(self, point: Point) -> Point:
        if not self._globe:
            return point
        return point[0] * self._east * _METRES_A_DEGREE, point[1] * _METRES_A_DEGREE

    def at(self, point: Point) -> Point:
        """Return where a position lies on the sheet."""
        x, y = self._metres(point)
        return (
            WIDTH_MM / 2 + (x - self._centre[0]) * self._scale,
            _HEIGHT_MM / 2 - (y - self._centre[1]) * self._scale,
        )

    def holds(self, point: Point) -> bool:
        """Tell whether a position is on the sheet."""
        x, y = self.at(point)
        return 1 <= x <= WIDTH_MM - 1 and 1 <= y <= _HEIGHT_MM - 1

    def plan(self, plan: Plan) -> Iterator[Shape]:
        """Yield the parts of the plan's lines that are on the sheet."""
        for line in plan.lines:
            corners = [self.at(corner) for corner in line]
            for begins, ends in pairwise(corners):
                part = _clipped(begins, ends)
                if part is not None:
                    yield Path(part, Ink.NONE, 0.25)

    def way(self, stops: Sequence[Stop], positions: Mapping[str, Point]) -> Iterator[Shape]:
        """Yield an arrow from each stop to the next at another position."""
        for one, other in pairwise(stops):
            begins, ends = self.at(positions[one.camera]), self.at(positions[other.camera])
            if math.dist(begins, ends) < 2 * _STOP_MM:
                continue
            yield from _arrow(begins, ends, dashed=one.by_appearance or other.by_appearance)

    def stops(self, stops: Sequence[Stop], positions: Mapping[str, Point]) -> Iterator[Shape]:
        """Yield a mark and a label a position, with the numbers of all stops there."""
        numbers: dict[str, list[int]] = {}
        for number, stop in enumerate(stops, start=1):
            if stop.camera in positions:
                numbers.setdefault(stop.camera, []).append(number)
        named = {stop.camera: stop for stop in reversed(stops)}
        sure = {stop.camera for stop in stops if not stop.by_appearance}
        room = _Room(self._lines(stops, positions))
        marks = {camera: self.at(positions[camera]) for camera in numbers}
        for x, y in marks.values():
            room.take((x - _STOP_MM, y - _STOP_MM, x + _STOP_MM, y + _STOP_MM))
        for camera, here in sorted(numbers.items(), key=lambda item: item[1]):
            x, y = marks[camera]
            text = _short(named[camera].name)
            left, foot = room.beside((x, y), _width(text))
            yield Box((left - 0.4, foot - 2.6), _width(text) + 0.8, 3.4, Ink.PAPER)
            yield Label((left, foot), text, 2.8)
            fill = Ink.WAY if camera in sure else Ink.PAPER
            yield Disc((x, y), _STOP_MM, Ink.WAY, fill, 0.5)
            ink = Ink.PAPER if camera in sure else Ink.WAY
            yield Label((x, y + 1.0), _numbers(here), 2.6 if len(here) < 3 else 1.8, ink, "middle")

    def _lines(
        self, stops: Sequence[Stop], positions: Mapping[str, Point]
    ) -> list[tuple[Point, Point]]:
        placed = [self.at(positions[one.camera]) for one in stops if one.camera in positions]
        return list(pairwise(placed))

    def scale(self, words: Words) -> Iterator[Shape]:
        """Yield a bar of a round length, and on the globe which way north is."""
        metres = _round_length(40 / self._scale)
        length = metres * self._scale
        x, y = 4.0, _HEIGHT_MM - 4.0
        yield Path([(x, y - 1), (x, y), (x + length, y), (x + length, y - 1)], Ink.BLACK, 0.3)
        text = f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"
        yield Label((x + length + 1.5, y), text, 2.4)
        if self._globe:
            north = WIDTH_MM - 6.0
            yield Path([(north, 12), (north, 4), (north - 1.4, 7), (north, 4), (north + 1.4, 7)])
            yield Label((north, 15.2), words.text("N"), 2.6, anchor="middle")


def _in_a_row(stops: Sequence[Stop]) -> Drawing:
    """Draw the stops one after another, as many in a row as fit."""
    a_row = max(1, int(WIDTH_MM // _STEP_MM))
    rows = max(1, math.ceil(len(stops) / a_row))
    places = [
        (_STEP_MM / 2 + at % a_row * _STEP_MM, 9 + at // a_row * _ROW_MM)
        for at in range(len(stops))
    ]
    shapes: list[Shape] = []
    for at, (one, other) in enumerate(pairwise(stops)):
        if places[at][1] == places[at + 1][1]:
            dashed = one.by_appearance or other.by_appearance
            shapes += _arrow(places[at], places[at + 1], dashed=dashed)
    for at, stop in enumerate(stops):
        x, y = places[at]
        hollow = stop.by_appearance
        shapes.append(Disc((x, y), _STOP_MM, Ink.WAY, Ink.PAPER if hollow else Ink.WAY, 0.5))
        ink = Ink.WAY if hollow else Ink.PAPER
        shapes.append(Label((x, y + 1.0), str(at + 1), 2.6, ink, "middle"))
        shapes.append(Label((x, y + 7.0), _short(stop.name), 2.8, Ink.BLACK, "middle"))
    return Drawing(rows * _ROW_MM, tuple(shapes))


def _arrow(begins: Point, ends: Point, *, dashed: bool) -> Iterator[Shape]:
    length = math.dist(begins, ends)
    east, south = (ends[0] - begins[0]) / length, (ends[1] - begins[1]) / length
    gap = _STOP_MM + 0.4
    tail = (begins[0] + east * gap, begins[1] + south * gap)
    head = (ends[0] - east * gap, ends[1] - south * gap)
    yield Path([tail, head], Ink.WAY, 0.5, dashed=dashed)
    back = (head[0] - east * _ARROW_MM, head[1] - south * _ARROW_MM)
    side = (-south * _ARROW_MM * 0.45, east * _ARROW_MM * 0.45)
    corners = [
        head,
        (back[0] + side[0], back[1] + side[1]),
        (back[0] - side[0], back[1] - side[1]),
        head,
    ]
    yield Path(corners, Ink.WAY, 0.2, fill=Ink.WAY)


class _Room:
    """Where labels may stand: not over one another or a mark, and over no line if that can be."""

    def __init__(self, lines: Sequence[tuple[Point, Point]]) -> None:
        self._on_lines = [
            (x + (east - x) * at / _SAMPLES, y + (south - y) * at / _SAMPLES)
            for (x, y), (east, south) in lines
            for at in range(_SAMPLES + 1)
        ]
        self._taken: list[_Rectangle] = []

    def take(self, rectangle: _Rectangle) -> None:
        """Let nothing stand there."""
        self._taken.append(rectangle)

    def beside(self, at: Point, width: float) -> Point:
        """Return the left foot of a label beside a mark, and take its room."""
        x, y = at
        gap = _STOP_MM + 1.2
        feet = [(x + gap, y + 1.0), (x - gap - width, y + 1.0)]
        for step in range(1, 6):
            for below in (gap + 2.4 + (step - 1) * _LABEL_MM, -gap - (step - 1) * _LABEL_MM):
                feet += [
                    (x - width / 2, y + below),
                    (x + gap, y + below),
                    (x - gap - width, y + below),
                ]
        rectangles = [(left, foot - 2.6, left + width, foot + 0.8) for left, foot in feet]
        costs = [self._cost(one) + far for far, one in enumerate(rectangles)]
        best = costs.index(min(costs))
        self.take(rectangles[best])
        return feet[best]

    def _cost(self, rectangle: _Rectangle) -> int:
        left, top, right, foot = rectangle
        off = left < 1 or top < 1 or right > WIDTH_MM - 1 or foot > _HEIGHT_MM - 7
        over = sum(
            left < other[2] and other[0] < right and top < other[3] and other[1] < foot
            for other in self._taken
        )
        crossed = sum(left < x < right and top < y < foot for x, y in self._on_lines)
        return 1000 * off + 100 * over + crossed


def _clipped(begins: Point, ends: Point) -> tuple[Point, Point] | None:
    """Return the part of a line that is on the sheet (Liang and Barsky's way); None without one."""
    first, last = 0.0, 1.0
    span = (ends[0] - begins[0], ends[1] - begins[1])
    for axis, limit in ((0, WIDTH_MM), (1, _HEIGHT_MM)):
        for side, room in ((-span[axis], begins[axis]), (span[axis], limit - begins[axis])):
            if side == 0:
                if room < 0:
                    return None
                continue
            at = room / side
            if side < 0:
                first = max(first, at)
            else:
                last = min(last, at)
    if first > last:
        return None
    return (
        (begins[0] + first * span[0], begins[1] + first * span[1]),
        (begins[0] + last * span[0], begins[1] + last * span[1]),
    )


def _round_length(metres: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20 ... metres that is not longer."""
    power = 10.0 ** math.floor(math.log10(metres))
    return next(power * step for step in (5, 2, 1) if power * step <= metres)


def _numbers(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)) if len(numbers) < 4 else f"{numbers[0]}…{numbers[-1]}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _width(text: str) -> float:
    """Return about how wide a label is, mm."""
    return sum(2.7 if ord(char) >= _WIDE else 1.55 for char in text)
