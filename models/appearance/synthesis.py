"""Draws a set of people, each in several pictures of several cameras, into a folder.

Every person and every camera is drawn from a seed of its own, so the same command gives the same
set. Nobody in it exists.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy, Floats
from .figure import draw_figure
from .picture import HEIGHT, MASK_HEIGHT, MASK_WIDTH, WIDTH, Cutout, draw_crop
from .scene import draw_camera

_PASSERS_BY = 40
"""Cut-outs of the last people drawn, who walk through the pictures of the next."""
_CAMERAS, _PEOPLE = 1, 2  # so that camera 7 and person 7 are not drawn alike


@dataclass(frozen=True, slots=True)
class Cast:
    """How many people to draw, and how often: `visits` cameras each, `pictures` at each."""

    seed: int
    people: int
    cameras: int
    visits: int = 4
    pictures: int = 2


@dataclass(frozen=True, slots=True)
class PeopleSet:
    """Pictures by person.

    ``images`` (n, k, 128, 64, 3) uint8 BGR, ``masks`` (n, k, 16, 8) uint8 0..255, ``cameras``
    (n, k) int64.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    cameras: NDArray[np.int64]


def draw_people(
    anatomy: Anatomy,
    cast: Cast,
    folder: Path,
    report: Callable[[int], None] = lambda _: None,
    *,
    dressed: Callable[[int], tuple[Floats, Floats]] | None = None,
) -> PeopleSet:
    """Draw `cast` into `folder`, or read it there when the same was drawn before.

    `report` is told how many people are drawn, after each. `dressed` says the colours of a
    person's clothes (`draw_figure`), by the person's number; None: they are drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "cast.json"
    wanted = json.dumps(asdict(cast), sort_keys=True)
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return read_people(folder)
    done.unlink(missing_ok=True)
    shape = (cast.people, cast.visits * cast.pictures)
    images = _file(folder / "images.npy", (*shape, HEIGHT, WIDTH, 3), np.uint8)
    masks = _file(folder / "masks.npy", (*shape, MASK_HEIGHT, MASK_WIDTH), np.uint8)
    cameras = _file(folder / "cameras.npy", shape, np.int64)
    cv2.setNumThreads(1)
    known = [
        draw_camera(np.random.default_rng([cast.seed, _CAMERAS, number]))
        for number in range(cast.cameras)
    ]
    others: deque[Cutout] = deque(maxlen=_PASSERS_BY)
    for person in range(cast.people):
        rng = np.random.default_rng([cast.seed, _PEOPLE, person])
        figure = draw_figure(anatomy, rng, dressed(person) if dressed else None)
        visited = rng.choice(cast.cameras, cast.visits, replace=False)
        for number, camera in enumerate(np.repeat(visited, cast.pictures)):
            crop, cutout = draw_crop(figure, anatomy, known[int(camera)], list(others), rng)
            images[person, number], masks[person, number] = crop.image, crop.mask
            cameras[person, number] = camera
        others.append(cutout)
        report(person + 1)
    for array in (images, masks, cameras):
        array.flush()
    done.write_text(wanted, encoding="utf-8")
    return read_people(folder)


def read_people(folder: Path) -> PeopleSet:
    """Read what `draw_people` wrote; pictures stay on the disk until they are looked at."""
    return PeopleSet(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        masks=np.load(folder / "masks.npy", mmap_mode="r"),
        cameras=np.load(folder / "cameras.npy"),
    )


def _file(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap[Any, Any]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
