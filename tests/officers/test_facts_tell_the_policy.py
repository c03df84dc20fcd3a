"""Who signs reads what the policy permits, of either schema, beside what the query asks for."""

from __future__ import annotations

import protocol_samples as s
import pytest

from officers.desk.facts import policy_facts
from protocol.policy import Policy, parse_policy
from runtime.policy_words import forbidden_text, permitted_text, policy_json


def of_schema_2(keys: bytes) -> Policy:
    return parse_policy(b"policy_schema = 2\n" + keys + s.POLICY_TEXT)


def told(policy: Policy) -> dict[str, str]:
    return {fact.about: fact.words for fact in policy_facts(s.query(), policy, "")}


def test_a_policy_of_the_first_schema_is_told_as_what_it_permits() -> None:
    facts = told(s.POLICY)
    assert facts["its purposes"] == "any, in the officers' own words"
    assert facts["confirmations"] == "who asked confirms a hit alone"
    assert facts["it permits"] == (
        "live queries; asking that somebody was near; "
        "searching for a person whom no second officer saw enrolled"
    )


def test_a_policy_that_states_nothing_permits_nothing_and_says_so() -> None:
    closed = of_schema_2(b"confirmations = 2\n")
    facts = told(closed)
    assert facts["its purposes"] == "none: no query is permitted"
    assert facts["it permits"] == "nothing"
    assert facts["confirmations"].startswith("2 investigators must each confirm")
    for words in ("any query at all", "live", "one person", "clothes", "pictures", "saw enrolled"):
        assert words in forbidden_text(closed)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (b"live = true\n", "live queries"),
        (b'contacts = "near"\n', "asking that somebody was near"),
        (b'contacts = "linked"\n', "who of those near at several cameras is one person"),
        (
            b"continuation = true\ncontinuation_minutes = 90\ncontinuation_cameras = 4\n",
            "clothes, 90 minutes before and after, over at most 4 cameras",
        ),
        (b"same_place_counts = true\n", "counting"),
        (b"evidence_stills = 4\n", "of at most 4 a query"),
        (b"enrolment_without_witness = true\n", "no second officer saw"),
    ],
)
def test_each_permission_is_told_where_it_is_given_and_nowhere_else(
    keys: bytes, words: str
) -> None:
    assert words in permitted_text(of_schema_2(b"confirmations = 1\n" + keys))
    assert words not in permitted_text(of_schema_2(b"confirmations = 1\n"))


def test_live_queries_are_not_permitted_for_no_hours() -> None:
    text = s.POLICY_TEXT.replace(b"max_live_hours = 24", b"max_live_hours = 0")
    assert text != s.POLICY_TEXT
    policy = parse_policy(b"policy_schema = 2\nconfirmations = 1\nlive = true\n" + text)
    assert "live queries" not in permitted_text(policy)


def test_programs_read_the_same() -> None:
    values = policy_json(of_schema_2(b'confirmations = 1\npurposes = ["exercise"]\nlive = true\n'))
    assert (values["schema"], values["purposes"], values["live"]) == (2, ["exercise"], True)
    assert (values["contacts"], values["enrolment_without_witness"]) == ("none", False)
    assert policy_json(s.POLICY)["purposes"] is None
