r"""Weigh each sighting of a subject by its likelihood ratio and by how the others fit it.

The model is a chain: of all that was found, some sightings are the subject's, in order of time, and
the others are strangers', each anywhere and at any time. A sighting alone has the odds of its
likelihood ratio; one that follows another of the chain has them times

    1 + sum over k of w (1 / G_k - 1)    where walking allows it within T_k (2 min, 15 min, 2 h),
    1                                    where nothing speaks for or against it,
    1 / 100                              where not even running allows it,

and G_k is the share of all that strangers could have been at (cameras times window) that lies so
near in time and way: the fewer of them would fit as well, the more it says, but never more than how
seldom a stranger who is found is found again on their own way (1 in 30). The odds of a sighting are
the sum over all chains with it against all without (the forward-backward recursion of a hidden
Markov chain, Baum 1970): exact, the same in whatever order they come, and rising with its own
ratio. Where nothing is known of place or time, it is the order of ratios.

Ways are straight lines, or walks that take as long as the register of places says. Cameras of which
neither is known make a chain each: time on the same camera alone counts. Pure: arrays in, arrays
out; a verdict is never touched, and nothing left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from officers.desk.ground import CLOCK_S, VIEW_M, WALK_MPS, Walks, reach_m

AGAINST = 0.01
"""Against a sighting that not even running allows: there are cars, and clocks that are wrong."""
FITTING = 10.0
"""So many times better than a stranger fits what is said to fit."""
_SPANS_S = (120.0, 900.0, 7200.0)
_WEIGHT = 0.2
_ALIKE_AGAIN = 1 / 30
"""How often a stranger who is found is found on their way again: look-alikes walk as well. So no
pair says more than the inverse. Assumed; benchmarks/bench_ranking.py shows what hangs on it."""
_SUBJECTS_OWN = 10
"""Sightings of the subject to expect among all that were compared."""
_PRIORS = (1e-7, 1e-3)
_UNKNOWN_PRIOR = 1e-6
_SURE = 3.0
"""log10 of the odds of what officers have confirmed, within its chain."""

_LEAST = 1e-12
_CLIPPED = 15.0
_LN10 = float(np.log(10))

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """One subject's sightings, (n,) each, in any order.

    Args:
        camera: its number, 0 to c - 1.
        begins_s, ends_s: seconds.
        log10_lr: of the face alone; NaN where that is not known.
        decided: 1 confirmed, 0 not decided, -1 rejected.
        points: where each camera is, (c, 3) metres; NaN where not known.
        places: each camera's place, (c,); two of one place are never apart; negative: not known.
        view: number of the camera, its box and where its pictures came from, (n,): who is seen
            twice at one time in one view is two people. None: that is not known of any two.
        walks: of cameras, by number, the others to which the way is given: their numbers,
            ascending, and how far apart they count, m.
    """

    camera: Numbers
    begins_s: Doubles
    ends_s: Doubles
    log10_lr: Doubles
    decided: Numbers
    points: Doubles
    places: Numbers
    view: Numbers | None = None
    walks: Walks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What was asked for, as far as it tells how likely strangers are.

    Args:
        placed: where cameras are of which that is known, (m, 3) metres.
        cameras: how many there are.
        window_s: how long.
        compared: sightings compared with the subject; 0 if not known.
    """

    placed: Doubles
    cameras: int
    window_s: float
    compared: int = 0

    @property
    def log10_prior(self) -> float:
        """The odds of a sighting before its score is looked at."""
        odds = _SUBJECTS_OWN / self.compared if self.compared > 0 else _UNKNOWN_PRIOR
        return float(np.log10(min(max(odds, _PRIORS[0]), _PRIORS[1])))


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """What came out, (n,) each, in the order given.

    Args:
        log10_odds: that it is the subject; NaN where the ratio is not known.
        log10_support: how much of that is the others' doing, for (+) or against (-).
        fitting: how many others it fits.
        against: how many others it contradicts.
        rival: the likeliest of those, -1 for none.
    """

    log10_odds: Doubles
    log10_support: Doubles
    fitting: Numbers
    against: Numbers
    rival: Numbers


def weigh(seen: Sightings, scope: Scope) -> Weighed:
    """Weigh sightings; 10,000 of a fortnight take 2 s of a core, 10,000 of two hours 7 s."""
    order = np.lexsort((seen.log10_lr, seen.camera, seen.ends_s, seen.begins_s))
    begins, ends, camera = seen.begins_s[order], seen.ends_s[order], seen.camera[order]
    decided = seen.decided[order]
    view = np.arange(len(order)) if seen.view is None else seen.view[order]
    own = seen.log10_lr[order] + scope.log10_prior
    within = np.where(decided > 0, _SURE, np.where(np.isnan(own) | (decided < 0), -np.inf, own))
    points = seen.points[camera]
    alone = np.isnan(points[:, 0]) & ~np.isin(camera, list(seen.walks))
    chains = np.where(alone, 1 + camera, 0)
    support, fitting = np.zeros(len(order)), np.zeros(len(order), np.int64)
    for chain in np.unique(chains):
        rows = np.flatnonzero(chains == chain)
        links = _Links(
            begins[rows],
            ends[rows],
            camera[rows],
            view[rows],
            _Ways(points[rows] if chain == 0 else np.zeros((len(rows), 3)), seen.walks),
            seen.places[camera][rows],
            _gains(seen, scope, camera[rows], placed=chain == 0),
            _first_near(begins[rows], ends[rows], _SPANS_S[-1]),
        )
        natural, fitting[rows] = _support(links, within[rows] * _LN10)
        support[rows] = natural / _LN10
    odds = np.where(np.isnan(own), -np.inf, own) + support
    sure = np.where(decided < 0, -np.inf, np.where(decided > 0, np.maximum(odds, _SURE), odds))
    against, rival, between = _contradictions(
        _Places(
            begins,
            ends,
            camera,
            view,
            _Ways(points, seen.walks),
            seen.places[camera],
            chains,
            decided >= 0,
        ),
        sure,
    )
    support += between
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return Weighed(
        np.round(own + support, 2)[back],
        np.round(support, 2)[back],
        fitting[back],
        against[back],
        np.where(rival < 0, -1, order[rival])[back],
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Links:
    """A chain's sightings in order, (n,) each.

    Args:
        ways: how far apart they are.
        places: the place of each; negative: not known.
        gains: what following it within each span gains, (n, k).
        first: the first earlier one that may say something of each.
    """

    begins: Doubles
    ends: Doubles
    camera: Numbers
    view: Numbers
    ways: _Ways
    places: Numbers
    gains: Doubles
    first: Numbers

    def ratios(self, this: int) -> Doubles:
        """How well `this` fits each from its first near one to the one before, over a stranger."""
        part = slice(int(self.first[this]), this)
        gap = self.begins[this] - self.ends[part]
        metres = self.ways.metres(self.camera, part, this)
        fits = metres <= reach_m(gap, WALK_MPS)
        ratio = np.ones(len(gap))
        for number, span in enumerate(_SPANS_S):
            ratio += np.where(fits & (gap <= span), self.gains[part, number], 0.0)
        ratio /= 1 - _ALIKE_AGAIN + _ALIKE_AGAIN * ratio
        ratio[(metres > reach_m(gap)) & (self.camera[part] != self.camera[this])] = AGAINST
        ratio[(gap < -CLOCK_S) & (self.view[part] == self.view[this])] = AGAINST
        same = (self.places[part] == self.places[this]) & (self.places[this] >= 0)
        ratio[(gap < -CLOCK_S) & np.isnan(metres) & ~same] = AGAINST
        return ratio


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """All sightings in order, with what says whether two of them contradict each other."""

    begins: Doubles
    ends: Doubles
    camera: Numbers
    view: Numbers
    ways: _Ways
    places: Numbers
    chains: Numbers
    counted: Bools

    def apart(self, low: int, this: int) -> Bools:
        """Tell of the sightings from `low` to before `this` whether they contradict `this`."""
        gap = self.begins[this] - self.ends[low:this]
        metres = self.ways.metres(self.camera, slice(low, this), this)
        same = (self.places[low:this] == self.places[this]) & (self.places[this] >= 0)
        at_once = (gap < -CLOCK_S) & ~same
        found: Bools = np.where(np.isnan(metres), at_once, metres > reach_m(gap))
        found &= self.camera[low:this] != self.camera[this]
        found |= (gap < -CLOCK_S) & (self.view[low:this] == self.view[this])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Ways:
    """Where sightings were, (n, 3) metres, and the walks that are given between cameras."""

    points: Doubles
    walks: Walks

    def metres(self, camera: Numbers, part: slice, this: int) -> Doubles:
        """How far some of the sightings are from one of them; NaN where that is not known."""
        points = self.points
        x, y, z = (points[part, axis] - points[this, axis] for axis in range(3))
        metres: Doubles = np.sqrt(x * x + y * y + z * z)
        given = self.walks.get(int(camera[this]))
        if given is not None:
            others, apart = given
            among = camera[part]
            at = np.minimum(np.searchsorted(others, among), len(others) - 1)
            known = others[at] == among
            metres[known] = apart[at[known]]
        metres[camera[part] == camera[this]] = 0.0
        return metres


def _first_near(begins: Doubles, ends: Doubles, span_s: float) -> Numbers:
    """Return of each sighting the first that ended at most so long before it, or itself."""
    latest = np.maximum.accumulate(ends)
    return np.minimum(np.searchsorted(latest, begins - span_s), np.arange(len(begins)))


def _gains(seen: Sightings, scope: Scope, camera: Numbers, *, placed: bool) -> Doubles:
    """What following each sighting gains within each span, (n, k)."""
    spans = np.array(_SPANS_S)
    share = np.empty((len(camera), len(spans)))
    if not placed:
        share[:] = spans / max(scope.cameras, 1)
    else:
        for number in np.unique(camera):
            if np.isnan(seen.points[number, 0]):  # its walks alone are known
                near = 1 + len(seen.walks[number][0])
                share[camera == number] = near * spans / max(scope.cameras, near)
                continue
            away = np.linalg.norm(scope.placed - seen.points[number], axis=1) - VIEW_M
            needs = np.maximum(away / WALK_MPS - CLOCK_S, 0.0)
            seconds = np.maximum(spans - needs[:, None], 0.0).sum(axis=0)
            share[camera == number] = np.maximum(seconds, spans) / max(len(scope.placed), 1)
    gained: Doubles = _WEIGHT * (1 / np.minimum(share / scope.window_s, 1.0) - 1)
    return gained


def _support(links: _Links, within: Doubles) -> tuple[Doubles, Numbers]:
    """Logarithm of the odds that the others of a chain give each sighting, and how many it fits.

    `within`: logarithm (natural, as all here) of the odds with which each counts for the others.
    """
    count = len(within)
    counts = ~np.isneginf(within)
    fitting = np.zeros(count, np.int64)
    earlier, later = np.zeros(count), np.zeros(count)  # log of sums over chains up to, and from it
    up_to = np.full(count + 1, -np.inf)  # of chains whose last is before each
    for this in range(count):
        low = int(links.first[this])
        ratios = links.ratios(this)
        fits = ratios >= FITTING
        fitting[this] += np.count_nonzero(fits & counts[low:this])
        fitting[low:this] += fits & counts[this]
        near = _log_sum(within[low:this] + earlier[low:this] + np.log(ratios))
        earlier[this] = np.logaddexp(0.0, np.logaddexp(up_to[low], near))
        up_to[this + 1] = np.logaddexp(up_to[this], within[this] + earlier[this])
    near_later = np.full(count, -np.inf)
    since = np.full(count + 1, -np.inf)  # of chains whose first is each or later
    far = np.searchsorted(links.first, np.arange(count), side="right")
    for this in range(count - 1, -1, -1):
        later[this] = np.logaddexp(0.0, np.logaddexp(near_later[this], since[far[this]]))
        with_this = within[this] + later[this]
        since[this] = np.logaddexp(since[this + 1], with_this)
        part = slice(int(links.first[this]), this)
        near_later[part] = np.logaddexp(near_later[part], np.log(links.ratios(this)) + with_this)
    every = np.logaddexp(0.0, up_to[count])
    share = np.minimum(within + earlier + later - every, -_LEAST)
    support: Doubles = earlier + later - every - np.log(-np.expm1(share))
    return support, fitting


def _contradictions(among: _Places, log10_odds: Doubles) -> tuple[Numbers, Numbers, Doubles]:
    """How many others each contradicts, the likeliest of them, and log10 of what that takes away.

    What is rejected contradicts nobody. Nothing is taken away within a chain, which knows of it.
    """
    count = len(log10_odds)
    number, rival = np.zeros(count, np.int64), np.full(count, -1)
    strongest, elsewhere = np.full(count, -np.inf), np.full(count, -np.inf)
    for this, low in enumerate(_first_near(among.begins, among.ends, _SPANS_S[-1]).tolist()):
        apart = low + np.flatnonzero(among.apart(low, this))
        rows = apart[among.counted[apart]]
        if rows.size:
            number[this] += len(rows)
            best = rows[np.argmax(log10_odds[rows])]
            if rival[this] < 0 or log10_odds[best] > strongest[this]:
                rival[this], strongest[this] = best, log10_odds[best]
            far = rows[among.chains[rows] != among.chains[this]]
            elsewhere[this] = max(elsewhere[this], log10_odds[far].max(initial=-np.inf))
        if apart.size and among.counted[this]:
            number[apart] += 1
            weaker = apart[(rival[apart] < 0) | (strongest[apart] < log10_odds[this])]
            rival[weaker], strongest[weaker] = this, log10_odds[this]
            far = apart[among.chains[apart] != among.chains[this]]
            elsewhere[far] = np.maximum(elsewhere[far], log10_odds[this])
    chance = 1 / (1 + 10.0 ** -np.clip(elsewhere, -_CLIPPED, _CLIPPED))
    return number, rival, np.log10(1 - chance * (1 - AGAINST))


def _log_sum(logs: Doubles) -> float:
    """Logarithm of the sum of what `logs` are the logarithms of; -inf of none."""
    most = logs.max(initial=-np.inf)
    return float(most) if np.isneginf(most) else float(most + np.log(np.exp(logs - most).sum()))
