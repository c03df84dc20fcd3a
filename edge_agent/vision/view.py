"""What a camera sees at all, judged from its pictures: watched, dark, blind, frozen, offline.

Simple signs, each looked at once a second. A camera that watches an empty street at night has
noise, so a picture that stays the same to the last bit for long is not one of now. What lasts is
a trouble, which the box reports: also a camera that has been turned, or half covered. That one
watches, but another place, with distances of the old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import IntEnum

import cv2
import numpy as np

from edge_agent.coverage import View
from edge_agent.vision.arrays import Floats, Image
from edge_agent.vision.shrinking import shrunk

DARK_BELOW = 12.0
"""Mean luminance (0 to 255) below which nobody can be found."""
BLIND_BELOW = 3.0
"""Contrast (standard deviation of luminance over patches) of a covered or blurred lens."""
BLURRED_FROM_PX = 8.0
"""Width of edges in a picture 320 px wide, from which a face near by is a smear: 1/40 of it."""
FROZEN_AFTER_MS = 10_000
TROUBLE_AFTER_MS = 30_000
"""What lasts for so long is reported."""
KNOWN_AFTER_S = 30
"""The place is known once so many seconds of it were averaged."""
MOVED_BELOW = 0.25
"""Correlation of edges with those of the place that is known, in a picture of another place."""
OFFLINE_AFTER_MS = 5_000
"""A picture speaks for so long for what comes after it."""
COVERED_FROM = 0.3
"""Part of the place whose edges are gone when something stands before the lens."""
_PATCHES = (64, 36)
_STRIDE = 8
_FINE = (320, 180)
_TILES = 4  # a side
_TILE_CONTRAST = 20.0  # luminance between the darkest and the brightest of a tile worth judging
_CLOCK_TILES = 2
_TILE_EDGES = 2.0  # standard deviation of a tile's edges that could be missed
_GONE = 0.25  # of what is left of a tile's edges, against those of a good tile
_LEARNT = 0.003  # a second's part in the place that is known: the light of a day changes it


class Trouble(IntEnum):
    """What is wrong with a camera's pictures, as health reports number it."""

    NONE = 0
    DARK = 1
    BLOCKED = 2
    BLURRED = 3
    FROZEN = 4
    MOVED = 5


_VIEW_OF = {
    Trouble.NONE: View.WATCHED,
    Trouble.DARK: View.DARK,
    Trouble.BLOCKED: View.BLIND,
    Trouble.BLURRED: View.BLIND,
    Trouble.FROZEN: View.FROZEN,
    Trouble.MOVED: View.WATCHED,
}


def judge(image: Image) -> View:
    """Return whether an image (H, W, 3) uint8 BGR shows anything: watched, dark or blind."""
    return _VIEW_OF[look_at(image)]


def look_at(image: Image) -> Trouble:
    """Return what is wrong with an image (H, W, 3) uint8 BGR by itself: dark, blocked, blurred."""
    grey = _patches(image)
    if float(grey.mean()) < DARK_BELOW:
        return Trouble.DARK
    if float(grey.std()) < BLIND_BELOW:
        return Trouble.BLOCKED
    return Trouble.BLURRED if _edge_width_px(image) > BLURRED_FROM_PX else Trouble.NONE


def _patches(image: Image) -> Floats:
    """Luminance of an image in few large patches (36, 64)."""
    small = shrunk(image, _PATCHES)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)


def _edge_width_px(image: Image) -> float:
    """How wide edges are in the image shrunk to 320 x 180: in the third sharpest of its tiles.

    A tile's edges are as wide as its contrast over its steepest slope. The sharpest two may hold
    the clock that a recorder writes into the picture, which is sharp always; of a smooth wall it
    is not known whether it is out of focus, so that without a third tile with contrast it is 0.
    """
    small = shrunk(image, _FINE)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (3, 3), 0).astype(np.float32)
    slope = np.hypot(
        cv2.Scharr(grey, cv2.CV_32F, 1, 0, scale=1 / 32),
        cv2.Scharr(grey, cv2.CV_32F, 0, 1, scale=1 / 32),
    )
    tiles, slopes = _tiles(grey), _tiles(np.asarray(slope, np.float32))
    low, high = np.percentile(tiles, (1, 99), axis=1)
    contrast = high - low
    judged = contrast >= _TILE_CONTRAST
    if np.count_nonzero(judged) <= _CLOCK_TILES:
        return 0.0
    steepest = np.percentile(slopes[judged], 99.5, axis=1)
    widths = contrast[judged] / np.maximum(steepest, 1e-3)
    return float(np.sort(widths)[_CLOCK_TILES])


class Place:
    """What a camera looks at, learnt from its pictures: an average of edges, without who passed."""

    def __init__(self) -> None:
        self._known: Floats | None = None
        self._seconds = 0

    def still_seen(self, image: Image) -> bool:
        """Take in a picture, one a second; tell whether it shows the place that is known so far."""
        edges = _edges(image)
        if self._known is None:
            self._known = edges
        same = self._seconds < KNOWN_AFTER_S or (
            _correlation(self._known, edges) >= MOVED_BELOW
            and _share_gone(self._known, edges) < COVERED_FROM
        )
        if same:
            self._seconds += 1
            share = max(1 / self._seconds, _LEARNT)
            self._known += share * (edges - self._known)
        return same


def _share_gone(known: Floats, edges: Floats) -> float:
    """Of the tiles of a known picture that have edges, the part in which none are left."""
    before, now = (_tiles(one).std(axis=1) for one in (known, edges))
    textured = before >= _TILE_EDGES
    if np.count_nonzero(textured) < _TILES:
        return 0.0
    left = now[textured] / before[textured]
    return float((left < _GONE * np.percentile(left, 75)).mean())


def _tiles(picture: Floats) -> Floats:
    """The pixels (16, n) of the 4 x 4 tiles of a picture (h, w), what is left over cut off."""
    rows, columns = (side // _TILES for side in picture.shape)
    cut = picture[: rows * _TILES, : columns * _TILES]
    return cut.reshape(_TILES, rows, _TILES, columns).swapaxes(1, 2).reshape(_TILES**2, -1)


def _edges(image: Image) -> Floats:
    grey = _patches(image)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), 3.0), np.float32)


def _correlation(first: Floats, second: Floats) -> float:
    product = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / product if product > 0 else 1.0


class Watch:
    """Tells, as frames come or stay away, what a camera sees. For one thread.

    Args:
        tell: called with what was seen, from when, and until before when (ms UTC).
        stands_in: the source is a film that stands in for a camera: whatever it shows, nothing
            is watched.
        own_time: a recording's own time goes by its frames alone: it is never offline.
        moves: the camera turns or zooms by itself, so that another place is nothing to report.
    """

    def __init__(
        self,
        tell: Callable[[View, int, int], None],
        *,
        stands_in: bool = False,
        own_time: bool = False,
        moves: bool = False,
    ) -> None:
        self._moves = moves
        self._tell = tell
        self._stands_in = stands_in
        self._own_time = own_time
        self._told_ms: int | None = None
        self._frame_ms: int | None = None
        self._view = View.OFFLINE
        self._place = Place()
        self._trouble = Trouble.NONE
        self._trouble_since_ms = 0
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

    @property
    def sees(self) -> bool:
        """Whether the last frame shows anything that may be believed."""
        return self._view in {View.WATCHED, View.STANDING_IN}

    @property
    def trouble(self) -> Trouble:
        """What has been wrong with the pictures for `TROUBLE_AFTER_MS`."""
        if self._frame_ms is None or self._frame_ms - self._trouble_since_ms < TROUBLE_AFTER_MS:
            return Trouble.NONE
        return self._trouble

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
        trouble = self._what_is_wrong(image, at_ms)
        if trouble is not self._trouble or at_ms < self._trouble_since_ms:
            self._trouble, self._trouble_since_ms = trouble, at_ms
        return _VIEW_OF[trouble]

    def _what_is_wrong(self, image: Image, at_ms: int) -> Trouble:
        sample = np.ascontiguousarray(image[::_STRIDE, ::_STRIDE])
        picture = hashlib.blake2b(sample.data, digest_size=16).digest()
        if picture != self._picture or at_ms < self._same_since_ms:
            self._picture, self._same_since_ms = picture, at_ms
        elif at_ms - self._same_since_ms > FROZEN_AFTER_MS:
            return Trouble.FROZEN
        trouble = look_at(image)
        if self._moves or trouble is not Trouble.NONE:
            return trouble
        if not self._place.still_seen(image):
            return Trouble.MOVED
        return Trouble.NONE
