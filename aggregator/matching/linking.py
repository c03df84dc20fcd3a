"""Decides which companions are one person, by comparing their templates with one another.

Average linkage: two groups are joined while the mean of the scores between them reaches the
threshold, the best first. Of several sightings of one companion the mean template is kept, not
brought to unit length: a product of two such means is the mean of all scores between them, of which
strangers reach a threshold more seldom than by a single score. Two who were within reach on one
camera at one time are never joined, whatever their scores. Knows no keys and no names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Space = tuple[str, str]
"""Modality and model."""
_NEVER = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A companion, as far as linking needs it.

    Args:
        means: space to the mean of their templates, (d,) float32: cleared by `wipe`.
        camera: on which; whoever was on another is compared, whenever that was.
        spans: from when to when they were within reach, ms: in order, none meets another.
        subjects: whom they were near: those of different subjects are not compared.
        day: on which day, since clothes tell somebody on one day alone.
    """

    means: Mapping[Space, Floats]
    camera: object
    spans: Sequence[tuple[int, int]]
    subjects: frozenset[str]
    day: int

    def wipe(self) -> None:
        """Overwrite the templates."""
        for mean in self.means.values():
            mean.fill(0)

    def cannot_be(self, other: Member) -> bool:
        """Tell whether both were within reach on one camera at one time: then they are two."""
        if self.camera != other.camera:
            return False
        mine, theirs = iter(self.spans), iter(other.spans)
        one, two = next(mine, None), next(theirs, None)
        while one is not None and two is not None:
            if one[0] < two[1] and two[0] < one[1]:
                return True
            # Whichever ends first meets nothing that comes later of the other's.
            if one[1] <= two[1]:
                one = next(mine, None)
            else:
                two = next(theirs, None)
        return False


def count_pairs(members: Sequence[Member], space: Space) -> int:
    """Return how many pairs of members are compared in a space."""
    having = [one for one in members if space in one.means]
    comparable = np.zeros((len(having), len(having)), bool)
    for at, one in enumerate(having):
        for to in range(at):
            comparable[at, to] = bool(one.subjects & having[to].subjects)
    return int(comparable.sum())


def link(
    members: Sequence[Member],
    thresholds: Mapping[Space, float],
    *,
    by_day: frozenset[Space] = frozenset(),
) -> list[list[int]]:
    """Group members of whom each is one person.

    Args:
        thresholds: space to the score from which on two are one; in others nothing is compared. In
            the order of the mapping: who was told apart in an earlier space, such as by their
            faces, is not joined in a later one.
        by_day: spaces in which only members of one day are compared.

    Returns:
        Groups of numbers of members, everybody in one of them.
    """
    count = len(members)
    forbidden = np.zeros((count, count), bool)
    related = np.ones((count, count), bool)
    for at, one in enumerate(members):
        for to in range(at):
            other = members[to]
            forbidden[at, to] = forbidden[to, at] = one.cannot_be(other)
            related[at, to] = related[to, at] = bool(one.subjects & other.subjects)
    groups = [[number] for number in range(count)]
    for space, threshold in thresholds.items():
        margins, known = _margins(members, space, threshold, same_day=space in by_day)
        known &= related
        np.fill_diagonal(known, val=False)
        groups = _joined(groups, margins, known, forbidden)
        margins.fill(0)
        number_of = np.zeros(count, np.int64)
        for number, group in enumerate(groups):
            number_of[group] = number
        forbidden |= known & (number_of[:, None] != number_of[None, :])
    return groups


def _margins(
    members: Sequence[Member], space: Space, threshold: float, *, same_day: bool
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return by how much each pair exceeds the threshold, (n, n), and which pairs compare."""
    count = len(members)
    having = [number for number, one in enumerate(members) if space in one.means]
    margins = np.zeros((count, count), np.float32)
    known = np.zeros((count, count), bool)
    if len(having) > 1:
        table = np.stack([members[number].means[space] for number in having])
        try:
            margins[np.ix_(having, having)] = table @ table.T - np.float32(threshold)
        finally:
            table.fill(0)
        known[np.ix_(having, having)] = np.isfinite(margins[np.ix_(having, having)])
        margins[~known] = 0.0
    if same_day:
        days = np.array([one.day for one in members])
        known &= days[:, None] == days[None, :]
    return margins, known


def _joined(
    groups: Sequence[Sequence[int]],
    margins: Floats,
    known: npt.NDArray[np.bool_],
    forbidden: npt.NDArray[np.bool_],
) -> list[list[int]]:
    """Join groups, the most alike first, until no two that may be joined reach the threshold."""
    merged = [list(group) for group in groups]
    if len(merged) < 2:
        return merged
    sums, counts, never = (
        _between(merged, table) for table in (np.where(known, margins, 0.0), known, forbidden)
    )
    alive = np.ones(len(merged), bool)
    while True:
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where((counts > 0) & (never == 0), sums / counts, _NEVER)
        mean[~alive] = _NEVER
        mean[:, ~alive] = _NEVER
        np.fill_diagonal(mean, _NEVER)
        at, to = divmod(int(mean.argmax()), len(merged))
        if not mean[at, to] >= 0:
            return [group for group, lives in zip(merged, alive, strict=True) if lives]
        keep, gone = min(at, to), max(at, to)
        merged[keep] += merged[gone]
        alive[gone] = False
        for table in (sums, counts, never):
            table[keep] += table[gone]
            table[:, keep] += table[:, gone]


def _between(
    groups: Sequence[Sequence[int]], table: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """Add up a table of members, (n, n), over each pair of groups, (g, g)."""
    owner = np.zeros((len(table), len(groups)))
    for number, group in enumerate(groups):
        owner[list(group), number] = 1.0
    added: npt.NDArray[np.float64] = owner.T @ table.astype(np.float64) @ owner
    return added
