"""Cameras and what is behind and in front of people: procedural pictures of places."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Floats
from .colours import Kind, Rng, colour

Image = NDArray[np.uint8]
_HEIGHT, _WIDTH = 240, 320
_WALLS: dict[Kind, float] = {
    "grey": 0.45,
    "light": 0.2,
    "dark": 0.15,
    "brown": 0.13,
    "pastel": 0.07,
}
_THINGS: dict[Kind, float] = {
    "grey": 0.25,
    "vivid": 0.2,
    "dark": 0.2,
    "light": 0.15,
    "brown": 0.1,
    "blue": 0.1,
}


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: how it looks at people, and how it shows colours.

    `pitch`: downwards, radians; `distance` in dm; `light`: direction (3,) towards the lamp;
    `ambient`: share of light from everywhere; `gains`, `gamma`, `saturation`: colours; `lines`:
    height of a person in its picture, px, lowest and highest; `quality`: JPEG; `noise`: standard
    deviation; `blur`: px; `heading`: how people mostly walk, radians.
    """

    background: Image
    pitch: float
    distance: float
    light: Floats
    ambient: float
    gains: Floats
    gamma: float
    saturation: float
    lines: tuple[float, float]
    quality: int
    noise: float
    blur: float
    heading: float


def draw_camera(rng: Rng) -> Camera:
    """Draw a camera at a place."""
    light = rng.normal(size=3)
    light[1] = abs(light[1]) + 0.6
    lowest = float(rng.choice([30, 44, 64, 90, 120], p=[0.1, 0.2, 0.3, 0.25, 0.15]))
    return Camera(
        background=draw_place(rng),
        pitch=float(rng.uniform(0, 0.75)),
        distance=float(rng.uniform(35, 150)),
        light=(light / np.linalg.norm(light)).astype(np.float32),
        ambient=float(rng.uniform(0.4, 0.8)),
        gains=np.exp(rng.normal(0, 0.1, 3) + rng.normal(0, 0.14)).astype(np.float32),
        gamma=float(np.exp(rng.normal(-0.08, 0.2))),
        saturation=float(np.clip(rng.normal(0.95, 0.2), 0.3, 1.4)),
        lines=(lowest, lowest * 1.8),
        quality=int(rng.uniform(30, 92)),
        noise=float(rng.uniform(0, 6)),
        blur=float(rng.uniform(0, 0.9)),
        heading=float(rng.uniform(0, 2 * np.pi)),
    )


def draw_place(rng: Rng) -> Image:
    """Draw a place without people: (240, 320, 3) uint8 BGR."""
    kind = rng.integers(5)
    picture = _clouds(rng, colour(rng, _WALLS), float(rng.uniform(4, 25)))
    floor = int(_HEIGHT * rng.uniform(0.3, 0.85))
    if kind != 0:
        ground = _clouds(rng, colour(rng, _WALLS), float(rng.uniform(3, 20)))
        picture[floor:] = ground[floor:]
    if kind == 1:
        _shelves(picture, rng, floor)
    elif kind == 2:
        _grid(picture, rng)
    elif kind == 3:
        leaves = rng.normal(0, 30, (60, 80, 1)) * np.array([0.5, 1.0, 0.6])
        picture[:floor] += cv2.resize(leaves.astype(np.float32), (_WIDTH, _HEIGHT))[:floor]
    for _ in range(int(rng.integers(0, 9))):
        _thing(picture, rng)
    across = np.linspace(rng.uniform(0.6, 1.2), rng.uniform(0.6, 1.2), _WIDTH)
    down = np.linspace(rng.uniform(0.7, 1.2), rng.uniform(0.7, 1.2), _HEIGHT)
    picture *= (down[:, None] * across[None])[..., None].astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def window(camera: Camera, rng: Rng, width: int, height: int) -> Floats:
    """Cut out what is behind a person: (height, width, 3) float32."""
    tall = int(rng.uniform(70, 200))
    wide = min(_WIDTH - 1, max(20, tall * width // height))
    left, top = int(rng.integers(0, _WIDTH - wide)), int(rng.integers(0, _HEIGHT - tall))
    cut = camera.background[top : top + tall, left : left + wide]
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def occlude(picture: Floats, visible: Floats, rng: Rng) -> None:
    """Put a thing before the person, in place; `visible` (h, w) in 0..1 loses what it hides."""
    height, width = visible.shape
    tone, kind = colour(rng, _THINGS), rng.integers(4)
    if kind == 0:  # a counter, a table, a car
        box = (0, int(height * rng.uniform(0.55, 0.9)), width, height)
    elif kind == 1:  # a pillar or a door at one side
        wide = int(width * rng.uniform(0.1, 0.4))
        left = 0 if rng.random() < 0.5 else width - wide
        box = (left, 0, left + wide, height)
    elif kind == 2:  # a post
        left, wide = int(rng.integers(0, width)), int(rng.integers(3, 12))
        box = (left, 0, min(width, left + wide), height)
    else:
        left, top = int(rng.integers(-10, width - 10)), int(rng.integers(height // 4, height))
        wide, tall = int(rng.integers(15, 45)), int(rng.integers(15, 70))
        box = (max(0, left), top, min(width, left + wide), min(height, top + tall))
    x0, y0, x1, y1 = box
    texture = rng.normal(0, rng.uniform(1, 14), (y1 - y0, x1 - x0, 1)).astype(np.float32)
    picture[y0:y1, x0:x1] = np.clip(tone + texture, 0, 255)
    visible[y0:y1, x0:x1] = 0


def show(picture: Floats, camera: Camera, rng: Rng, width: int, height: int) -> Image:
    """What the camera makes of a picture (h, w, 3) of 0..255: (height, width, 3) uint8 BGR."""
    grey = picture.mean(axis=2, keepdims=True)
    toned = (grey + (picture - grey) * camera.saturation) * camera.gains
    toned = 255 * (np.clip(toned, 0, 255) / 255) ** np.float32(camera.gamma)
    lines = int(np.clip(rng.uniform(*camera.lines), 16, picture.shape[0]))
    size = (max(8, lines * picture.shape[1] // picture.shape[0]), lines)
    small = cv2.resize(toned, size, interpolation=cv2.INTER_AREA)
    if camera.blur > 0.25:
        small = cv2.GaussianBlur(small, (0, 0), camera.blur)
    small += rng.normal(0, camera.noise, small.shape).astype(np.float32)
    _, file = cv2.imencode(
        ".jpg", np.clip(small, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, camera.quality]
    )
    decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("a picture that was just encoded cannot be decoded")
    shown = cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR)
    return shown.astype(np.uint8, copy=False)


def _clouds(rng: Rng, tone: Floats, strength: float) -> Floats:
    rough = rng.normal(0, strength, (int(rng.integers(3, 14)), int(rng.integers(3, 18)), 1))
    clouds = cv2.resize(rough.astype(np.float32), (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, rng.uniform(0, 8), (_HEIGHT, _WIDTH, 1))
    picture: Floats = (tone + clouds[..., None] + grain).astype(np.float32)
    return picture


def _shelves(picture: Floats, rng: Rng, floor: int) -> None:
    tall, wide = int(rng.integers(10, 30)), int(rng.integers(4, 16))
    for top in range(0, floor, tall):
        for left in range(0, _WIDTH, wide):
            if rng.random() < 0.85:
                tone = colour(rng, _THINGS)
                picture[top + 2 : min(floor, top + tall - 1), left : left + wide - 1] = tone


def _grid(picture: Floats, rng: Rng) -> None:
    tone, step = colour(rng, _WALLS), int(rng.integers(12, 50))
    line = int(rng.integers(1, 5))
    for at in range(int(rng.integers(step)), _WIDTH, step):
        picture[:, at : at + line] = tone
    for at in range(int(rng.integers(step)), _HEIGHT, step):
        picture[at : at + line] = tone


def _thing(picture: Floats, rng: Rng) -> None:
    tone = colour(rng, _THINGS).tolist()
    one = (int(rng.integers(0, _WIDTH)), int(rng.integers(0, _HEIGHT)))
    two = (one[0] + int(rng.integers(-70, 70)), one[1] + int(rng.integers(-90, 90)))
    if rng.random() < 0.25:
        cv2.line(picture, one, two, tone, int(rng.integers(1, 8)))
    elif rng.random() < 0.3:
        cv2.circle(picture, one, int(rng.integers(4, 30)), tone, -1)
    else:
        cv2.rectangle(picture, one, two, tone, -1 if rng.random() < 0.7 else 3)
