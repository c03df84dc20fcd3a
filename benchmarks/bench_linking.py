"""How many companions are wrongly joined, and how many of one person are not, by linking.

Run: `python -m benchmarks linking [--quick]`. Nobody real is in it: templates are made so that
their scores have the mean, spread and tail that were counted for the default embedder
(models/calibration), of strangers as often as in the worst measured group. A subject meets people
on one to four cameras each; of each meeting there are one to six sightings, which are half alike.
They are linked as the aggregator does (`aggregator.matching.linking`), at the threshold that it
would take. The baseline joins whoever reaches the threshold by one pair of meetings, as in a chain.
Two masked faces of one person were compared by nobody whose counts are here: they come out as each
against a bare one would have it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components

from aggregator.linking import FALSE_LINKS, MOST_OFTEN
from aggregator.matching.linking import Member, Space, count_pairs, link
from benchmarks.bench_ranking import CALIBRATION, FLOOR, kinds, spread
from benchmarks.figures import Figure
from benchmarks.printing import print_figures
from models.calibration.counts import WORST_GROUP
from runtime.calibration import Calibration, read_calibration

SPACE: Space = ("face", "made")
SUBJECTS, QUICK_SUBJECTS = 1_200, 20
MOST_CAMERAS, MOST_SIGHTINGS = 4, 6
ALIKE = 0.5
"""Of what is not the face, so much is shared by the sightings of one meeting."""

Doubles = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Faces:
    """How templates are made: a common part, the person's own, and what is not the face.

    Args:
        dimension: so many directions as give strangers' scores their tail.
        common: the mean score of strangers.
        bare, masked: mean and deviation of the person's share in a template.
    """

    dimension: int
    common: float
    bare: tuple[float, float]
    masked: tuple[float, float]

    @classmethod
    def counted(cls, floor: float) -> Faces:
        """Return what reproduces the counts: of bare faces, and of a bare one and a masked one."""
        bare, masked = kinds()
        mean, _ = spread(masked=False)
        reaching, of = bare.reaching(floor)
        tail = stats.norm.isf(WORST_GROUP * reaching / of)
        dimension = round(((1 - mean) * tail / (floor - mean)) ** 2)
        both, across = (_share(counted.same, counted.edges, mean) for counted in (bare, masked))
        own = both[0] ** 0.5
        noise = 2 * own * own * (1 - own * own) / dimension + (1 - own * own) ** 2 / dimension
        own_sd = max(0.0, both[1] ** 2 - noise) ** 0.5 / (own * 2**0.5)
        worn = across[0] / own
        rest = max(0.0, across[1] ** 2 - noise - (worn * own_sd) ** 2)
        return cls(dimension, mean, (own, own_sd), (worn, rest**0.5 / own))

    def meeting(self, random: Random, person: Doubles, *, masked: bool, sightings: int) -> Doubles:
        """Return the mean template of a meeting, (dimension + 1,)."""
        mean, deviation = self.masked if masked else self.bare
        share = float(np.clip(random.normal(mean, deviation), 0.0, 0.98))
        held = _unit(random.normal(size=self.dimension))
        rows = []
        for _ in range(sightings):
            own = _unit(random.normal(size=self.dimension))
            other = _unit(ALIKE**0.5 * held + (1 - ALIKE) ** 0.5 * own)
            face = _unit(share * person + (1 - share**2) ** 0.5 * other)
            rows.append(np.append((1 - self.common) ** 0.5 * face, self.common**0.5))
        return np.asarray(np.mean(rows, axis=0))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Pairs of meetings: of strangers and how many were joined, of one person and how many not."""

    strangers: int
    joined: int
    chained: int
    same: int
    missed: int


def one_subject(
    seed: int, faces: Faces, calibration: Calibration, *, people: int, masks: float
) -> Outcome:
    """Link the companions of one subject.

    Args:
        people: whom they meet.
        masks: share of meetings in which the companion wears one.
    """
    random = np.random.default_rng(seed)
    members, owner = [], []
    for number in range(people):
        person = _unit(random.normal(size=faces.dimension))
        for camera in random.permutation(MOST_CAMERAS)[: random.integers(1, MOST_CAMERAS + 1)]:
            mean = faces.meeting(
                random,
                person,
                masked=random.random() < masks,
                sightings=int(random.integers(1, MOST_SIGHTINGS + 1)),
            )
            begins = float(random.uniform(0, 3600))
            span = (int(begins * 1000), int((begins + random.exponential(120.0)) * 1000))
            member = Member(
                {SPACE: mean.astype(np.float32)},
                f"cam-{camera}",
                [span],
                frozenset({"subject"}),
                0,
            )
            members.append(member)
            owner.append(number)
    pairs = count_pairs(members, SPACE)
    rate = min(MOST_OFTEN, FALSE_LINKS / max(1, pairs))
    threshold = calibration.quiet_threshold(rate, FLOOR).threshold
    groups = np.zeros(len(members), np.int64)
    for number, group in enumerate(link(members, {SPACE: threshold})):
        groups[group] = number
    table = np.stack([one.means[SPACE] for one in members])
    reached = sparse.csr_array(table @ table.T >= threshold)
    chains = connected_components(reached, directed=False)[1]
    who = np.array(owner)
    upper = np.triu_indices(len(members), 1)
    alike = (who[:, None] == who[None, :])[upper]
    joined, chained = (((x[:, None] == x[None, :])[upper]) for x in (groups, chains))
    return Outcome(
        int((~alike).sum()),
        int((joined & ~alike).sum()),
        int((chained & ~alike).sum()),
        int(alike.sum()),
        int((alike & ~joined).sum()),
    )


def run(quick: bool = False) -> list[Figure]:
    """Return shares of pairs wrongly joined and wrongly kept apart, with 95 % intervals."""
    said = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    calibration = read_calibration(said["parameters"])
    if calibration is None:
        raise ValueError(f"{CALIBRATION} holds no calibration")
    faces = Faces.counted(FLOOR)
    subjects = QUICK_SUBJECTS if quick else SUBJECTS
    figures: list[Figure] = []
    for people, masks, words in (
        (20, 0.0, "20 people, nobody masked"),
        (20, 0.5, "20 people, half of the meetings masked"),
        (80, 0.0, "80 people, nobody masked"),
        (80, 0.5, "80 people, half of the meetings masked"),
    ):
        count = max(1, subjects * 20 // people)
        told = [
            one_subject(seed, faces, calibration, people=people, masks=masks)
            for seed in range(count)
        ]
        figures += _figures(words, told)
    return figures


def _figures(words: str, told: list[Outcome]) -> list[Figure]:
    strangers, joined, chained, same, missed = (
        sum(getattr(one, name) for one in told)
        for name in ("strangers", "joined", "chained", "same", "missed")
    )
    low, high = _interval(joined, strangers)
    spared = np.array([one.missed / max(1, one.same) for one in told])
    error = 1.96 * float(spared.std(ddof=1) / len(told) ** 0.5)
    return [
        Figure(
            f"{words}: pairs of strangers joined, {joined} of {strangers:,} "
            f"(95 %: {low:.1e} to {high:.1e})",
            1e6 * joined / strangers,
            "in a million",
            f"{chained} where one pair is enough to join groups",
        ),
        Figure(
            f"{words}: pairs of one person not joined, of {same:,} (± {100 * error:.1f})",
            100 * missed / same,
            "%",
        ),
    ]


def _interval(found: int, of: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson)."""
    low = stats.beta.ppf(0.025, found, of - found + 1) if found else 0.0
    high = stats.beta.ppf(0.975, found + 1, of - found)
    return float(low), float(high)


def _share(same: Doubles, edges: Doubles, common: float) -> tuple[float, float]:
    """Return mean and deviation of the scores of one person, without the common part."""
    middle = edges + 0.005
    mean = float(np.average(middle, weights=same))
    deviation = float(np.average((middle - mean) ** 2, weights=same) ** 0.5)
    return (mean - common) / (1 - common), deviation / (1 - common)


def _unit(vector: Doubles) -> Doubles:
    return np.asarray(vector / np.linalg.norm(vector))


if __name__ == "__main__":
    print_figures("linking of companions", run("--quick" in sys.argv[1:]))
