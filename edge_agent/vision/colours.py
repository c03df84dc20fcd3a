"""Named colours of a body's upper and lower half: what descriptions in words compare with.

Each pixel counts for the named colours near it in CIE L*a*b* (1976), those in the middle of the
crop most. It is a ranking aid: light and white balance of a camera change what a colour is called.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import cv2
import numpy as np

from edge_agent.vision.appearance import BODY_HEIGHT, BODY_WIDTH, BodyCrops
from edge_agent.vision.arrays import Floats
from protocol.clothes import COLOURS, SIGNATURE_SIZE, Colour

_UPPER, _LOWER = slice(26, 62), slice(70, 112)
"""Rows of a crop that are chest and back, and legs, whatever the pose."""
_SPREAD = 7.0  # px: how fast pixels count less away from the middle
_STEPS = 32  # levels of each of blue, green, red that are told apart
_NEAR = 14.0  # units of L*a*b* at which a colour counts about a third
_SAMPLES: dict[Colour, tuple[tuple[int, int, int], ...]] = {
    "black": ((12, 12, 12), (30, 28, 26), (45, 34, 30)),
    "white": ((245, 245, 245), (225, 225, 222), (235, 225, 210)),
    "grey": ((128, 128, 128), (90, 90, 90), (165, 165, 165), (195, 195, 198)),
    "red": ((190, 25, 30), (130, 20, 28), (225, 60, 60), (95, 20, 25)),
    "orange": ((235, 120, 30), (245, 150, 60), (205, 95, 25)),
    "yellow": ((240, 215, 50), (220, 190, 90), (250, 235, 130)),
    "green": ((40, 130, 55), (25, 80, 40), (110, 160, 90), (35, 120, 105), (85, 90, 45)),
    "blue": ((40, 80, 180), (25, 35, 80), (90, 130, 190), (70, 90, 125), (120, 180, 225)),
    "purple": ((110, 50, 140), (75, 40, 95), (150, 120, 190)),
    "pink": ((235, 130, 170), (240, 185, 195), (210, 70, 130)),
    "brown": ((105, 65, 35), (70, 48, 35), (150, 110, 75), (190, 160, 125)),
}
"""Examples of what people call by each name, red, green, blue."""


def colour_signatures(crops: BodyCrops) -> Floats:
    """Signatures (n, 22) of bodies' crops (n, 128, 64, 3): rows of unit length.

    The roots of the shares of `protocol.clothes.COLOURS` in the upper body, then in the lower, each
    half the weight; the product with what words ask for is at most 1.
    """
    rows = np.zeros((len(crops), SIGNATURE_SIZE), np.float32)
    table, weights = _names(), _weights()
    for row, crop in zip(rows, crops, strict=True):
        level = (crop // (256 // _STEPS)).astype(np.int64)
        index = (level[..., 0] * _STEPS + level[..., 1]) * _STEPS + level[..., 2]
        for number, band in enumerate((_UPPER, _LOWER)):
            shares = weights[band].ravel() @ table[index[band].ravel()]
            part = slice(number * len(COLOURS), (number + 1) * len(COLOURS))
            row[part] = np.sqrt(shares / (2 * shares.sum()))
    return rows


@cache
def _names() -> Floats:
    """Shares (32768, 11) of the names of each blue, green and red level."""
    middles = (np.arange(_STEPS) + 0.5) * (256 / _STEPS)
    levels = np.array(list(product(middles, repeat=3)), np.float32)
    places = _lab(levels)
    nearness = np.stack(
        [
            np.exp(
                -np.linalg.norm(places[:, None] - _lab(np.array(samples)[:, ::-1])[None], axis=2)
                / _NEAR
            ).max(axis=1)
            for samples in (_SAMPLES[name] for name in COLOURS)
        ],
        axis=1,
    )
    sharp = nearness**2
    shares: Floats = (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _lab(bgr: Floats) -> Floats:
    """L*a*b* (n, 3) of blue, green, red 0..255 (n, 3), brightness by half: light changes most."""
    pixels = (np.asarray(bgr, np.float32) / 255)[None]
    places = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2Lab)[0], np.float32)
    return places * np.array([0.5, 1, 1], np.float32)


@cache
def _weights() -> Floats:
    across = np.exp(-(((np.arange(BODY_WIDTH) - (BODY_WIDTH - 1) / 2) / _SPREAD) ** 2) / 2)
    return np.tile(across, (BODY_HEIGHT, 1)).astype(np.float32)
