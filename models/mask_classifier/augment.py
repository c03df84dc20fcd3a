"""What a street camera and a wardrobe do to a face crop: the training-time variations.

The label of an aligned crop is decided by its lower half. Hence two variations besides the usual
ones: a mask drawn on an unmasked face makes it a masked one, and the upper half of any crop may
be exchanged for another person's without a change of label.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runtime.masks_drawn import draw_mask

from .crops import CROP_SIDE

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Variations:
    """How often each variation happens (probabilities)."""

    drawn_mask: float = 0.12
    swapped_top: float = 0.25
    geometry: float = 0.9
    border: float = 0.4
    colour: float = 0.8
    grey: float = 0.1
    blur: float = 0.3
    small: float = 0.25
    noise: float = 0.15
    jpeg: float = 0.2
    patch: float = 0.35


def vary(
    index: int,
    images: Image,
    labels: npt.NDArray[np.uint8],
    rng: np.random.Generator,
    how: Variations,
) -> tuple[Image, int]:
    """Return a varied copy of crop ``index`` (uint8 [112, 112, 3] BGR) and its label.

    ``images`` uint8 [n, 112, 112, 3] and ``labels`` uint8 [n] are the training set: other crops
    of it lend their upper halves.
    """
    image = images[index].copy()
    label = int(labels[index])
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    if rng.random() < how.swapped_top:
        donor = images[int(rng.integers(len(images)))]
        image = swap_top(image, donor, rng)
    if label == 0 and rng.random() < how.drawn_mask:
        image = draw_mask(image, rng)
        label = 1
    if rng.random() < how.patch:
        image = _patch(image, rng)
    if rng.random() < how.geometry:
        image = _move(image, rng)
    if rng.random() < how.border:
        image = _tight_crop(image, rng)
    if rng.random() < how.colour:
        image = _colour(image, rng)
    if rng.random() < how.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return _degrade(image, rng, how), label


def swap_top(image: Image, donor: Image, rng: np.random.Generator) -> Image:
    """Put ``donor``'s eyes and forehead on ``image``, blended over a few rows above the nose."""
    seam = rng.uniform(52, 62)
    width = rng.uniform(2, 8)
    rows = np.arange(CROP_SIDE, dtype=np.float32)
    keep = np.clip((rows - seam) / width + 0.5, 0.0, 1.0)
    weight = keep[:, None, None]
    return np.asarray(image * weight + donor * (1.0 - weight), np.uint8)


def _patch(image: Image, rng: np.random.Generator) -> Image:
    """Hide a part too small to be a mask: sunglasses, a hand's edge, a pole, a microphone."""
    out = image.copy()
    width = int(rng.integers(8, 36))
    height = int(rng.integers(8, 30))
    if rng.random() < 0.3:  # a bar over the eyes
        width, height, y = int(rng.integers(50, 90)), int(rng.integers(10, 20)), 42
        x = int(rng.integers(0, CROP_SIDE - width))
    else:
        x = int(rng.integers(-8, CROP_SIDE - 8))
        y = int(rng.integers(-8, CROP_SIDE - 8))
    region = out[max(y, 0) : y + height, max(x, 0) : x + width]
    if rng.random() < 0.5:
        region[:] = rng.integers(0, 256, 3).astype(np.uint8)
    else:
        sy = int(rng.integers(0, CROP_SIDE - region.shape[0] + 1))
        sx = int(rng.integers(0, CROP_SIDE - region.shape[1] + 1))
        region[:] = image[sy : sy + region.shape[0], sx : sx + region.shape[1]]
    return out


def _move(image: Image, rng: np.random.Generator) -> Image:
    angle = float(rng.normal(0, 9))
    scale = float(np.exp(rng.normal(0, 0.08)))
    matrix = np.asarray(cv2.getRotationMatrix2D((56.0, 62.0), angle, scale), np.float64)
    matrix[:, 2] += rng.normal(0, 3.5, 2)
    matrix[0, 1] += rng.normal(0, 0.04)
    matrix[0, 0] *= float(np.exp(rng.normal(0, 0.05)))
    mode = cv2.BORDER_CONSTANT if rng.random() < 0.6 else cv2.BORDER_REPLICATE
    return cv2.warpAffine(
        image, matrix, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR, borderMode=mode
    ).astype(np.uint8)


def _tight_crop(image: Image, rng: np.random.Generator) -> Image:
    """Blacken what lies outside a turned rectangle, as a tight photograph's alignment does."""
    left, right = rng.uniform(-25, 22), rng.uniform(90, 137)
    top, bottom = rng.uniform(-30, 34), rng.uniform(98, 140)
    turn = np.deg2rad(rng.normal(0, 9))
    centre = np.array([56.0, 62.0])
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - centre
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = np.round((corners @ rotation.T + centre) * 16).astype(np.int32)
    shape = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(shape, [points], 255, cv2.LINE_8, 4)
    return cv2.bitwise_and(image, image, mask=shape).astype(np.uint8)


def _colour(image: Image, rng: np.random.Generator) -> Image:
    saturation = float(rng.uniform(0.4, 1.5))
    contrast, brightness = float(rng.uniform(0.7, 1.35)), float(rng.uniform(-0.1, 0.12))
    gains, gamma = np.exp(rng.normal(0, 0.08, 3)), float(np.exp(rng.normal(0, 0.22)))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    colourless = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    mixed = cv2.addWeighted(image, saturation, colourless, 1.0 - saturation, 0.0)
    levels = np.arange(256, dtype=np.float64)[:, None] / 255.0
    curve = np.clip(((levels - 0.45) * contrast + 0.45 + brightness) * gains, 0, 1) ** gamma
    table = (curve * 255).astype(np.uint8)[None]
    out = cv2.LUT(mixed, table)
    out[grey < 8] = 0
    return out.astype(np.uint8)


def _degrade(image: Image, rng: np.random.Generator, how: Variations) -> Image:
    if rng.random() < how.small:
        side = int(np.exp(rng.uniform(np.log(10), np.log(64))))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_LINEAR).astype(
            np.uint8
        )
    if rng.random() < how.blur:
        if rng.random() < 0.7:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 3.0))).astype(np.uint8)
        else:  # motion
            length = int(rng.integers(3, 10))
            kernel = np.full((1, length), 1.0 / length, np.float32)
            kernel = kernel if rng.random() < 0.5 else kernel.T
            image = cv2.filter2D(image, -1, kernel).astype(np.uint8)
    if rng.random() < how.noise:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(3, 30))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < how.jpeg:
        quality = int(rng.integers(15, 70))
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        image = np.asarray(decoded, np.uint8)
    return image
