"""The building that the demo's cameras stand in: an invented one, with its places and its plan."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from demo.local_site import LocalSite
from demo.processes import run_command, sealtrace

_LENGTH_M: Final = 56
_DEPTH_M: Final = 30
_COLUMNS: Final = "camera,place,name_ko,room,view,indoor,x_m,y_m"
_CAMERAS: Final = {
    "cam-1": "Entrance,현관,,doors from inside,yes,8,5",
    "cam-2": "Hall A,A홀,,desk and stairs,yes,15,14",
    "cam-3": "Hall B,B홀,,seats,yes,43,14",
    "cam-4": "Passage,연결 통로,,towards hall B,yes,28,12",
    "cam-5": "Hall B,B홀,,stairs to the cellar,yes,50,23",
    "cam-6": "Waiting room,대기실,B12,door,yes,46,5",
    "cam-7": "Pharmacy,약국,A14,counter,yes,12,24",
}
"""What the register of places says of each camera, in metres on the plan."""

# Rooms are drawn as lines with gaps where the doors are.
_WALLS: Final = (
    ((6, 0), (0, 0), (0, _DEPTH_M), (_LENGTH_M, _DEPTH_M), (_LENGTH_M, 0), (10, 0)),
    ((0, 9), (6, 9)),
    ((10, 9), (23, 9), (23, 10.5)),
    ((23, 14), (23, 19)),
    ((23, 22), (23, _DEPTH_M)),
    ((0, 19), (10, 19)),
    ((14, 19), (23, 19)),
    ((23, 9), (34, 9), (34, 10.5)),
    ((34, 14), (34, 19), (23, 19)),
    ((34, 19), (34, _DEPTH_M)),
    ((34, 9), (44, 9)),
    ((48, 9), (_LENGTH_M, 9)),
    ((34, 9), (34, 0)),
    ((44, 19), (44, 21), (53, 21), (53, 26), (44, 26), (44, 24)),
)


def place_cameras(site: LocalSite, cameras: Iterable[str]) -> None:
    """Have the running site's directory name where these cameras are; give officers the plan.

    Raises:
        ProcessFailed: the office's command failed.
    """
    rows = [f"{camera},{_CAMERAS[camera]}" for camera in cameras]
    register = site.folder / "places.csv"
    register.write_text("\n".join([_COLUMNS, *rows]) + "\n", encoding="utf-8")
    root = str(site.paths.root)
    run_command(
        sealtrace("site", "places", root, str(register), "--push"),
        folder=site.folder,
        environment=site.environment,
    )
    for officer in site.plan.officers:
        write_plan(site.officer(officer.name).with_name("plan.geojson"))


def write_plan(path: Path) -> None:
    """Write the building's plan as GeoJSON, in metres."""
    lines = [[list(corner) for corner in wall] for wall in _WALLS]
    geometry = {"type": "MultiLineString", "coordinates": lines}
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
