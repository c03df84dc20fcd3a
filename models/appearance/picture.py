"""Draws a posed figure as a detector would crop it out of a camera's frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import BONES, Anatomy, Floats
from .colours import Rng
from .figure import Figure
from .scene import Camera, Image, occlude, show, window

WIDTH, HEIGHT = 64, 128
"""Size of a crop, px."""
MASK_WIDTH, MASK_HEIGHT = 8, 16
"""Size of the map of where the person is."""
_DRAWN = (80, 160)
_SPACING = 0.125  # dm between neighbouring points of a figure, about
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cutout:
    """A person alone: `colours` (160, 80, 3) 0..255 and `there` (160, 80) 0 or 1, float32."""

    colours: Floats
    there: Floats


@dataclass(frozen=True, slots=True)
class Crop:
    """A picture (128, 64, 3) uint8 BGR and the share of the person (16, 8) uint8 0..255 in it."""

    image: Image
    mask: Image


def draw_crop(
    figure: Figure, anatomy: Anatomy, camera: Camera, others: list[Cutout], rng: Rng
) -> tuple[Crop, Cutout]:
    """Draw a figure in a pose of its own before a camera; `others` may walk behind or before it."""
    cutout = _cutout(figure, _placed(draw_pose(rng), figure, anatomy), camera, rng)
    picture = window(camera, rng, *_DRAWN)
    if others and rng.random() < 0.25:
        _put(picture, None, others[int(rng.integers(len(others)))], rng, near=False)
    visible = cutout.there.copy()
    there = cutout.there[..., None]
    picture = picture * (1 - there) + cutout.colours * there
    if others and rng.random() < 0.1:
        _put(picture, visible, others[int(rng.integers(len(others)))], rng, near=True)
    if rng.random() < 0.2:
        occlude(picture, visible, rng)
    image = show(picture, camera, rng, WIDTH, HEIGHT)
    mask = cv2.resize(visible, (MASK_WIDTH, MASK_HEIGHT), interpolation=cv2.INTER_AREA)
    return Crop(image, np.rint(mask * 255).astype(np.uint8)), cutout


def draw_pose(rng: Rng) -> dict[str, Matrix]:
    """Draw a pose: turns (3, 3) of some of `BONES`."""
    phase = rng.uniform(0, 2 * np.pi)
    stride = rng.uniform(0.1, 0.6) if rng.random() < 0.72 else rng.uniform(0, 0.08)
    sits = rng.random() < 0.05
    turns: dict[str, Matrix] = {}
    for side, sign in (("L", 1), ("R", -1)):
        swing = np.sin(phase) * sign
        bend = max(0.0, 1.5 * stride * np.sin(phase * sign + 1.2)) + 0.1 * stride
        if sits:
            turns[f"upperleg01.{side}"] = _turn(0, -1.4 + rng.normal(0, 0.1))
            turns[f"lowerleg01.{side}"] = _turn(0, 1.45 + rng.normal(0, 0.15))
        else:
            turns[f"upperleg01.{side}"] = _turn(0, -stride * swing) @ _turn(
                2, -sign * rng.uniform(0.0, 0.1)
            )
            turns[f"lowerleg01.{side}"] = _turn(0, bend)
        down = rng.uniform(0.4, 0.72)
        lift = rng.normal(0, 0.12)
        if rng.random() < 0.06:
            lift -= rng.uniform(0.6, 1.6)
        turns[f"upperarm01.{side}"] = _turn(0, 0.85 * stride * swing + lift) @ _turn(
            2, -sign * down
        )
        flex = rng.uniform(0.0, 0.5) if rng.random() < 0.75 else rng.uniform(0.9, 2.1)
        turns[f"lowerarm01.{side}"] = _turn(0, -flex) @ _turn(1, -sign * rng.uniform(0, 0.5))
    turns["head"] = _turn(1, rng.normal(0, 0.35)) @ _turn(0, rng.normal(0.08, 0.18))
    turns["spine03"] = _turn(0, rng.normal(0.06, 0.07)) @ _turn(1, rng.normal(0, 0.08))
    return turns


def _turn(axis: int, angle: float) -> Matrix:
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    return turn


def _placed(turns: dict[str, Matrix], figure: Figure, anatomy: Anatomy) -> Floats:
    """Where each of `BONES` takes points: (k, 3, 4), turn and shift."""
    placed = np.zeros((len(BONES), 3, 4))
    for row, name in enumerate(BONES):
        above = anatomy.parents[row]
        start = placed[above] if above >= 0 else np.eye(3, 4)
        turn = turns.get(name, np.eye(3))
        joint = figure.joints[row]
        placed[row, :, :3] = start[:, :3] @ turn
        placed[row, :, 3] = start[:, :3] @ (joint - turn @ joint) + start[:, 3]
    return placed.astype(np.float32)


def _cutout(figure: Figure, placed: Floats, camera: Camera, rng: Rng) -> Cutout:
    moves = (figure.weights @ placed.reshape(len(BONES), 12)).reshape(-1, 3, 4)
    points = np.einsum("nij,nj->ni", moves[:, :, :3], figure.points) + moves[:, :, 3]
    normals = np.einsum("nij,nj->ni", moves[:, :, :3], figure.normals)
    heading = camera.heading + rng.normal(0, 0.5) + (np.pi if rng.random() < 0.4 else 0)
    view = (_turn(0, camera.pitch) @ _turn(1, heading)).astype(np.float32)
    middle = points.mean(axis=0)
    seen, facing = (points - middle) @ view.T, normals @ view.T
    shades = _shades(figure, facing, camera, rng)
    near = 1 / (1 - seen[:, 2] / camera.distance)
    x, y = seen[:, 0] * near, -seen[:, 1] * near
    width, height = _DRAWN
    left, top, wide, tall = _box(x, y, rng)
    across, down = (x - left) / wide * width, (y - top) / tall * height
    front = np.flatnonzero(facing[:, 2] > -0.2)
    order = front[np.argsort(seen[front, 2])]
    scale = max(width / wide, height / tall) * _SPACING
    size = int(np.clip(np.ceil(scale + 0.6), 2, 5))
    return _splat(across[order], down[order], shades[order], size)


def _shades(figure: Figure, facing: Floats, camera: Camera, rng: Rng) -> Floats:
    lit = np.clip(facing @ camera.light, -0.25, 1)
    waves = rng.normal(0, 2.2, (4, 3)).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    creases = np.sin(figure.points @ waves.T + phase).mean(axis=1)
    shade = camera.ambient + (1 - camera.ambient) * lit * 1.25
    shade += figure.folds * creases + rng.normal(0, 0.025, len(shade)).astype(np.float32)
    toned: Floats = np.clip(figure.colours * np.clip(shade, 0.08, 1.5)[:, None], 0, 255)
    return toned.astype(np.float32)


def _box(x: Floats, y: Floats, rng: Rng) -> tuple[float, float, float, float]:
    """Left, top, width and height of the crop: as a detector errs, sometimes a part only."""
    left, right, top, bottom = (float(v) for v in (x.min(), x.max(), y.min(), y.max()))
    tall = (bottom - top) * rng.uniform(0.97, 1.2)
    if rng.random() < 0.45:
        wide = max((right - left) * rng.uniform(0.9, 1.3), tall * 0.28)
    else:
        wide = tall * rng.uniform(0.36, 0.58)
    centre = (left + right) / 2 + rng.normal(0, 0.05) * wide
    start = (top + bottom) / 2 - tall / 2 + rng.normal(0, 0.025) * tall
    if rng.random() < 0.16:  # the legs are out of the picture, or behind something
        tall *= rng.uniform(0.5, 0.9)
    elif rng.random() < 0.06:  # the head is
        cut = tall * rng.uniform(0.05, 0.2)
        start, tall = start + cut, tall - cut
    return centre - wide / 2, start, wide, tall


def _splat(across: Floats, down: Floats, colours: Floats, size: int) -> Cutout:
    """Draw points, the farthest first, as squares of `size` px."""
    width, height = _DRAWN
    column = np.floor(across - (size - 1) / 2).astype(np.int64)
    row = np.floor(down - (size - 1) / 2).astype(np.int64)
    steps = np.arange(size)
    columns = (column[:, None, None] + steps[None, None, :]).repeat(size, axis=1)
    rows = (row[:, None, None] + steps[None, :, None]).repeat(size, axis=2)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    which = np.broadcast_to(np.arange(len(column))[:, None, None], inside.shape)[inside]
    owner = np.full(width * height, -1, np.int64)
    owner[rows[inside] * width + columns[inside]] = which
    drawn = np.zeros((width * height, 3), np.float32)
    drawn[owner >= 0] = colours[owner[owner >= 0]]
    picture = drawn.reshape(height, width, 3)
    there = (owner >= 0).reshape(height, width).astype(np.float32)
    for _ in range(2):
        around = cv2.blur(there, (3, 3))
        holes = (there == 0) & (around > 0.6)
        picture[holes] = (cv2.blur(picture, (3, 3))[holes].T / around[holes]).T
        there[holes] = 1
    return Cutout(picture, there)


def _put(picture: Floats, visible: Floats | None, other: Cutout, rng: Rng, *, near: bool) -> None:
    """Put another person beside, behind or before the one who is drawn."""
    width, height = _DRAWN
    scale = rng.uniform(0.9, 1.25) if near else rng.uniform(0.35, 1.0)
    sideways = rng.uniform(0.35, 0.75) * rng.choice([-1, 1])
    shift = np.array(
        [
            [scale, 0, width * (sideways + (1 - scale) / 2)],
            [0, scale, height * (1 - scale) * rng.uniform(0.2, 0.8) + (height * 0.15 * near)],
        ]
    )
    there = cv2.warpAffine(other.there, shift, _DRAWN)[..., None]
    colours = cv2.warpAffine(other.colours, shift, _DRAWN)
    picture *= 1 - there
    picture += colours * there
    if visible is not None:
        visible *= 1 - there[..., 0]
