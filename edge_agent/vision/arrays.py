"""Names for the arrays that travel through the vision part, so that signatures say their type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) BGR."""

Crops: TypeAlias = NDArray[np.uint8]
"""(n, 112, 112, 3) BGR, aligned by `edge_agent.vision.alignment`."""

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

Flags: TypeAlias = NDArray[np.bool_]

CROP_SIZE = 112


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces found in one frame, in pixels of that frame.

    `boxes` (n, 4) float32: left, top, width, height; `landmarks` (n, 5, 2) float32: the eye on
    the image's left, the other eye, nose tip, mouth corners (left, right in the image);
    `scores` (n,) float32 in 0..1.
    """

    boxes: Floats
    landmarks: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: Ints | NDArray[np.bool_]) -> Detections:
        """The detections at these rows, in their order."""
        return Detections(self.boxes[rows], self.landmarks[rows], self.scores[rows])

    def and_these(self, others: Detections) -> Detections:
        """These detections, then others of the same frame."""
        return Detections(
            np.concatenate([self.boxes, others.boxes]),
            np.concatenate([self.landmarks, others.landmarks]),
            np.concatenate([self.scores, others.scores]),
        )

    @classmethod
    def none(cls) -> Detections:
        """No face at all."""
        return cls(
            np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)
        )
