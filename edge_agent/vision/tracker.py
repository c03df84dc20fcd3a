"""Follows people from detection to detection, so that each is counted, and embedded, once.

After ByteTrack (Zhang et al., ECCV 2022): weak detections go on with tracks that were seen a moment
ago, so that a face half hidden does not end its track, but begin none. Other than there they are
matched together with the confident ones, each at a price: apart, a track whose own person is seen
but weakly takes a neighbour's confident box, which at this rate is within its reach. The code
is our own because the kept tracking libraries bring torch or a full detection framework with them,
and because ByteTrack's plain IoU fails here: faces are small and detection runs at about 5 Hz, so
a walker's boxes do not overlap. The cost is therefore the generalised IoU (Rezatofighi et al.,
CVPR 2019), gated by the Mahalanobis distance of the centre and by the change of size. Where looks
are given (a histogram of colours), who looks otherwise costs more, and who looks quite otherwise is
somebody else: so that two who cross, or one who comes where another has just left, are not joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_agent.vision.arrays import Bools, Doubles, Floats, Ints
from edge_agent.vision.assignment import linear_sum_assignment
from edge_agent.vision.boxes import generalised_iou, shared
from edge_agent.vision.motion import FACES, Gait, Motion

_GATE = 13.8  # 99.9% quantile of chi-squared with two degrees of freedom
_FORBIDDEN = 1e6
_LOOKS_WEIGHT = 3.0
_WEAK_COSTS = 0.2
_OTHER_LOOKS = 0.7  # likeness (Bhattacharyya) below which two looks are two people's
_LOOKS_KEPT = 0.7  # of a track's looks, when new ones come in
_HIDDEN = 0.4  # share of a box, or of the other one if that is smaller, that another hides


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
    max_hidden_s: float = 0.0
    """The same, if that is longer, while another one's box is where it should be."""
    gait: Gait = FACES
    """How what is followed moves."""
    size_change: float = 1.8
    """Largest factor between the sizes (root of the area) of a track and its next detection."""


@dataclass(frozen=True, slots=True)
class TrackSpan:
    """A track that has ended: its number, when it was first and last seen, how often."""

    track_id: int
    first_seen_ms: int
    last_seen_ms: int
    hits: int


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


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found in a frame, (n,), and which tracks were seen a moment ago, (m,).

    What is `weak` only goes on with a track that was.
    """

    boxes: Doubles
    looks: Doubles | None
    weak: Bools
    recent: Bools


class Tracker:
    """The tracks of one camera. Times given must not run backwards, but after a `flush`."""

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self._config = config or TrackerConfig()
        self._motion = Motion(self._config.gait)
        self._looks: Doubles | None = None
        self._ids: Ints = np.zeros(0, np.int64)
        self._first_ms: Ints = np.zeros(0, np.int64)
        self._last_ms: Ints = np.zeros(0, np.int64)
        self._hits: Ints = np.zeros(0, np.int64)
        self._hidden: Bools = np.zeros(0, np.bool_)
        self._next_id = 1
        self._at_ms: int | None = None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def started(self) -> int:
        """How many tracks have begun so far."""
        return self._next_id - 1

    def update(self, detections: Seen, at_ms: int, looks: Doubles | None = None) -> TrackStep:
        """Take in the detections of a frame captured at `at_ms`.

        Args:
            detections: what was found.
            at_ms: when.
            looks: of each detection a histogram (n, d) whose sum is 1; given always or never.
        """
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
        recent = self._last_ms == previous_ms
        look = _Look(boxes, looks, detections.scores < self._config.high_score, recent)
        rows, found = self._match(old, np.concatenate([high, low]), look)
        rest_new = np.setdiff1d(high, found, assume_unique=True)
        new_rows, new_found = self._match(new, rest_new, look)
        rows = np.concatenate([rows, new_rows])
        found = np.concatenate([found, new_found])

        self._motion.correct(rows, boxes[found])
        self._last_ms[rows] = self._at_ms
        self._hits[rows] += 1
        self._note_hidden(rows)
        born = np.setdiff1d(high, found, assume_unique=True)
        rows = np.concatenate([rows, np.arange(len(born)) + len(self._ids)])
        self._begin(boxes[born])
        if looks is not None:
            self._remember(looks, rows, np.concatenate([found, born]))
        return TrackStep(
            detections=np.concatenate([found, born]),
            track_ids=self._ids[rows],
            boxes=self._motion.boxes()[rows],
            ended=tuple(ended),
        )

    def expire(self, at_ms: int) -> tuple[TrackSpan, ...]:
        """Close the tracks not seen for longer than they may be lost before `at_ms`."""
        lost_s, hidden_s = self._config.max_lost_s, self._config.max_hidden_s
        allowed_ms = 1000 * np.where(self._hidden, max(lost_s, hidden_s), lost_s)
        alive = at_ms - self._last_ms <= allowed_ms
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

    def boxes(self, track_ids: Ints) -> Doubles:
        """Where tracks that are open were last seen, or expected: left, top, width, height (k, 4).

        Args:
            track_ids: (k,).
        """
        return self._motion.boxes()[np.searchsorted(self._ids, track_ids)]

    # -- inside -------------------------------------------------------------------------------

    def _match(self, tracks: Ints, detections: Ints, look: _Look) -> tuple[Ints, Ints]:
        """Pairs of (track row, detection row) with the least total cost within the gates."""
        if not len(tracks) or not len(detections):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        chosen = look.boxes[detections]
        estimated = self._motion.boxes()[tracks]
        cost = 1.0 - generalised_iou(estimated, chosen)
        sizes = np.sqrt(np.maximum(estimated[:, 2:].prod(axis=1), 1e-6))
        ratio = sizes[:, None] / np.sqrt(np.maximum(chosen[:, 2:].prod(axis=1), 1e-6))
        gate = self._motion.distances(chosen)[tracks] <= _GATE
        gate &= (ratio <= self._config.size_change) & (ratio >= 1 / self._config.size_change)
        if look.looks is not None and self._looks is not None:
            alike = np.sqrt(self._looks[tracks]) @ np.sqrt(look.looks[detections]).T
            cost += _LOOKS_WEIGHT * (1.0 - alike)
            gate &= alike >= _OTHER_LOOKS
        weak = look.weak[detections]
        cost[:, weak] += _WEAK_COSTS
        gate &= ~weak[None] | look.recent[tracks][:, None]
        left, right = linear_sum_assignment(np.where(gate, cost, _FORBIDDEN))
        inside = gate[left, right]
        return tracks[left[inside]], detections[right[inside]]

    def _note_hidden(self, seen: Ints) -> None:
        """Note before which of the tracks that were not seen stands one that was."""
        self._hidden[:] = False
        missed = np.setdiff1d(np.arange(len(self._ids)), seen, assume_unique=True)
        if self._config.max_hidden_s and len(missed) and len(seen):
            boxes = self._motion.boxes()
            self._hidden[missed] = (shared(boxes[missed], boxes[seen]) >= _HIDDEN).any(axis=1)

    def _begin(self, boxes: Doubles) -> None:
        count = len(boxes)
        self._motion.add(boxes)
        times = np.full(count, self._at_ms, np.int64)
        self._ids = np.concatenate([self._ids, self._new_ids(count)])
        self._first_ms = np.concatenate([self._first_ms, times])
        self._last_ms = np.concatenate([self._last_ms, times])
        self._hits = np.concatenate([self._hits, np.ones(count, np.int64)])
        self._hidden = np.concatenate([self._hidden, np.zeros(count, np.bool_)])

    def _remember(self, looks: Doubles, rows: Ints, found: Ints) -> None:
        """Mix what was seen (at rows `found` of `looks`) into the looks of the tracks at `rows`."""
        mixed = np.zeros((len(self._ids), looks.shape[1]), np.float64)
        known = 0 if self._looks is None else len(self._looks)
        if self._looks is not None:
            mixed[:known] = self._looks
            self._looks.fill(0)
        kept = np.where(rows < known, _LOOKS_KEPT, 0.0)[:, None]
        mixed[rows] = kept * mixed[rows] + (1 - kept) * looks[found]
        self._looks = mixed

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
        if self._looks is not None:
            kept = self._looks[rows]
            self._looks.fill(0)
            self._looks = kept
        self._ids, self._hits = self._ids[rows], self._hits[rows]
        self._hidden = self._hidden[rows]
        self._first_ms, self._last_ms = self._first_ms[rows], self._last_ms[rows]
