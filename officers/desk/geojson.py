"""Read shapes out of GeoJSON files (RFC 7946): each point, line and polygon by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.textformats import parse_json
from runtime.fsio import read_file

POINT, LINE, POLYGON = "Point", "LineString", "Polygon"
_DEPTHS = {POINT: 0, LINE: 1, POLYGON: 2}
_OF_MANY = {f"Multi{kind}": kind for kind in _DEPTHS}
_COLLECTIONS = {"FeatureCollection": "features", "GeometryCollection": "geometries"}
_MAX_BYTES = 16 << 20
_FURTHEST = 1e6
Line = tuple[tuple[float, float], ...]
"""Corners: longitude and latitude, or x and y in metres, as the register of places has them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A point, a line, or a polygon; ``lines`` are its corners, of a polygon outline and holes."""

    kind: str
    lines: tuple[Line, ...]


def read_shapes(path: Path, *, most_corners: int) -> list[Shape]:
    """Read all shapes of a file.

    Raises:
        FileProblem: it cannot be read.
        ValueError: it is no GeoJSON, or has too much in it; the message says what.
    """
    left, shapes = most_corners, []
    waiting = [parse_json(read_file(path, _MAX_BYTES).decode("utf-8-sig"))]
    while waiting:
        one = waiting.pop()
        kind = one.get("type") if isinstance(one, dict) else None
        kind = kind if isinstance(kind, str) else ""
        if kind == "Feature":
            waiting.append(one.get("geometry"))
        elif kind in _COLLECTIONS:
            waiting += _listed(one.get(_COLLECTIONS[kind]))
        elif kind in _OF_MANY:
            parts = _listed(one.get("coordinates"))
            waiting += [{"type": _OF_MANY[kind], "coordinates": part} for part in parts]
        elif kind in _DEPTHS:
            shape = Shape(kind, tuple(_lines(one.get("coordinates"), _DEPTHS[kind])))
            left -= sum(len(line) for line in shape.lines)
            if left < 0:
                raise ValueError(f"it has more than {most_corners:,} corners; draw it simpler")
            if not all(shape.lines):
                raise ValueError("a line has no corners")
            shapes.append(shape)
        else:
            raise ValueError(f"it has a {kind or 'value'} in it")
    return shapes


def _lines(value: Any, depth: int) -> Iterator[Line]:
    if depth == 2:
        for part in _listed(value):
            yield from _lines(part, 1)
    else:
        yield tuple(_corner(corner) for corner in (_listed(value) if depth else [value]))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("it is no GeoJSON")  # noqa: TRY004 - of the file
    return value


def _corner(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) not in {2, 3}:
        raise ValueError("a corner is not [longitude, latitude]")
    if not all(type(part) in {int, float} and abs(part) <= _FURTHEST for part in value):
        raise ValueError("a corner is beyond the map")
    return float(value[0]), float(value[1])
