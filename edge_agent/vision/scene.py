"""Whether a picture still shows the scene of the one before: at a cut everybody in it is new.

Recordings are put together of several, a camera that can turn jumps to another place, a switcher
shows one camera after another. Who was followed before such a cut is not who stands there after it.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.arrays import Doubles, Image
from edge_agent.vision.shrinking import shrunk

_SIZE = (32, 18)
_OTHER = 28.0  # grey levels by which a patch differs that shows something else
_SHARE = 0.5  # of the patches


class Scene:
    """Compares the frames of one camera, each with the one before."""

    def __init__(self) -> None:
        self._before: Doubles | None = None
        self._shape: tuple[int, ...] = ()

    def is_cut(self, image: Image) -> bool:
        """Whether a frame (H, W, 3) shows another scene than the last; False for the first.

        That all becomes lighter or darker at once is no cut.
        """
        small = shrunk(image, _SIZE)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float64)
        before, shape = self._before, self._shape
        self._before, self._shape = grey, image.shape
        if before is None:
            return False
        if shape != image.shape:
            return True
        light = np.median(grey) - np.median(before)
        other = float((np.abs(grey - before - light) > _OTHER).mean())
        return other > _SHARE

    def forget(self) -> None:
        """Begin anew."""
        if self._before is not None:
            self._before.fill(0)
        self._before = None
