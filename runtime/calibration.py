"""What a comparison score is worth: likelihood ratios and false match rates as measured.

The figures stand in the signed model bundle's manifest, as parameters of the embedder:
``calibration.impostor.mean`` and ``.sd``, ``calibration.genuine.unmasked.*`` and ``.masked.*``,
``calibration.fmr.thresholds`` (rising) and ``.rates``; where scores were counted finely enough also
``calibration.llr.scores`` (rising) with the likelihood ratio's logarithm there, ``.unmasked`` and
``.masked``, and ``.quality`` (rising) with ``.quality_taken``, what small faces take off it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from protocol.sightings import MaskStatus
from runtime.bundle import Manifest

MAX_LOG10_LR = 6.0
"""No more is claimed for any score: far fewer than a million strangers were compared."""
_RESEMBLANCE_RATE = 0.02
_UNCALIBRATED_RESEMBLANCE = 0.7
"""For a model whose scores were not measured: better a template refused than a stranger let in."""


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution of scores."""

    mean: float
    sd: float

    def log10_density(self, score: float) -> float:
        """Return the decimal logarithm of the density at ``score``."""
        distance = (score - self.mean) / self.sd
        return (-0.5 * distance * distance - math.log(self.sd * math.sqrt(2 * math.pi))) / _LN10


_LN10 = math.log(10)


@dataclass(frozen=True, slots=True)
class Advised:
    """A threshold, and whether the rate there was counted; else it is an upper bound's."""

    threshold: float
    counted: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration of one model: scores of strangers, and of one person with and without mask.

    ``fmr`` is a table (threshold, rate) of measured false match rates, thresholds rising;
    ``counted`` holds a rising table (score, logarithm of the likelihood ratio) by mask status, and
    where it is empty ratios come from the normal distributions. Above ``counted_to`` the rates are
    upper bounds: too few pairs of strangers have such scores. ``taken`` is a table (quality, what
    is added to the ratio's logarithm: 0 or less), both rising; empty where nobody counted it.
    """

    impostor: Normal
    unmasked: Normal
    masked: Normal
    fmr: tuple[tuple[float, float], ...]
    counted: Mapping[MaskStatus, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    counted_to: float | None = None
    taken: tuple[tuple[float, float], ...] = ()

    def log10_lr(self, score: float, mask: MaskStatus, quality: float | None = None) -> float:
        """Return the logarithm of how much more likely this score is for the same person.

        The mask of the sighting decides which genuine scores are expected; an unknown mask counts
        as either with even chances. A higher score never counts less than the genuine mean, and
        nothing counts more than ``MAX_LOG10_LR`` either way. What speaks for somebody counts less
        where the sighting's quality allows a face so small that fewer of one person's would reach
        such a score; what speaks against them does not count more.
        """
        found = self._at_any_size(score, mask)
        if quality is None or not self.taken or found <= 0:
            return found
        return max(0.0, found + min(0.0, _between(self.taken, quality)))

    def _at_any_size(self, score: float, mask: MaskStatus) -> float:
        if self.counted:
            either = (MaskStatus.UNMASKED, MaskStatus.MASKED)
            kinds = (mask,) if mask in self.counted else either
            ratios = [10 ** _between(self.counted[kind], score) for kind in kinds]
            found = math.log10(sum(ratios) / len(ratios))
            return max(-MAX_LOG10_LR, min(MAX_LOG10_LR, found))
        stranger = self.impostor.log10_density(score)
        known = {MaskStatus.UNMASKED: [self.unmasked], MaskStatus.MASKED: [self.masked]}
        same = [
            genuine.log10_density(min(score, genuine.mean))
            for genuine in known.get(mask, [self.unmasked, self.masked])
        ]
        best = max(same)
        genuine = best + math.log10(sum(10 ** (value - best) for value in same) / len(same))
        return max(-MAX_LOG10_LR, min(MAX_LOG10_LR, genuine - stranger))

    def false_match_rate(self, threshold: float) -> float:
        """Return the chance that a stranger reaches ``threshold``, never less than was measured.

        Between measured thresholds the rate's logarithm is interpolated; below them the normal
        distribution of strangers' scores stands in; above them the lowest measured rate holds.
        """
        table = [(at, rate) for at, rate in self.fmr if rate > 0]
        tail = 0.5 * math.erfc((threshold - self.impostor.mean) / (self.impostor.sd * math.sqrt(2)))
        if not table:
            return tail
        if threshold < table[0][0]:
            return max(tail, table[0][1])
        for (low, low_rate), (high, high_rate) in pairwise(table):
            if threshold < high:
                part = (threshold - low) / (high - low)
                return float(low_rate * (high_rate / low_rate) ** part)
        return table[-1][1]

    def quiet_threshold(self, rate: float, floor: float) -> Advised:
        """Return the lowest threshold from ``floor`` on that strangers reach as rarely as ``rate``.

        Where none is known to be so high, it is the lowest of those for which nothing lower is
        known than what is known of all above.
        """
        if self.false_match_rate(floor) <= rate or not self.fmr:
            return Advised(floor, counted=self._is_counted(floor))
        lowest = min(measured for _, measured in self.fmr)
        at = next(at for at, measured in self.fmr if measured <= max(rate, lowest))
        return Advised(max(at, floor), counted=lowest <= rate and self._is_counted(at))

    def _is_counted(self, threshold: float) -> bool:
        return self.counted_to is None or threshold <= self.counted_to


def least_resemblance(calibrations: Mapping[str, Calibration], model: str) -> float:
    """Return the score that two templates of one subject must reach.

    It is the lowest measured threshold that at most two pairs of strangers in a hundred reach. That
    is far below what makes a candidate, so that the same face with a mask drawn on it passes; of
    seven strangers that somebody adds to a person's templates hardly ever one does.
    """
    known = calibrations.get(model)
    low = [] if known is None else [at for at, rate in known.fmr if rate <= _RESEMBLANCE_RATE]
    return min(low, default=_UNCALIBRATED_RESEMBLANCE)


def calibrations_of(manifest: Manifest) -> dict[str, Calibration]:
    """Return the calibrations in a bundle's manifest: model id to calibration.

    An ensemble's id has no calibration unless its manifest gives one; callers do without.
    """
    found = {}
    for entry in manifest.models:
        calibration = read_calibration(entry.parameters)
        if calibration is not None:
            found[entry.model_id] = calibration
    return found


def read_calibration(parameters: Mapping[str, object]) -> Calibration | None:
    """Read a calibration from an embedder's parameters; None when it is absent or unusable."""

    def normal(group: str) -> Normal | None:
        mean, sd = (parameters.get(f"calibration.{group}.{key}") for key in ("mean", "sd"))
        if not isinstance(mean, int | float) or not isinstance(sd, int | float) or not sd > 0:
            return None
        return Normal(float(mean), float(sd))

    impostor, unmasked = normal("impostor"), normal("genuine.unmasked")
    masked = normal("genuine.masked") or unmasked
    if impostor is None or unmasked is None or masked is None:
        return None
    thresholds = parameters.get("calibration.fmr.thresholds", ())
    rates = parameters.get("calibration.fmr.rates", ())
    if not isinstance(thresholds, Sequence) or not isinstance(rates, Sequence):
        return None
    table = sorted(zip(map(float, thresholds), map(float, rates), strict=False))
    counted_to = parameters.get("calibration.fmr.counted_to")
    return Calibration(
        impostor,
        unmasked,
        masked,
        tuple(table),
        _counted(parameters),
        float(counted_to) if isinstance(counted_to, int | float) else None,
        _taken(parameters),
    )


def _taken(parameters: Mapping[str, object]) -> tuple[tuple[float, float], ...]:
    """Read what small faces take off a likelihood ratio; nothing unless it is whole and rising."""
    names = ("calibration.llr.quality", "calibration.llr.quality_taken")
    columns = [parameters.get(name, ()) for name in names]
    if not all(isinstance(column, list | tuple) and column for column in columns):
        return ()
    qualities, taken = (list(map(float, column)) for column in columns)  # type: ignore[call-overload]
    if len(qualities) != len(taken) or qualities != sorted(qualities) or taken != sorted(taken):
        return ()
    return tuple(zip(qualities, taken, strict=True))


def _counted(
    parameters: Mapping[str, object],
) -> dict[MaskStatus, tuple[tuple[float, float], ...]]:
    """Read the tables of likelihood ratios; none unless both are whole."""
    columns = [
        parameters.get(f"calibration.llr.{name}", ()) for name in ("scores", "unmasked", "masked")
    ]
    if not all(isinstance(column, list | tuple) and column for column in columns):
        return {}
    scores, *ratios = (list(map(float, column)) for column in columns)  # type: ignore[call-overload]
    if any(len(column) != len(scores) for column in ratios):
        return {}
    both = (MaskStatus.UNMASKED, MaskStatus.MASKED)
    return {
        mask: tuple(sorted(zip(scores, column, strict=True)))
        for mask, column in zip(both, ratios, strict=True)
    }


def _between(table: Sequence[tuple[float, float]], at: float) -> float:
    """Interpolate in a rising table; beyond its ends what stands there."""
    place = bisect_left(table, (at, -math.inf))
    if place == 0:
        return table[0][1]
    if place == len(table):
        return table[-1][1]
    (low, first), (high, last) = table[place - 1], table[place]
    return first + (last - first) * (at - low) / (high - low)
