"""A floor for words of clothes survives being written, and no new site has one."""

from __future__ import annotations

from protocol.policy import BY_WORDS, parse_policy
from provisioning.authority.policy_text import policy_text
from provisioning.formats.plan_policy import PolicyPlan

MODEL = "appearance-256@bb349002"


def test_a_floor_for_words_is_written_as_it_was_stated() -> None:
    plan = PolicyPlan(threshold_floor={MODEL: 0.5, BY_WORDS + MODEL: 0.15})
    policy = parse_policy(policy_text("north", plan))
    assert policy.floor_of(MODEL) == 0.5
    assert policy.floor_of(MODEL, by_words=True) == 0.15


def test_a_new_site_permits_no_words() -> None:
    policy = parse_policy(policy_text("north", PolicyPlan(), default_floors={MODEL: 0.5}))
    assert policy.floor_of(MODEL, by_words=True) is None
