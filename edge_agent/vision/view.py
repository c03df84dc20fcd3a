"""What a camera sees at all, judged from its pictures: watched, dark, blind, frozen, offline.

Simple signs, each looked at once a second. A camera that watches an empty street at night has
noise, so a picture that stays the same to the last bit for long is not one of now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import cv2
import numpy as np

from edge_agent.coverage import View
from edge_agent.vision.arrays import Image

DARK_BELOW = 12.0
"""Mean luminance (0 to 255) below which nobody can be found."""
BLIND_BELOW = 3.0
"""Contrast (standard deviation of luminance over patches) of a covered or blurred lens."""
FROZEN_AFTER_MS = 10_000
OFFLINE_AFTER_MS = 5_000
"""A picture speaks for so long for what comes after it."""
_PATCHES = (64, 36)
_STRIDE = 8


def judge(image: Image) -> View:
    """Return whether an image (H, W, 3) uint8 BGR shows anything: watched, dark or blind."""
    small = cv2.resize(image, _PATCHES, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    if float(grey.mean()) < DARK_BELOW:
        return View.DARK
    return View.BLIND if float(grey.std()) < BLIND_BELOW else View.WATCHED


class Watch:
    """Tells, as frames come or stay away, what a camera sees. For one thread.

    Args:
        tell: called with what was seen, from when, and until before when (ms UTC).
        stands_in: the source is a film that stands in for a camera: whatever it shows, nothing
            is watched.
        own_time: a recording's own time goes by its frames alone: it is never offline.
    """

    def __init__(
        self,
        tell: Callable[[View, int, int], None],
        *,
        stands_in: bool = False,
        own_time: bool = False,
    ) -> None:
        self._tell = tell
        self._stands_in = stands_in
        self._own_time = own_time
        self._told_ms: int | None = None
        self._frame_ms: int | None = None
        self._view = View.OFFLINE
        self._second: int | None = None
        self._picture = b""
        self._same_since_ms = 0

    def frame(self, image: Image, at_ms: int) -> None:
        """Take in a frame captured at ``at_ms``."""
        self._go_on(at_ms)
        if self._second != at_ms // 1000:
            self._second = at_ms // 1000
            self._view = self._look(image, at_ms)
        self._frame_ms = at_ms
        self._tell(self._view, at_ms, at_ms + 1)

    def silence(self, now_ms: int) -> None:
        """Note that no frame has come by ``now_ms``."""
        self._go_on(now_ms)

    def begin_again(self) -> None:
        """Forget when the last frame was: the clock was set."""
        self._told_ms = self._frame_ms = self._second = None

    def _go_on(self, to_ms: int) -> None:
        """Tell what was seen from what was told last until ``to_ms``."""
        if self._told_ms is None or to_ms < self._told_ms:
            self.begin_again()
            self._told_ms = to_ms
        if self._frame_ms is not None:
            self._until(self._view, min(to_ms, self._frame_ms + OFFLINE_AFTER_MS))
        if not self._own_time:
            self._until(View.OFFLINE, to_ms)
        self._told_ms = to_ms

    def _until(self, view: View, to_ms: int) -> None:
        if self._told_ms is not None and to_ms > self._told_ms:
            self._tell(view, self._told_ms, to_ms)
            self._told_ms = to_ms

    def _look(self, image: Image, at_ms: int) -> View:
        if self._stands_in:
            return View.STANDING_IN
        sample = np.ascontiguousarray(image[::_STRIDE, ::_STRIDE])
        picture = hashlib.blake2b(sample.data, digest_size=16).digest()
        if picture != self._picture or at_ms < self._same_since_ms:
            self._picture, self._same_since_ms = picture, at_ms
        elif at_ms - self._same_since_ms > FROZEN_AFTER_MS:
            return View.FROZEN
        return judge(image)
