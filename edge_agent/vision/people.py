"""Who was seen in one frame: what several detectors saw of each person, put together.

A person is followed by where the head is. A face detector sees that; of a whole person it is judged
from the body, so that somebody whose face never shows is followed, and measured, as anybody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from edge_agent.vision.arrays import Detections, Floats, Image, Ints

HEAD_WIDTH = 0.8
"""Width of a face, in its heights."""
NO_FACE = -1
_NEAR = 1.0  # a body's head and a face that are one person's lie within so many heights
_SIZE_CHANGE = 1.8
_FORBIDDEN = 1e6


@dataclass(frozen=True, slots=True)
class Bodies:
    """Whole persons found in one frame, in pixels of that frame.

    `boxes` (n, 4) float32: left, top, width, height, from head to feet; `scores` (n,) in 0..1.
    """

    boxes: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def none(cls) -> Bodies:
        """Nobody at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


class PersonDetector(Protocol):
    """Finds whole persons, from whatever side; for the thread that calls it alone."""

    def detect(self, image: Image) -> Bodies:
        """Find the persons of a frame (H, W, 3) uint8 BGR of any size.

        Raises:
            ModelError: it failed.
        """


@dataclass(frozen=True, slots=True)
class People:
    """The people seen in one frame, each once.

    `boxes` (n, 4) float32: the head, as a face is boxed (left, top, width, height, px); `scores`
    (n,) float32 in 0..1: of the detector that is surest; `faces` (n,) int64: the row of the face
    among the frame's `Detections`, `NO_FACE` where none shows.
    """

    boxes: Floats
    scores: Floats
    faces: Ints

    def __len__(self) -> int:
        return len(self.scores)


def people_of(faces: Detections, bodies: Sequence[Bodies], *, body_heads: float) -> People:
    """Put together what was found in a frame: by the face detector, and by any number of others.

    Args:
        faces: keep their boxes.
        bodies: what each further detector found; a body whose head is where somebody is already
            adds no person, it only makes that one surer.
        body_heads: height of a body in face heights.
    """
    seen = People(faces.boxes, faces.scores, np.arange(len(faces)))
    for found in bodies:
        seen = _joined(seen, heads_of(found.boxes, body_heads), found.scores)
    return seen


def heads_of(bodies: Floats, body_heads: float) -> Floats:
    """The boxes (n, 4) of the heads of standing bodies (n, 4), as a face detector would put them.

    `body_heads` face heights below a head's top are the feet.
    """
    height = bodies[:, 3] / body_heads
    width = HEAD_WIDTH * height
    left = bodies[:, 0] + (bodies[:, 2] - width) / 2
    return np.column_stack([left, bodies[:, 1], width, height]).astype(np.float32)


def _joined(seen: People, heads: Floats, scores: Floats) -> People:
    mine, theirs = _same(seen.boxes, heads)
    surer = seen.scores.copy()
    surer[mine] = np.maximum(surer[mine], scores[theirs])
    new = np.setdiff1d(np.arange(len(heads)), theirs, assume_unique=True)
    return People(
        boxes=np.concatenate([seen.boxes, heads[new]]),
        scores=np.concatenate([surer, scores[new]]),
        faces=np.concatenate([seen.faces, np.full(len(new), NO_FACE, np.int64)]),
    )


def _same(first: Floats, second: Floats) -> tuple[Ints, Ints]:
    """The rows of two sets of heads, (n, 4) and (k, 4), that are one person's; each row once."""
    size = np.maximum(np.maximum(first[:, None, 3], second[None, :, 3]), 1e-6)
    off = (first[:, :2] + first[:, 2:] / 2)[:, None] - (second[:, :2] + second[:, 2:] / 2)[None]
    apart = np.hypot(off[..., 0], off[..., 1]) / size
    least = np.minimum(first[:, None, 3], second[None, :, 3])
    gate = (apart <= _NEAR) & (size <= _SIZE_CHANGE * least)
    left, right = linear_sum_assignment(np.where(gate, apart, _FORBIDDEN))
    inside = gate[left, right]
    return left[inside], right[inside]
