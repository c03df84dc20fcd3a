"""What somebody's clothes look like, just well enough to tell two people apart who cross.

A histogram of colours of the body's middle, shared softly between neighbouring bins so that a
little more light changes little. It lives as long as the track, and is no template.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.arrays import Doubles, Floats, Image

_HUES, _GREYS = 12, 6
LOOKS = 2 * (_HUES + _GREYS)
"""Numbers of a body's looks: of its upper and its lower half."""
_PATCH = (12, 24)  # columns and rows that a body is shrunk to
_INSIDE = 0.2  # of the width, left away on either side: background
_COLOURFUL = 40.0  # saturation x value / 255 from which a pixel counts by its hue


def looks_of(image: Image, boxes: Floats) -> Doubles:
    """The looks (n, LOOKS) of bodies in boxes (n, 4) left, top, width, height; each sums to 1."""
    looks = np.full((len(boxes), LOOKS), 1.0 / LOOKS)
    rows, columns = image.shape[:2]
    for row, (left, top, width, height) in enumerate(boxes.astype(np.float64).tolist()):
        low_x, high_x = max(0, round(left + _INSIDE * width)), round(left + (1 - _INSIDE) * width)
        low_y, high_y = max(0, round(top)), round(top + height)
        patch = image[low_y : min(high_y, rows), low_x : min(high_x, columns)]
        if patch.shape[0] < 4 or patch.shape[1] < 2:
            continue
        small = cv2.resize(patch, _PATCH, interpolation=cv2.INTER_AREA)
        hsv = cv2.cvtColor(small, cv2.COLOR_BGR2HSV).astype(np.float64)
        halves = hsv.reshape(2, -1, 3)
        found = np.concatenate([_histogram(half) for half in halves])
        looks[row] = found / found.sum()
    return looks


def _histogram(pixels: Doubles) -> Doubles:
    """Counts of hues, of pixels that have one, and of greys, of the others; (m, 3) HSV pixels."""
    hue, saturation, value = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    colourful = np.clip(saturation * value / 255 / _COLOURFUL - 0.5, 0, 1)
    counts = np.zeros(_HUES + _GREYS)
    place = hue / 180 * _HUES
    low, share = np.floor(place).astype(np.int64), place % 1
    np.add.at(counts, low % _HUES, colourful * (1 - share))
    np.add.at(counts, (low + 1) % _HUES, colourful * share)
    place = np.clip(value / 255 * _GREYS - 0.5, 0, _GREYS - 1)
    low, share = np.floor(place).astype(np.int64), place % 1
    np.add.at(counts, _HUES + low, (1 - colourful) * (1 - share))
    np.add.at(counts, _HUES + np.minimum(low + 1, _GREYS - 1), (1 - colourful) * share)
    return counts + 1e-3
