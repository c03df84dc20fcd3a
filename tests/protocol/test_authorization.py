"""Only a genuine, approved, unexpired query within the policy passes; each refusal has a name."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.about_queries import Withdrawal
from protocol.authorization import AuthorizedQuery, authorize
from protocol.directory import Directory
from protocol.errors import (
    ApprovalInvalid,
    ApprovalsMissing,
    MalformedMessage,
    PolicyMismatch,
    PolicyViolation,
    PrincipalRevoked,
    ProgrammeEnded,
    ProtocolError,
    QueryExpired,
    QueryWithdrawn,
    SignatureInvalid,
    UnknownSigner,
)
from protocol.names import SLOT_MS, slot_start_ms
from protocol.policy import Policy, open_policy, parse_policy, sign_policy
from protocol.signing import Signed

HOUR = 4 * SLOT_MS


def decide(
    case: s.Case,
    *,
    withdrawals: tuple[Signed, ...] = (),
    now_ms: int = s.NOW_MS,
    directory: Directory | None = None,
    policy: Policy = s.POLICY,
) -> AuthorizedQuery:
    return authorize(
        case.query,
        case.approvals,
        list(withdrawals),
        directory=directory or s.directory(),
        policy=policy,
        now_ms=now_ms,
    )


def withdraw(case: s.Case, officer: str) -> Signed:
    return Withdrawal(case.query.digest, "no longer needed", s.NOW_MS).sign(s.signing_key(officer))


def test_an_approved_query_is_authorized() -> None:
    decided = decide(s.case())
    assert decided.requester == "ana"
    assert decided.approvers == ("bo", "cy")
    assert set(decided.labels()) == {"face", "meta", "live"}


@pytest.mark.parametrize("approvers", [(), ("bo",), ("bo", "bo")])
def test_too_few_approvers(approvers: tuple[str, ...]) -> None:
    with pytest.raises(ApprovalsMissing):
        decide(s.case(approvers=approvers))


@pytest.mark.parametrize("stranger", ["ana", "c1", "box-1", "nobody"])
def test_approvals_of_others_than_approvers(stranger: str) -> None:
    with pytest.raises(ApprovalInvalid):
        decide(s.case(approvers=("bo", "cy", stranger)))


def test_an_approver_who_is_also_the_requester_does_not_count() -> None:
    principals = dict(s.directory().principals)
    principals["ana"] = replace(principals["ana"], duties=principals["ana"].duties | {"approver"})
    both = replace(s.directory(), principals=principals)
    with pytest.raises(ApprovalInvalid, match="own"):
        decide(s.case(approvers=("bo", "ana")), directory=both)


def test_an_approval_for_another_query() -> None:
    other = s.case(purpose="something else")
    with pytest.raises(ApprovalInvalid, match="another query"):
        decide(s.Case(s.case().query, other.approvals))


def test_an_approval_under_another_policy() -> None:
    case = s.case(approvers=("bo",))
    case.approvals.append(s.approval(case.query, "cy", policy_digest=b"x" * 32))
    with pytest.raises(PolicyMismatch):
        decide(case)


def test_a_query_signed_by_an_approver() -> None:
    signed = s.query().sign(s.signing_key("bo"))
    with pytest.raises(UnknownSigner):
        decide(s.Case(signed, []))


def test_a_forged_query() -> None:
    genuine = s.case().query
    wide = s.query(cameras=("cam-1", "cam-2")).sign(s.signing_key("bo"))
    forged = Signed(genuine.kind, genuine.signer, wide.payload, genuine.signature)
    with pytest.raises(SignatureInvalid):
        decide(s.Case(forged, s.case().approvals))


def test_a_revoked_requester_and_a_revoked_approver() -> None:
    with pytest.raises(PrincipalRevoked):
        decide(s.case(), directory=s.directory().revoke("ana", at_ms=1))
    with pytest.raises(ApprovalInvalid, match="revoked"):
        decide(s.case(), directory=s.directory().revoke("cy", at_ms=1))


def test_a_withdrawn_approval_stops_the_query() -> None:
    case = s.case()
    with pytest.raises(QueryWithdrawn, match="1 of 2"):
        decide(case, withdrawals=(withdraw(case, "cy"),))


def test_a_withdrawn_approval_leaves_a_query_with_one_to_spare() -> None:
    case = s.case(approvers=("bo", "cy", "di"))
    assert decide(case, withdrawals=(withdraw(case, "cy"),)).approvers == ("bo", "di")


def test_the_requester_withdraws() -> None:
    case = s.case(approvers=("bo", "cy", "di"))
    with pytest.raises(QueryWithdrawn, match="requester"):
        decide(case, withdrawals=(withdraw(case, "ana"),))


def test_a_withdrawal_of_another_query_changes_nothing() -> None:
    case, other = s.case(), s.case(purpose="other")
    assert decide(case, withdrawals=(withdraw(other, "cy"),)).approvers == ("bo", "cy")


def test_time_limits() -> None:
    case = s.case()
    with pytest.raises(QueryExpired):
        decide(case, now_ms=s.query().not_after_ms)
    with pytest.raises(QueryExpired, match="future"):
        decide(case, now_ms=s.query().requested_at_ms - 6 * 60_000)
    with pytest.raises(ProgrammeEnded):
        decide(case, now_ms=s.POLICY.programme_ends_ms)


@pytest.mark.parametrize(
    "changes",
    [
        {"legal_basis": "statutory-order"},
        {"cameras": tuple(f"cam-{n}" for n in range(101))},
        {"window_to_ms": s.query().window_from_ms + 49 * HOUR},
        {"max_candidates": 101},
        {"not_after_ms": s.query().requested_at_ms + 15 * 24 * HOUR},
        {"thresholds": {s.MODEL: 0.39}},
    ],
    ids=["basis", "cameras", "window", "candidates", "validity", "threshold"],
)
def test_more_than_the_policy_permits(changes: s.QueryChanges) -> None:
    with pytest.raises(PolicyViolation):
        decide(s.case(**changes))


def test_a_query_under_another_policy_or_for_another_site() -> None:
    with pytest.raises(PolicyMismatch):
        decide(s.case(policy_digest=b"p" * 32))
    with pytest.raises(PolicyViolation, match="site"):
        decide(s.case(site="elsewhere"))


def test_a_statutory_order_asks_for_one_approval_more() -> None:
    reference = replace(s.query().subjects[0].templates[0], modality="appearance")
    subject = replace(s.query().subjects[0], templates=(reference,))
    changes: s.QueryChanges = {
        "subjects": (subject,),
        "modalities": ("appearance",),
        "legal_basis": "statutory-order",
    }
    with pytest.raises(ApprovalsMissing, match="2 of 3"):
        decide(s.case(**changes))
    decided = decide(s.case(approvers=("bo", "cy", "di"), **changes))
    assert "face" not in decided.labels()


@given(st.integers(-30, 60), st.booleans())
def test_a_custodian_releases_only_slots_that_began_within_the_window(
    step: int, live: bool
) -> None:
    query = s.query(live=live)
    decided = AuthorizedQuery(query, b"", "ana", ())
    now_ms = query.window_from_ms + step * SLOT_MS // 4
    slots = decided.grantable_slots(s.EPOCH, now_ms=now_ms)
    for slot in range(96):
        start = slot_start_ms(s.EPOCH, slot)
        in_window = query.window_from_ms <= start < query.window_to_ms
        ready = start <= now_ms if live else start + SLOT_MS <= now_ms
        assert (slot in slots) == (in_window and ready), slot
    assert not decided.grantable_slots(s.EPOCH - 1, now_ms=now_ms)
    assert not decided.grantable_slots(s.EPOCH + 1, now_ms=now_ms)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_no_altered_query_or_approval_is_authorized(position: int, value: int) -> None:
    case = s.case()
    messages = [case.query.to_bytes(), *(a.to_bytes() for a in case.approvals)]
    joined = sum(map(len, messages))
    position %= joined
    for number, message in enumerate(messages):
        if position < len(message):
            altered = bytearray(message)
            if altered[position] == value:
                return
            altered[position] = value
            messages[number] = bytes(altered)
            break
        position -= len(message)
    with pytest.raises(ProtocolError):
        query = Signed.parse(messages[0], kind="query")
        approvals = [Signed.parse(message, kind="approval") for message in messages[1:]]
        decide(s.Case(query, approvals))


def test_an_altered_policy_file_is_refused() -> None:
    signature = sign_policy(s.POLICY_TEXT, s.authority())
    key = s.authority().verify_key
    assert open_policy(s.POLICY_TEXT, signature, key, site=s.SITE) == s.POLICY
    lax = s.POLICY_TEXT.replace(b"approvals = 2", b"approvals = 1", 1)
    assert parse_policy(lax).approvals == 1
    with pytest.raises(SignatureInvalid, match="authority"):
        open_policy(lax, signature, key)
    with pytest.raises(SignatureInvalid):
        open_policy(s.POLICY_TEXT, sign_policy(s.POLICY_TEXT, s.signing_key("bo")), key)
    with pytest.raises(PolicyMismatch):
        open_policy(s.POLICY_TEXT, signature, key, site="elsewhere")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"approvals = 2", b"approvals = 0"),
        (b"max_subjects = 10", b"max_subjects = 11"),
        (b"2030-01-01T00:00:00Z", b"2030-01-01T00:00:00"),
        (b'modalities = ["appearance"]', b'modalities = ["face"]'),
        (b"retention_days = 14", b""),
        (b"version = 1", b"version = 1\nsurprise = 2"),
    ],
)
def test_policies_that_contradict_the_promise_are_refused(old: bytes, new: bytes) -> None:
    assert old in s.POLICY_TEXT
    with pytest.raises(MalformedMessage):
        parse_policy(s.POLICY_TEXT.replace(old, new, 1))
