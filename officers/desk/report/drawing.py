"""Vector drawings of a few shapes, measured in millimetres, which PDF and HTML both set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

WIDTH_MM = 178.0
"""Of all drawings: between the margins of a page of A4."""


class Ink(Enum):
    """Colours, by what they are for; each is told from the others in grey, too."""

    BLACK = (0x22, 0x22, 0x22)
    GREY = (0x88, 0x88, 0x88)
    LIGHT = (0xE3, 0xE6, 0xEA)
    PAPER = (0xFF, 0xFF, 0xFF)
    WAY = (0x1F, 0x5A, 0xA6)
    WARN = (0xB3, 0x26, 0x1E)
    GOOD = (0xBF, 0xE3, 0xC8)
    PART = (0xF5, 0xE0, 0x9A)
    BAD = (0xE8, 0xA9, 0x9C)
    NONE = (0xC4, 0xC9, 0xD1)

    @property
    def css(self) -> str:
        """As ``#rrggbb``."""
        return "#{:02x}{:02x}{:02x}".format(*self.value)


Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Path:
    """A line through points; ``closed`` and filled if ``fill`` is given."""

    points: Sequence[Point]
    ink: Ink = Ink.BLACK
    width: float = 0.3
    dashed: bool = False
    fill: Ink | None = None


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle."""

    centre: Point
    radius: float
    ink: Ink = Ink.BLACK
    fill: Ink | None = None
    width: float = 0.3


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its upper left corner, width and height."""

    corner: Point
    width: float
    height: float
    fill: Ink
    ink: Ink | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A text on one line; ``anchor`` is where ``at`` is of it: start, middle or end of its foot."""

    at: Point
    text: str
    size: float = 2.8
    ink: Ink = Ink.BLACK
    anchor: str = "start"


Shape = Path | Disc | Box | Label


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on a sheet ``width`` by ``height``; y points down."""

    height: float
    shapes: tuple[Shape, ...]
    width: float = WIDTH_MM
