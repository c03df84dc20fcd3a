"""Nothing leaves for a request that is forged, unapproved, withdrawn, stale or changed anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

import protocol_samples as s
import pytest
from custodian_site import (
    DAY_MS,
    HOUR_MS,
    Asked,
    Make,
    Time,
    approved,
    make_announcement,
    opened_log,
    read_grant,
)
from examples import examples
from hostile_cbor import BOMBS, within
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custodian.answering import Desk
from custodian.custodian import Custodian
from custodian.errors import GrantFailed
from custodian.grants import Granter
from protocol import errors
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey, Withdrawal
from protocol.encoding import decode, encode
from protocol.errors import ProtocolError
from protocol.grant import GRANT_REQUEST_KIND
from protocol.query import QUERY_KIND
from protocol.signing import Signed, SigningKey, sign
from runtime.errors import OperationError

Change = Callable[[Asked], Asked]
Ready = tuple[Custodian, Asked]


def withdrawal(asked: Asked, officer: str) -> Signed:
    return Withdrawal(asked.case.query.digest, "no longer", s.NOW_MS).sign(s.signing_key(officer))


def matcher_key(asked: Asked, signer: str, digest: bytes | None = None) -> bytes:
    made = MatcherKey(digest or asked.case.query.digest, asked.matcher.public, s.NOW_MS)
    return made.sign(s.signing_key(signer)).to_bytes()


def case(**changes: Unpack[s.CaseChanges]) -> Change:
    return lambda asked: replace(asked, case=approved(s.NOW_MS, **changes))


def withdrawn_by(officer: str) -> Change:
    return lambda asked: replace(asked, withdrawals=[withdrawal(asked, officer)])


def forged_query(asked: Asked) -> Asked:
    other = sign("query", asked.case.query.payload, SigningKey("ana", bytes(32)))
    return replace(asked, case=s.Case(other, asked.case.approvals))


def forged_approval(asked: Asked) -> Asked:
    first, second = asked.case.approvals
    forged = replace(first, signature=second.signature)
    return replace(asked, case=s.Case(asked.case.query, [forged, second]))


def approvals_of_another_query(asked: Asked) -> Asked:
    other = approved(s.NOW_MS, purpose="something else")
    return replace(asked, case=s.Case(asked.case.query, other.approvals))


REFUSALS: dict[str, tuple[Change, type[ProtocolError]]] = {
    "signed by an officer": (
        lambda a: replace(a, signer=s.signing_key("ana")),
        errors.UnknownSigner,
    ),
    "signed by a stranger": (
        lambda a: replace(a, signer=SigningKey("mallory", bytes(32))),
        errors.UnknownSigner,
    ),
    "signed with another key": (
        lambda a: replace(a, signer=SigningKey("aggregator", bytes(32))),
        errors.SignatureInvalid,
    ),
    "dated too early": (lambda a: replace(a, now_ms=s.NOW_MS - HOUR_MS), errors.ClockSkew),
    "dated too late": (lambda a: replace(a, now_ms=s.NOW_MS + HOUR_MS), errors.ClockSkew),
    "no approval": (case(approvers=()), errors.ApprovalsMissing),
    "one approval": (case(approvers=("bo",)), errors.ApprovalsMissing),
    "one approver twice": (case(approvers=("bo", "bo")), errors.ApprovalsMissing),
    "approved by the requester": (case(approvers=("bo", "ana")), errors.ApprovalInvalid),
    "approved by the auditor": (case(approvers=("bo", "eve")), errors.ApprovalInvalid),
    "forged approval": (forged_approval, errors.ApprovalInvalid),
    "approvals of another query": (approvals_of_another_query, errors.ApprovalInvalid),
    "forged query": (forged_query, errors.SignatureInvalid),
    "expired": (case(not_after_ms=s.NOW_MS - 1), errors.QueryExpired),
    "asked in the future": (
        case(requested_at_ms=s.NOW_MS + HOUR_MS, not_after_ms=s.NOW_MS + 2 * HOUR_MS),
        errors.QueryExpired,
    ),
    "too many candidates": (case(max_candidates=101), errors.PolicyViolation),
    "another policy": (case(policy_digest=bytes(32)), errors.PolicyMismatch),
    "face on a statutory order": (case(legal_basis="statutory-order"), errors.PolicyViolation),
    "window longer than the policy": (
        case(window_from_ms=s.query().window_from_ms - 3 * DAY_MS),
        errors.PolicyViolation,
    ),
    "threshold under the floor": (case(thresholds={s.MODEL: 0.3}), errors.PolicyViolation),
    "another site": (case(site="elsewhere"), errors.PolicyViolation),
    "withdrawn by the requester": (withdrawn_by("ana"), errors.QueryWithdrawn),
    "withdrawn by an approver": (withdrawn_by("bo"), errors.QueryWithdrawn),
    "withdrawal forged": (
        lambda a: replace(a, withdrawals=[replace(withdrawal(a, "bo"), signature=bytes(64))]),
        errors.SignatureInvalid,
    ),
    "matcher's key of a stranger": (
        lambda a: replace(a, matcher_key=matcher_key(a, "ana")),
        errors.UnknownSigner,
    ),
    "matcher's key for another query": (
        lambda a: replace(a, matcher_key=matcher_key(a, "aggregator", bytes(32))),
        errors.ScopeExceeded,
    ),
    "no announcement": (lambda a: replace(a, announcements=[]), errors.MalformedMessage),
    "garbage for an announcement": (
        lambda a: replace(a, announcements=[b"\xff"]),
        errors.MalformedMessage,
    ),
    "cameras not in the query": (case(cameras=("cam-2",)), errors.ScopeExceeded),
    "window that lies ahead": (
        case(
            window_from_ms=s.query().window_to_ms,
            window_to_ms=s.query().window_to_ms + HOUR_MS,
        ),
        errors.ScopeExceeded,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_the_request_is_refused_and_the_refusal_logged(make: Make, name: str) -> None:
    change, expected = REFUSALS[name]
    c1 = make("c1")
    _, message = make_announcement([c1])
    asked = change(Asked(approved(s.NOW_MS), [message], s.NOW_MS))
    before = c1.log.size
    with pytest.raises(expected):
        c1.granter.grant(asked.to_bytes())
    new = opened_log(c1)[before:]
    assert "grant" not in [kind for kind, _ in new]
    assert new[-1][0] == "refusal"
    assert new[-1][1]["reason"]


def test_the_unchanged_request_is_granted(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1").scopes


@pytest.fixture
def ready(make: Make) -> Ready:
    c1 = make("c1")
    _, message = make_announcement([c1])
    return c1, Asked(approved(s.NOW_MS), [message], s.NOW_MS)


relaxed = settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(place=st.integers(0, 100_000), flip=st.integers(1, 255))
@relaxed
def test_no_changed_byte_on_the_wire_is_granted(ready: Ready, place: int, flip: int) -> None:
    c1, asked = ready
    data = bytearray(asked.to_bytes())
    data[place % len(data)] ^= flip
    with pytest.raises(ProtocolError):
        c1.granter.grant(bytes(data))


MEMBERS = ("query", "approvals", "matcher_key", "announcements")


@given(member=st.sampled_from(MEMBERS), place=st.integers(0, 100_000), flip=st.integers(1, 255))
@relaxed
def test_no_changed_byte_is_granted_to_an_aggregator_that_signs_it_anew(
    ready: Ready, member: str, place: int, flip: int
) -> None:
    c1, asked = ready
    values = decode(asked.request().sign(asked.signer).payload, what="request")
    parts = values[member] if isinstance(values[member], list) else [values[member]]
    number = place % len(parts)
    changed = bytearray(parts[number])
    changed[place % len(changed)] ^= flip
    parts[number] = bytes(changed)
    values[member] = parts if isinstance(values[member], list) else parts[0]
    signed = sign(GRANT_REQUEST_KIND, encode(values), asked.signer)
    with pytest.raises(ProtocolError):
        c1.granter.grant(signed.to_bytes())


def requested(asked: Asked, query: dict[str, object]) -> Asked:
    """The request for another query payload, signed and approved as that is."""
    signed = sign("query", encode(query), s.signing_key("ana"))
    approvals = [s.approval(signed, name) for name in ("bo", "cy")]
    return replace(asked, case=s.Case(signed, approvals))


def test_a_modality_that_is_a_list_is_refused_and_the_refusal_logged(ready: Ready) -> None:
    c1, asked = ready
    query = decode(asked.case.query.payload, what="query")
    query["subjects"][0]["templates"][0][0] = ["face"]
    before = c1.log.size
    with pytest.raises(errors.MalformedMessage):
        c1.granter.grant(requested(asked, query).to_bytes())
    assert [kind for kind, _ in opened_log(c1)[before:]] == ["refusal"]


def test_an_error_of_our_own_is_logged_as_a_refusal_and_tells_nothing(ready: Ready) -> None:
    c1, asked = ready

    def broken_clock() -> int:
        raise RuntimeError("a secret that only the operator's log may hold")

    desk = Desk(
        key=c1.key,
        trust=c1.trust,
        ring=c1.ring,
        journal=c1.journal,
        withdrawals=c1.withdrawals,
        now_ms=broken_clock,
        clock_skew_ms=1000,
        heard=c1.clock.heard,
    )
    granter = Granter(desk)
    before = c1.log.size
    with pytest.raises(GrantFailed) as failed:
        granter.grant(asked.to_bytes())
    assert "secret" not in str(failed.value)
    ((kind, body),) = opened_log(c1)[before:]
    assert (kind, body["reason"]) == ("refusal", "custodian-failed: RuntimeError")


@pytest.mark.parametrize("name", BOMBS)
def test_a_request_that_would_grow_is_refused_for_nothing_and_the_refusal_logged(
    ready: Ready, name: str
) -> None:
    c1, asked = ready
    signed = sign(GRANT_REQUEST_KIND, BOMBS[name], asked.signer).to_bytes()
    before = c1.log.size
    for data in (BOMBS[name], signed):

        def refused(data: bytes = data) -> None:
            with pytest.raises(errors.MalformedMessage):
                c1.granter.grant(data)

        within(2, 4 << 20, refused)
    assert [kind for kind, _ in opened_log(c1)[before:]] == ["refusal", "refusal"]


@given(st.binary(max_size=300))
@relaxed
def test_garbage_is_refused(ready: Ready, data: bytes) -> None:
    c1, _ = ready
    with pytest.raises(ProtocolError):
        c1.granter.grant(data)


@given(
    st.dictionaries(
        st.sampled_from(["v", *MEMBERS, "withdrawals", "requested_at_ms"]),
        st.one_of(st.none(), st.integers(), st.binary(max_size=20), st.lists(st.binary())),
    )
)
@relaxed
def test_a_request_of_odd_members_is_refused(ready: Ready, odd: dict[str, object]) -> None:
    c1, asked = ready
    values = decode(asked.request().sign(asked.signer).payload, what="request")
    if all(values[name] == value for name, value in odd.items()):
        return
    signed = sign(GRANT_REQUEST_KIND, encode({**values, **odd}), asked.signer)
    try:
        grant = read_grant(c1.granter.grant(signed.to_bytes()), "c1")
    except ProtocolError:
        return
    # Without its withdrawals, or dated a little differently, it is still an approved request.
    assert set(odd) <= {"withdrawals", "requested_at_ms", "v"}
    assert grant.scopes[0].last_slot == 41


def test_a_revoked_box_a_revoked_approver_and_a_revoked_aggregator(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    directory = s.directory()
    for name, expected in (
        ("box-1", errors.PrincipalRevoked),
        ("bo", errors.ApprovalInvalid),
        ("ana", errors.PrincipalRevoked),
        ("aggregator", errors.PrincipalRevoked),
    ):
        directory = directory.revoke(name, at_ms=s.NOW_MS)
        c1.accept_directory(directory.sign(s.authority()).to_bytes())
        with pytest.raises(expected):
            c1.granter.grant(asked.to_bytes())


def test_what_a_box_announced_before_it_was_revoked_can_still_be_opened(make: Make) -> None:
    c1 = make("c1")
    announced, message = make_announcement([c1])
    asked = Asked(approved(s.NOW_MS), [message], s.NOW_MS)
    later = s.directory().revoke("box-1", at_ms=announced.announced_at_ms + 1)
    c1.accept_directory(later.sign(s.authority()).to_bytes())
    grant = read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    assert [scope.address.box for scope in grant.scopes] == ["box-1"]


def test_a_custodian_that_was_revoked_grants_nothing(make: Make) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    directory = s.directory().revoke("c1", at_ms=s.NOW_MS)
    c1.accept_directory(directory.sign(s.authority()).to_bytes())
    with pytest.raises(errors.PrincipalRevoked):
        c1.granter.grant(Asked(approved(s.NOW_MS), [message], s.NOW_MS).to_bytes())


def test_after_the_programme_has_ended_nothing_is_granted(make: Make, time: Time) -> None:
    c1 = make("c1")
    time.set_by = s.POLICY.programme_ends_ms - 1000 - time.ms
    c1.rounds.go()
    assert c1.clock.in_doubt  # years have passed at once: destruction waits, grants do not
    now_ms = c1.clock.now_ms()
    _, message = make_announcement([c1], now_ms=now_ms)
    day_ms = now_ms // DAY_MS * DAY_MS
    window: s.QueryChanges = {
        "window_from_ms": day_ms,
        "window_to_ms": day_ms + 4 * HOUR_MS,
        "live": False,
    }
    asked = Asked(approved(now_ms, **window), [message], now_ms)
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1").scopes
    time.ms += 1000
    later = Asked(approved(now_ms, **window), [message], c1.clock.now_ms())
    with pytest.raises(errors.ProgrammeEnded):
        c1.granter.grant(later.to_bytes())


def raw_matcher_key(asked: Asked, key: bytes) -> bytes:
    """A matcher's key that the aggregator signed, with any bytes for a key."""
    payload = {
        "v": 1,
        "query_digest": asked.case.query.digest,
        "key": key,
        "created_at_ms": s.NOW_MS,
    }
    return sign(MATCHER_KEY_KIND, encode(payload), s.signing_key("aggregator")).to_bytes()


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)], ids=["zero", "one"])
def test_a_matcher_key_that_nothing_can_be_sealed_to_leaves_no_grant_in_the_log(
    ready: tuple[Custodian, Asked], point: bytes
) -> None:
    c1, asked = ready
    key = raw_matcher_key(asked, asked.matcher.public.raw[:-32] + point)
    before = c1.log.size
    with pytest.raises(ProtocolError):
        c1.granter.grant(replace(asked, matcher_key=key).to_bytes())
    assert [kind for kind, _ in opened_log(c1)[before:]] == ["refusal"]


def test_a_grant_too_large_to_send_is_not_logged_as_one(
    ready: tuple[Custodian, Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, asked = ready
    monkeypatch.setattr("custodian.answering.MAX_MESSAGE_BYTES", 1000)
    before = c1.log.size
    with pytest.raises(errors.MessageTooLarge):
        c1.granter.grant(asked.to_bytes())
    assert [kind for kind, _ in opened_log(c1)[before:]] == ["refusal"]


def test_a_query_of_a_modality_that_is_no_word_is_refused_and_that_is_logged(
    ready: tuple[Custodian, Asked],
) -> None:
    c1, asked = ready
    values = decode(asked.case.query.payload, what="query")
    values["subjects"][0]["templates"][0][0] = ["face"]
    odd = sign(QUERY_KIND, encode(values), s.signing_key("ana"))
    before = c1.log.size
    with pytest.raises((ProtocolError, OperationError)):
        c1.granter.grant(replace(asked, case=s.Case(odd, asked.case.approvals)).to_bytes())
    assert [kind for kind, _ in opened_log(c1)[before:]] == ["refusal"]


def test_a_fault_of_its_own_is_refused_and_logged_too(
    ready: tuple[Custodian, Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, asked = ready

    def broken(_epoch: int) -> None:
        raise ZeroDivisionError("a fault that nobody has foreseen")

    monkeypatch.setattr(c1.ring, "private", broken)
    before = c1.log.size
    with pytest.raises(GrantFailed, match="ZeroDivisionError"):
        c1.granter.grant(asked.to_bytes())
    assert opened_log(c1)[before:] == [
        (
            "refusal",
            {
                "query_digest": asked.case.query.digest,
                "reason": "custodian-failed: ZeroDivisionError",
            },
        )
    ]
