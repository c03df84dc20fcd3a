"""Follows people from detection to detection, so that each is counted, and embedded, once.

A compact ByteTrack (Zhang et al., ECCV 2022): confident detections are matched to tracks first,
then weak ones to the tracks left over, so that a face half hidden does not end its track. The code
is our own because the kept tracking libraries bring torch or a full detection framework with them,
and because ByteTrack's plain IoU fails here: faces are small and detection runs at about 5 Hz, so
a walker's boxes do not overlap. The cost is therefore the generalised IoU (Rezatofighi et al.,
CVPR 2019), gated by the Mahalanobis distance of the centre and by the change of size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from edge_agent.vision.arrays import Doubles, Floats, Ints
from edge_agent.vision.motion import Motion

_GATE = 13.8  # 99.9% quantile of chi-squared with two degrees of freedom
_SIZE_CHANGE = 1.8  # largest factor between the heights of a track and its next detection
_FORBIDDEN = 1e6


class Seen(Protocol):
    """What was found in a frame: `boxes` (n, 4) left, top, width, height, px; `scores` (n,)."""

    @property
    def boxes(self) -> Floats:
        """Where."""

    @property
    def scores(self) -> Floats:
        """How sure it is, 0..1."""


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """When tracks begin, go on and end."""

    high_score: float = 0.6
    """Detections from here on are matched first and may begin a track."""
    low_score: float = 0.3
    """Weaker detections, from here on, may only go on with a track seen a moment ago."""
    max_lost_s: float = 1.0
    """A track not seen for longer has ended."""
    max_length_s: float = 60.0
    """A longer track is closed and a new one begins for the same person."""


@dataclass(frozen=True, slots=True)
class TrackSpan:
    """A track that has ended: its number, when the person was first and last seen, how often.

    `goes_on_as` is the number under which the same person is followed from now on, if it was
    closed for its length alone.
    """

    track_id: int
    first_seen_ms: int
    last_seen_ms: int
    hits: int
    goes_on_as: int | None = None


@dataclass(frozen=True, slots=True)
class TrackStep:
    """What one frame changed.

    `detections` (k,) rows of the frame's detections that belong to a track, `track_ids` (k,) which,
    `boxes` (k, 4) the filtered boxes (left, top, width, height, px); `ended` the closed tracks.
    """

    detections: Ints
    track_ids: Ints
    boxes: Doubles
    ended: tuple[TrackSpan, ...]


class Tracker:
    """The tracks of one camera. Times given must not run backwards, but after a `flush`."""

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self._config = config or TrackerConfig()
        self._motion = Motion()
        self._ids: Ints = np.zeros(0, np.int64)
        self._first_ms: Ints = np.zeros(0, np.int64)
        self._last_ms: Ints = np.zeros(0, np.int64)
        self._hits: Ints = np.zeros(0, np.int64)
        self._next_id = 1
        self._at_ms: int | None = None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def started(self) -> int:
        """How many tracks have begun so far."""
        return self._next_id - 1

    def update(self, detections: Seen, at_ms: int) -> TrackStep:
        """Take in the detections of a frame captured at `at_ms`."""
        ended = list(self.expire(at_ms))
        if self._at_ms is not None and len(self._ids):
            self._motion.predict(max(at_ms - self._at_ms, 1) / 1000)
        previous_ms = self._at_ms
        self._at_ms = at_ms if previous_ms is None else max(at_ms, previous_ms)

        boxes = detections.boxes.astype(np.float64)
        high = np.flatnonzero(detections.scores >= self._config.high_score)
        low = np.flatnonzero(
            (detections.scores >= self._config.low_score)
            & (detections.scores < self._config.high_score)
        )
        # A track seen once may be a false alarm: the others choose first.
        old = np.flatnonzero(self._hits >= 2)
        new = np.flatnonzero(self._hits < 2)
        rows, found = self._match(old, high, boxes)
        rest_new = np.setdiff1d(high, found, assume_unique=True)
        new_rows, new_found = self._match(new, rest_new, boxes)
        rest_old = np.setdiff1d(old, rows, assume_unique=True)
        rest_old = rest_old[self._last_ms[rest_old] == previous_ms]
        low_rows, low_found = self._match(rest_old, low, boxes)
        rows = np.concatenate([rows, new_rows, low_rows])
        found = np.concatenate([found, new_found, low_found])

        self._motion.correct(rows, boxes[found])
        ended += self._split(rows)
        self._last_ms[rows] = self._at_ms
        self._hits[rows] += 1
        born = np.setdiff1d(high, found, assume_unique=True)
        rows = np.concatenate([rows, np.arange(len(born)) + len(self._ids)])
        self._begin(boxes[born])
        return TrackStep(
            detections=np.concatenate([found, born]),
            track_ids=self._ids[rows],
            boxes=self._motion.boxes()[rows],
            ended=tuple(ended),
        )

    def expire(self, at_ms: int) -> tuple[TrackSpan, ...]:
        """Close the tracks not seen for longer than `max_lost_s` before `at_ms`."""
        alive = at_ms - self._last_ms <= self._config.max_lost_s * 1000
        ended = self._spans(np.flatnonzero(~alive))
        if ended:
            self._keep(np.flatnonzero(alive))
        return ended

    def flush(self) -> tuple[TrackSpan, ...]:
        """Close all tracks; the next frame may be of any time."""
        self._at_ms = None
        ended = self._spans(np.arange(len(self._ids)))
        self._keep(np.zeros(0, np.int64))
        return ended

    # -- inside -------------------------------------------------------------------------------

    def _match(self, tracks: Ints, detections: Ints, boxes: Doubles) -> tuple[Ints, Ints]:
        """Pairs of (track row, detection row) with the least total cost within the gates."""
        if not len(tracks) or not len(detections):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        chosen = boxes[detections]
        estimated = self._motion.boxes()[tracks]
        cost = 1.0 - generalised_iou(estimated, chosen)
        ratio = estimated[:, None, 3] / chosen[None, :, 3]
        gate = self._motion.distances(chosen)[tracks] <= _GATE
        gate &= (ratio <= _SIZE_CHANGE) & (ratio >= 1 / _SIZE_CHANGE)
        left, right = linear_sum_assignment(np.where(gate, cost, _FORBIDDEN))
        inside = gate[left, right]
        return tracks[left[inside]], detections[right[inside]]

    def _begin(self, boxes: Doubles) -> None:
        count = len(boxes)
        self._motion.add(boxes)
        times = np.full(count, self._at_ms, np.int64)
        self._ids = np.concatenate([self._ids, self._new_ids(count)])
        self._first_ms = np.concatenate([self._first_ms, times])
        self._last_ms = np.concatenate([self._last_ms, times])
        self._hits = np.concatenate([self._hits, np.ones(count, np.int64)])

    def _split(self, rows: Ints) -> tuple[TrackSpan, ...]:
        """Close those of the tracks that would get too long, and go on under a new number."""
        assert self._at_ms is not None  # noqa: S101 - set by the caller, told to the type checker
        too_long = rows[self._at_ms - self._first_ms[rows] > self._config.max_length_s * 1000]
        ended = self._spans(too_long)
        numbers = self._new_ids(len(too_long))
        self._ids[too_long] = numbers
        self._first_ms[too_long] = self._at_ms
        self._hits[too_long] = 0
        return tuple(
            replace(span, goes_on_as=number)
            for span, number in zip(ended, numbers.tolist(), strict=True)
        )

    def _new_ids(self, count: int) -> Ints:
        ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
        self._next_id += count
        return ids

    def _spans(self, rows: Ints) -> tuple[TrackSpan, ...]:
        return tuple(
            TrackSpan(
                track_id=int(self._ids[row]),
                first_seen_ms=int(self._first_ms[row]),
                last_seen_ms=int(self._last_ms[row]),
                hits=int(self._hits[row]),
            )
            for row in rows
        )

    def _keep(self, rows: Ints) -> None:
        self._motion.keep(rows)
        self._ids, self._hits = self._ids[rows], self._hits[rows]
        self._first_ms, self._last_ms = self._first_ms[rows], self._last_ms[rows]


def generalised_iou(first: Doubles, second: Doubles) -> Doubles:
    """Generalised IoU (n, k) in -1..1 of boxes (n, 4) and (k, 4): left, top, width, height."""
    low1, size1 = first[:, None, :2], first[:, None, 2:]
    low2, size2 = second[None, :, :2], second[None, :, 2:]
    high1, high2 = low1 + size1, low2 + size2
    shared = np.clip(np.minimum(high1, high2) - np.maximum(low1, low2), 0, None).prod(axis=2)
    hull = (np.maximum(high1, high2) - np.minimum(low1, low2)).prod(axis=2)
    union = size1.prod(axis=2) + size2.prod(axis=2) - shared
    union, hull = np.maximum(union, 1e-9), np.maximum(hull, 1e-9)
    result: Doubles = shared / union - (hull - union) / hull
    return result
