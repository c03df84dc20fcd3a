"""How many true continuations rank first, of people followed by clothes over a simulated street.

Run: `python -m benchmarks.bench_following [--quick]`. Needs nothing but the packages. Nobody
real is in it: cameras stand on a plan, one person walks by some of them before and after a hit,
others pass everywhere; scores are drawn from what was measured of the appearance network. The
list is chosen as the aggregator does (threshold, the quarter hours around first, each camera in
turn), and ranked as officers' programs do.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aggregator.following import MOST_A_HIT, MOST_NEAR
from aggregator.matching.shares import fair_shares
from benchmarks.figures import Figure
from benchmarks.printing import print_figures
from officers.desk.walking import Way, way_of

COLUMNS, ROWS, BLOCK_M = 4, 3, 120.0
"""Cameras on a grid of streets, and how far from one another."""
MINUTES = 120
NEAR_S = 22.5 * 60
"""In the mean, from somewhere in a quarter hour to the end of the next."""
THRESHOLD = 0.5
PASSES = 2
"""The person is seen at so many further cameras before the hit, and as many after."""
SEEN = 0.8
"""Of passes in which the box saw enough of the clothes."""
STOPS = 0.2
"""Of ways on which somebody stops, for some minutes."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Normal distributions of the scores of the same person and of strangers, as measured."""

    name: str
    own_mean: float
    own_sd: float
    strangers_mean: float
    strangers_sd: float
    tail: tuple[tuple[float, float], ...] = ()

    def of_strangers(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
        """Draw scores (count,) of strangers; those in the tail as they were counted there."""
        drawn = rng.normal(self.strangers_mean, self.strangers_sd, count)
        if self.tail:
            scores, shares = np.array(self.tail).T
            share = rng.random(count)
            tail = np.interp(-np.log(share), -np.log(shares), scores)
            drawn = np.where(share < shares[0], tail, np.minimum(drawn, scores[0]))
        return np.minimum(drawn, 1.0)


MEASURED = (
    Scores(
        "drawn people, another camera", 0.3735, 0.2071, 0.0035, 0.1352,
        ((0.1827, 0.1), (0.286, 0.03), (0.3672, 0.01), (0.4459, 0.003), (0.511, 0.001),
         (0.574, 0.0003), (0.623, 0.0001)),
    ),
    Scores("real clips, strangers of one place", 0.7603, 0.1661, 0.3194, 0.2153),
)  # fmt: skip
"""`models/appearance/report.json`: 7,200 and 2.8 million pairs, and 400 and 56 pairs."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody whom a camera saw, as the officer's list has them."""

    camera: int
    score: float
    way: Way
    own: bool


@dataclass(slots=True)
class Ranks:
    """How the true continuations of some hits stood in their lists."""

    hits: int = 0
    first: int = 0
    among_5: int = 0

    def note(self, ranked: list[bool]) -> None:
        """Note one list, best first: whether each is the person."""
        self.hits += 1
        self.first += ranked[:1] == [True]
        self.among_5 += any(ranked[:5])

    def figures(self, words: str) -> list[Figure]:
        """Return the shares, in percent."""
        return [
            Figure(f"{words}: true one ranks first", 100 * self.first / self.hits, "% of hits"),
            Figure(f"{words}: true one among 5", 100 * self.among_5 / self.hits, "% of hits"),
        ]


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes fewer hits."""
    figures = []
    for scores in MEASURED:
        for an_hour in (10, 60):
            figures += _measured(scores, an_hour, hits=100 if quick else 500)
    return figures


def _measured(scores: Scores, an_hour: int, *, hits: int) -> list[Figure]:
    rng = np.random.default_rng(9)
    alike, walked = Ranks(), Ranks()
    listed = passes = 0
    for _ in range(hits):
        own, others = _street(rng, scores, an_hour)
        passes += len(own)
        chosen = _chosen([one for one in (*own, *others) if one.score >= THRESHOLD])
        listed += sum(one.own for one in chosen)
        alike.note([one.own for one in sorted(chosen, key=lambda one: -one.score)])
        by_way = sorted(chosen, key=lambda one: (one.way.too_far, -one.way.fit))
        walked.note([one.own for one in by_way])
    what = f"{scores.name}, {an_hour} people an hour a camera"
    return [
        Figure(f"{what}: passes of the person in the list", 100 * listed / passes, "% of passes"),
        *alike.figures(f"{what}, by likeness"),
        *walked.figures(f"{what}, by likeness and way"),
    ]


def _chosen(reached: list[Seen]) -> list[Seen]:
    """Return the list that the aggregator would have opened, of those who reached the threshold."""
    chosen: list[Seen] = []
    near = [one for one in reached if abs(one.way.gap_s) <= NEAR_S]
    far = [one for one in reached if abs(one.way.gap_s) > NEAR_S]
    for among, most in ((near, MOST_NEAR), (far, MOST_A_HIT)):
        within, _ = fair_shares(
            among,
            most - len(chosen),
            camera=lambda one: one.camera,
            score=lambda one: one.score,
        )
        chosen += within
    return chosen


def _street(
    rng: np.random.Generator, scores: Scores, an_hour: int
) -> tuple[list[Seen], list[Seen]]:
    """Return the person's passes around one hit, and of all others those who look alike."""
    grid = np.stack(np.meshgrid(np.arange(COLUMNS), np.arange(ROWS)), -1).reshape(-1, 2)
    cameras = grid * BLOCK_M + rng.normal(0, 15, grid.shape)
    hit = int(rng.integers(len(cameras)))

    def seen(camera: int, gap_s: float, score: float, *, own: bool) -> Seen:
        metres = float(np.linalg.norm(cameras[camera] - cameras[hit]))
        return Seen(camera, score, way_of(score, gap_s, metres), own)

    passes, others = [], []
    for direction in (-1, 1):
        at, gap_s = hit, 0.0
        for _ in range(PASSES):
            near = np.linalg.norm(cameras - cameras[at], axis=1)
            at_next = int(rng.choice(np.argsort(near)[1:5]))
            way_m = near[at_next] * rng.uniform(1.0, 1.5)
            gap_s += way_m / max(0.6, rng.normal(1.3, 0.2))
            if rng.random() < STOPS:
                gap_s += 60 * rng.lognormal(np.log(8), 0.6)
            at = at_next
            if rng.random() < SEEN and gap_s < MINUTES * 60:
                score = min(float(rng.normal(scores.own_mean, scores.own_sd)), 1.0)
                passes.append(seen(at, direction * gap_s, score, own=True))
    for camera, count in enumerate(rng.poisson(an_hour * 2 * MINUTES / 60, len(cameras))):
        gaps = rng.uniform(-MINUTES * 60, MINUTES * 60, count)
        drawn = scores.of_strangers(rng, count)
        for gap_s, score in zip(gaps, drawn, strict=True):
            if score >= THRESHOLD:
                others.append(seen(camera, float(gap_s), float(score), own=False))
    return passes, others


if __name__ == "__main__":
    print_figures("following by clothes", run(quick="--quick" in sys.argv))
