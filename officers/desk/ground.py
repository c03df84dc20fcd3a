"""Where a query's cameras are on the ground, as far as the register of places tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from officers.desk.camera_places import places_from
from officers.desk.notices import Notice, Tell
from officers.desk.officer import Officer
from officers.desk.walking import EARTH_M
from protocol.errors import ProtocolError
from protocol.places import GLOBE, Places
from protocol.query import Query
from runtime.fsio import FileProblem

_DAY_S = 86_400.0


@dataclass(frozen=True, eq=False)
class Ground:
    """The cameras that a query names, and the seconds that it asks of each.

    Args:
        cameras: their names.
        window_s: how long the query's window is, more than 0.
        places: the register, None without one.
        compared: sightings that were compared, 0 if that is not known.
    """

    cameras: tuple[str, ...] = ()
    window_s: float = _DAY_S
    places: Places | None = None
    compared: int = 0

    def points(self, cameras: Sequence[str]) -> NDArray[np.float64]:
        """Return where cameras are, (n, 3) metres; NaN where that is not known.

        The straight line between two of them is the shortest way: the Earth's curve adds a
        centimetre in 20 km.
        """
        return np.array([self._point(name) for name in cameras], np.float64).reshape(-1, 3)

    def place(self, camera: str) -> str | None:
        """Return the place that a camera watches, in the register's words; None if unknown."""
        one = None if self.places is None else self.places.cameras.get(camera)
        return None if one is None else one.place

    @cached_property
    def placed(self) -> NDArray[np.float64]:
        """Where those of the query's cameras are of which that is known, (m, 3) metres."""
        points = self.points(self.cameras)
        return points[~np.isnan(points[:, 0])]

    def _point(self, camera: str) -> tuple[float, float, float]:
        one = None if self.places is None else self.places.cameras.get(camera)
        if self.places is None or one is None or one.position is None:
            return (math.nan, math.nan, math.nan)
        first, second = one.position
        if self.places.axes != GLOBE:
            return (first, second, 0.0)
        lat, lon = math.radians(first), math.radians(second)
        level = EARTH_M * math.cos(lat)
        return (level * math.cos(lon), level * math.sin(lon), EARTH_M * math.sin(lat))


def ground_of(query: Query, places: Places | None, compared: int) -> Ground:
    """Return the ground of a query."""
    seconds = (query.window_to_ms - query.window_from_ms) / 1000
    return Ground(tuple(query.cameras), seconds, places, max(0, compared))


def kept_places(officer: Officer, tell: Tell) -> Places | None:
    """Return the officer's own copy of the register that the directory names.

    None, and why is told, where there is no copy or another one: nothing is believed of where
    cameras are but what the site's authority signed.
    """
    if officer.directory.places is None:
        return None
    path = officer.config.places
    try:
        return places_from(path, officer.directory)
    except (FileProblem, ProtocolError) as error:
        words = (
            f"where cameras are is not taken into account: {error}; have the authority's office "
            f"give you its authority/places.csv, and keep it as {path}"
        )
        tell(Notice(words, warning=True))
        return None
