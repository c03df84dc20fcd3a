"""Making, signing and handing in are three calls: nothing else than what was made is handed in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import protocol_samples as s
import pytest
from candidates import candidate_of
from officer_site import OfficerSite

from officers import desk
from protocol.errors import SignatureInvalid
from protocol.names import CameraAddress
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import MaskStatus
from protocol.signing import Signed, Unsigned


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


def officer(site: OfficerSite, name: str) -> desk.Officer:
    return desk.Officer.load(site.officer(name))


def drafted(site: OfficerSite, session: desk.Session) -> desk.Draft:
    now = datetime.now(UTC)
    scope = desk.scope(session, ["cam-1"], now - timedelta(hours=1), now)
    asked = desk.Request(scope, (site.subject_file("P-17"),), purpose="tracing")
    return desk.draft(session, asked, s.sealing_key("ana"))


def filed(site: OfficerSite) -> str:
    with (
        desk.connect(officer(site, "ana")) as session,
        closing(drafted(site, session)) as draft,
    ):
        return desk.file(session, draft, by_ana(desk.to_file(session, draft))).id


def by_ana(unsigned: Unsigned) -> Signed:
    return unsigned.by_key(s.signing_key("ana"))


def altered(signed: Signed) -> Signed:
    return replace(signed, signature=bytes(64))


def test_a_key_signs_only_what_is_its_owners_to_sign() -> None:
    made = Unsigned("approval", "bo", b"payload")
    made.by_key(s.signing_key("bo")).verify(lambda _name: s.signing_key("bo").verify_key)
    with pytest.raises(SignatureInvalid, match="for 'bo' to sign"):
        made.by_key(s.signing_key("cy"))


def test_a_draft_is_filed_only_as_it_was_made(site: OfficerSite) -> None:
    before = len(site.aggregator.desk.everything())
    with (
        desk.connect(officer(site, "ana")) as session,
        closing(drafted(site, session)) as draft,
        closing(drafted(site, session)) as other,
    ):
        with pytest.raises(SignatureInvalid, match="another draft"):
            desk.file(session, draft, by_ana(desk.to_file(session, other)))
        with pytest.raises(SignatureInvalid, match="does not verify"):
            desk.file(session, draft, altered(by_ana(desk.to_file(session, draft))))
        stranger = replace(desk.to_file(session, draft), signer="dan")
        with pytest.raises(SignatureInvalid, match="not the query of 'ana'"):
            desk.file(session, draft, stranger.by_key(s.signing_key("dan")))
    assert len(site.aggregator.desk.everything()) == before


def test_an_approval_of_another_query_is_not_handed_in(site: OfficerSite) -> None:
    one, other = filed(site), filed(site)
    with desk.connect(officer(site, "bo")) as session:
        first, second = desk.review(session, one), desk.review(session, other)
        signed = desk.to_approve(session, first).by_key(s.signing_key("bo"))
        with pytest.raises(SignatureInvalid, match="another query"):
            desk.approve(session, second, signed)
        with pytest.raises(SignatureInvalid, match="does not verify"):
            desk.approve(session, first, altered(signed))
        for query_id in (one, other):
            assert site.aggregator.desk.approvals(site.record(query_id).digest) == []
        assert [a.approver for a in desk.approve(session, first, signed).approvals] == ["bo"]


@pytest.mark.slow
def test_a_withdrawal_of_another_query_goes_to_nobody(site: OfficerSite) -> None:
    one, other = filed(site), filed(site)
    ana = officer(site, "ana")
    first, second = desk.find_withdrawable(ana, one), desk.find_withdrawable(ana, other)
    signed = by_ana(desk.to_withdraw(ana, first, "wrong patient"))
    with pytest.raises(SignatureInvalid, match="another query"):
        desk.withdraw(ana, second, signed)
    for query_id in (one, other):
        assert site.aggregator.desk.withdrawals(site.record(query_id).digest) == []
    assert desk.withdraw(ana, first, signed).deliveries[0].problem == ""


@pytest.mark.slow
def test_a_verdict_on_another_candidate_is_not_handed_in(site: OfficerSite) -> None:
    query_id = filed(site)
    for seconds in (0, 60):
        site.add_candidate(seen(seconds), site.record(query_id).digest)
    with desk.connect(officer(site, "ana")) as session:
        case = desk.sealed_to_me(session, query_id)
        results = desk.open_results(session, case, s.sealing_key("ana"))
        first, second = desk.numbered(results, [1, 2])
        signed = by_ana(desk.to_decide(session, results, CONFIRMED, first))
        with pytest.raises(SignatureInvalid, match="another candidate"):
            desk.hand_in_decision(session, results, second, signed)
        desk.hand_in_decision(session, results, first, signed)
        rejected = by_ana(desk.to_decide(session, results, REJECTED, second))
        desk.hand_in_decision(session, results, second, rejected)
        again = desk.open_results(session, case, s.sealing_key("ana"))
        assert {item.number: item.said for item in again.candidates} == {
            1: {"ana": CONFIRMED},
            2: {"ana": REJECTED},
        }


def seen(seconds: int) -> Candidate:
    first = s.NOW_MS + seconds * 1000
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, "box-1", "cam-1"),
        sighting_id=os.urandom(8),
        first_seen_ms=first,
        last_seen_ms=first + 10_000,
        mask=MaskStatus.UNMASKED,
        mask_confidence=0.9,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.8,
        log10_lr=4.0,
        encounters=(),
    )
