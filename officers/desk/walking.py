"""Ranks who may be a person that was followed by clothes: by likeness, and by the way on foot.

A hit's continuations are people dressed alike, nearby, within minutes. How well one fits is the sum
of two logarithms: how much likelier its score is of the same clothes than of others, and how much
likelier the time between the two is for a walk between their cameras than for who just passed.
Without positions or walking times (`officers.desk.ground`) only likeness counts.
Pure, and of no use to say who somebody is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from officers.desk.ground import reach_m, walked_m

SCORE_WEIGHT = 10.0
"""Nats for each unit of score (cosine): chosen on the streets of `benchmarks.bench_following`."""
PACE_M_S = 1.3
"""Of people who walk; median of pedestrians on a pavement."""
DETOUR = 1.25
"""Streets are so much longer than straight lines."""
SPREAD = 0.5
"""Standard deviation of the logarithm of the time that a way takes."""
STOPS = 0.25
"""Share of people who stop on the way, and come at any time."""
WITHIN_S = 7200.0
"""In which those who just pass are spread evenly."""
NEAREST_M = 15.0
"""Nobody walks less between two views, or in and out of one."""


@dataclass(frozen=True, slots=True)
class Way:
    """From a hit to where somebody dressed alike was seen.

    Args:
        gap_s: from the end of the earlier to the beginning of the later; negative: it was before.
        metres: in a straight line; None where no register says where both cameras are.
        fit: what continuations are ranked by, nats; comparable within one list alone.
        given_s: how long people walk it, as the register says; None where it does not.
    """

    gap_s: float
    metres: float | None
    fit: float
    given_s: float | None = None

    @property
    def walk_s(self) -> float | None:
        """How long the way takes on foot, s; None where it is not known."""
        return _walking_s(self.metres, self.given_s)

    @property
    def too_far(self) -> bool:
        """Whether nobody is on foot so fast."""
        metres = self.metres if self.given_s is None else walked_m(self.given_s)
        return metres is not None and bool(metres > reach_m(abs(self.gap_s)))


def way_of(score: float, gap_s: float, metres: float | None, given_s: float | None = None) -> Way:
    """Return how a continuation fits to its hit.

    Args:
        score: the cosine of their templates.
        gap_s, metres, given_s: as in `Way`.
    """
    walk_s, fit = _walking_s(metres, given_s), SCORE_WEIGHT * score
    if walk_s is not None:
        fit += _timely(walk_s, abs(gap_s))
    return Way(gap_s, metres, fit, given_s)


def _walking_s(metres: float | None, given_s: float | None) -> float | None:
    if given_s is not None:
        return given_s
    return None if metres is None else _walk_s(metres)


def _walk_s(metres: float) -> float:
    return DETOUR * max(metres, NEAREST_M) / PACE_M_S


def _timely(walk_s: float, gap_s: float) -> float:
    """Log of how much likelier a time is for who walked the way than for who just passed.

    A log-normal around the walking time, and those who stop; never nothing, for what clocks do.
    """
    gap_s = max(gap_s, 1.0)
    deviation = math.log(gap_s / walk_s) / SPREAD
    density = math.exp(-0.5 * deviation**2) / (gap_s * SPREAD * math.sqrt(2 * math.pi))
    stopped = STOPS if gap_s >= walk_s else STOPS / 100
    return math.log((1 - STOPS) * density * WITHIN_S + stopped)
