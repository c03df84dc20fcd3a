"""How many strangers stand above a subject's last true sighting, in a simulated city of cameras.

Run: `python -m benchmarks ranking [--quick]`. Cameras lie on a plan, busy ones and quiet ones, and
people pass by day. A subject walks some routes; scores, theirs and strangers', are drawn from what
was counted for the default embedder (models/calibration), half of all with a mask. Of the subject's
sightings those count that reach the threshold; of strangers as many as the count of strangers above
it and the number of sightings make (more with a mask, as the calibration reckons, `STUDENT`),
four times as many for the worst measured group. The order by likelihood ratio alone is compared
with that of `officers.desk.ranking`, for the same candidates.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.printing import print_figures
from models.calibration.counts import STUDENT, WORST_GROUP, Counted, read_counts
from officers.desk.ranking import Scope, Sightings, weigh

_FOLDER = Path(__file__).parents[1] / "models/calibration"
COUNTS, CALIBRATION = _FOLDER / "sface_score_counts.json", _FOLDER / "sface.json"
SUBJECTS, QUICK_SUBJECTS = 150, 20
FLOOR = float(json.loads(CALIBRATION.read_text(encoding="utf-8"))["default_threshold"])
TEN = 10.0
_DAY_S = 86_400.0
_WALK_MPS, _DETOUR = 1.2, 1.3
_LONGEST_WAY_M = 400.0
"""From a camera to the next on a way; the nearer the likelier."""

Doubles = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class City:
    """What is asked for: cameras on a square, days, sightings a camera and day, the threshold."""

    name: str
    cameras: int
    side_m: float
    days: int
    a_day: float
    threshold: float


DISTRICT = City("a district (200 cameras, 3 days), at the floor", 200, 1_400.0, 3, 500.0, FLOOR)
TOWN = City("a city (2,000 cameras, 14 days), at the floor", 2_000, 4_500.0, 14, 500.0, FLOOR)
QUIET = City("a city, at a threshold that ten strangers reach", 2_000, 4_500.0, 14, 500.0, 0.52)


@dataclass(frozen=True, slots=True)
class Passages:
    """Who was seen when and where: camera, seconds, score, mask, (n,) each."""

    camera: NDArray[np.int64]
    at_s: Doubles
    score: Doubles
    masked: NDArray[np.bool_]


@cache
def kinds() -> tuple[Counted, Counted]:
    """The counts of bare faces, and of masked ones."""
    read = read_counts(COUNTS)
    return read["bare_bare"], read["bare_drawn_mask"].plus(read["bare_real_mask"])


@cache
def ratios() -> tuple[Doubles, Doubles]:
    """log10 of the likelihood ratio by score, of bare and of masked faces, as the bundle has it."""
    parameters = json.loads(CALIBRATION.read_text(encoding="utf-8"))["parameters"]
    bare, masked = (
        np.array(parameters[f"calibration.llr.{kind}"], np.float64)
        for kind in ("unmasked", "masked")
    )
    return bare, masked


@cache
def spread(masked: bool) -> tuple[float, float]:
    """Mean and deviation of strangers' scores."""
    counted = kinds()[masked]
    middle = counted.edges + 0.005
    mean = float(np.average(middle, weights=counted.strangers))
    return mean, float(np.average((middle - mean) ** 2, weights=counted.strangers) ** 0.5)


def scores(random: Random, shares: Doubles, edges: Doubles, count: int) -> Doubles:
    """Draw scores from a histogram, evenly within a bin."""
    return random.choice(edges, count, p=shares / shares.sum()) + random.random(count) * 0.01


def walk(random: Random, points: Doubles, start: int, count: int, at_s: float) -> Passages:
    """Walk from camera to camera; now and then stay somewhere for a while."""
    cameras, times = [start], [at_s]
    while len(cameras) < count:
        away = np.linalg.norm(points - points[cameras[-1]], axis=1)
        likely = np.where(away < _LONGEST_WAY_M, np.exp(-away / 150.0), 0.0)
        likely[cameras[-2:]] = 0.0
        if not likely.any():
            break
        cameras.append(int(random.choice(len(points), p=likely / likely.sum())))
        pause = random.exponential(600.0) if random.random() < 0.3 else 0.0
        speed = max(0.6, random.normal(_WALK_MPS, 0.2))
        times.append(times[-1] + away[cameras[-1]] * _DETOUR / speed + pause + 10.0)
    blank = np.zeros(len(cameras))
    return Passages(np.array(cameras), np.array(times), blank, blank > 0)


def true_sightings(random: Random, city: City, points: Doubles) -> Passages:
    """Draw one subject's sightings that reach the threshold: 1 to 3 ways, 3 to 8 cameras each."""
    ways = []
    for _ in range(int(random.integers(1, 4))):
        begins_s = random.integers(city.days) * _DAY_S + random.uniform(8, 20) * 3600
        start, count = int(random.integers(city.cameras)), int(random.integers(3, 9))
        ways.append(walk(random, points, start, count, begins_s))
    camera = np.concatenate([way.camera for way in ways])
    at_s = np.concatenate([way.at_s for way in ways])
    masked = random.random(len(ways)).repeat([len(way.camera) for way in ways]) < 0.5
    drawn = [scores(random, counted.same, counted.edges, len(camera)) for counted in kinds()]
    score = np.where(masked, drawn[1], drawn[0])
    found = score >= city.threshold
    return Passages(camera[found], at_s[found], score[found], masked[found])


def expected(city: City, worst: float) -> tuple[float, float]:
    """How many strangers reach the threshold, bare and masked, in a group so much worse."""
    looked_at = city.cameras * city.days * city.a_day / 2
    bare, masked = (
        worst * looked_at * reaching / of
        for reaching, of in (counted.reaching(city.threshold) for counted in kinds())
    )
    return bare, STUDENT * masked


def strangers(
    random: Random, city: City, points: Doubles, worst: float, likeness: float | None
) -> Passages:
    """Draw strangers who reach the threshold.

    With a likeness each walks on before cameras: it is the correlation of their scores on the way.
    """
    parts = []
    busy = random.lognormal(0.0, 1.0, city.cameras)
    counts = zip(kinds(), expected(city, worst), strict=True)
    for masked, (counted, likely) in enumerate(counts):
        many = int(random.poisson(likely))
        above = np.where(counted.edges > city.threshold - 1e-9, counted.strangers, 0.0)
        hour = np.clip(random.normal(14.0, 4.0, many), 0.0, 24.0)
        parts.append(
            Passages(
                random.choice(city.cameras, many, p=busy / busy.sum()),
                random.integers(city.days, size=many) * _DAY_S + hour * 3600,
                scores(random, above, counted.edges, many),
                np.full(many, bool(masked)),
            )
        )
    first = _together(parts)
    if likeness is None:
        return first
    again = []
    for camera, at_s, score, masked in zip(
        first.camera, first.at_s, first.score, first.masked, strict=True
    ):
        way = walk(random, points, int(camera), int(random.integers(3, 9)), float(at_s))
        mean, deviation = spread(bool(masked))
        loose = random.normal(0.0, deviation * (1 - likeness**2) ** 0.5, len(way.camera))
        alike = mean + likeness * (score - mean) + loose
        alike[0] = score
        kept = alike >= city.threshold
        again.append(
            Passages(way.camera[kept], way.at_s[kept], alike[kept], np.full(kept.sum(), masked))
        )
    return _together(again) if again else first


@dataclass(frozen=True, slots=True)
class Above:
    """Strangers above the last true sighting, by ratio alone and ranked, of how many candidates."""

    alone: int
    ranked: int
    candidates: int


def one_subject(
    seed: int, city: City, worst: float, *, placed: bool = True, likeness: float | None = None
) -> Above | None:
    """Rank one subject's candidates both ways; None if the subject was not found at all."""
    random = np.random.default_rng(seed)
    points = np.c_[random.uniform(0, city.side_m, (city.cameras, 2)), np.zeros(city.cameras)]
    true = true_sightings(random, city, points)
    if not len(true.camera):
        return None
    false = strangers(random, city, points, worst, likeness)
    both = _together([true, false])
    bins = np.clip(((both.score + 0.6) / 0.01).astype(int), 0, len(ratios()[0]) - 1)
    ratio = np.where(both.masked, ratios()[1][bins], ratios()[0][bins])
    known = points if placed else np.full_like(points, np.nan)
    weighed = weigh(
        Sightings(
            both.camera,
            both.at_s,
            both.at_s + 8.0,
            ratio,
            np.zeros(len(ratio), np.int64),
            known,
            np.full(city.cameras, -1),
        ),
        Scope(
            known[~np.isnan(known[:, 0])],
            city.cameras,
            city.days * _DAY_S,
            int(city.cameras * city.days * city.a_day),
        ),
    )
    mine = np.arange(len(ratio)) < len(true.camera)
    return Above(
        _above(np.c_[ratio, both.score], mine),
        _above(np.c_[weighed.log10_odds, ratio, both.score], mine),
        len(ratio),
    )


def run(quick: bool = False) -> list[Figure]:
    """Return strangers above the last true sighting, mean over subjects, with standard errors."""
    figures = []
    subjects = QUICK_SUBJECTS if quick else SUBJECTS
    for city, worst, words, placed, likeness in (
        (DISTRICT, WORST_GROUP, ", worst group", True, None),
        (TOWN, 1.0, ", average group", True, None),
        (TOWN, WORST_GROUP, ", worst group", True, None),
        (TOWN, WORST_GROUP, ", the same without positions", False, None),
        (TOWN, WORST_GROUP, ", strangers walk on (0.8)", True, 0.8),
        (TOWN, WORST_GROUP, ", strangers walk on (0.95)", True, 0.95),
        (QUIET, TEN / sum(expected(QUIET, 1.0)), "", True, None),
    ):
        each = partial(one_subject, city=city, worst=worst, placed=placed, likeness=likeness)
        figures += _figures(f"{city.name}{words}", each, subjects)
    return figures


def _figures(name: str, each: Callable[[int], Above | None], subjects: int) -> list[Figure]:
    found = [above for seed in range(subjects) if (above := each(seed)) is not None]
    alone = np.array([above.alone for above in found], float)
    ranked = np.array([above.ranked for above in found], float)
    error = [float(x.std(ddof=1) / len(x) ** 0.5) for x in (alone, ranked)]
    return [
        Figure(
            f"{name}: strangers above the last true sighting (± {error[1]:.2f})",
            float(ranked.mean()),
            "strangers",
            f"{alone.mean():.2f} ± {error[0]:.2f} by likelihood ratio alone",
            float(ranked.mean() / alone.mean()) if alone.any() else None,
        ),
        Figure(
            f"subjects with none above ({np.mean([a.candidates for a in found]):.0f} candidates)",
            100 * float((ranked == 0).mean()),
            "%",
            f"{100 * (alone == 0).mean():.0f} % by likelihood ratio alone",
        ),
    ]


def _together(parts: list[Passages]) -> Passages:
    return Passages(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("camera", "at_s", "score", "masked")
        )
    )


def _above(keys: Doubles, mine: NDArray[np.bool_]) -> int:
    """Strangers that stand before the last of `mine`, by falling keys, the first column first."""
    order = np.lexsort(tuple(-keys[:, column] for column in range(keys.shape[1] - 1, -1, -1)))
    last = np.flatnonzero(mine[order])[-1]
    return int((~mine[order][:last]).sum())


if __name__ == "__main__":
    print_figures("ranking of candidates", run("--quick" in sys.argv[1:]))
