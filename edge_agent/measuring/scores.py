"""Scores of pairs of pictures, counted by kind of pair; rates and intervals from the counts.

Words are those of ISO/IEC 19795-1: a false match is a stranger that reaches the threshold, a false
non-match a person who misses it. The interval of a false match rate is that of Clopper and Pearson
(Biometrika 26, 1934), which takes pairs for independent; that of a false non-match rate is a
bootstrap over people, as the pairs of one person are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from edge_agent.vision.arrays import Doubles, Flags, Floats, Ints

BINS = 4000
"""Of the cosine, from -1 to 1: a rate is right to 0.0005 of score."""
CONFIDENCE = 0.95
COUNTED_PAIRS = 10
"""So many pairs of strangers must reach a threshold for its rate to be called counted."""
SIZES_PX = (0.0, 12.0, 20.0, 32.0)
"""Lower ends of the classes of face size: distance between the eyes, of the smaller face."""
ALL = "all"
_BLOCK = 512
_BOOTSTRAPS = 200

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of a folder, one a picture: everything (n,), but `templates` (n, d) of unit length.

    `person` numbers the people; `groups` holds by column of a table each face's value, "" where
    none is given.
    """

    templates: Floats
    person: Ints
    masked: Flags
    eyes_px: Doubles
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.person)


@dataclass(slots=True)
class Pairs:
    """Counts of strangers' scores (`BINS`,), and the scores of one person's pairs by person."""

    strangers: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))
    same: dict[int, list[float]] = field(default_factory=dict)

    def add(self, scores: Floats, people: tuple[Ints, Ints]) -> None:
        """Count pairs: scores (m,) and the people (m,) of either side."""
        alike = people[0] == people[1]
        places = np.clip(((scores[~alike] + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)
        self.strangers += np.bincount(places, minlength=BINS)
        for person, score in zip(people[0][alike].tolist(), scores[alike].tolist(), strict=True):
            self.same.setdefault(person, []).append(score)

    def rates(self, threshold: float) -> Rates:
        """The error rates at a threshold, with their intervals."""
        reaching = int(self.strangers[_place(threshold) :].sum())
        of = int(self.strangers.sum())
        missing = [sum(score < threshold for score in scores) for scores in self.same.values()]
        pairs = [len(scores) for scores in self.same.values()]
        return Rates(
            threshold=threshold,
            strangers=reaching,
            stranger_pairs=of,
            fmr=None if not of else reaching / of,
            fmr_interval=clopper_pearson(reaching, of),
            same_pairs=sum(pairs),
            people=len(pairs),
            fnmr=None if not pairs else sum(missing) / sum(pairs),
            fnmr_interval=_bootstrap(missing, pairs),
        )

    def threshold(self, rate: float) -> float | None:
        """The lowest threshold that so few strangers reach; None if it is not counted."""
        of = int(self.strangers.sum())
        if rate * of < COUNTED_PAIRS:
            return None
        reaching = self.strangers[::-1].cumsum()[::-1]
        return float(-1 + 2 * int(np.argmax(reaching <= rate * of)) / BINS)


@dataclass(frozen=True, slots=True)
class Rates:
    """Error rates at a threshold; a rate is None where there are no pairs."""

    threshold: float
    strangers: int
    stranger_pairs: int
    fmr: float | None
    fmr_interval: tuple[float, float]
    same_pairs: int
    people: int
    fnmr: float | None
    fnmr_interval: tuple[float, float]


def count_pairs(faces: Faces) -> dict[str, Pairs]:
    """Count all pairs of faces, by kind: mask status, face size, and each value of each group.

    A pair has a value of a group if both its faces have it. Kinds without a pair are left out.
    """
    kinds: dict[str, Pairs] = {}
    size = np.searchsorted(np.array(SIZES_PX), faces.eyes_px, side="right") - 1
    groups = {
        name: np.unique(np.array(values), return_inverse=True)
        for name, values in faces.groups.items()
    }
    for start in range(0, len(faces), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(faces)))
        first, second = np.nonzero(rows[:, None] < np.arange(len(faces))[None])
        left, right = rows[first], second
        scores = np.einsum("ij,ij->i", faces.templates[left], faces.templates[right])
        chosen: dict[str, Flags] = {ALL: np.ones(len(scores), np.bool_)}
        masks = faces.masked[left].astype(int) + faces.masked[right]
        for count, name in enumerate(("bare-bare", "bare-masked", "masked-masked")):
            chosen[f"mask: {name}"] = masks == count
        smaller = np.minimum(size[left], size[right])
        for number in range(len(SIZES_PX)):
            chosen[f"eyes: {_size_name(number)}"] = (smaller == number) & (masks == 0)
        for name, (values, place) in groups.items():
            for number, value in enumerate(values.tolist()):
                if value:
                    both = (place[left] == number) & (place[right] == number)
                    chosen[f"{name}: {value}"] = both
        people = faces.person[left], faces.person[right]
        for name, which in chosen.items():
            if which.any():
                pairs = kinds.setdefault(name, Pairs())
                pairs.add(scores[which], (people[0][which], people[1][which]))
    return kinds


def clopper_pearson(count: int, of: int) -> tuple[float, float]:
    """The interval of a rate by `count` of `of` independent trials; 0 to 1 without a trial."""
    if not of:
        return 0.0, 1.0
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high


def _bootstrap(missing: Sequence[int], pairs: Sequence[int]) -> tuple[float, float]:
    """The interval of the sum of `missing` in that of `pairs`, when other people had been drawn."""
    if len(pairs) < 2:
        return 0.0, 1.0
    drawn = np.random.default_rng(1).integers(0, len(pairs), (_BOOTSTRAPS, len(pairs)))
    rates = np.array(missing)[drawn].sum(axis=1) / np.array(pairs)[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(low), float(high)


def _place(threshold: float) -> int:
    return max(0, min(BINS, int(np.ceil((threshold + 1) * (BINS / 2) - 1e-6))))


def _size_name(number: int) -> str:
    low = f"{SIZES_PX[number]:.0f}"
    if number + 1 == len(SIZES_PX):
        return f"{low} px or more"
    return f"{low} to {SIZES_PX[number + 1]:.0f} px"
