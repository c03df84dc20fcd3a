"""A withdrawal is kept for good, logged, and in force at once, whoever brings it."""

from __future__ import annotations

import threading
from dataclasses import replace

import protocol_samples as s
import pytest
from custodian_site import Asked, Make, approved, make_announcement, opened_log, read_grant

from custodian.custodian import Custodian
from protocol import hpke
from protocol.about_queries import Withdrawal
from protocol.errors import (
    ApprovalInvalid,
    MalformedMessage,
    QueryWithdrawn,
    SignatureInvalid,
    UnknownSigner,
)
from protocol.signing import Signed, SigningKey

Ready = tuple[Custodian, Asked]


def withdrawal(asked: Asked, officer: str) -> Signed:
    return Withdrawal(asked.case.query.digest, "no longer", s.NOW_MS).sign(s.signing_key(officer))


@pytest.fixture
def ready(make: Make) -> Ready:
    c1 = make("c1")
    _, message = make_announcement([c1])
    return c1, Asked(approved(s.NOW_MS), [message], s.NOW_MS)


@pytest.mark.parametrize("officer", ["ana", "bo"])
def test_after_a_withdrawal_nothing_is_granted_also_after_a_restart(
    ready: Ready, make: Make, officer: str
) -> None:
    c1, asked = ready
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    assert c1.withdrawals.submit(withdrawal(asked, officer).to_bytes(), s.directory())
    with pytest.raises(QueryWithdrawn):
        c1.granter.grant(asked.to_bytes())
    c1.close()
    with pytest.raises(QueryWithdrawn):
        make("c1", again=True).granter.grant(asked.to_bytes())


def test_a_withdrawal_is_logged_once(ready: Ready) -> None:
    c1, asked = ready
    message = withdrawal(asked, "bo").to_bytes()
    assert c1.withdrawals.submit(message, s.directory())
    assert not c1.withdrawals.submit(message, s.directory())
    entries = [body for kind, body in opened_log(c1) if kind == "withdrawal"]
    assert entries == [{"withdrawal": message}]


def test_a_withdrawal_that_comes_with_a_request_is_kept(ready: Ready) -> None:
    c1, asked = ready
    with pytest.raises(QueryWithdrawn):
        c1.granter.grant(replace(asked, withdrawals=[withdrawal(asked, "bo")]).to_bytes())
    with pytest.raises(QueryWithdrawn):
        c1.granter.grant(asked.to_bytes())


def test_one_approval_withdrawn_of_three_leaves_enough(ready: Ready, make: Make) -> None:
    c1, asked = ready
    asked = replace(asked, case=approved(s.NOW_MS, approvers=("bo", "cy", "di")))
    c1.withdrawals.submit(withdrawal(asked, "bo").to_bytes(), s.directory())
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1").scopes


def test_a_withdrawal_of_another_query_and_of_an_uninvolved_officer_change_nothing(
    ready: Ready,
) -> None:
    c1, asked = ready
    other = replace(asked, case=approved(s.NOW_MS, purpose="another"))
    c1.withdrawals.submit(withdrawal(other, "bo").to_bytes(), s.directory())
    c1.withdrawals.submit(withdrawal(asked, "di").to_bytes(), s.directory())
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1").scopes


def test_a_revoked_officer_may_still_withdraw(ready: Ready) -> None:
    c1, asked = ready
    directory = s.directory().revoke("bo", at_ms=s.NOW_MS)
    assert c1.withdrawals.submit(withdrawal(asked, "bo").to_bytes(), directory)


def test_what_is_no_genuine_withdrawal_is_not_kept(ready: Ready) -> None:
    c1, asked = ready
    good = withdrawal(asked, "bo")
    content = Withdrawal(asked.case.query.digest, "x", s.NOW_MS)
    for message, expected in (
        (replace(good, signature=bytes(64)).to_bytes(), SignatureInvalid),
        (content.sign(s.signing_key("eve")).to_bytes(), UnknownSigner),
        (content.sign(SigningKey("mallory", bytes(32))).to_bytes(), UnknownSigner),
        (asked.case.approvals[0].to_bytes(), MalformedMessage),
        (b"\x80", MalformedMessage),
        (bytes(100_000), MalformedMessage),
    ):
        with pytest.raises(expected):
            c1.withdrawals.submit(message, s.directory())
    assert c1.store.count_withdrawals() == 0


def test_a_withdrawal_kept_and_not_logged_is_logged_at_the_next_start(
    ready: Ready, make: Make
) -> None:
    c1, asked = ready
    signed = withdrawal(asked, "bo")
    c1.store.add_withdrawal(asked.case.query.digest, signed, received_ms=s.NOW_MS)
    c1.close()
    c1 = make("c1", again=True)
    assert ("withdrawal", {"withdrawal": signed.to_bytes()}) in opened_log(c1)
    assert c1.store.unlogged_withdrawals() == []


def test_no_grant_is_logged_after_a_withdrawal_however_they_race(ready: Ready) -> None:
    c1, _ = ready
    _, message = make_announcement([c1])
    for number in range(8):
        asked = Asked(approved(s.NOW_MS, purpose=f"race {number}"), [message], s.NOW_MS)
        start = threading.Barrier(3)

        def ask(asked: Asked = asked, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                c1.granter.grant(asked.to_bytes())
            except QueryWithdrawn:
                return

        def take_back(asked: Asked = asked, start: threading.Barrier = start) -> None:
            start.wait()
            c1.withdrawals.submit(withdrawal(asked, "ana").to_bytes(), s.directory())

        threads = [threading.Thread(target=work) for work in (ask, ask, take_back)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        kinds = [
            kind
            for kind, body in opened_log(c1)
            if body.get("query") == asked.case.query.to_bytes()
            or body.get("withdrawal") == withdrawal(asked, "ana").to_bytes()
        ]
        assert kinds.count("withdrawal") == 1
        assert "grant" not in kinds[kinds.index("withdrawal") :]


def test_a_revocation_that_comes_while_a_grant_is_decided_stops_it(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, asked = ready
    revoked = s.directory().revoke("bo", at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    private = c1.ring.private

    def meanwhile(epoch: int) -> hpke.PrivateKey:
        c1.accept_directory(revoked)
        return private(epoch)

    monkeypatch.setattr(c1.ring, "private", meanwhile)
    with pytest.raises(ApprovalInvalid, match="revoked"):
        c1.granter.grant(asked.to_bytes())
    assert "grant" not in [kind for kind, _ in opened_log(c1)]


def test_a_directory_that_changes_nothing_here_delays_a_grant_alone(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, asked = ready
    newer = s.directory().revoke("box-2", at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    private = c1.ring.private

    def meanwhile(epoch: int) -> hpke.PrivateKey:
        c1.accept_directory(newer)
        return private(epoch)

    monkeypatch.setattr(c1.ring, "private", meanwhile)
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1").scopes
    assert [kind for kind, _ in opened_log(c1)].count("grant") == 1
