"""Colours of clothes by name: drawn so that people would call them so, and named again."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from protocol.clothes import COLOURS, Colour

from .anatomy import Floats
from .colours import LOWER, UPPER, Rng, colour, from_hsv

_Range = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
_RANGES: dict[Colour, tuple[_Range, ...]] = {
    "black": (((0, 180), (0, 120), (8, 52)),),
    "white": (((0, 180), (0, 32), (200, 250)),),
    "grey": (((0, 180), (0, 28), (75, 180)),),
    "red": (((0, 6), (140, 255), (85, 235)), ((173, 180), (140, 255), (85, 235))),
    "orange": (((8, 17), (150, 255), (170, 245)),),
    "yellow": (((21, 33), (100, 255), (165, 250)),),
    "green": (((38, 88), (60, 255), (45, 200)),),
    "blue": (((98, 126), (65, 255), (53, 225)),),
    "purple": (((129, 150), (60, 230), (55, 200)),),
    "pink": (((150, 172), (55, 200), (165, 245)), ((0, 6), (55, 120), (200, 245))),
    "brown": (((7, 20), (60, 185), (53, 150)), ((10, 24), (35, 90), (140, 195))),
}
"""What is called so: hue (of 180), saturation and value (of 255), lowest and highest."""
_NAMED = 3  # so that the clothes of person 7 are not drawn as person 7 is


def of_each_name(seed: int) -> Callable[[int], tuple[Floats, Floats]]:
    """Colours of upper and lower body by a person's number: every name equally often."""

    def dressed(person: int) -> tuple[Floats, Floats]:
        rng = np.random.default_rng([seed, _NAMED, person])
        return _any_named(rng), _any_named(rng)

    return dressed


def as_on_streets(seed: int) -> Callable[[int], tuple[Floats, Floats]]:
    """Colours of upper and lower body by a person's number: as often as streets show them."""

    def dressed(person: int) -> tuple[Floats, Floats]:
        rng = np.random.default_rng([seed, _NAMED, person])
        return colour(rng, UPPER), colour(rng, LOWER)

    return dressed


def name_of(bgr: Floats) -> Colour | None:
    """What a colour (3,) BGR is called; None: it lies between the names."""
    pixel = np.clip(np.asarray(bgr), 0, 255).astype(np.uint8).reshape(1, 1, 3)
    hsv = cv2.cvtColor(pixel, cv2.COLOR_BGR2HSV)[0, 0]
    for name, ranges in _RANGES.items():
        for limits in ranges:
            if all(low <= value <= high for value, (low, high) in zip(hsv, limits, strict=True)):
                return name
    return None


def _any_named(rng: Rng) -> Floats:
    ranges = _RANGES[COLOURS[int(rng.integers(len(COLOURS)))]]
    limits = ranges[int(rng.integers(len(ranges)))]
    return from_hsv([rng.uniform(low, high) for low, high in limits])
