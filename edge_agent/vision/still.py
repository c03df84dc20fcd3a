"""Whether anything of a person moves: a poster, a painting and a shop's dummy do not.

Of where somebody was first seen a few patches of grey are kept, and compared with the same place
later. Whoever breathes, turns the head or goes away changes some of them; light that grows or fades
changes all alike, and a detector's box that trembles changes nothing, since the place stays. A
camera's picture always has some noise: where there is none it tells nothing.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.arrays import Doubles, Image

_PATCHES = (8, 16)
_CHANGED = 4.0  # grey levels, above what noise leaves of a patch's mean
_SHARE = 0.03  # of the patches; four of a hundred and twenty-eight
_LOOKS = 64
_SMALLEST_PX = 6


class Stillness:
    """What has changed where one person was first seen."""

    def __init__(self) -> None:
        self._place: tuple[slice, slice] | None = None
        self._first: Doubles | None = None
        self._looks = 0
        self._changed = 0

    def look(self, image: Image, box: Doubles) -> None:
        """Compare the place of the first look with what is there now.

        Args:
            image: the frame (H, W, 3), of one size always.
            box: (4,) left, top, width, height of the person; counts in the first look alone.
        """
        if self._looks >= _LOOKS and self.moved:
            return
        if self._place is None:
            left, top, right, bottom = (*box[:2], *(box[:2] + box[2:]))
            rows = slice(max(0, round(top)), max(0, round(bottom)))
            self._place = rows, slice(max(0, round(left)), max(0, round(right)))
        patch = image[self._place]
        if min(patch.shape[:2]) < _SMALLEST_PX:
            return
        small = cv2.resize(patch, _PATCHES, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float64)
        if self._first is None:
            self._first = grey
        if np.array_equal(grey, self._first):
            return
        self._looks += 1
        gain = np.median(grey) / max(float(np.median(self._first)), 1.0)
        other = np.abs(grey - gain * self._first) > _CHANGED
        self._changed += bool(other.mean() > _SHARE)

    @property
    def moved(self) -> bool:
        """Whether something has changed in a good part of the looks; True until there are three."""
        return self._looks < 3 or self._changed >= max(2, 0.25 * self._looks)

    def wipe(self) -> None:
        """Overwrite what is kept."""
        if self._first is not None:
            self._first.fill(0)
