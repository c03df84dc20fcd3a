"""An audit reads queries of the second form, authorizes their grants again, names the witness."""

from __future__ import annotations

from collections.abc import Sequence

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from audit_samples import QUERY_ID, grant_body, match_body, received_body
from split_views import AUDITORS, EVE

from officers.desk.audit_words import query_lines
from protocol.audit import LogCopy, audit
from protocol.auditlog import (
    Checkpoint,
    cosign,
    origin_of,
    root_of,
    seal_entry,
    sign_checkpoint,
)
from protocol.findings import FindingKind, Report
from protocol.policy import Policy, parse_policy
from protocol.query import Asked, Query
from protocol.signing import Signed

ROLES = (*s.CUSTODIANS, "aggregator")
LENIENT = parse_policy(b"enrolment_without_witness = true\n" + q2.POLICY_TEXT)


def log_copy(role: str, bodies: Sequence[tuple[str, dict[str, object]]], policy: Policy) -> LogCopy:
    """A role's log, cosigned by all others."""
    said = [("policy", {"version": 1, "digest": policy.digest}), *bodies]
    entries = tuple(
        seal_entry(
            kind, body, time_ms=s.NOW_MS + 1000 * at, actor=role,
            query_id=None if kind == "policy" else QUERY_ID, auditors=AUDITORS,
        ).to_bytes()
        for at, (kind, body) in enumerate(said)
    )  # fmt: skip
    head = Checkpoint(origin_of(s.SITE, role), len(entries), root_of(entries))
    note = sign_checkpoint(head, s.signing_key(role))
    for other in ROLES:
        if other != role:
            key, origin = s.signing_key(other), origin_of(s.SITE, other)
            note += cosign(head, witness=origin, key=key, time_s=s.NOW_MS // 1000 + 60)
    return LogCopy(head.origin, entries, (note,))


def _bodies(approvals: list[Signed]) -> list[tuple[str, dict[str, object]]]:
    return [("approval", {"approval": approval.to_bytes()}) for approval in approvals]


def report_of(
    query: Query,
    policy: Policy,
    *,
    approvers: tuple[str, ...] = ("bo", "cy"),
    linked: dict[str, object] | None = None,
) -> Report:
    """Audit a site in which one query was filed, approved, granted by two and matched."""
    signed = query.sign(s.signing_key("ana"))
    approvals = [s.approval(signed, name, policy_digest=policy.digest) for name in approvers]
    case = s.Case(signed, approvals)
    granting = ("c1", "c3")
    of_aggregator: list[tuple[str, dict[str, object]]] = [
        ("query-filed", {"query": signed.to_bytes()}),
        *_bodies(approvals),
        *(("grant-received", received_body(case, name)) for name in granting),
        ("match", match_body(case, granting)),
    ]
    if linked is not None:
        body = {"query_digest": signed.digest, "companions": 4, "pairs": 6}
        of_aggregator.append(("linked-contacts", body | linked))
    copies = [log_copy("aggregator", of_aggregator, policy)]
    for name in s.CUSTODIANS:
        bodies: list[tuple[str, dict[str, object]]] = (
            [("grant", grant_body(case, name))] if name in granting else []
        )
        copies.append(log_copy(name, bodies, policy))
    return audit(
        copies,
        now_ms=s.NOW_MS + 60_000,
        directory=s.directory(),
        policies={policy.digest: policy},
        auditor=EVE,
    )


def kinds(report: Report) -> set[FindingKind]:
    return {finding.kind for finding in report.findings}


def test_a_witnessed_query_of_the_second_form_is_in_order_and_told() -> None:
    report = report_of(q2.query(), q2.POLICY)
    assert kinds(report) == set()
    (count,) = report.queries
    assert (count.purpose_kind, count.witnessed) == ("exercise", {"P-17": "di"})
    assert count.options == ("live", "near")
    told = " ".join(query_lines(count))
    assert "(exercise)" in told
    assert "witnessed by di (P-17)" in told
    assert "asks for live, near" in told


def test_the_document_that_a_query_names_is_told_so_that_auditors_can_compare_it() -> None:
    report = report_of(q2.documented(), q2.POLICY)
    assert kinds(report) == set()
    (count,) = report.queries
    assert count.consent_documents == {"P-17": q2.DOCUMENT.hex()}
    assert f"SHA-256 is {q2.DOCUMENT.hex()}" in " ".join(query_lines(count))
    assert report_of(q2.query(), q2.POLICY).queries[0].consent_documents == {}


def test_a_query_on_consent_without_its_document_was_granted_against_the_policy() -> None:
    strict = parse_policy(b"consent_documents = true\n" + q2.POLICY_TEXT)
    named = q2.query(policy_digest=strict.digest, subjects=q2.documented().subjects)
    assert kinds(report_of(named, strict)) == set()
    bare = q2.query(policy_digest=strict.digest)
    assert FindingKind.GRANT_UNAUTHORIZED in kinds(report_of(bare, strict))


def test_a_grant_without_the_witness_that_the_policy_asks_for_is_found() -> None:
    bare = q2.query(subjects=(q2.subject(witnessed=b""),))
    report = report_of(bare, q2.POLICY)
    assert FindingKind.GRANT_UNAUTHORIZED in kinds(report)
    assert "witnessed by nobody" in " ".join(query_lines(report.queries[0]))
    assert any("witness" in finding.message for finding in report.findings)


def test_a_statement_that_does_not_count_is_found_even_where_none_is_asked_for() -> None:
    own = q2.subject(witnessed=q2.sheet(witness="ana").statement)
    report = report_of(q2.query(policy_digest=LENIENT.digest, subjects=(own,)), LENIENT)
    assert kinds(report) == {FindingKind.SIGNATURE_FALSE}
    assert report.queries[0].witnessed == {}


@pytest.mark.parametrize(
    ("approvers", "sound"), [(("bo", "cy"), False), (("bo", "cy", "di"), True)]
)
def test_grants_are_held_against_the_approvals_that_options_cost(
    approvers: tuple[str, ...], sound: bool
) -> None:
    dear = parse_policy(q2.POLICY_TEXT + b"[option_approvals]\nnear = 1\n")
    report = report_of(q2.query(policy_digest=dear.digest), dear, approvers=approvers)
    assert (FindingKind.GRANT_UNAUTHORIZED not in kinds(report)) == sound


@pytest.mark.parametrize(
    ("approvers", "sound"), [(("bo", "cy"), False), (("bo", "cy", "di"), True)]
)
def test_following_by_clothes_is_told_and_held_against_its_one_approval_more(
    approvers: tuple[str, ...], sound: bool
) -> None:
    following = q2.query(modalities=("face", "appearance"), asks=Asked(continuation=True))
    report = report_of(following, q2.POLICY, approvers=approvers)
    assert (FindingKind.GRANT_UNAUTHORIZED not in kinds(report)) == sound
    assert "continuation" in " ".join(query_lines(report.queries[0]))


def test_a_query_of_the_first_form_is_told_as_witnessed_by_nobody() -> None:
    report = report_of(s.query(), s.POLICY)
    assert kinds(report) == set()
    told = " ".join(query_lines(report.queries[0]))
    assert "witnessed by nobody" in told


LINKED = q2.query(contacts=True, asks=Asked(linked_contacts=True))


def test_linking_that_was_asked_for_and_approved_by_one_more_is_in_order_and_told() -> None:
    report = report_of(LINKED, q2.POLICY, approvers=("bo", "cy", "di"), linked={})
    assert kinds(report) == set()
    (count,) = report.queries
    assert (count.pairs, "linked" in count.options) == (6, True)
    told = " ".join(query_lines(count))
    assert "6 pairs of those who were near compared" in told
    assert "approved by bo, cy, di" in told


def test_grants_of_a_query_that_links_without_one_more_approval_are_found() -> None:
    report = report_of(LINKED, q2.POLICY, linked={})
    assert FindingKind.GRANT_UNAUTHORIZED in kinds(report)


def test_linking_that_nobody_asked_for_is_found() -> None:
    report = report_of(q2.query(contacts=True), q2.POLICY, linked={})
    assert kinds(report) == {FindingKind.LINKED_UNASKED}


@pytest.mark.parametrize("pairs", [-1, True, "six", 1 << 63])
def test_a_count_of_pairs_that_is_none_is_found(pairs: object) -> None:
    report = report_of(LINKED, q2.POLICY, approvers=("bo", "cy", "di"), linked={"pairs": pairs})
    assert FindingKind.BODY_UNREADABLE in kinds(report)
