"""Where people are in one frame: whole bodies, their heads, and which face is whose.

A body may be seen from head to feet or only its upper part, behind a table or a shelf, or cut off
by the edge of the picture; a face is somebody's if it lies where that body's head is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from edge_agent.vision.arrays import Bools, Floats, Image, Ints
from edge_agent.vision.assignment import linear_sum_assignment
from edge_agent.vision.boxes import Boxes, shared

HEAD_WIDTH = 0.8
"""Width of a face, in its heights."""
NO_FACE = NO_BODY = -1
BODY_HEADS = 7.5
"""Height of a standing body in heights of its face, from the chin up as a detector boxes it."""
_WHOLE_ASPECT = 2.0  # height by width from which a body is taken to be seen down to the feet
_SHOULDERS = 2.6  # width of an upper body, in heights of its face
_INSIDE_ANOTHER = 0.85  # share of a body within another from which it may be a part of that
_SAME_TOP = 0.15  # of the larger one's height: so near are the tops of a body and of its part
_CROWN = 0.35  # where a face begins below the top of its body, in face heights
_FORBIDDEN = 1e6


@dataclass(frozen=True, slots=True)
class Bodies:
    """Whole persons found in one frame, in pixels of that frame.

    `boxes` (n, 4) float32: left, top, width, height of what is seen of them; `scores` (n,) in 0..1.
    """

    boxes: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: Ints | Bools) -> Bodies:
        """The bodies at these rows, in their order."""
        return Bodies(self.boxes[rows], self.scores[rows])

    def and_these(self, others: Bodies) -> Bodies:
        """These bodies, then others of the same frame."""
        return Bodies(
            np.concatenate([self.boxes, others.boxes]),
            np.concatenate([self.scores, others.scores]),
        )

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


def heads_of(bodies: Boxes) -> Floats:
    """Where the faces of bodies (n, 4) should be, (n, 4), as a face detector would box them.

    Of a body whose feet show by its height, of another by the width of its shoulders.
    """
    boxes = np.asarray(bodies, np.float64)
    height = np.where(
        boxes[:, 3] >= _WHOLE_ASPECT * boxes[:, 2],
        boxes[:, 3] / BODY_HEADS,
        np.minimum(boxes[:, 2] / _SHOULDERS, boxes[:, 3] / 2),
    )
    width = HEAD_WIDTH * height
    left = boxes[:, 0] + (boxes[:, 2] - width) / 2
    return np.column_stack([left, boxes[:, 1] + _CROWN * height, width, height]).astype(np.float32)


def outside(areas: Sequence[Sequence[tuple[float, float]]], faces: Boxes) -> Bools:
    """Whether each face or head (n, 4) lies outside of all areas, given by their corners; (n,)."""
    centres = faces[:, :2] + faces[:, 2:] / 2
    kept = np.ones(len(faces), np.bool_)
    for area in areas:
        corners = np.array(area, np.float32)
        for row, (x, y) in enumerate(centres.tolist()):
            kept[row] &= cv2.pointPolygonTest(corners, (x, y), measureDist=False) < 0
    return kept


def seen_whole(bodies: Boxes, frame_size: tuple[int, int]) -> Bools:
    """Whether each body (n, 4) shows down to its feet in a frame of (height, width) px; (n,)."""
    bottom = bodies[:, 1] + bodies[:, 3]
    tall = bodies[:, 3] >= _WHOLE_ASPECT * bodies[:, 2]
    return np.asarray(tall & (bottom < 0.985 * frame_size[0]), np.bool_)


def distinct(bodies: Bodies) -> Bodies:
    """The bodies without those that are but the upper part of another one, which is kept."""
    if len(bodies) < 2:
        return bodies
    boxes = bodies.boxes.astype(np.float64)
    height, area = boxes[:, 3], boxes[:, 2:].prod(axis=1)
    inside = shared(boxes, boxes) >= _INSIDE_ANOTHER
    level = np.abs(boxes[:, None, 1] - boxes[None, :, 1]) <= _SAME_TOP * height[None]
    within = inside & level & (area[:, None] < area[None])
    return bodies.take(~within.any(axis=1))


def faces_of_bodies(faces: Boxes, bodies: Boxes, kept: Bools | None = None) -> Ints:
    """The row of the body that each face is the face of, (n,); `NO_BODY` where there is none.

    Args:
        faces: (n, 4) left, top, width, height.
        bodies: (k, 4).
        kept: (n, k) which were one person's so far: these go on unless another fits far better.
    """
    owner = np.full(len(faces), NO_BODY, np.int64)
    if not len(faces) or not len(bodies):
        return owner
    face, body = faces.astype(np.float64)[:, None], bodies.astype(np.float64)[None]
    height = np.maximum(face[..., 3], 1e-6)
    across = (face[..., 0] + face[..., 2] / 2 - body[..., 0]) / np.maximum(body[..., 2], 1e-6)
    below = (face[..., 1] - body[..., 1]) / height
    fits = (across > 0.0) & (across < 1.0) & (below > -0.6) & (below < 1.3)
    fits &= (face[..., 3] <= 0.75 * body[..., 3]) & (face[..., 2] <= 0.9 * body[..., 2])
    fits &= body[..., 3] <= 1.6 * BODY_HEADS * height
    cost = np.abs(across - 0.5) + 0.5 * np.abs(below - _CROWN)
    if kept is not None:
        cost = cost - 0.3 * kept
    left, right = linear_sum_assignment(np.where(fits, cost, _FORBIDDEN))
    inside = fits[left, right]
    owner[left[inside]] = right[inside]
    return owner
