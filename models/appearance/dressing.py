"""Paints an outfit onto the points of a body: cloth, patterns, shoes, hair, masks, straps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .anatomy import BONES, Floats, Ints, Part
from .colours import Rng
from .wardrobe import Bag, Outfit, Pattern

ARM = (Part.UPPER_ARM, Part.FOREARM)
_LEG = (Part.HIPS, Part.THIGH, Part.SHIN)
BODY, SKIRT, HAIR = 0, 1, 2
"""The surfaces that points lie on."""
_WAIST = -0.14  # where trousers begin: above the hip joint, in leg lengths
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Body:
    """Points of a body with where on it they lie; all arrays have a row for each point."""

    points: Floats
    normals: Floats
    weights: Floats
    parts: Ints
    surface: Ints
    arm: Floats
    """Along the arm, 0 at the shoulder, 1 at the wrist; -1 elsewhere."""
    leg: Floats
    """Downwards from the hip joint (0) to the ankle (1); negative above it."""
    joints: Floats


@dataclass(frozen=True, slots=True)
class Paint:
    """What is painted, in place, on each of a body's points.

    `colours` (n, 3) BGR; `bulk` (n,): how far the cloth stands off the skin, dm; `folds` (n,): how
    much its folds shade; `keep` (n,): whether the point is there at all.
    """

    colours: Floats
    bulk: Floats
    folds: Floats
    keep: Mask


def dress(body: Body, outfit: Outfit, rng: Rng) -> Paint:
    """Paint what somebody wears onto a body."""
    count = len(body.points)
    paint = Paint(
        colours=np.tile(outfit.skin, (count, 1)).astype(np.float32),
        bulk=np.zeros(count, np.float32),
        folds=np.zeros(count, np.float32),
        keep=np.ones(count, bool),
    )
    front = body.points[:, 2] - np.median(body.points[body.parts == Part.TORSO, 2])
    _lower_body(body, outfit, paint, rng)
    _feet(body, outfit, paint)
    _upper_body(body, outfit, paint, front, rng)
    _head(body, outfit, paint)
    for bag in outfit.bags:
        if bag.strap:
            _strap(bag, body, paint, front)
    if outfit.gloves is not None:
        paint.colours[body.parts == Part.HAND] = outfit.gloves
    return paint


def _lower_body(body: Body, outfit: Outfit, paint: Paint, rng: Rng) -> None:
    lower, colours = outfit.lower, paint.colours
    on_skirt = body.surface == SKIRT
    on_legs = np.isin(body.parts, _LEG) | ((body.parts == Part.TORSO) & (body.leg > _WAIST))
    on_legs &= body.surface == BODY
    if lower.is_skirt:
        cloth = on_skirt & (body.leg <= lower.length)
        if lower.legs is not None:
            colours[on_legs] = lower.legs
        under = on_legs & (body.leg < 0.1)
        cloth |= under
    else:
        cloth = on_legs & (body.leg <= lower.length)
        paint.bulk[cloth] = lower.bulk
    colours[cloth] = lower.colour
    if lower.faded:  # jeans are pale at the front of the thighs
        pale = np.exp(-(((body.leg - 0.3) / 0.22) ** 2)) * (body.normals[:, 2] > 0.2)
        fade = (0.45 * pale * cloth)[:, None]
        colours[:] = colours * (1 - fade) + (lower.colour * 0.5 + 110) * fade
    _pattern(lower.pattern, body, cloth, colours, rng)
    if lower.stripe is not None:
        side = on_legs & cloth & (np.abs(body.normals[:, 0]) > 0.93)
        colours[side] = lower.stripe
    paint.folds[cloth] = lower.folds
    paint.keep[on_skirt & ~cloth] = False


def _feet(body: Body, outfit: Outfit, paint: Paint) -> None:
    foot = (body.parts == Part.FOOT) & (body.surface == BODY)
    shoe = foot | ((body.leg > outfit.boots) & (body.parts == Part.SHIN))
    paint.colours[shoe], paint.bulk[shoe] = outfit.shoes, 0.12
    lowest = body.points[foot, 1].min() if foot.any() else 0.0
    paint.colours[foot & (body.points[:, 1] < lowest + 0.25)] = outfit.sole


def _upper_body(body: Body, outfit: Outfit, paint: Paint, front: Floats, rng: Rng) -> None:
    upper, colours = outfit.upper, paint.colours
    trunk = (body.surface == BODY) & np.isin(body.parts, (Part.TORSO, Part.HIPS, Part.THIGH))
    arms = np.isin(body.parts, ARM) & (body.arm <= upper.sleeve)
    arms |= (body.parts == Part.UPPER_ARM) & (body.arm < 0.08) & (upper.sleeve > 0)
    cloth = (trunk & (body.leg <= upper.hem)) | arms
    long = (body.surface == SKIRT) & (body.leg <= upper.hem) & (upper.hem > 0.2)
    paint.keep[long] = True
    cloth |= long
    colours[cloth] = upper.colour
    paint.bulk[cloth & (body.surface == BODY)] = upper.bulk
    paint.folds[cloth] = upper.folds
    if upper.pattern.kind == "sleeves":
        colours[arms] = upper.pattern.colour
    else:
        _pattern(upper.pattern, body, cloth, colours, rng)
    if upper.quilted:
        ridge = 0.8 + 0.2 * np.cos(body.points[:, 1] * (2 * np.pi / 0.9))
        colours[cloth] *= ridge[cloth, None].astype(np.float32)
    if upper.opening > 0:
        gap = cloth & ~arms & (front > 0) & (np.abs(body.points[:, 0]) < upper.opening)
        shows = gap & (body.leg < 0.08)
        colours[shows] = upper.inner
        paint.keep[gap & long & (body.leg >= 0.08)] = False
    if outfit.scarf is not None:
        neck = body.joints[BONES.index("head")][1]
        wound = (np.abs(body.points[:, 1] - neck + 0.7) < 0.65) & (body.arm < 0)
        colours[wound], paint.bulk[wound] = outfit.scarf, 0.5


def _head(body: Body, outfit: Outfit, paint: Paint) -> None:
    colours, bulk = paint.colours, paint.bulk
    head = (body.parts == Part.HEAD) & (body.surface == BODY)
    crown = body.points[head, 1].max()
    depth = body.points[head, 2]
    middle = (depth.min() + depth.max()) / 2
    height, forward = crown - body.points[:, 1], body.points[:, 2] - middle
    hair = body.surface == HAIR
    colours[hair] = outfit.hair
    if not outfit.bald:
        scalp = head & ((height < 0.55) | ((forward < -0.2) & (height < 1.7)))
        colours[scalp], bulk[scalp] = outfit.hair, 0.1
    if outfit.mask is not None:
        covered = head & (forward > -0.1) & (height > 1.25) & (height < 2.35)
        colours[covered] = outfit.mask
    if outfit.headwear in ("hood", "headscarf"):
        open_face = (forward > 0.25) & (height > 0.5) & (height < 2.2)
        cover = head & ~open_face
        colours[cover], bulk[cover] = outfit.headwear_colour, 0.3
    elif outfit.headwear in ("cap", "beanie"):
        cover = (head | hair) & (height < (0.8 if outfit.headwear == "cap" else 1.0))
        colours[cover], bulk[cover] = outfit.headwear_colour, 0.22


def _pattern(pattern: Pattern, body: Body, cloth: Mask, colours: Floats, rng: Rng) -> None:
    """Paint the second colour of a garment that covers the points `cloth` (n,)."""
    if pattern.kind == "plain" or not cloth.any():
        return
    x, y, z = body.points.T
    front = z - np.median(z[cloth])
    low, high = np.quantile(y[cloth], [0.02, 0.98])
    place = low + pattern.place * (high - low)
    hoops = np.floor(y / pattern.period) % 2 == 0
    bars = np.floor(np.arctan2(x, front + 0.3) * 1.6 / pattern.period * 1.5) % 2 == 0
    size = 0.35 + 0.35 * pattern.period
    square = (np.abs(x) < size) & (np.abs(y - place) < size) & (body.arm < 0)
    where: Mask
    if pattern.kind == "hoops":
        where = hoops
    elif pattern.kind == "pinstripes":
        where = bars
    elif pattern.kind == "checks":
        where = hoops ^ bars
    elif pattern.kind == "two-tone":
        where = (y > place) & (body.arm < 0.25)
    elif pattern.kind == "chest":
        where = square & (front > 0.2)
    elif pattern.kind == "back":
        where = square & (front < -0.2)
    else:
        waves = rng.normal(0, 2.5 / pattern.period, (5, 3)).astype(np.float32)
        phase = rng.uniform(0, 2 * np.pi, 5).astype(np.float32)
        where = np.cos(body.points @ waves.T + phase).sum(axis=1) > 0.4
    colours[cloth & where] = pattern.colour


def _strap(bag: Bag, body: Body, paint: Paint, front: Floats) -> None:
    trunk = np.isin(body.parts, (Part.TORSO, Part.HIPS)) & (body.surface == BODY)
    x, y = body.points[:, 0], body.points[:, 1]
    shoulder = body.joints[BONES.index("upperarm01.L")]
    if bag.place == "back":
        band = (np.abs(np.abs(x) - 0.62 * shoulder[0]) < 0.17) & (front > 0)
        band &= y > shoulder[1] - 2.6
    else:
        hip = body.joints[BONES.index("upperleg01.L")][1]
        sign = 1.0 if bag.left else -1.0
        down = (shoulder[1] - y) / (shoulder[1] - hip)
        band = np.abs(x - sign * shoulder[0] * (1.6 * down - 0.8)) < 0.16
    paint.colours[trunk & band] = bag.colour
