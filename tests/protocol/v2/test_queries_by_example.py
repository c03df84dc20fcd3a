"""What a query by earlier sightings may open: the examples are held against its scope and law."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
import query_samples_v2 as q2

from protocol.authorization import AuthorizedQuery, authorize
from protocol.enrolment import WitnessedEnrolment
from protocol.errors import (
    ApprovalsMissing,
    EnrolmentNotWitnessed,
    PolicyViolation,
)
from protocol.names import SLOT_MS, SightingName
from protocol.policy import STATUTORY_ORDER, Policy, parse_policy
from protocol.query import Query, Subject

EXAMPLE = SightingName("box-1", "cam-1", s.EPOCH, s.GENERATION, 38, b"12345678")
SPACE = "clothes-64@0123456789abcdef"
LAWFUL = parse_policy(
    q2.POLICY_TEXT.replace(b"[threshold_floor]", b'[threshold_floor]\n"%s" = 0.6' % SPACE.encode())
)
WANTED = Subject("W-3", "order 12/31", (), examples=(EXAMPLE,))


def by_order(*examples: SightingName, **changes: object) -> Query:
    """A query for whoever an earlier sighting shows, by their clothes, on a statutory order."""
    plain = {
        "subjects": (replace(WANTED, examples=examples or (EXAMPLE,)),),
        "legal_basis": STATUTORY_ORDER,
        "modalities": ("appearance",),
        "thresholds": {SPACE: 0.6},
        "policy_digest": LAWFUL.digest,
    }
    return q2.query(**(plain | changes))  # type: ignore[arg-type]


def decide(query: Query, *approvers: str, policy: Policy = LAWFUL) -> AuthorizedQuery:
    signed = query.sign(s.signing_key("ana"))
    approvals = [
        s.approval(signed, name, policy_digest=policy.digest)
        for name in approvers or ("bo", "cy", "di")
    ]
    return authorize(signed, approvals, [], directory=s.directory(), policy=policy, now_ms=s.NOW_MS)


def witnessed(*digests: bytes) -> bytes:
    """What a witness signs for the sample subject's templates."""
    statement = WitnessedEnrolment("P-17", bytes(32), digests, s.NOW_MS - SLOT_MS)
    return statement.sign(s.signing_key("di")).to_bytes()


def test_an_earlier_sighting_stands_in_for_a_template_on_an_order() -> None:
    authorized = decide(by_order())
    assert authorized.query.subjects[0].examples == (EXAMPLE,)
    assert set(authorized.labels(2)) == {"appearance", "cover", "live"}


def test_without_consent_it_takes_the_approvals_more_that_the_policy_states() -> None:
    assert LAWFUL.bases[STATUTORY_ORDER].extra_approvals == 1
    with pytest.raises(ApprovalsMissing, match="2 of 3 approvals"):
        decide(by_order(), "bo", "cy")


def test_without_consent_nobody_is_looked_for_by_their_face() -> None:
    with pytest.raises(PolicyViolation, match="does not permit face"):
        decide(by_order(modalities=("face",), thresholds={s.MODEL: 0.5}))
    rule = replace(LAWFUL.bases[STATUTORY_ORDER], modalities=frozenset({"face", "appearance"}))
    lenient = replace(LAWFUL, bases={**LAWFUL.bases, STATUTORY_ORDER: rule})
    with pytest.raises(PolicyViolation, match="a face template needs recorded consent"):
        decide(by_order(modalities=("face",), thresholds={s.MODEL: 0.5}), policy=lenient)


def test_with_consent_an_example_alone_does_not_do_without_the_witness() -> None:
    alone = replace(q2.subject(), templates=(), witnessed=b"", examples=(EXAMPLE,))
    query = q2.query(subjects=(alone,), policy_digest=LAWFUL.digest)
    with pytest.raises(EnrolmentNotWitnessed, match="nobody witnessed who 'P-17' is"):
        decide(query)
    beside = q2.query(subjects=(q2.subject(examples=(EXAMPLE,)),), policy_digest=LAWFUL.digest)
    assert decide(beside)
    assert decide(query, policy=replace(LAWFUL, witnessed_enrolment=False))


def test_with_consent_a_witnessed_template_of_clothes_lets_no_example_show_a_face() -> None:
    own = q2.subject().templates[0]
    clothes = replace(own, modality="appearance", model=SPACE)
    dressed = q2.subject(templates=(clothes,), witnessed=witnessed(clothes.digest))
    shown = replace(dressed, examples=(EXAMPLE,))
    by_clothes = q2.query(
        subjects=(shown,),
        modalities=("appearance",),
        thresholds={SPACE: 0.6},
        policy_digest=LAWFUL.digest,
    )
    assert decide(by_clothes)
    by_face = replace(
        by_clothes, modalities=("face", "appearance"), thresholds={s.MODEL: 0.5, SPACE: 0.6}
    )
    with pytest.raises(EnrolmentNotWitnessed, match="the query opens face templates"):
        decide(by_face)


def test_an_example_opens_no_kind_of_template_for_which_no_threshold_is_left() -> None:
    beside = q2.query(
        subjects=(q2.subject(examples=(EXAMPLE,)),),
        modalities=("face", "appearance"),
        policy_digest=LAWFUL.digest,
    )
    with pytest.raises(PolicyViolation, match="no threshold to compare their appearance by"):
        decide(beside)
    assert decide(replace(beside, thresholds={**beside.thresholds, SPACE: 0.6}))


@pytest.mark.parametrize(
    "elsewhere",
    [{"camera": "cam-2"}, {"slot": 37}, {"slot": 44}, {"epoch": s.EPOCH - 1}],
)
def test_an_example_outside_what_the_query_opens_is_refused(elsewhere: dict[str, object]) -> None:
    with pytest.raises(PolicyViolation, match="does not ask to open"):
        decide(by_order(replace(EXAMPLE, **elsewhere)))  # type: ignore[arg-type]


def test_an_example_of_a_quarter_hour_that_still_ran_is_refused() -> None:
    running = replace(EXAMPLE, slot=40)
    with pytest.raises(PolicyViolation, match="was not over when the query was asked for"):
        decide(by_order(running))
    assert decide(by_order(running, requested_at_ms=s.NOW_MS // SLOT_MS * SLOT_MS))


def test_an_example_is_named_once_and_compared_by_a_threshold_no_lower_than_the_floor() -> None:
    with pytest.raises(PolicyViolation, match="an example twice"):
        decide(by_order(EXAMPLE, EXAMPLE))
    with pytest.raises(PolicyViolation, match="no threshold to compare their appearance by"):
        decide(by_order(thresholds={}))
    with pytest.raises(PolicyViolation, match=r"below the policy's 0\.600"):
        decide(by_order(thresholds={SPACE: 0.59}))
    with pytest.raises(PolicyViolation, match="no threshold_floor"):
        decide(by_order(thresholds={"other-64@0123456789abcdef": 0.9}))


def test_without_an_example_every_kind_and_threshold_still_needs_a_template() -> None:
    with pytest.raises(PolicyViolation, match="brings no template to compare"):
        decide(q2.query(modalities=("face", "appearance"), policy_digest=LAWFUL.digest))
