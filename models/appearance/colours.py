"""Colours that cloth, skin and hair come in, drawn as often as streets show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Floats

Rng = np.random.Generator
Kind = Literal["dark", "grey", "blue", "vivid", "light", "brown", "pastel"]

_RANGES: dict[Kind, tuple[tuple[float, float], ...]] = {
    "dark": ((0, 180), (0, 120), (8, 62)),
    "grey": ((0, 180), (0, 25), (55, 175)),
    "blue": ((98, 126), (60, 210), (45, 170)),
    "vivid": ((0, 180), (120, 255), (85, 240)),
    "light": ((0, 180), (0, 45), (170, 250)),
    "brown": ((7, 21), (50, 170), (40, 160)),
    "pastel": ((0, 180), (35, 110), (130, 230)),
}
"""Hue (of 180), saturation and value (of 255), lowest and highest."""

UPPER: dict[Kind, float] = {
    "dark": 0.30,
    "grey": 0.13,
    "blue": 0.13,
    "vivid": 0.18,
    "light": 0.13,
    "brown": 0.06,
    "pastel": 0.07,
}
LOWER: dict[Kind, float] = {
    "dark": 0.40,
    "blue": 0.27,
    "grey": 0.12,
    "brown": 0.09,
    "light": 0.06,
    "vivid": 0.04,
    "pastel": 0.02,
}
SHOES: dict[Kind, float] = {"dark": 0.5, "light": 0.24, "vivid": 0.1, "brown": 0.08, "grey": 0.08}
BAGS: dict[Kind, float] = {"dark": 0.5, "vivid": 0.2, "brown": 0.14, "grey": 0.08, "blue": 0.08}
HAIR: dict[Kind, float] = {"dark": 0.66, "brown": 0.22, "grey": 0.08, "light": 0.04}


def colour(rng: Rng, shares: dict[Kind, float]) -> Floats:
    """Draw a colour: (3,) float32 BGR, 0..255."""
    kinds = list(shares)
    weights = np.array([shares[kind] for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    hsv = [rng.uniform(low, high) for low, high in _RANGES[kind]]
    return from_hsv(hsv)


def from_hsv(hsv: Sequence[float]) -> Floats:
    """Turn hue (of 180), saturation and value (of 255) into (3,) float32 BGR."""
    pixel = np.array([[hsv]], np.uint8)
    bgr: Floats = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)
    return bgr


def skin(rng: Rng) -> Floats:
    """Draw a skin tone from very light to very dark: (3,) float32 BGR."""
    depth = float(rng.beta(1.2, 1.6))
    light, dark = np.array([188.0, 205.0, 236.0]), np.array([34.0, 46.0, 72.0])
    tone: NDArray[np.float64] = light * (1 - depth) + dark * depth + rng.normal(0, 6, 3)
    return np.clip(tone, 10, 250).astype(np.float32)
