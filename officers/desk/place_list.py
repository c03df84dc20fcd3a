"""The register of places as an officer reads it: which camera is where, or would be taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from officers.desk.camera_places import places_for
from officers.desk.choosing import Wanted, cameras_known, choose
from officers.desk.notices import Tell, unheard
from officers.desk.officer import Officer
from protocol.places import CameraPlace, Places


@dataclass(frozen=True, slots=True)
class Placed:
    """A camera, and what the register says of it.

    Args:
        place: None where the register does not list it.
        in_force: whether a box in force watches it.
        axes: what its position is measured along.
    """

    camera: str
    place: CameraPlace | None
    in_force: bool
    axes: tuple[str, ...] = ()


def placed_cameras(
    officer: Officer,
    cameras: Sequence[str] = (),
    *,
    places: Sequence[str] = (),
    area: Path | None = None,
    tell: Tell = unheard,
) -> tuple[Placed, ...]:
    """Return the site's cameras with their places: all, or those that a query would take.

    Ordered by place; what the register does not list is last.

    Args:
        officer: whose directory names the register.
        cameras, places, area: as in `Wanted`.
        tell: takes notes, and that the register is not here.

    Raises:
        DraftInvalid, AreaInvalid, FileProblem: as `choose`.
    """
    register = places_for(officer, tell=tell)
    known, in_force = cameras_known(officer.directory)
    wanted = Wanted(tuple(cameras), tuple(places), area)
    if wanted.anything:
        known = choose(wanted, officer.directory, register, tell)
    axes = () if register is None else register.axes
    watched = frozenset(in_force)
    listed = [Placed(one, _place(register, one), one in watched, axes) for one in known]
    return tuple(sorted(listed, key=_order))


def placed_values(one: Placed) -> dict[str, Any]:
    """Return it as JSON values."""
    place = one.place
    values: dict[str, Any] = {"camera": one.camera, "watched": one.in_force}
    if place is None:
        return {**values, "place": None}
    return {
        **values,
        "place": place.place,
        "names": dict(place.names),
        "address": place.address,
        "indoor": place.indoor,
        "room": place.room,
        "view": place.view,
        "position": None
        if place.position is None
        else dict(zip(one.axes, place.position, strict=True)),
    }


def _place(register: Places | None, camera: str) -> CameraPlace | None:
    return None if register is None else register.cameras.get(camera)


def _order(one: Placed) -> tuple[bool, str, str, str]:
    place = one.place
    if place is None:
        return True, "", "", one.camera
    return False, place.place, place.room or "", one.camera
