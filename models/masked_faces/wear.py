"""What a camera does to a face: turned a little, small, dark, grey, compressed."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def degraded(image: Image, rng: np.random.Generator) -> Image:
    """A copy of a crop as a camera might have given it, uint8 [112, 112, 3]."""
    angle, scale = float(rng.normal(0, 2.5)), float(np.exp(rng.normal(0, 0.045)))
    turn = np.asarray(cv2.getRotationMatrix2D((56.0, 62.0), angle, scale), np.float64)
    turn[:, 2] += rng.normal(0, 2.0, 2)
    out = cv2.warpAffine(image, turn, (112, 112), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.3:
        side = int(rng.integers(20, 80))
        small = cv2.resize(out, (side, side), interpolation=cv2.INTER_AREA)
        out = cv2.resize(small, (112, 112), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        light = out.astype(np.float32) * rng.uniform(0.7, 1.3) + rng.uniform(-20, 20)
        out = np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.15:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.2:
        quality = int(rng.integers(20, 70))
        coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        out = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return np.asarray(out, np.uint8)
