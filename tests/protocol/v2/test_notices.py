"""A box believes a notice in nothing: each query in it is decided by the box itself."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from officers_passkeys import Device, case_by_passkeys, with_passkeys

from protocol.about_queries import Withdrawal
from protocol.directory import Directory
from protocol.encoding import decode, encode
from protocol.errors import MalformedMessage, PolicyMismatch, SignatureInvalid
from protocol.names import SLOT_MS
from protocol.policy import sign_policy
from protocol.v2.notices import Notice, NoticedQuery, open_notice, standing

CASE = s.case()


def noticed(case: s.Case = CASE, withdrawals: tuple[bytes, ...] = ()) -> NoticedQuery:
    approvals = tuple(approval.to_bytes() for approval in case.approvals)
    return NoticedQuery(case.query.to_bytes(), approvals, withdrawals)


def notice(*queries: NoticedQuery, **changes: object) -> Notice:
    signature = sign_policy(s.POLICY_TEXT, s.authority())
    plain = Notice(s.SITE, 7, s.NOW_MS, s.POLICY_TEXT, signature, queries or (noticed(),))
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_standing_live_query_says_until_when() -> None:
    signed = notice().sign(s.signing_key("aggregator")).to_bytes()
    came = open_notice(signed, s.directory(), after=6)
    assert came == notice()
    found = standing(came, s.directory(), authority=s.authority().verify_key, now_ms=s.NOW_MS)
    assert not found.refused
    assert found.live_until_ms("cam-1", s.NOW_MS) == s.query().window_to_ms
    assert found.live_until_ms("cam-2", s.NOW_MS) is None
    assert found.live_until_ms("cam-1", s.query().window_to_ms) is None
    assert found.live_until_ms("cam-1", s.query().window_from_ms - 1) is None


def decide(given: Notice, now_ms: int = s.NOW_MS) -> tuple[int, tuple[str, ...]]:
    found = standing(given, s.directory(), authority=s.authority().verify_key, now_ms=now_ms)
    return len(found.queries), found.refused


def test_a_query_without_its_approvals_opens_nothing_and_spoils_no_other() -> None:
    bare = NoticedQuery(CASE.query.to_bytes(), (), ())
    count, refused = decide(notice(bare, noticed()))
    assert count == 1
    assert "0 of 2 approvals" in refused[0]


@pytest.mark.parametrize(
    "one",
    [
        NoticedQuery(b"garbage", (), ()),
        NoticedQuery(CASE.query.to_bytes(), (b"garbage",), ()),
        NoticedQuery(
            s.case(live=True, cameras=("cam-9",)).query.to_bytes(), noticed().approvals, ()
        ),
    ],
)
def test_what_is_not_genuine_is_refused_by_the_box(one: NoticedQuery) -> None:
    count, refused = decide(notice(one))
    assert count == 0
    assert len(refused) == 1


def test_a_withdrawal_ends_it() -> None:
    gone = Withdrawal(CASE.query.digest, "found", s.NOW_MS).sign(s.signing_key("ana"))
    count, refused = decide(notice(noticed(withdrawals=(gone.to_bytes(),))))
    assert count == 0
    assert "withdrawn" in refused[0]


def test_a_query_that_is_not_live_asks_for_no_live_envelopes() -> None:
    past = s.case(live=False, window_to_ms=s.NOW_MS // SLOT_MS * SLOT_MS)
    found = standing(
        notice(noticed(past)),
        s.directory(),
        authority=s.authority().verify_key,
        now_ms=s.NOW_MS,
    )
    assert len(found.queries) == 1
    assert found.live_until_ms("cam-1", past_now := s.query().window_from_ms) is None
    assert past_now < s.NOW_MS


def test_a_policy_that_the_authority_did_not_sign_is_refused() -> None:
    forged = notice(policy=s.POLICY_TEXT.replace(b"approvals = 2", b"approvals = 1"))
    with pytest.raises(SignatureInvalid):
        decide(forged)
    other = s.POLICY_TEXT.replace(s.SITE.encode(), b"elsewhere")
    with pytest.raises(PolicyMismatch):
        decide(notice(policy=other, policy_signature=sign_policy(other, s.authority())))


def test_an_older_notice_or_another_sites_is_not_taken() -> None:
    signed = notice().sign(s.signing_key("aggregator")).to_bytes()
    with pytest.raises(MalformedMessage, match="no newer"):
        open_notice(signed, s.directory(), after=7)
    foreign = notice(site="elsewhere").sign(s.signing_key("aggregator")).to_bytes()
    with pytest.raises(MalformedMessage, match="elsewhere"):
        open_notice(foreign, s.directory(), after=0)
    for signer in ("c1", "box-1", "ana"):
        with pytest.raises(SignatureInvalid):
            open_notice(notice().sign(s.signing_key(signer)).to_bytes(), s.directory(), after=0)


def test_a_notice_of_another_shape_is_refused() -> None:
    fields = decode(notice().sign(s.signing_key("aggregator")).payload, what="notice")
    for change in (
        {"number": 0},
        {"policy": "text"},
        {"queries": [[b"q", [b"a"]]]},
        {"queries": [[b"q", ["a"], []]]},
        {"queries": [[b"q", [b"a"] * 65, []]]},
        {"queries": [[b"q", [], []]] * 257},
        {"v": 1},
    ):
        with pytest.raises(MalformedMessage):
            Notice.parse(encode({**fields, **change}))


def test_nothing_is_judged_more_often_than_once_because_a_notice_repeats_it() -> None:
    approval = noticed().approvals[0]
    repeated = [
        notice(replace(noticed(), approvals=(approval,) * 64)),
        notice(replace(noticed(), withdrawals=(b"gone", b"gone"))),
        notice(noticed(), replace(noticed(), approvals=())),
    ]
    for one in repeated:
        signed = one.sign(s.signing_key("aggregator")).to_bytes()
        with pytest.raises(MalformedMessage, match=r"once|twice"):
            open_notice(signed, s.directory(), after=0)


def test_a_box_believes_a_query_that_passkeys_signed_and_their_withdrawal() -> None:
    listed = with_passkeys(s.directory(), "ana", "bo", "cy")
    case = case_by_passkeys(s.query())
    gone = Withdrawal(case.query.digest, "done", s.NOW_MS).unsigned("ana")

    def queries(*withdrawals: bytes, directory: Directory = listed) -> int:
        came = notice(noticed(case, withdrawals))
        found = standing(came, directory, authority=s.authority().verify_key, now_ms=s.NOW_MS)
        return len(found.queries)

    assert queries() == 1
    assert queries(Device("ana").sign(gone).to_bytes()) == 0
    assert queries(directory=s.directory()) == 0, "no directory lists these passkeys"
