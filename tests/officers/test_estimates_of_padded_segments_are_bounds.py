"""What is said before anybody signs does not pretend to know how many there are."""

from __future__ import annotations

import protocol_samples as s

from officers.desk.api_client import Estimate
from officers.desk.facts import estimate_facts


def in_scope(estimate: Estimate) -> str:
    fact, version_1 = estimate_facts(s.query(), estimate, now_ms=s.NOW_MS + 10**10)
    assert version_1.about == "of version 1"
    return fact.words


def test_an_estimate_says_where_several_tell_of_one_hour() -> None:
    once = Estimate(sightings=1240, expected_false=0.5)
    assert "several boxes" not in in_scope(once)
    twice = Estimate(sightings=1240, expected_false=0.5, told_twice=1200)
    assert "of 1,200 quarter hours of cameras several boxes tell" in in_scope(twice)
    assert "of 1 quarter hour of" in in_scope(twice.model_copy(update={"told_twice": 1}))


def test_an_estimate_of_padded_segments_says_at_most() -> None:
    padded = Estimate(sightings=1240, at_most=True, expected_false=None)
    assert in_scope(padded).startswith("at most 1,240 sightings stored")
    counted = Estimate(sightings=1240, expected_false=0.5)
    assert in_scope(counted).startswith("1,240 sightings stored; 0.50 false candidates")
