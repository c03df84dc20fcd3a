"""Who was near whom on one camera, by pair: when, for how long within reach, how far apart.

Distances are measured on the ground: through the camera's homography at each person's feet, or,
without one, from the height of bodies (about 1.7 m) and faces (0.23 m) with a pinhole camera's
depth. The second is coarser: 10% of error in a height is 10% in its depth, and people differ by as
much. Of who stands behind a table, or is cut off by the picture's edge, the feet are judged from
the face, or from the width of the shoulders.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.homography import GroundPlane, fit_ground_plane
from edge_agent.vision.arrays import Bools
from edge_agent.vision.config import EncounterConfig
from edge_agent.vision.people import seen_whole

Matrix = NDArray[np.float64]
_MOST_DISTANCES = 512
_SHOULDERS_M = 0.5
"""Width of a person as a detector boxes the upper body."""
_FADES = 0.999  # of what was learnt, with each body that is seen
_ENOUGH = 100.0  # bodies, before the line is believed
_STRAIGHT = 0.9  # correlation of heights and feet
_UNLIKE = 0.35  # log of a height over the line's: a child, somebody who stoops, a wrong line


class DistanceModel:
    """Ground distances between the people seen in one frame of one camera."""

    def __init__(self, config: EncounterConfig, frame_size: tuple[int, int]) -> None:
        """Prepare for frames of `frame_size` = (height, width) pixels.

        Raises:
            HomographyError: the configured ground points or matrix describe no plane.
        """
        rows, columns = frame_size
        self._config = config
        self._frame_size = frame_size
        self._focal_px = columns / 2 / math.tan(math.radians(config.horizontal_fov_deg) / 2)
        ground = config.ground
        self._learned = _HeightsByFeet()
        self._plane: GroundPlane | None = None
        if ground is not None and ground.matrix is not None:
            self._plane = GroundPlane(ground.matrix, reference_px=(columns / 2, float(rows)))
        elif ground is not None:
            self._plane = fit_ground_plane(ground.image_points_px, ground.ground_points_m)

    def distances(self, faces: Matrix, bodies: Matrix) -> Matrix:
        """Distances (n, n) in metres between people; infinite where nothing is known of one.

        Where a person's feet would be above the horizon, heights decide.

        Args:
            faces: (n, 4) left, top, width, height, px; NaN for whom no face shows.
            bodies: the same of what is seen of their bodies.
        """
        whole = seen_whole(bodies, self._frame_size)
        self._learned.note(bodies[whole])
        scale = self._metres_per_px(faces, bodies, whole)
        by_size = self._by_size(faces, bodies, scale)
        if self._plane is not None:
            ground = self._plane.to_ground(self._feet(faces, bodies, whole, scale))
            apart = np.linalg.norm(ground[:, None] - ground[None], axis=2)
            by_size = np.where(np.isfinite(apart), apart, by_size)
        return np.where(np.isfinite(by_size), by_size, np.inf)

    def _metres_per_px(self, faces: Matrix, bodies: Matrix, whole: Bools) -> Matrix:
        """What a pixel measures where each person stands (n,): of the surest sign that shows."""
        config = self._config
        by_body = config.body_height_m / np.maximum(self._learned.usual(bodies), 1.0)
        by_face = config.face_height_m / np.maximum(faces[:, 3], 1.0)
        by_width = _SHOULDERS_M / np.maximum(bodies[:, 2], 1.0)
        return np.where(whole, by_body, np.where(np.isnan(by_face), by_width, by_face))

    def _feet(self, faces: Matrix, bodies: Matrix, whole: Bools, scale: Matrix) -> Matrix:
        faceless = np.isnan(faces[:, 3])
        top = np.where(faceless, bodies[:, 1], faces[:, 1])
        below = np.where(
            faceless,
            self._config.body_height_m / scale,
            self._config.body_heads * faces[:, 3],
        )
        judged = np.column_stack([_middle(faces, bodies, faceless), top + below])
        seen = np.column_stack([bodies[:, 0] + bodies[:, 2] / 2, bodies[:, 1] + bodies[:, 3]])
        return np.where(whole[:, None], seen, judged)

    def _by_size(self, faces: Matrix, bodies: Matrix, scale: Matrix) -> Matrix:
        depth = self._focal_px * scale
        centre = _middle(bodies, faces, np.isnan(bodies[:, 3]))
        across = np.abs(centre[:, None] - centre[None]) * (scale[:, None] + scale[None]) / 2
        return np.hypot(across, depth[:, None] - depth[None])


class _HeightsByFeet:
    """How high bodies are in the picture by where their feet are: a line, learnt from passers-by.

    On level ground a body's height in pixels grows with how far its feet are below the horizon
    (Hoiem et al., "Putting Objects in Perspective", CVPR 2006). Who is tall stands no nearer than
    who is short, once there is a line to go by. Only sums are kept, older ones fading.
    """

    def __init__(self) -> None:
        self._sums: Matrix = np.zeros(6)  # weight, y, h, y*y, y*h, h*h

    def note(self, bodies: Matrix) -> None:
        """Take in bodies (n, 4) that show from head to feet."""
        y, h = bodies[:, 1] + bodies[:, 3], bodies[:, 3]
        for one in np.column_stack([np.ones_like(y), y, h, y * y, y * h, h * h]):
            self._sums = _FADES * self._sums + one

    def usual(self, bodies: Matrix) -> Matrix:
        """The height (n,) px of somebody of usual size at the feet of each body, or its own."""
        own = bodies[:, 3]
        weight, y, h, yy, yh, hh = self._sums.tolist()
        if weight < _ENOUGH:
            return own
        spread_y, spread_h = yy / weight - (y / weight) ** 2, hh / weight - (h / weight) ** 2
        both = yh / weight - y * h / weight**2
        if spread_y <= 0 or spread_h <= 0 or both < _STRAIGHT * math.sqrt(spread_y * spread_h):
            return own
        feet = bodies[:, 1] + own
        line = h / weight + both / spread_y * (feet - y / weight)
        near = np.abs(np.log(np.maximum(line, 1.0) / np.maximum(own, 1.0))) < _UNLIKE
        return np.asarray(np.where(near, line, own), np.float64)


def _middle(first: Matrix, second: Matrix, missing: Bools) -> Matrix:
    """The middle (n,) of each first box across the picture, of the second where it is missing."""
    chosen = np.where(missing[:, None], second, first)
    return np.asarray(chosen[:, 0] + chosen[:, 2] / 2, np.float64)


@dataclass(frozen=True, slots=True)
class Meeting:
    """What is known of two tracks that came within reach of each other.

    `seconds` is the time within reach, from `first_ms` to `last_ms` with gaps left out; `median_m`
    is that of the distances seen meanwhile. `before_s` is the time within reach of the same two
    people under the numbers that they had before.
    """

    other_track: int
    distance_m: float
    seconds: float
    first_ms: int
    last_ms: int
    median_m: float
    before_s: float = 0.0


@dataclass(slots=True)
class _Pair:
    first_ms: int
    last_ms: int
    within_ms: int = 0
    before_ms: int = 0  # the same two, under earlier numbers
    near_since_ms: int | None = None  # last observation, if both were within reach at it
    nearest_m: float = math.inf
    seen_m: array[float] = field(default_factory=lambda: array("d"))  # every `stride`-th distance
    stride: int = 1
    count: int = 0

    def note(self, distance_m: float) -> None:
        """Take in a distance; of more than a few hundred only some are kept, evenly."""
        self.nearest_m = min(self.nearest_m, distance_m)
        if self.count % self.stride == 0:
            self.seen_m.append(distance_m)
            if len(self.seen_m) >= _MOST_DISTANCES:
                self.seen_m, self.stride = self.seen_m[::2], 2 * self.stride
        self.count += 1

    def add(self, other: _Pair) -> None:
        """Take in what was noted, of other moments, under another track of the same person."""
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.within_ms += other.within_ms
        self.nearest_m = min(self.nearest_m, other.nearest_m)
        for distance_m in other.seen_m:
            self.note(distance_m)


class EncounterBook:
    """The pairs of tracks that came within reach, until both have been closed."""

    def __init__(self, *, reach_m: float, max_gap_s: float = 1.0) -> None:
        self._reach_m = reach_m
        self._max_gap_ms = round(max_gap_s * 1000)
        self._pairs: dict[tuple[int, int], _Pair] = {}
        self._of: dict[int, set[int]] = {}
        self._earlier: dict[int, int] = {}  # number to the one that its person had before

    def observe(self, at_ms: int, tracks: NDArray[np.int64], distances: Matrix) -> None:
        """Take in the tracks (n,) seen in one frame and their distances (n, n) in metres."""
        seen = set(tracks.tolist())
        near: set[tuple[int, int]] = set()
        for row, column in np.argwhere(np.triu(distances <= self._reach_m, k=1)).tolist():
            first, second = sorted((int(tracks[row]), int(tracks[column])))
            near.add((first, second))
            self._meet(first, second, at_ms, float(distances[row, column]))
        for track in seen:
            for other in self._of.get(track, ()):
                if other in seen and track < other and (track, other) not in near:
                    self._pairs[track, other].near_since_ms = None
        for first, second in self._gone_on(seen):
            if (first, second) not in near:
                for pair in self._earlier_pairs(first, second):
                    pair.near_since_ms = None

    def meetings(self, track: int) -> list[Meeting]:
        """What is known of a track's encounters so far, the longest first."""
        found = [
            Meeting(
                other,
                pair.nearest_m,
                pair.within_ms / 1000,
                pair.first_ms,
                pair.last_ms,
                float(np.median(pair.seen_m)),
                pair.before_ms / 1000,
            )
            for other in self._of.get(track, ())
            for pair in [self._pairs[min(track, other), max(track, other)]]
        ]
        return sorted(found, key=lambda meeting: (-meeting.seconds, meeting.distance_m))

    def partners(self, track: int) -> frozenset[int]:
        """The tracks that this one came within reach of."""
        return frozenset(self._of.get(track, ()))

    def forget(self, track: int, *, for_good: bool = True) -> None:
        """Drop a track and all its pairs.

        Args:
            track: its number.
            for_good: its person is not going to have another number.
        """
        if for_good:
            before = self._earlier.pop(track, None)
            for later in [new for new, old in self._earlier.items() if old == track]:
                if before is None:
                    del self._earlier[later]
                else:
                    self._earlier[later] = before
        for other in self._of.pop(track, set()):
            del self._pairs[min(track, other), max(track, other)]
            self._of[other].discard(track)

    def go_on(self, earlier: int, later: int) -> None:
        """Let a person have another number from now on: time within reach goes on under it.

        It may come out some looks after that number was given.
        """
        self._earlier[later] = earlier
        for other in self._of.get(later, ()):
            pair = self._pairs[min(later, other), max(later, other)]
            since_ms = 0
            for number in self._numbers(earlier):
                for met in self._numbers(other):
                    before = self._pairs.get((min(number, met), max(number, met)))
                    if before is not None:
                        pair.before_ms += before.within_ms
                        since_ms = max(since_ms, before.near_since_ms or 0)
            if 0 < pair.first_ms - since_ms <= self._max_gap_ms:
                pair.within_ms += pair.first_ms - since_ms

    def merge(self, gone: int, into: int) -> None:
        """Take two tracks for one: what either met, the one that goes on has met."""
        earlier = self._earlier.pop(gone, None)
        if earlier is not None:
            self._earlier.setdefault(into, earlier)
        for other in self._of.pop(gone, set()):
            self._of[other].discard(gone)
            pair = self._pairs.pop((min(gone, other), max(gone, other)))
            if other == into:
                continue
            key = min(into, other), max(into, other)
            if key in self._pairs:
                self._pairs[key].add(pair)
            else:
                self._pairs[key] = pair
                self._of.setdefault(into, set()).add(other)
                self._of[other].add(into)

    def __len__(self) -> int:
        return len(self._pairs)

    def _meet(self, first: int, second: int, at_ms: int, distance_m: float) -> None:
        pair = self._pairs.get((first, second))
        if pair is None:
            pair = self._pairs[first, second] = _Pair(at_ms, at_ms)
            for earlier in self._earlier_pairs(first, second):
                pair.before_ms += earlier.within_ms
                if earlier.near_since_ms is not None:
                    since_ms = pair.near_since_ms or 0
                    pair.near_since_ms = max(since_ms, earlier.near_since_ms)
            self._of.setdefault(first, set()).add(second)
            self._of.setdefault(second, set()).add(first)
        pair.note(distance_m)
        pair.last_ms = at_ms
        if pair.near_since_ms is not None and at_ms - pair.near_since_ms <= self._max_gap_ms:
            pair.within_ms += at_ms - pair.near_since_ms
        pair.near_since_ms = at_ms

    def _gone_on(self, seen: set[int]) -> Iterator[tuple[int, int]]:
        """Yield pairs of those seen of whom one at least had another number before."""
        for track in seen & self._earlier.keys():
            for other in seen - {track}:
                yield min(track, other), max(track, other)

    def _earlier_pairs(self, first: int, second: int) -> Iterator[_Pair]:
        """Yield what was noted of two people under the numbers that they had before."""
        for one in self._numbers(first):
            for other in self._numbers(second):
                pair = self._pairs.get((min(one, other), max(one, other)))
                if pair is not None and (one, other) != (first, second):
                    yield pair

    def _numbers(self, track: int) -> Iterator[int]:
        """Yield a person's number, and those before it that are not forgotten."""
        number: int | None = track
        while number is not None:
            yield number
            number = self._earlier.get(number)
