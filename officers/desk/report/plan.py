"""A site's plan or map as lines, from a GeoJSON file: it is drawn under a way, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from officers.desk.geojson import POINT, Line, read_shapes
from runtime.errors import OperationError

_MAX_CORNERS = 50_000


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
        shapes = read_shapes(path, most_corners=_MAX_CORNERS)
    except ValueError as error:
        raise PlanInvalid(
            f"{path} is not a plan ({error}); save walls or streets as lines or polygons in GeoJSON"
        ) from error
    lines = tuple(line for shape in shapes if shape.kind != POINT for line in shape.lines)
    if not lines:
        raise PlanInvalid(f"{path} is not a plan: there is no line and no polygon in it")
    return Plan(lines)
