"""Where a query's cameras are, how far apart, and how far anybody gets on foot between two views.

All that is ranked or said of ways goes by this: the walking times that the register of places
gives, and where it gives none, straight lines between positions in it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from officers.desk.phrases import phrase
from protocol.places import GLOBE, Places
from protocol.query import Query

VIEW_M = 60.0
"""Two people at two cameras so far apart may be one: each camera sees half as far."""
CLOCK_S = 5.0
"""So much may two boxes' clocks, or where a sighting is cut, be apart."""
FASTEST_M_S = 4.0
"""Of somebody on foot in a hurry, in a straight line."""
WALK_MPS = 1.4
"""Walking, in a straight line (Bohannon 1997: comfortable, 1.3 to 1.5 m/s)."""
TOO_FAST = phrase("faster than walking allows")
AT_ONCE = phrase("on two cameras at one time")
TWO_AT_ONCE = phrase("two people before one camera at one time")
_EARTH_M = 6_371_008.8
"""Mean radius (IUGG)."""
_DAY_S = 86_400.0

Walks = Mapping[int, tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Of a camera's number: those of others, ascending, and how far apart they count, m."""
Seconds = TypeVar("Seconds", float, NDArray[np.float64])


def reach_m(gap_s: Seconds, metres_s: float = FASTEST_M_S) -> Seconds:
    """Return how far apart two cameras may be for one person to be seen by both, m.

    Args:
        gap_s: from the end of the earlier sighting to the beginning of the later.
        metres_s: how fast they go, in a straight line.
    """
    reached: Seconds = VIEW_M + metres_s * np.maximum(gap_s + CLOCK_S, 0.0)
    return reached


def walked_m(walk_s: float) -> float:
    """Return how far apart two cameras count between which people walk so long, m.

    The time is from what one sees to what the other sees, so neither sees any of the way.
    """
    return VIEW_M + WALK_MPS * walk_s


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

    def metres(self, one: str, other: str) -> float | None:
        """Return how far two cameras are from each other; None if that is not known."""
        if one == other:
            return 0.0
        metres = math.dist(self._point(one), self._point(other))
        return None if math.isnan(metres) else metres

    def walk_s(self, one: str, other: str) -> float | None:
        """Return how long people walk between two cameras, s, if the register gives that."""
        return None if self.places is None else self.places.walk_s(one, other)

    def walks(self, cameras: Sequence[str]) -> Walks:
        """Return the given walks among some cameras, by their numbers in the order given.

        Of each camera that has any: the others, ascending, and how far apart they count, m.
        """
        row = {name: number for number, name in enumerate(cameras)}
        found: dict[int, dict[int, float]] = {}
        for (one, other), seconds in ({} if self.places is None else self.places.walks).items():
            if one in row and other in row:
                metres = walked_m(seconds)
                found.setdefault(row[one], {})[row[other]] = metres
                found.setdefault(row[other], {})[row[one]] = metres
        return {
            number: (
                np.array(sorted(to), np.int64),
                np.array([to[other] for other in sorted(to)], np.float64),
            )
            for number, to in found.items()
        }

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
        level = _EARTH_M * math.cos(lat)
        return (level * math.cos(lon), level * math.sin(lon), _EARTH_M * math.sin(lat))


def ground_of(query: Query, places: Places | None, compared: int) -> Ground:
    """Return the ground of a query."""
    seconds = (query.window_to_ms - query.window_from_ms) / 1000
    return Ground(tuple(query.cameras), seconds, places, max(0, compared))
