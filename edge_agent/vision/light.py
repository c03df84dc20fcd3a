"""How much light a face crop was taken in: what is too dark, flat or noisy tells nothing of a face.

In the dark networks go by what all dark pictures share: strangers come to look alike, and at 7% of
daylight a bare face becomes a masked one. Measured in the middle of an aligned crop, as taken:
`light` is for its quality, and `lightened` gives the mask classifier what it was trained on.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.arrays import Crops, Doubles, Floats, Image

INNER = slice(24, 96)
"""Rows and columns of a crop that are face whatever the pose."""
TOO_DARK, LIGHT_ENOUGH = 18.0, 40.0
"""Mean luminance (0 to 255) up to which a crop is worth nothing, and from which enough."""
TOO_FLAT, CONTRAST_ENOUGH = 4.0, 10.0
"""The same for contrast: the standard deviation of luminance without its finest detail."""
TOO_NOISY, CLEAR_ENOUGH = 2.5, 6.0
"""The same for contrast in standard deviations of the noise."""
LIGHTENED_TO = 80.0
"""Mean luminance that darker crops are brought to for the mask classifier."""
_COARSE_PX = 2.0
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LEAST_NOISE = 0.3  # of rounding to whole numbers alone


def inner_grey(crop: Image) -> Floats:
    """Luminance (72, 72) of the middle of a crop (112, 112, 3)."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop[INNER, INNER]), cv2.COLOR_BGR2GRAY)
    return np.asarray(grey, np.float32)


def noise(grey: Floats) -> float:
    """The standard deviation of the noise in an image (h, w), in its own units.

    Source: Immerkaer, "Fast Noise Variance Estimation", CVIU 64(2), 1996.
    """
    response = cv2.filter2D(grey, -1, _NOISE_KERNEL)[1:-1, 1:-1]
    return float(np.abs(response).mean()) * math.sqrt(math.pi / 2) / 6


def light(crops: Crops) -> Doubles:
    """How far crops (n, 112, 112, 3) are lit, contrasty and clear enough: (n,) in 0..1."""
    values = np.zeros(len(crops), np.float64)
    for row, crop in enumerate(crops):
        grey = inner_grey(crop)
        contrast = float(cv2.GaussianBlur(grey, (0, 0), _COARSE_PX).std())
        clearness = contrast / max(noise(grey), _LEAST_NOISE)
        values[row] = min(
            _between(float(grey.mean()), TOO_DARK, LIGHT_ENOUGH),
            _between(contrast, TOO_FLAT, CONTRAST_ENOUGH),
            _between(clearness, TOO_NOISY, CLEAR_ENOUGH),
        )
    return values


def lightened(crops: Crops) -> Crops:
    """A copy of crops (n, 112, 112, 3) in which darker ones have a mean of `LIGHTENED_TO`."""
    lighter: NDArray[np.uint8] = crops.copy()
    for crop in lighter:
        mean = float(inner_grey(crop).mean())
        if mean < LIGHTENED_TO:
            crop[:] = cv2.convertScaleAbs(crop, alpha=LIGHTENED_TO / max(mean, 1.0))
    return lighter


def _between(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
