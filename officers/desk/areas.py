"""An area on a map, from a GeoJSON file: which positions lie in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from officers.desk.geojson import POLYGON, Line, Shape, read_shapes
from officers.desk.phrases import phrase
from runtime.errors import OperationError

_MAX_CORNERS = 20_000
_HALF_WAY_ROUND = 180.0
Ring = NDArray[np.float64]
"""Corners, (n, 2): longitude and latitude, or x and y; the first once more at the end."""


class AreaInvalid(OperationError):
    """The file is not an area on a map."""


@dataclass(frozen=True, eq=False)
class Area:
    """Polygons, each an outline and its holes."""

    polygons: tuple[tuple[Ring, ...], ...]

    def holds(self, east: float, north: float) -> bool:
        """Tell whether a position lies in the area, or on its edge; in a hole it does not."""
        return any(_in_polygon(rings, east, north) for rings in self.polygons)


def read_area(path: Path) -> Area:
    """Read the polygons of a GeoJSON file; points and lines in it are refused.

    Raises:
        FileProblem: it cannot be read.
        AreaInvalid: it is no area, and why.
    """
    try:
        return Area(_polygons(read_shapes(path, most_corners=_MAX_CORNERS)))
    except ValueError as error:
        raise AreaInvalid(
            phrase(
                "{path} is not an area ({error}); draw a Polygon or MultiPolygon on a map, and "
                "save it as GeoJSON",
                path=path,
                error=error,
            )
        ) from error


def _polygons(shapes: Sequence[Shape]) -> tuple[tuple[Ring, ...], ...]:
    if others := [shape.kind for shape in shapes if shape.kind != POLYGON]:
        raise ValueError(f"it has a {others[0]} in it")
    if not shapes:
        raise ValueError("it has no polygon")
    if not all(shape.lines for shape in shapes):
        raise ValueError("a polygon has no corners")
    return tuple(tuple(_ring(line) for line in shape.lines) for shape in shapes)


def _ring(corners: Line) -> Ring:
    if len(corners) < 4:
        raise ValueError("an outline has fewer than four corners")
    if corners[0] != corners[-1]:
        raise ValueError("an outline does not end where it begins")
    ring = np.array(corners, np.float64)
    if np.abs(ring).max() <= _HALF_WAY_ROUND and np.ptp(ring[:, 0]) > _HALF_WAY_ROUND:
        raise ValueError("it goes across the 180th meridian; draw it in two parts")
    return ring


def _in_polygon(rings: tuple[Ring, ...], east: float, north: float) -> bool:
    outline, *holes = rings
    if not _in_ring(outline, east, north, edge=True):
        return False
    return not any(_in_ring(hole, east, north, edge=False) for hole in holes)


def _in_ring(ring: Ring, east: float, north: float, *, edge: bool) -> bool:
    """Count how often a ray to the east crosses the outline (even-odd rule).

    Args:
        edge: what to say of a position on the outline itself.
    """
    if not (math.isfinite(east) and math.isfinite(north)):
        return False
    x1, y1 = ring[:-1, 0] - east, ring[:-1, 1] - north
    x2, y2 = ring[1:, 0] - east, ring[1:, 1] - north
    cross = x1 * y2 - x2 * y1
    if np.any((cross == 0) & (x1 * x2 <= 0) & (y1 * y2 <= 0)):
        return edge
    upward, downward = (y1 <= 0) & (y2 > 0), (y2 <= 0) & (y1 > 0)
    crossed = (upward & (cross > 0)) | (downward & (cross < 0))
    return bool(np.count_nonzero(crossed) % 2)
