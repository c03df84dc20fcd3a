"""Custodians grant for a query of version 2 what its policy permits, and ask for its witness."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from custodian_site import Asked, Make, make_announcement, opened_log, read_grant

from custodian.custodian import Custodian
from protocol.directory import Directory
from protocol.epoch_keys import combine
from protocol.errors import (
    ApprovalsMissing,
    EnrolmentNotWitnessed,
    PolicyMismatch,
    PolicyViolation,
    ProtocolError,
)
from protocol.policy import parse_policy
from protocol.query import Asked as Options
from protocol.query import Query, Subject

DEAR = q2.POLICY_TEXT + b"[option_approvals]\nlive = 1\n"
TWO_CONFIRM = q2.POLICY_TEXT.replace(b"confirmations = 1", b"confirmations = 2")
CLOSED = b'policy_schema = 2\nconfirmations = 1\npurposes = ["exercise"]\n' + s.POLICY_TEXT


def approved(query: Query, *approvers: str) -> s.Case:
    signed = query.sign(s.signing_key("ana"))
    digest = query.policy_digest
    names = approvers or ("bo", "cy")
    return s.Case(signed, [s.approval(signed, name, policy_digest=digest) for name in names])


def under(policy: bytes, **changes: Unpack[s.QueryChanges]) -> Query:
    changes["policy_digest"] = parse_policy(policy).digest
    return q2.query(**changes)


def refused(custodian: Custodian, case: s.Case, error: type[ProtocolError], words: str) -> None:
    """Ask for a grant; nothing leaves, and the log says why."""
    _, message = make_announcement([custodian])
    before = custodian.log.size
    with pytest.raises(error, match=words):
        custodian.granter.grant(Asked(case, [message], s.NOW_MS).to_bytes())
    new = opened_log(custodian)[before:]
    assert "grant" not in [kind for kind, _ in new]
    kind, body = new[-1]
    assert kind == "refusal"
    assert body["query_digest"] == case.query.digest


def test_two_custodians_grant_for_a_witnessed_enrolment(make: Make) -> None:
    c1, c2 = (make(name, policy=q2.POLICY_TEXT) for name in ("c1", "c2"))
    announcement, message = make_announcement([c1, c2])
    asked = Asked(approved(q2.query()), [message], s.NOW_MS)
    granted = []
    for custodian in (c1, c2):
        grant = read_grant(custodian.granter.grant(asked.to_bytes()), custodian.config.name)
        assert grant.labels == ("face", "meta", "live")  # the board announced version 1
        granted.append(grant.open(asked.matcher)[0])
        assert opened_log(custodian)[-1][0] == "grant"
    assert list(combine(announcement, granted).slots()) == [38, 39, 40, 41]


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (q2.subject(witnessed=b""), "witnessed by nobody"),
        (q2.subject(witnessed=q2.sheet(witness="ana").statement), "cannot witness"),
        (q2.subject(witnessed=q2.sheet(witness="c1").statement), "statement"),
        (q2.subject(witnessed=q2.sheet(witness="mallory").statement), "statement"),
        (q2.subject(witnessed=q2.sheet(pseudonym="P-18").statement), "somebody else"),
        (q2.subject(pseudonym="P-18"), "somebody else"),
        (
            q2.subject(witnessed=q2.sheet(templates=(replace(
                q2.subject().templates[0], digest=bytes(32)
            ),)).statement),
            "none that the witness signed for",
        ),
        (q2.subject(witnessed=b"rubbish"), "statement"),
    ],
)  # fmt: skip
def test_nothing_is_granted_for_an_enrolment_that_nobody_else_witnessed(
    make: Make, subject: Subject, words: str
) -> None:
    case = approved(q2.query(subjects=(subject,)))
    refused(make("c1", policy=q2.POLICY_TEXT), case, EnrolmentNotWitnessed, words)


def test_one_witnessed_subject_does_not_cover_another(make: Make) -> None:
    other = q2.subject(pseudonym="P-18", witnessed=b"")
    case = approved(q2.query(subjects=(q2.subject(), other)))
    refused(make("c1", policy=q2.POLICY_TEXT), case, EnrolmentNotWitnessed, "P-18")


def test_a_witness_who_was_revoked_since_counts_no_more(make: Make) -> None:
    directory: Directory = s.directory().revoke("di", at_ms=s.NOW_MS)
    c1 = make("c1", policy=q2.POLICY_TEXT, directory=directory)
    refused(c1, approved(q2.query()), EnrolmentNotWitnessed, "revoked")


def test_a_policy_that_needs_no_witness_grants_without(make: Make) -> None:
    lenient = b"enrolment_without_witness = true\n" + q2.POLICY_TEXT
    c1 = make("c1", policy=lenient)
    _, message = make_announcement([c1])
    bare = (q2.subject(witnessed=b""),)
    case = approved(under(lenient, subjects=bare))
    grant = read_grant(c1.granter.grant(Asked(case, [message], s.NOW_MS).to_bytes()), "c1")
    assert grant.scopes


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        (under(CLOSED, live=True), PolicyViolation, "live"),
        (under(CLOSED, live=False), PolicyViolation, "contacts"),
        (under(CLOSED, live=False, contacts=False, purpose_kind="x"), PolicyViolation, "'x'"),
        (
            under(CLOSED, live=False, contacts=False, asks=Options(evidence_stills=1)),
            PolicyViolation,
            "stills",
        ),
        (
            under(CLOSED, live=False, contacts=False, asks=Options(continuation=True)),
            PolicyViolation,
            "clothes",
        ),
        (s.query(policy_digest=parse_policy(CLOSED).digest), PolicyViolation, "free words"),
        (s.query(), PolicyMismatch, "another policy"),
    ],
)
def test_nothing_is_granted_that_the_policy_does_not_state(
    make: Make, query: Query, error: type[ProtocolError], words: str
) -> None:
    refused(make("c1", policy=CLOSED), approved(query), error, words)


def test_options_cost_approvals_at_the_custodian_too(make: Make) -> None:
    c1 = make("c1", policy=DEAR)
    refused(c1, approved(under(DEAR)), ApprovalsMissing, "2 of 3")
    _, message = make_announcement([c1])
    case = approved(under(DEAR), "bo", "cy", "di")
    assert c1.granter.grant(Asked(case, [message], s.NOW_MS).to_bytes())


def test_as_many_must_be_named_as_the_policy_has_confirm(make: Make) -> None:
    c1 = make("c1", policy=TWO_CONFIRM)
    refused(c1, approved(under(TWO_CONFIRM)), PolicyViolation, "2 officers must confirm")
    named = approved(under(TWO_CONFIRM, confirmers=("bo",)))
    refused(c1, named, PolicyViolation, "'bo' cannot confirm")
