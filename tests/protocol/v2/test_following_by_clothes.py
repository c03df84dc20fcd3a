"""A query that follows people by their clothes asks for it by name, briefly, nearby, and dearly."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
import query_samples_v2 as q2

from protocol.authorization import AuthorizedQuery, authorize
from protocol.errors import ApprovalsMissing, PolicyViolation
from protocol.names import SightingName, slot_start_ms
from protocol.policy import STATUTORY_ORDER, Policy, parse_policy
from protocol.query import Asked, Query, Subject

CLOTHES = "clothes-256@0123456789abcdef"
TEXT = q2.POLICY_TEXT.replace(
    b"[threshold_floor]", b'[threshold_floor]\n"%s" = 0.6' % CLOTHES.encode()
)
FOLLOWING = Asked(continuation=True)
THREE = ("bo", "cy", "di")


def following(policy: Policy, **changes: object) -> Query:
    plain: dict[str, object] = {
        "policy_digest": policy.digest,
        "asks": FOLLOWING,
        "modalities": ("face", "appearance"),
        "thresholds": {s.MODEL: 0.6, CLOTHES: 0.7},
    }
    return q2.query(**(plain | changes))  # type: ignore[arg-type]


def decide(asked: Query, policy: Policy, approvers: tuple[str, ...] = THREE) -> AuthorizedQuery:
    signed = asked.sign(s.signing_key("ana"))
    approvals = [s.approval(signed, name, policy_digest=policy.digest) for name in approvers]
    return authorize(signed, approvals, [], directory=s.directory(), policy=policy, now_ms=s.NOW_MS)


def test_following_takes_one_approval_more_than_the_query_would() -> None:
    policy = parse_policy(TEXT)
    plain = following(policy, asks=Asked(), modalities=("face",), thresholds={s.MODEL: 0.6})
    assert decide(plain, policy, ("bo", "cy"))
    with pytest.raises(ApprovalsMissing, match="2 of 3"):
        decide(following(policy), policy, ("bo", "cy"))
    assert decide(following(policy), policy).labels(2) == ("appearance", "face", "cover", "live")


def test_no_policy_makes_it_cheaper_and_one_may_make_it_dearer() -> None:
    for stated, needed in ((0, 3), (1, 3), (2, 4)):
        policy = parse_policy(TEXT + b"[option_approvals]\ncontinuation = %d\n" % stated)
        with pytest.raises(ApprovalsMissing, match=f"2 of {needed}"):
            decide(following(policy), policy, ("bo", "cy"))


@pytest.mark.parametrize(
    ("stated", "instead", "words"),
    [
        (b"continuation = true\n", b"", "permits none"),
        (b"continuation_minutes = 30\n", b"", "for no time at all"),
        (b"continuation_cameras = 3\n", b"", "permits 0"),
        (b"continuation_cameras = 3\n", b"continuation_cameras = 1\n", "permits 1"),
    ],
)
def test_what_the_policy_does_not_state_of_it_is_closed(
    stated: bytes, instead: bytes, words: str
) -> None:
    assert stated in TEXT
    policy = parse_policy(TEXT.replace(stated, instead))
    two = following(policy, cameras=("cam-1", "cam-2"))
    with pytest.raises(PolicyViolation, match=words):
        decide(two, policy)


def test_the_clothes_have_to_be_asked_for_and_a_threshold_of_theirs_needs_a_floor() -> None:
    policy = parse_policy(TEXT)
    with pytest.raises(PolicyViolation, match="asks to open no appearance"):
        decide(following(policy, modalities=("face",)), policy)
    with pytest.raises(PolicyViolation, match=r"below the policy's 0\.600"):
        decide(following(policy, thresholds={s.MODEL: 0.6, CLOTHES: 0.5}), policy)
    with pytest.raises(PolicyViolation, match="no threshold_floor for unknown"):
        decide(following(policy, thresholds={s.MODEL: 0.6, "unknown-8@00000000": 0.9}), policy)


def test_clothes_without_a_template_are_opened_for_nobody_who_does_not_follow() -> None:
    policy = parse_policy(TEXT)
    with pytest.raises(PolicyViolation, match="brings no template to compare"):
        decide(following(policy, asks=Asked()), policy)


def test_on_an_order_whoever_an_example_shows_is_followed_with_the_approvals_of_both() -> None:
    policy = parse_policy(TEXT)
    example = SightingName("box-1", "cam-1", s.EPOCH, 5, s.SLOT, b"12345678")
    asked = following(
        policy,
        legal_basis=STATUTORY_ORDER,
        subjects=(Subject("W-3", "order 12/31", (), examples=(example,)),),
        modalities=("appearance",),
        thresholds={CLOTHES: 0.7},
        requested_at_ms=s.NOW_MS,
        window_from_ms=slot_start_ms(s.EPOCH, s.SLOT) - 900_000,
    )
    asked = replace(
        asked,
        subjects=(replace(asked.subjects[0], examples=(replace(example, slot=s.SLOT - 1),)),),
    )
    with pytest.raises(ApprovalsMissing, match="3 of 4"):
        decide(asked, policy)
