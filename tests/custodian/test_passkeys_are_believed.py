"""A custodian grants for a query that passkeys signed, having verified each assertion itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import protocol_samples as s
import pytest
from authenticator import PRESENT, VERIFIED
from custodian_site import Asked, Make, make_announcement, read_grant
from officers_passkeys import Device, case_by_passkeys, with_passkeys

from custodian.custodian import Custodian
from protocol.about_queries import Approval, Withdrawal
from protocol.errors import NotAuthorized, ProtocolError, QueryWithdrawn
from protocol.signing import Signed, Unsigned

DIRECTORY = with_passkeys(s.directory(), "ana", "bo", "cy", "di")
Ready = tuple[Custodian, Asked]


@pytest.fixture
def ready(make: Make) -> Ready:
    c1 = make("c1", directory=DIRECTORY)
    _, message = make_announcement([c1])
    return c1, Asked(case_by_passkeys(s.query()), [message], s.NOW_MS)


def test_a_filing_and_approvals_by_passkey_open_what_they_ask_for(ready: Ready) -> None:
    c1, asked = ready
    assert all(one.by_passkey for one in (asked.case.query, *asked.case.approvals))
    grant = read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    assert grant.query_digest == asked.case.query.digest


def test_key_files_go_on_counting_beside_passkeys(ready: Ready) -> None:
    c1, asked = ready
    signed = s.query().sign(s.signing_key("ana"))
    approvals = [
        Device("bo").sign(approval_of(signed, "bo")),
        approval_of(signed, "cy").by_key(s.signing_key("cy")),
    ]
    read_grant(c1.granter.grant(replace(asked, case=s.Case(signed, approvals)).to_bytes()), "c1")


def test_a_withdrawal_by_passkey_stops_it(ready: Ready) -> None:
    c1, asked = ready
    gone = Withdrawal(asked.case.query.digest, "wrong patient", s.NOW_MS).unsigned("ana")
    with pytest.raises(QueryWithdrawn):
        c1.granter.grant(replace(asked, withdrawals=[Device("ana").sign(gone)]).to_bytes())


def approval_of(query: Signed, name: str) -> Unsigned:
    return Approval(query.digest, s.POLICY.digest, s.NOW_MS).unsigned(name)


ATTACKS: dict[str, Callable[[Unsigned], Signed]] = {
    "at another port": lambda one: Device("cy").sign(one, at="http://localhost:8766"),
    "at the port of no desk": lambda one: Device("cy").sign(one, at="http://localhost"),
    "over https": lambda one: Device("cy").sign(one, at="https://localhost:8765"),
    "without the officer present": lambda one: Device("cy").sign(one, flags=VERIFIED),
    "without the officer verified": lambda one: Device("cy").sign(one, flags=PRESENT),
    "over another query's challenge": lambda one: Device("cy").sign(
        one, challenge=approval_of(s.case(purpose="another").query, "cy").challenge_bytes()
    ),
    "over a withdrawal's challenge": lambda one: Device("cy").sign(
        one, challenge=replace(one, kind="withdrawal").challenge_bytes()
    ),
    "with another officer's credential": lambda one: Device("di").sign(one),
    "with a credential that is not listed": lambda one: Device("mallory").sign(one),
    "with an approval of another officer's": lambda one: Device("bo").sign(
        one, challenge=replace(one, signer="bo").challenge_bytes()
    ),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_no_approval_counts_that_its_officers_passkey_did_not_give_here(
    ready: Ready, attack: Callable[[Unsigned], Signed]
) -> None:
    c1, asked = ready
    bo, _ = asked.case.approvals
    forged = attack(approval_of(asked.case.query, "cy"))
    case = s.Case(asked.case.query, [bo, forged])
    with pytest.raises(NotAuthorized, match="approval of 'cy' is not valid"):
        c1.granter.grant(replace(asked, case=case).to_bytes())


def test_what_a_withdrawn_passkey_signed_counts_no_longer(ready: Ready) -> None:
    c1, asked = ready
    c1.granter.grant(asked.to_bytes())
    principals = dict(DIRECTORY.principals)
    principals["bo"] = replace(principals["bo"], passkeys=())
    newer = DIRECTORY.next_version(principals, at_ms=s.NOW_MS)
    c1.accept_directory(newer.sign(s.authority(), 2).to_bytes())
    with pytest.raises(ProtocolError, match="approval of 'bo' is not valid"):
        c1.granter.grant(asked.to_bytes())
