"""Which bare crops teach and which are held out, so that nobody is on both sides.

The crops carry no names. Crops that the teacher finds alike, or whose pictures are near-duplicates,
are taken for one person's and stay together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from models.mask_classifier.crops import near_duplicate_groups

SAME_PERSON = 0.5
"""Cosine of the teacher's templates above which two bare crops may be one person's."""
HELD_OUT_SHARE = 0.2
LARGEST_HELD_GROUP = 20
"""A few people have hundreds of crops, joined to one group: it teaches."""


@dataclass(frozen=True, slots=True)
class Split:
    """Indices (int64) of bare crops: those that teach, those held out; `group` (n,) of each crop.

    `group` numbers the people of `bare`, in the same order.
    """

    taught: npt.NDArray[np.int64]
    held: npt.NDArray[np.int64]
    bare: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]


def people_of(
    templates: npt.NDArray[np.float32], images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """Number the people (n,) behind unit templates (n, d) and crops (n, 112, 112, 3)."""
    copies = near_duplicate_groups(images)
    alike = (templates @ templates.T > SAME_PERSON) | (copies[:, None] == copies[None])
    return np.asarray(connected_components(alike, directed=False)[1], np.int64)


def split_people(
    bare: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.bool_],
    seed: int,
) -> Split:
    """Hold out `HELD_OUT_SHARE` of the crops `bare`, whole people; `wanted` (n,) ones first."""
    rng = np.random.default_rng(seed)
    sizes = np.bincount(group)
    numbers = rng.permutation(len(sizes))
    first = np.zeros(len(sizes), np.bool_)
    first[group[wanted]] = True
    numbers = numbers[np.argsort(~first[numbers], kind="stable")]
    held = np.zeros(len(bare), np.bool_)
    for number in numbers:
        if sizes[number] > LARGEST_HELD_GROUP:
            continue
        if held.sum() >= HELD_OUT_SHARE * len(bare):
            break
        held |= group == number
    return Split(taught=bare[~held], held=bare[held], bare=bare, group=group)
