"""Approvers read how many rows open, and whether anything in scope opens for everybody."""

from __future__ import annotations

import protocol_samples as s
import pytest

from officers.desk.api_client import Estimate
from officers.desk.facts import estimate_facts, query_facts


def told(**estimate: object) -> dict[str, str]:
    answer = {"sightings": 7, "expected_false": 0.5, **estimate}
    facts = estimate_facts(s.query(), Estimate.model_validate(answer), now_ms=s.NOW_MS)
    assert all(fact.headquarters for fact in facts)
    return {fact.about: fact.words for fact in facts}


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "none of what is stored there"),
        (1, "1 day of a camera stored there: the metadata"),
        (1200, "1,200 days of cameras stored there: the metadata"),
    ],
)
def test_generations_of_version_1_are_counted_with_what_that_means(count: int, words: str) -> None:
    said = told(version_1_generations=count)["of version 1"]
    assert said.startswith(words)
    assert ("of everybody in these hours opens to the aggregator" in said) == bool(count)


def test_an_aggregator_that_does_not_say_is_not_taken_for_one_that_says_none() -> None:
    said = told()["of version 1"]
    assert said.startswith("not known")
    assert "everybody" in said


def test_a_count_that_is_a_bound_is_called_one() -> None:
    assert told(at_most=True)["in scope"].startswith("at most 7 sightings")
    assert told()["in scope"].startswith("7 sightings")


def test_the_most_rows_that_open_stand_before_the_signature() -> None:
    query = s.query(max_candidates=33)
    facts = query_facts(query, "ana", s.directory(), s.POLICY, now_ms=s.NOW_MS)
    words = {fact.about: fact.words for fact in facts}
    assert words["rows"].startswith("at most 33 are opened")
    assert "times" not in words["would open"]
