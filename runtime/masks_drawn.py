"""Draws masks of many kinds on aligned crops of faces: to teach with, and at enrolment.

Both must draw alike: the networks know these masks, and a subject's template is made with them.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SIDE = 112

Image = npt.NDArray[np.uint8]

# Flat colours (BGR) of common masks; a third of the drawn ones take a random colour instead.
MASK_COLOURS = (
    (245, 245, 245),
    (225, 215, 200),
    (230, 190, 140),
    (200, 150, 90),
    (160, 200, 150),
    (30, 30, 30),
    (15, 15, 15),
    (90, 90, 90),
    (110, 60, 30),
    (200, 180, 235),
)


def draw_mask(image: Image, rng: np.random.Generator) -> Image:
    """Draw a mask over nose, mouth and chin, placed by the ArcFace 5-point template."""

    def near(x: float, y: float, spread: float = 3.0) -> tuple[float, float]:
        return x + rng.normal(0, spread), y + rng.normal(0, spread)

    top = rng.uniform(60, 70)
    bottom = rng.uniform(104, 118)
    side = rng.uniform(24, 40)
    bridge = top + rng.uniform(-4, 5)
    corners = [
        near(56 - side, top + rng.uniform(-2, 10)),
        near(56 - side * 0.4, bridge),
        near(56, bridge - rng.uniform(0, 5), 1.5),
        near(56 + side * 0.4, bridge),
        near(56 + side, top + rng.uniform(-2, 10)),
        near(56 + side * 0.95, (top + bottom) / 2 + 8),
        near(56 + side * 0.55, bottom - 3),
        near(56, bottom),
        near(56 - side * 0.55, bottom - 3),
        near(56 - side * 0.95, (top + bottom) / 2 + 8),
    ]
    if rng.random() < 0.25:  # a plain quadrilateral, as in simple drawings
        corners = [
            corners[0],
            corners[4],
            near(56 + side * 0.8, bottom),
            near(56 - side * 0.8, bottom),
        ]
    points = np.round(np.array(corners) * 16).astype(np.int32)
    if rng.random() < 0.65:
        colour = np.array(MASK_COLOURS[int(rng.integers(len(MASK_COLOURS)))], np.float32)
        colour = np.clip(colour + rng.normal(0, 10, 3), 0, 255).astype(np.float32)
    else:
        colour = rng.uniform(0, 255, 3).astype(np.float32)
    cloth = np.broadcast_to(colour, image.shape).astype(np.float32).copy()
    if rng.random() < 0.5:
        cloth *= _shading(rng)[:, :, None]
    pattern = rng.random()
    if pattern < 0.25:  # a print: blotches, stripes or checks of random colours
        cells = (int(rng.integers(1, 16)), int(rng.integers(2, 16)))
        blotches = rng.uniform(0, 255, (*cells, 3)).astype(np.float32)
        grown = cv2.resize(blotches, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)
        share = rng.uniform(0.2, 0.9)
        cloth = cloth * (1 - share) + grown * share
    elif pattern < 0.5:  # folds
        for _ in range(int(rng.integers(1, 5))):
            y = int(rng.uniform(top, bottom))
            cv2.line(
                cloth, (10, y), (102, y + int(rng.integers(-6, 7))), (colour * 0.8).tolist(), 1
            )
    shape = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(shape, [points], 255, cv2.LINE_AA, 4)
    alpha = shape.astype(np.float32)[:, :, None] / 255.0
    out = (image * (1 - alpha) + np.clip(cloth, 0, 255) * alpha).astype(np.uint8)
    if rng.random() < 0.4:
        strap = (colour * rng.uniform(0.6, 1.1)).clip(0, 255).tolist()
        for corner, edge in ((corners[0], 2), (corners[-6 if len(corners) > 4 else 1], 110)):
            start = (int(corner[0]), int(corner[1]))
            cv2.line(out, start, (edge, int(corner[1] - rng.uniform(0, 14))), strap, 1, cv2.LINE_AA)
    return out


def _shading(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    coarse = rng.uniform(0.7, 1.15, (4, 4)).astype(np.float32)
    return cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC).astype(np.float32)
