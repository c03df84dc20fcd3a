"""What the demo shows of masks, and that its promises can break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo.checks import Checks
from demo.hard_cases import check_masked, hard_scenario
from demo.scenario import truth_of

TRUTH = truth_of(hard_scenario(), Path("clips"))
HIT = {"camera": "cam-4", "mask": "masked", "score": 0.7}


def broken(checks: Checks) -> list[str]:
    """What was seen of the promises that did not hold."""
    return [check.seen for check in checks.listed if not check.held]


def test_the_hard_cases_are_what_the_demo_promises_of_them() -> None:
    (masked,) = TRUTH
    assert [(seen.who, seen.masked) for seen in masked.sightings] == [("obama", True)]


@pytest.mark.parametrize(
    ("hits", "seen"),
    [([HIT], []), ([], ["not found"]), ([{**HIT, "mask": "unmasked"}], ["unmasked, score 0.70"])],
)
def test_a_patient_who_is_missed_or_called_bare_breaks_the_promise(hits: Any, seen: Any) -> None:
    checks = Checks()
    check_masked(checks, hits)
    assert broken(checks) == seen
