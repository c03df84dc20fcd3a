"""How well people were followed, and a plain tracker to compare with.

IDF1 (Ristani et al., ECCV Workshops 2016) and MOTA (Bernardin and Stiefelhagen, 2008). The peer is
ByteTrack (Zhang et al., ECCV 2022) as published, restated here in a few lines: IoU alone, confident
detections first. The packages of it want numpy older than 2, or bring a detection framework.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from edge_agent.vision.arrays import Doubles, Floats, Ints
from edge_agent.vision.boxes import generalised_iou
from edge_agent.vision.motion import Gait, Motion

SAME_IOU = 0.3
"""From which a track's box is a person's."""


@dataclass(slots=True)
class Score:
    """Counts over frames, for IDF1 and MOTA."""

    truths: int = 0
    tracks: int = 0
    misses: int = 0
    false: int = 0
    switches: int = 0
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    last: dict[int, int] = field(default_factory=dict)

    def frame(
        self,
        truth: Doubles,
        numbers: Sequence[int],
        boxes: Doubles,
        ids: Sequence[int],
        counts: Sequence[bool],
    ) -> dict[int, int]:
        """Take in one frame; return the row of the track that each person's row has.

        Args:
            truth: boxes (n, 4) of people.
            numbers: (n,) who they are.
            boxes: (k, 4) of tracks.
            ids: (k,) their numbers.
            counts: (n,) whether each must be followed; who need not may.
        """
        iou = np.maximum(generalised_iou(truth, boxes), 0.0)
        rows, columns = linear_sum_assignment(-iou)
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        matched = {row: column for row, column in pairs if iou[row, column] >= SAME_IOU}
        for row, number in enumerate(numbers):
            if row not in matched:
                self.truths += counts[row]
                self.misses += counts[row]
                continue
            track = ids[matched[row]]
            self.truths += 1
            self.tracks += 1
            self.pairs[number, track] += 1
            self.switches += self.last.get(number, track) != track
            self.last[number] = track
        extra = len(ids) - len(matched)
        self.false += extra
        self.tracks += extra
        return matched

    @property
    def idf1(self) -> float:
        """Share of frames in which people have the one number that is theirs most."""
        rows = sorted({person for person, _ in self.pairs})
        columns = sorted({track for _, track in self.pairs})
        together = np.array([[self.pairs[a, b] for b in columns] for a in rows], np.float64)
        left, right = linear_sum_assignment(-together)
        return float(2 * together[left, right].sum() / max(self.truths + self.tracks, 1))

    @property
    def mota(self) -> float:
        """One less the share of misses, false boxes and changes of number."""
        return 1 - (self.misses + self.false + self.switches) / max(self.truths, 1)


class PlainByteTrack:
    """ByteTrack as published, in time rather than in frames: IoU, sure detections first."""

    _GAIT = Gait((0.05,) * 4, (0.2,) * 4, (0.3, 0.3, 0.1, 0.1))

    def __init__(self) -> None:
        self._motion = Motion(self._GAIT)
        self._ids = np.zeros(0, np.int64)
        self._last_ms = np.zeros(0, np.int64)
        self._at_ms: int | None = None
        self._next = 1

    def update(self, boxes: Doubles, scores: Floats, at_ms: int) -> tuple[list[int], Doubles]:
        """Take in the bodies of a frame; the numbers and boxes of those tracked in it."""
        alive = np.flatnonzero(at_ms - self._last_ms <= 1000)
        self._motion.keep(alive)
        self._ids, self._last_ms = self._ids[alive], self._last_ms[alive]
        if self._at_ms is not None and len(self._ids):
            self._motion.predict((at_ms - self._at_ms) / 1000)
        before, self._at_ms = self._at_ms, at_ms
        sure, weak = np.flatnonzero(scores >= 0.5), np.flatnonzero((scores >= 0.1) & (scores < 0.5))
        rows, found = self._match(np.arange(len(self._ids)), sure, boxes, 0.2)
        rest = np.setdiff1d(np.arange(len(self._ids)), rows)
        rest = rest[self._last_ms[rest] == before]
        more, others = self._match(rest, weak, boxes, 0.5)
        rows, found = np.concatenate([rows, more]), np.concatenate([found, others])
        self._motion.correct(rows, boxes[found])
        self._last_ms[rows] = at_ms
        born = np.setdiff1d(sure, found)
        born = born[scores[born] >= 0.6]
        self._motion.add(boxes[born])
        self._ids = np.concatenate([self._ids, self._next + np.arange(len(born))])
        self._last_ms = np.concatenate([self._last_ms, np.full(len(born), at_ms)])
        self._next += len(born)
        seen = np.flatnonzero(self._last_ms == at_ms)
        return self._ids[seen].tolist(), self._motion.boxes()[seen]

    def _match(self, tracks: Ints, found: Ints, boxes: Doubles, least: float) -> tuple[Ints, Ints]:
        if not len(tracks) or not len(found):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        iou = generalised_iou(self._motion.boxes()[tracks], boxes[found])
        left, right = linear_sum_assignment(-np.maximum(iou, 0))
        good = iou[left, right] >= least
        return tracks[left[good]], found[right[good]]
