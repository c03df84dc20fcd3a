"""A dressed figure as points on its surfaces, ready to be posed and drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .anatomy import AGES, BONES, BUILDS, ETHNICITIES, SEXES, Anatomy, Floats, Ints, Part
from .colours import Rng
from .dressing import ARM, BODY, HAIR, SKIRT, Body, dress
from .wardrobe import Bag, Outfit, draw_outfit

POINTS = 18_000
"""Points on body, skirt and hair of a figure."""
_BAG_POINTS = 1_800
Points = tuple[Floats, Floats, Floats, Floats, Floats]
"""Positions, normals, weights, colours and folds: the first five of `Figure`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A person's points before any pose.

    `points`, `normals` (n, 3) in dm; `weights` (n, k) of `BONES`; `colours` (n, 3) BGR 0..255;
    `folds` (n,): how much cloth folds shade there; `joints` (k, 3): where each bone begins.
    """

    points: Floats
    normals: Floats
    weights: Floats
    colours: Floats
    folds: Floats
    joints: Floats


def draw_figure(anatomy: Anatomy, rng: Rng, worn: tuple[Floats, Floats] | None = None) -> Figure:
    """Draw a person: shape of the body, clothes, hair, what they carry.

    `worn`: colours of the garments of upper and lower body, (3,) BGR each, in place of drawn ones.
    """
    sex = SEXES[int(rng.integers(len(SEXES)))]
    outfit = draw_outfit(rng, woman=sex == "female")
    if worn is not None:
        outfit = replace(
            outfit,
            upper=replace(outfit.upper, colour=worn[0]),
            lower=replace(outfit.lower, colour=worn[1]),
        )
    body = _body(anatomy, _shape(anatomy, rng, sex), outfit, rng)
    paint = dress(body, outfit, rng)
    points = body.points + body.normals * paint.bulk[:, None]
    columns = (points, body.normals, body.weights, paint.colours, paint.folds)
    parts = [
        tuple(column[paint.keep] for column in columns),
        *(_bag(bag, body, rng) for bag in outfit.bags),
        *_hat(outfit, body, rng),
    ]
    joined = [np.concatenate(column).astype(np.float32) for column in zip(*parts, strict=True)]
    points, normals, weights, colours, folds = joined
    return Figure(points, normals, weights, colours, folds, body.joints)


def _shape(anatomy: Anatomy, rng: Rng, sex: str) -> Floats:
    """Vertices (n, 3) of a body drawn at random."""
    vertices = anatomy.vertices.copy()
    age = AGES[int(rng.choice(3, p=[0.06, 0.66, 0.28]))]
    for ethnicity, share in zip(ETHNICITIES, rng.dirichlet([1, 1, 1]), strict=True):
        vertices += np.float32(share) * anatomy.shapes[f"{ethnicity}-{sex}-{age}"]
    if age != "child":
        weight = rng.normal(0.15, 0.6)
        shares = (np.clip(weight, 0, 1.2), np.clip(-weight, 0, 1), rng.uniform(0, 0.7))
        for build, share in zip(BUILDS, shares, strict=True):
            vertices += np.float32(share) * anatomy.shapes[f"{sex}-{build}"]
    return vertices


def _body(anatomy: Anatomy, vertices: Floats, outfit: Outfit, rng: Rng) -> Body:
    joints = np.stack([vertices[rows].mean(axis=0) for rows in anatomy.joints])
    surfaces = [anatomy.surfaces["body"], anatomy.surfaces["skirt"], anatomy.surfaces["hair"]]
    triangles = np.concatenate(surfaces)
    surface = np.repeat([BODY, SKIRT, HAIR], [len(part) for part in surfaces])
    corners = vertices[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    middle = corners.mean(axis=1)
    crown = vertices[anatomy.parts == Part.HEAD][:, 1].max()
    # hands and feet are meshed finely and the head is looked at: each gets points by its area
    skirted = outfit.lower.is_skirt or outfit.upper.hem > 0.2
    drop = joints[BONES.index("upperleg01.L")][1]
    ankle = joints[BONES.index("foot.L")][1]
    longest = max(outfit.lower.length if outfit.lower.is_skirt else 0.0, outfit.upper.hem)
    hem = drop - longest * (drop - ankle)
    area[(surface == SKIRT) & ((not skirted) | (middle[:, 1] < hem))] = 0
    bare = outfit.bald or outfit.headwear in ("hood", "headscarf")
    ends = crown - 1.4 - outfit.long_hair * 4.0
    area[(surface == HAIR) & (bare | (middle[:, 1] < ends))] = 0
    chosen = rng.choice(len(triangles), POINTS, p=area / area.sum())
    share = rng.random((POINTS, 2)).astype(np.float32)
    over = share.sum(axis=1) > 1
    share[over] = 1 - share[over]
    mixing = np.stack([1 - share.sum(axis=1), share[:, 0], share[:, 1]], axis=1)
    tri = triangles[chosen]
    points = np.einsum("nk,nkd->nd", mixing, vertices[tri])
    length = np.maximum(np.linalg.norm(cross[chosen], axis=1, keepdims=True), 1e-9)
    parts = anatomy.parts[tri[:, 0]]
    hip = joints[BONES.index("upperleg01.L")][1]
    return Body(
        points=points,
        normals=(cross[chosen] / length).astype(np.float32),
        weights=np.einsum("nk,nkd->nd", mixing, anatomy.weights[tri]),
        parts=parts,
        surface=surface[chosen],
        arm=_along_arm(points, parts, joints),
        leg=((hip - points[:, 1]) / (hip - ankle)).astype(np.float32),
        joints=joints.astype(np.float32),
    )


def _along_arm(points: Floats, parts: Ints, joints: Floats) -> Floats:
    along = np.full(len(points), -1.0, np.float32)
    for side, sign in (("L", 1), ("R", -1)):
        shoulder = joints[BONES.index(f"upperarm01.{side}")]
        reach = joints[BONES.index(f"wrist.{side}")] - shoulder
        mine = np.isin(parts, (*ARM, Part.HAND)) & (points[:, 0] * sign > 0)
        along[mine] = (points[mine] - shoulder) @ reach / (reach @ reach)
    return along


def _bag(bag: Bag, body: Body, rng: Rng) -> Points:
    size = np.array(bag.size)
    sign = 1.0 if bag.left else -1.0
    trunk = body.points[body.parts == Part.TORSO]
    hip = body.joints[BONES.index(f"upperleg01.{'L' if bag.left else 'R'}")]
    if bag.place == "back":
        at = np.array([0.0, trunk[:, 1].mean() + 0.3, trunk[:, 2].min() - 0.7 * size[2]])
        bone = "spine03"
    elif bag.place == "hip":
        at, bone = hip + np.array([sign * (size[0] + 0.75), 0.2, 0.0]), "root"
    else:
        side = "L" if bag.left else "R"
        hand = body.points[(body.parts == Part.HAND) & (body.points[:, 0] * sign > 0)]
        at, bone = hand.mean(axis=0) - np.array([0, size[1] + 0.2, 0]), f"wrist.{side}"
    return _carried_by(bone, _blob(at, size, _BAG_POINTS, rng), bag.colour, rng)


def _hat(outfit: Outfit, body: Body, rng: Rng) -> list[Points]:
    if outfit.headwear != "cap":
        return []
    head = body.points[(body.parts == Part.HEAD) & (body.surface == BODY)]
    at = np.array([0.0, head[:, 1].max() - 0.75, head[:, 2].max() + 0.25])
    brim = _blob(at, np.array([0.75, 0.09, 0.75]), 500, rng)
    return [_carried_by("head", brim, outfit.headwear_colour * np.float32(0.85), rng)]


def _blob(
    at: NDArray[np.floating], size: NDArray[np.floating], count: int, rng: Rng
) -> tuple[Floats, Floats]:
    """Points and normals (n, 3) of a rounded box of half widths `size`."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rounded = np.sign(directions) * np.abs(directions) ** 0.6
    return (at + rounded * size).astype(np.float32), directions.astype(np.float32)


def _carried_by(bone: str, blob: tuple[Floats, Floats], tone: Floats, rng: Rng) -> Points:
    """Give a thing a colour, and the bone that moves it."""
    points, normals = blob
    weights = np.zeros((len(points), len(BONES)), np.float32)
    weights[:, BONES.index(bone)] = 1.0
    shades = (tone * rng.uniform(0.9, 1.1, (len(points), 1))).astype(np.float32)
    return points, normals, weights, shades, np.full(len(points), 0.08, np.float32)
