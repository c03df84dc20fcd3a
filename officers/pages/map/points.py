"""What a map shows: each camera with its state as shape and word, ways between them, the plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from officers.desk.site_map import SiteMap, Spot

State = Literal[
    "off", "asked", "blind", "hit", "refused", "missing", "well", "trouble", "down", "new", "gone"
]
"""Off: not asked for; asked; blind: saw nothing; hit: a confirmed sighting; refused: a custodian
did; missing: not granted; well, trouble, down: of a box; new and gone: against an earlier query."""


@dataclass(frozen=True, slots=True)
class Point:
    """A camera on the map and in the list beside it.

    Args:
        words: what the state is, and what else is to be read, translated.
        number: shown in the shape: the stop of a trace; 0: none.
        url: where the camera's own page is; empty: it has none.
    """

    spot: Spot
    place: str
    state: State = "off"
    words: str = ""
    number: int = 0
    url: str = ""

    @property
    def camera(self) -> str:
        """The camera's name."""
        return self.spot.camera

    @property
    def checked(self) -> bool:
        """Whether it is chosen, where cameras are chosen."""
        return self.state == "asked"


@dataclass(frozen=True, slots=True)
class Way:
    """A line from camera to camera, in this order; ``kind`` names its class in the style sheet."""

    cameras: tuple[str, ...]
    kind: str = "walked"


@dataclass(frozen=True, slots=True)
class MapView:
    """A map to draw: `camera_map` of ``map/map.html`` takes it."""

    points: tuple[Point, ...]
    site: SiteMap
    ways: tuple[Way, ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether any of the cameras has a position."""
        return any(point.spot.at is not None for point in self.points)

    @property
    def unplaced(self) -> tuple[Point, ...]:
        """The cameras that are on no map."""
        return tuple(point for point in self.points if point.spot.at is None)

    @property
    def by_place(self) -> list[tuple[str, list[Point]]]:
        """The cameras by place, in order; those that the register does not list are last."""
        ordered = sorted(self.points, key=lambda one: (not one.place, one.place, one.camera))
        return [(place, list(ones)) for place, ones in groupby(ordered, lambda one: one.place)]

    @property
    def data(self) -> dict[str, Any]:
        """What the script draws."""
        return {
            "globe": self.site.on_globe,
            "lines": [[list(corner) for corner in line] for line in self.site.lines],
            "points": [
                {
                    "camera": point.camera,
                    "at": list(point.spot.at),
                    "place": point.place,
                    "state": point.state,
                    "words": point.words,
                    "number": point.number,
                    "url": point.url,
                }
                for point in self.points
                if point.spot.at is not None
            ],
            "ways": [{"cameras": list(way.cameras), "kind": way.kind} for way in self.ways],
        }


def map_view(
    site: SiteMap,
    *,
    language: str,
    states: Mapping[str, State] | None = None,
    words: Mapping[str, str] | None = None,
    numbers: Mapping[str, int] | None = None,
    urls: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    ways: Sequence[Way] = (),
) -> MapView:
    """Return a map of the site's cameras.

    Args:
        site: from `site_map`.
        language: in which places are called, where they have a name in it.
        states: by camera; one that is not named is off.
        words: by camera, translated: what its state is called, and more.
        numbers, urls: by camera, as in `Point`.
        only: the cameras to show; those that the directory no longer knows are among them. None:
            all that a box in force watches, and those that ``states`` names.
        ways: lines from camera to camera.
    """
    states, words = states or {}, words or {}
    if only is None:
        shown = [one for one in site.spots if one.in_force or one.camera in states]
        known = {one.camera for one in shown}
        shown += [site.spot(camera) for camera in states if camera not in known]
    else:
        shown = [site.spot(camera) for camera in only]
    points = tuple(
        Point(
            spot,
            spot.called(language),
            states.get(spot.camera, "off"),
            words.get(spot.camera, ""),
            (numbers or {}).get(spot.camera, 0),
            (urls or {}).get(spot.camera, ""),
        )
        for spot in shown
    )
    return MapView(points, site, tuple(ways))
