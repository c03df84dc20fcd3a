"""Every act that an officer signs can be signed by passkey, and all who read it believe it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import protocol_samples as s
import pytest
from authenticator import PRESENT
from candidates import candidate_of
from officer_site import OfficerSite
from officers_passkeys import ORIGIN, Device, with_passkeys

from officers import desk
from protocol.directory import Directory
from protocol.errors import SignatureInvalid
from protocol.findings import Report
from protocol.names import CameraAddress
from protocol.passkey_offers import open_offer
from protocol.results import CONFIRMED, Candidate
from protocol.sightings import MaskStatus
from runtime.clock import system_ms
from runtime.errors import OperationError

OFFICERS = ("ana", "bo", "cy")
NEW = Device("new phone")


class PasskeySite(OfficerSite):
    """A site whose directory is of the second form and lists passkeys."""

    def list_passkeys(self, *officers: str) -> Directory:
        """Have everybody hold a newer directory that lists these officers' passkeys."""
        known = self.aggregator.trust.directory
        bare = {name: replace(one, passkeys=()) for name, one in known.principals.items()}
        newer = with_passkeys(known.next_version(bare, at_ms=system_ms()), *officers)
        data = newer.sign(s.authority(), 2).to_bytes()
        self.aggregator.trust.accept(data)
        for custodian in self.custodians:
            custodian.accept_directory(data)
        return newer


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PasskeySite]:
    made = PasskeySite(tmp_path_factory.mktemp("officers"))
    made.list_passkeys(*OFFICERS)
    yield made
    made.close()


def officer(site: OfficerSite, name: str) -> desk.Officer:
    return desk.Officer.load(site.officer(name))


def filed(site: OfficerSite) -> str:
    with desk.connect(officer(site, "ana")) as session:
        now = datetime.now(UTC)
        scope = desk.scope(session, ["cam-1"], now - timedelta(hours=1), now)
        asked = desk.Request(scope, (site.subject_file("P-17"),), purpose="tracing")
        with closing(desk.draft(session, asked, s.sealing_key("ana"))) as draft:
            signed = Device("ana").sign(desk.to_file(session, draft))
            return desk.file(session, draft, signed).id


@pytest.mark.slow
def test_a_case_goes_from_the_filing_to_the_audit_by_passkeys_alone(
    site: PasskeySite, tmp_path: Path
) -> None:
    query_id = filed(site)
    digest = site.record(query_id).digest
    with desk.connect(officer(site, "cy")) as session:
        review = desk.review(session, query_id)
        desk.refuse(session, review, Device("cy").sign(desk.to_refuse(session, review, "too wide")))
    for name in ("bo", "cy"):
        with desk.connect(officer(site, name)) as session:
            review = desk.review(session, query_id)
            desk.approve(session, review, Device(name).sign(desk.to_approve(session, review)))
    with desk.connect(officer(site, "ana")) as session:
        heard = desk.voices_of(session, desk.look(session, query_id))
    assert [(one.approver, one.by_passkey) for one in heard.approvals] == [
        ("bo", True),
        ("cy", True),
    ]
    assert [(one.by_passkey, one.overtaken) for one in heard.refusals] == [(True, True)]
    assert heard.problems == ()

    site.add_candidate(candidate(), digest)
    with desk.connect(officer(site, "ana")) as session:
        case = desk.sealed_to_me(session, query_id)
        results = desk.open_results(session, case, s.sealing_key("ana"))
        (item,) = results.candidates
        signed = Device("ana").sign(desk.to_decide(session, results, CONFIRMED, item))
        desk.hand_in_decision(session, results, item, signed)
        again = desk.open_results(session, case, s.sealing_key("ana"))
    assert [one.said for one in again.candidates] == [{"ana": CONFIRMED}]
    assert again.problems == ()

    ana = officer(site, "ana")
    found = desk.find_withdrawable(ana, query_id)
    outcome = desk.withdraw(
        ana, found, Device("ana").sign(desk.to_withdraw(ana, found, "wrong patient"))
    )
    assert [one.name for one in outcome.deliveries if not one.problem] == ["aggregator", "c1", "c2"]

    report = audited(site, tmp_path / "logs")
    (count,) = report.queries
    assert count.requester == "ana"
    assert count.approvers == ("bo", "cy")
    assert (count.refused_by, count.withdrawn_by) == (("cy",), ("ana",))
    assert count.decisions == count.confirmed == 1

    site.list_passkeys()
    assert [one.approvers for one in audited(site, tmp_path / "logs").queries] == [("bo", "cy")], (
        "the auditor's folder remembers the directory of then"
    )


def audited(site: OfficerSite, folder: Path) -> Report:
    eve = officer(site, "eve")
    desk.fetch_logs(eve, folder)
    copy = desk.read_audit_copy(folder, eve.config.authority_key)
    report = desk.verify_logs(copy, desk.AuditorKey("eve", s.sealing_key("eve"))).report
    assert [one.message for one in report.findings if one.kind == "signature-false"] == []
    return report


@pytest.mark.slow
def test_an_assertion_of_another_port_or_person_is_handed_in_nowhere(site: PasskeySite) -> None:
    query_id = filed(site)
    with desk.connect(officer(site, "bo")) as session:
        review = desk.review(session, query_id)
        unsigned = desk.to_approve(session, review)
        for forged in (
            Device("bo").sign(unsigned, at="http://localhost:9999"),
            Device("bo").sign(unsigned, flags=PRESENT),
            Device("bo").sign(unsigned, challenge=b"another"),
            Device("cy").sign(unsigned),
        ):
            with pytest.raises(SignatureInvalid):
                desk.approve(session, review, forged)
    assert site.aggregator.desk.approvals(site.record(query_id).digest) == []


@pytest.mark.slow
def test_headquarters_refuses_what_an_officers_program_would_have_let_by(site: PasskeySite) -> None:
    query_id = filed(site)
    with desk.connect(officer(site, "bo")) as session:
        unsigned = desk.to_approve(session, desk.review(session, query_id))
        forged = Device("bo").sign(unsigned, at="http://localhost:9999")
        with pytest.raises(OperationError, match=r"approval of .bo. is not valid"):
            session.client.approve(query_id, forged.to_bytes())


@pytest.mark.slow
def test_a_passkey_that_was_withdrawn_signs_nothing_and_its_approval_is_gone(
    site: PasskeySite,
) -> None:
    query_id = filed(site)
    with desk.connect(officer(site, "bo")) as session:
        review = desk.review(session, query_id)
        desk.approve(session, review, Device("bo").sign(desk.to_approve(session, review)))
    site.list_passkeys("ana", "cy")
    with desk.connect(officer(site, "bo")) as session:
        review = desk.review(session, query_id)
        assert review.voices.approvals == ()
        assert "approval of 'bo' is not valid" in review.voices.problems[0]
        with pytest.raises(SignatureInvalid):
            desk.approve(session, review, Device("bo").sign(desk.to_approve(session, review)))


# ---------------------------------------------------------------------- offered to the office


@pytest.mark.slow
def test_an_offer_signed_by_passkey_and_key_file_is_what_the_office_takes(
    site: OfficerSite,
) -> None:
    cy = officer(site, "cy")
    unsigned = desk.to_offer_passkey(cy, NEW.passkey)
    file = desk.offer_passkey(
        cy, unsigned.by_key(s.signing_key("cy")), NEW.sign(unsigned).signature
    )
    assert open_offer(file, cy.directory, now_ms=system_ms()) == ("cy", NEW.passkey)


@pytest.mark.slow
def test_an_offer_that_one_of_both_did_not_sign_is_not_written(site: OfficerSite) -> None:
    cy = officer(site, "cy")
    unsigned = desk.to_offer_passkey(cy, NEW.passkey)
    by_key = unsigned.by_key(s.signing_key("cy"))
    with pytest.raises(SignatureInvalid):
        desk.offer_passkey(cy, by_key, Device("bo").sign(unsigned).signature)
    with pytest.raises(SignatureInvalid, match="key file"):
        desk.offer_passkey(cy, NEW.sign(unsigned), NEW.sign(unsigned).signature)
    with pytest.raises(SignatureInvalid):
        desk.offer_passkey(cy, replace(by_key, signature=bytes(64)), NEW.sign(unsigned).signature)


@pytest.mark.slow
def test_passkeys_that_the_directory_lists_are_told_and_not_offered_again(
    site: PasskeySite,
) -> None:
    bo = officer(site, "bo")
    with desk.connect(bo):
        pass
    (one,) = desk.passkeys_of(bo, ORIGIN)
    assert (one.passkey, one.here) == (Device("bo").passkey, True)
    assert not desk.passkeys_of(bo, "http://localhost:9999")[0].here
    with pytest.raises(desk.PasskeyInvalid, match="already"):
        desk.to_offer_passkey(bo, Device("bo").passkey)


def candidate() -> Candidate:
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, "box-1", "cam-1"),
        sighting_id=os.urandom(8),
        first_seen_ms=s.NOW_MS,
        last_seen_ms=s.NOW_MS + 10_000,
        mask=MaskStatus.UNMASKED,
        mask_confidence=0.9,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.8,
        log10_lr=4.0,
        encounters=(),
    )
