"""What a scope holds by clear counters, and how many strangers would be candidates by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from aggregator.store import LedgerReading
from aggregator.views import bound_of, bounds_by_model, class_of
from protocol.names import SLOT_MS
from protocol.policy import Policy
from protocol.sealing import model_dimension
from runtime.calibration import Calibration
from runtime.clock import system_ms
from runtime.config import Name
from runtime.http import Problem

_LAST_MS = 9999 * 366 * 24 * 3_600_000 // SLOT_MS * SLOT_MS  # no date is later
_MAX_ESTIMATE_MS = 366 * 24 * 3_600_000
_Moment = Annotated[int, Field(ge=0, le=_LAST_MS, multiple_of=SLOT_MS)]
_ModelId = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


class EstimateRequest(BaseModel):
    """A scope to estimate: cameras, whole quarter hours in ms UTC, thresholds by model id."""

    model_config = ConfigDict(extra="forbid")
    cameras: Annotated[list[Name], Field(min_length=1, max_length=65_536)]
    from_ms: _Moment
    to_ms: _Moment
    thresholds: Annotated[
        dict[_ModelId, Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]],
        Field(max_length=16),
    ] = {}
    templates: Annotated[int, Field(ge=1, le=80)] = 1
    subjects: Annotated[int, Field(ge=1, le=10)] = 1


class EstimateAnswer(BaseModel):
    """What a scope holds by now, and how many strangers would be candidates by chance.

    With ``at_most`` the sightings are bounds: boxes say in the clear only how many there is room
    for. Live envelopes are those of version 1, as a class. ``version_1_generations``: days of
    cameras whose metadata opens by whole quarter hours to whoever is granted them.
    ``told_twice``: quarter hours of cameras of which a box watched and a film was imported, or two
    films: who passed there is counted twice.
    ``default_thresholds``: by model, at which no more strangers are expected for each subject than
    the policy says, over the window's whole length: ``raised`` for some; for those in
    ``beyond_counts`` too few strangers were ever compared to count that, and an upper bound
    stands in.
    """

    segments: int
    live_envelopes: int
    sightings: int
    sightings_by_model: dict[str, int]
    at_most: bool
    version_1_generations: int
    told_twice: int
    expected_false: float | None
    default_thresholds: dict[str, float]
    raised: list[str]
    beyond_counts: list[str]


@dataclass(frozen=True, slots=True)
class Estimator:
    """Estimates scopes.

    Args:
        ledger: what is stored.
        policy: how many strangers a query may expect.
        calibrations, default_thresholds: by model.
    """

    ledger: LedgerReading
    policy: Policy
    calibrations: Mapping[str, Calibration]
    default_thresholds: Mapping[str, float]

    def of(self, request: EstimateRequest) -> EstimateAnswer:
        """Return the estimate of a scope.

        Raises:
            Problem: its window is empty, or longer than a year.
        """
        if request.to_ms <= request.from_ms:
            raise Problem(422, "window-empty", "The window is empty", "to_ms must be after from_ms")
        if request.to_ms - request.from_ms > _MAX_ESTIMATE_MS:
            raise Problem(422, "window-long", "The window is too long", "At most 366 days.")
        held = self.ledger.count_scope(
            request.cameras, from_ms=request.from_ms, to_ms=request.to_ms
        )
        old = self.ledger.count_generations(
            request.cameras, from_ms=request.from_ms, to_ms=request.to_ms, version=1
        )
        by_model = bounds_by_model(held)
        default, beyond = self._defaults(request, by_model)
        thresholds = request.thresholds or default
        return EstimateAnswer(
            segments=held.segments,
            live_envelopes=class_of(held.live_envelopes),
            sightings=bound_of(held),
            sightings_by_model=by_model,
            at_most=held.at_most or held.sightings > 0,
            version_1_generations=old,
            told_twice=held.told_twice,
            expected_false=_expected_false(
                by_model, thresholds, self.calibrations, request.templates
            ),
            default_thresholds=default,
            raised=[model for model, at in self.default_thresholds.items() if default[model] > at],
            beyond_counts=beyond,
        )

    def _defaults(
        self, request: EstimateRequest, stored: Mapping[str, int]
    ) -> tuple[dict[str, float], list[str]]:
        """As `quiet_thresholds`, for a scope: over its window's whole length.

        What is not over is taken to bring as much as the hours just past did.
        """
        now_ms = system_ms()
        ahead_ms = min(request.to_ms - now_ms, request.to_ms - request.from_ms)
        expected = Counter(stored)
        if ahead_ms > 0:
            slots = -(-ahead_ms // SLOT_MS)
            to_ms = now_ms // SLOT_MS * SLOT_MS
            before = self.ledger.count_scope(
                request.cameras, from_ms=max(0, to_ms - slots * SLOT_MS), to_ms=to_ms
            )
            expected.update(bounds_by_model(before))
        return quiet_thresholds(
            self.default_thresholds,
            self.calibrations,
            {
                model: count * request.templates / request.subjects
                for model, count in expected.items()
            },
            self.policy.expected_false,
        )


def _expected_false(
    by_model: Mapping[str, int],
    thresholds: Mapping[str, float],
    calibrations: Mapping[str, Calibration],
    templates: int,
) -> float | None:
    """Sightings in scope x the model's false match rate x templates; None without calibration."""
    expected = 0.0
    for model, count in by_model.items():
        if model not in thresholds:
            continue
        if model not in calibrations:
            return None
        model_dimension(model)
        expected += count * templates * calibrations[model].false_match_rate(thresholds[model])
    return expected


def quiet_thresholds(
    defaults: Mapping[str, float],
    calibrations: Mapping[str, Calibration],
    compared: Mapping[str, float],
    expected_false: float,
) -> tuple[dict[str, float], list[str]]:
    """Raise default thresholds until so few strangers are expected among what is compared.

    Args:
        defaults: by model; none becomes lower.
        calibrations: by model; without one the default stays.
        compared: comparisons for each subject, by model.
        expected_false: strangers for each subject.

    Returns:
        Thresholds by model, and the models whose counts of strangers do not reach there.
    """
    raised, beyond = dict(defaults), []
    for model, floor in defaults.items():
        calibration = calibrations.get(model)
        if calibration is None or not compared.get(model):
            continue
        advised = calibration.quiet_threshold(expected_false / compared[model], floor)
        raised[model] = advised.threshold
        if not advised.counted:
            beyond.append(model)
    return raised, beyond
