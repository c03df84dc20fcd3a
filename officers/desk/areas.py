"""An area on a map, from a GeoJSON file: which positions lie in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import read_file

_MAX_BYTES = 16 << 20
_MAX_CORNERS = 20_000
_FURTHEST = 1e6
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
        document = parse_json(read_file(path, _MAX_BYTES).decode("utf-8-sig"))
        area = Area(tuple(_polygons(document)))
    except ValueError as error:
        raise AreaInvalid(
            f"{path} is not an area ({error}); draw a Polygon or MultiPolygon on a map, and save "
            "it as GeoJSON"
        ) from error
    return area


def _polygons(value: Any) -> list[tuple[Ring, ...]]:
    """Return the polygons of a GeoJSON object.

    Raises:
        ValueError: it is, or has, something else.
    """
    found: list[tuple[Ring, ...]] = []
    corners = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = one.get("type") if isinstance(one, dict) else None
        inner = {
            "FeatureCollection": "features",
            "GeometryCollection": "geometries",
            "MultiPolygon": "coordinates",
            "Polygon": "coordinates",
        }.get(str(kind))
        if kind == "Feature":
            waiting.append(one.get("geometry"))
            continue
        parts = one.get(inner) if inner is not None else None
        if not isinstance(parts, list):
            raise ValueError(f"it has a {kind if isinstance(kind, str) else 'value'} in it")  # noqa: TRY004
        if kind == "Polygon":
            rings = tuple(_ring(ring) for ring in parts)
            if not rings:
                raise ValueError("a polygon has no corners")
            corners += sum(len(ring) for ring in rings)
            if corners > _MAX_CORNERS:
                raise ValueError(f"it has more than {_MAX_CORNERS} corners; draw it simpler")
            found.append(rings)
        elif kind == "MultiPolygon":
            waiting += [{"type": "Polygon", "coordinates": part} for part in parts]
        else:
            waiting += parts
    if not found:
        raise ValueError("it has no polygon")
    return found


def _ring(value: Any) -> Ring:
    if not isinstance(value, list) or len(value) < 4:
        raise ValueError("an outline has fewer than four corners")
    if len(value) > _MAX_CORNERS:
        raise ValueError(f"it has more than {_MAX_CORNERS} corners; draw it simpler")
    corners = []
    for corner in value:
        if not isinstance(corner, list) or len(corner) not in {2, 3}:
            raise ValueError("a corner is not [longitude, latitude]")
        if not all(type(part) in {int, float} and abs(part) <= _FURTHEST for part in corner):
            raise ValueError("a corner is beyond the map")
        corners.append((float(corner[0]), float(corner[1])))
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
