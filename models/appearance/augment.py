"""Variations of a crop while the network learns: other cameras' colours, crop errors, occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Floats
from .colours import Rng
from .scene import Image


@dataclass(frozen=True, slots=True)
class Style:
    """How a further camera would show a person: colours, lines of the person, JPEG, mirror."""

    gains: Floats
    gamma: float
    saturation: float
    lines: int
    quality: int
    mirrored: bool


def draw_style(rng: Rng) -> Style:
    """Draw a camera's style."""
    return Style(
        gains=np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.12)).astype(np.float32),
        gamma=float(np.exp(rng.normal(0, 0.25))),
        saturation=float(rng.uniform(0.6, 1.25)),
        lines=int(rng.choice([36, 48, 64, 96, 128], p=[0.15, 0.2, 0.2, 0.2, 0.25])),
        quality=int(rng.uniform(35, 95)),
        mirrored=rng.random() < 0.5,
    )


def vary(image: Image, mask: Image, style: Style, other: Image, rng: Rng) -> tuple[Image, Image]:
    """Vary a crop (h, w, 3) and its map of the person (a, b); `other` may hide a part of it."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.9, 1.15, 2)
    shift = rng.normal(0, (0.03 * width, 0.03 * height))
    move = np.array(
        [
            [scale[0], rng.normal(0, 0.02), (1 - scale[0]) * width / 2 + shift[0]],
            [rng.normal(0, 0.03), scale[1], (1 - scale[1]) * height / 2 + shift[1]],
        ]
    )
    whole = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    moved: Image = cv2.warpAffine(
        image, move, (width, height), borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)
    there = cv2.warpAffine(whole, move, (width, height))
    if rng.random() < 0.25:
        tall, wide = int(rng.integers(12, height // 2)), int(rng.integers(8, width // 2))
        top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
        area = slice(top, top + tall), slice(left, left + wide)
        moved[area], there[area] = other[area], 0
    toned = restyle(moved, style)
    small = cv2.resize(there, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    if style.mirrored:
        toned, small = toned[:, ::-1], small[:, ::-1]
    return np.ascontiguousarray(toned), np.ascontiguousarray(small.astype(np.uint8))


def restyle(image: Image, style: Style) -> Image:
    """Show a crop as a camera of this style would, not mirrored."""
    height, width = image.shape[:2]
    mixing = np.full((3, 3), (1 - style.saturation) / 3) + style.saturation * np.eye(3)
    steps = np.arange(256, dtype=np.float32)[:, None] * style.gains
    table = 255 * (np.clip(steps, 0, 255) / 255) ** np.float32(style.gamma)
    shown = cv2.LUT(cv2.transform(image, mixing), table.astype(np.uint8)[None])
    if style.lines < height:
        size = (style.lines * width // height, style.lines)
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    if style.quality < 70:
        _, file = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, style.quality])
        decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
        shown = shown if decoded is None else decoded
    return cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )
