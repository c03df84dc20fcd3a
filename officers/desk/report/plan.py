"""A site's plan or map as lines, from a GeoJSON file: it is drawn under a way, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import read_file

_MAX_BYTES = 16 << 20
_MAX_CORNERS = 50_000
_FURTHEST = 1e6
Line = tuple[tuple[float, float], ...]
"""Corners: longitude and latitude, or x and y in metres, as the register of places has them."""


class PlanInvalid(OperationError):
    """The file is no plan."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Lines of walls, streets or areas; points of a file are left out."""

    lines: tuple[Line, ...] = ()


def read_plan(path: Path) -> Plan:
    """Read the lines and outlines of a GeoJSON file.

    Raises:
        FileProblem: it cannot be read.
        PlanInvalid: it is no GeoJSON, or has too much in it.
    """
    try:
        document = parse_json(read_file(path, _MAX_BYTES).decode("utf-8-sig"))
        lines = tuple(_lines(document))
    except ValueError as error:
        raise PlanInvalid(
            f"{path} is not a plan ({error}); save walls or streets as lines or polygons in GeoJSON"
        ) from error
    if not lines:
        raise PlanInvalid(f"{path} is not a plan: there is no line and no polygon in it")
    return Plan(lines)


def _lines(document: Any) -> Iterator[Line]:
    left = _MAX_CORNERS
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict):
            continue
        kind, parts = one.get("type"), one.get("coordinates")
        if kind == "Feature":
            waiting.append(one.get("geometry"))
        elif kind == "FeatureCollection":
            waiting += _listed(one.get("features"))
        elif kind == "GeometryCollection":
            waiting += _listed(one.get("geometries"))
        elif kind in _DEPTHS:
            for line in _at_depth(parts, _DEPTHS[kind]):
                left -= len(line)
                if left < 0:
                    raise ValueError(f"it has more than {_MAX_CORNERS:,} corners; draw it simpler")
                yield line
        elif kind not in {"Point", "MultiPoint"}:
            raise ValueError("it is no GeoJSON")


_DEPTHS = {"LineString": 0, "MultiLineString": 1, "Polygon": 1, "MultiPolygon": 2}


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("it is no GeoJSON")  # noqa: TRY004 - of the file
    return value


def _at_depth(value: Any, depth: int) -> Iterator[Line]:
    if depth:
        for part in _listed(value):
            yield from _at_depth(part, depth - 1)
        return
    corners = []
    for corner in _listed(value):
        if (
            not isinstance(corner, list)
            or len(corner) < 2
            or not all(type(part) in {int, float} and abs(part) <= _FURTHEST for part in corner[:2])
        ):
            raise ValueError("a corner is not [longitude, latitude]")
        corners.append((float(corner[0]), float(corner[1])))
    yield tuple(corners)
