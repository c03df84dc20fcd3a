"""The site as a map: where each camera is by the register, and the plan that is drawn beneath."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from officers.desk.geojson import Line
from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.phrases import phrase
from officers.desk.place_list import Placed, placed_cameras
from officers.desk.report.plan import PlanInvalid, read_plan
from protocol.places import GLOBE
from runtime.fsio import FileProblem


@dataclass(frozen=True, slots=True)
class Spot:
    """A camera on the map, or beside it.

    Args:
        place: what the place is called, in the site's own words; empty where the register does not
            list the camera.
        names: the place's names besides, by language tag.
        at: east and north: degrees, or metres on the plan; None where that is not known.
        in_force: whether a box in force watches it.
    """

    camera: str
    place: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    room: str = ""
    view: str = ""
    at: tuple[float, float] | None = None
    in_force: bool = True

    def called(self, language: str) -> str:
        """Return the place with its room, in a language where it has a name in it."""
        name = self.names.get(language, self.place)
        return f"{name}, {self.room}" if self.room else name


@dataclass(frozen=True, slots=True)
class SiteMap:
    """All cameras of a site, by place, and the lines of its plan.

    Args:
        axes: what positions are measured along (`protocol.places`); empty: there are none.
        lines: of the plan, each point east and north.
    """

    spots: tuple[Spot, ...]
    axes: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    _by_camera: Mapping[str, Spot] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_camera", {one.camera: one for one in self.spots})

    @property
    def on_globe(self) -> bool:
        """Whether positions are degrees, not metres on a plan of the site's own."""
        return self.axes == GLOBE

    @property
    def drawn(self) -> bool:
        """Whether any camera has a position, so that there is a map at all."""
        return any(spot.at is not None for spot in self.spots)

    def spot(self, camera: str) -> Spot:
        """Return a camera's spot; one that the directory does not know has no place."""
        return self._by_camera.get(camera) or Spot(camera, in_force=False)


def site_map(officer: Officer, *, tell: Tell = unheard) -> SiteMap:
    """Return the site's cameras with their places and the plan that the officer keeps.

    A plan that is missing is no trouble: cameras are drawn without it. One that cannot be read is
    told.

    Args:
        officer: whose directory names the register.
        tell: takes warnings.
    """
    listed = placed_cameras(officer, tell=tell)
    axes = next((one.axes for one in listed if one.axes), ())
    return SiteMap(tuple(_spot(one) for one in listed), axes, _lines(officer.config.plan, tell))


def _lines(path: Path, tell: Tell) -> tuple[Line, ...]:
    if not path.exists():
        return ()
    try:
        return read_plan(path).lines
    except (PlanInvalid, FileProblem) as error:
        words = phrase("the map is drawn without the site's plan: {error}", error=error)
        tell(Notice(words, warning=True))
        return ()


def _spot(one: Placed) -> Spot:
    place = one.place
    if place is None:
        return Spot(one.camera, in_force=one.in_force)
    at = None
    if place.position is not None:
        first, second = place.position
        at = (second, first) if one.axes == GLOBE else (first, second)
    return Spot(
        one.camera,
        place.place,
        dict(place.names),
        place.room or "",
        place.view or "",
        at,
        one.in_force,
    )
