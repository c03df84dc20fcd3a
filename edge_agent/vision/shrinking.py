"""Shrinks pictures to working sizes, by halves as far as that goes.

Halving has instructions of its own in every processor that OpenCV knows; shrinking by five halves
in one step, or by forty, takes up to ten times as long for what differs by a grey level or two.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.arrays import Image


def size_within(image: Image, limits: tuple[int, int]) -> tuple[int, int]:
    """The size (width, height) of a picture (H, W, 3) shrunk to fit into limits (px)."""
    rows, columns = image.shape[:2]
    scale = min(limits[0] / columns, limits[1] / rows, 1.0)
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def shrunk(image: Image, size: tuple[int, int]) -> Image:
    """A picture (H, W, 3) uint8 BGR at a size (width, height); itself if it has that already.

    No detail aliases: what is left to shrink after the halves is a mean of pixels, or less than a
    half. The caller wipes what it gets, if it is another; what lay between is wiped here.
    """
    now = image
    while (half := _half(now, size)) is not None:
        now = _resized(now, half, cv2.INTER_AREA, image)
    if (now.shape[1], now.shape[0]) == size:
        return now
    # As many faces are found, and 720 lines to 540 cost a fifth; but more than that would alias.
    near = 2 * size[0] > now.shape[1] and 2 * size[1] > now.shape[0]
    return _resized(now, size, cv2.INTER_LINEAR if near else cv2.INTER_AREA, image)


def _half(image: Image, size: tuple[int, int]) -> tuple[int, int] | None:
    """Half the size of a picture; None where that would not be on the way to another."""
    sides = image.shape[1], image.shape[0]
    half = sides[0] // 2, sides[1] // 2
    whole = all(side % wanted == 0 for side, wanted in zip(sides, size, strict=True))
    for side, halved, wanted in zip(sides, half, size, strict=True):
        if side % 2 or halved < wanted or (whole and halved % wanted):
            return None
    return half


def _resized(image: Image, size: tuple[int, int], way: int, kept: Image) -> Image:
    """Resize one step further, and wipe the step before unless it is the one that is kept."""
    try:
        return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
    finally:
        if image is not kept:
            image.fill(0)
