"""`officers.desk` from the draft to the export, as a page would call it: without a terminal."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import candidate_of
from officer_site import DOWN, PASSPHRASE, OfficerSite

from officers import desk
from officers.desk.approving import ApprovalUseless
from officers.desk.officer import OfficerError
from officers.desk.subjects import DraftInvalid
from protocol.names import CameraAddress
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import MaskStatus
from protocol.templates import SubjectFile
from runtime.errors import OperationError
from runtime.keyfiles import PassphraseMissing, WrongPassphrase


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nobody_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """No passphrase in the environment, nobody to ask, and nothing printed."""
    for name in ("SEALTRACE_PASSPHRASE", "SEALTRACE_OFFICER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", None)
    yield
    assert capfd.readouterr() == ("", "")


def person(site: OfficerSite, name: str) -> tuple[desk.Officer, desk.Keys]:
    officer = desk.Officer.load(site.officer(name))
    return officer, desk.unlock(officer, PASSPHRASE.encode())


def request(site: OfficerSite, session: desk.Session, *cameras: str) -> desk.Request:
    now = datetime.now(UTC)
    scope = desk.scope(session, cameras, now - timedelta(hours=2), now + timedelta(minutes=1))
    return desk.Request(scope, (site.subject_file("P-17"),), purpose="contact  tracing")


def signed_and_filed(session: desk.Session, draft: desk.Draft, keys: desk.Keys) -> str:
    signed = desk.to_file(session, draft).by_key(keys.identity)
    return desk.file(session, draft, signed).id


def filed(site: OfficerSite) -> str:
    officer, keys = person(site, "ana")
    with (
        desk.connect(officer) as session,
        closing(desk.draft(session, request(site, session, "cam-1"), keys.sealing)) as draft,
    ):
        return signed_and_filed(session, draft, keys)


def words(facts: Sequence[desk.Fact]) -> dict[str, str]:
    return {fact.about: fact.words for fact in facts}


def candidate(camera: str, from_s: int) -> Candidate:
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, f"box-{camera[-1]}", camera),
        sighting_id=os.urandom(8),
        first_seen_ms=s.NOW_MS + from_s * 1000,
        last_seen_ms=s.NOW_MS + (from_s + 10) * 1000,
        mask=MaskStatus.UNMASKED,
        mask_confidence=0.9,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.8,
        log10_lr=4.0,
        encounters=(),
    )


@pytest.mark.slow
def test_a_case_goes_from_the_draft_to_the_export_without_a_terminal(
    site: OfficerSite, tmp_path: Path
) -> None:
    ana, keys = person(site, "ana")
    heard: list[desk.Notice] = []
    with desk.connect(ana, heard.append) as session:
        asked = request(site, session, "cam-2", "cam-1")
        assert asked.scope.cameras == ("cam-1", "cam-2")
        assert asked.scope.camera_slots >= 2 * 9
        assert desk.estimate(session, asked.scope, {}).default_thresholds == site.thresholds
        with closing(desk.draft(session, asked, keys.sealing)) as draft:
            told = words(draft.facts)
            assert told["purpose"] == draft.query.purpose == "contact tracing"
            assert "2 cameras" in told["would open"]
            assert draft.approvers == ("bo", "cy", "di")
            (widened,) = draft.notices
            assert "whole quarter hours" in widened.text
            assert heard == [widened]
            assert not site.aggregator.desk.everything()
            query_id = signed_and_filed(session, draft, keys)
        (listed,) = session.queries("awaiting-approvals")
        assert listed.id == query_id

    for name in ("bo", "cy"):
        officer, held = person(site, name)
        with desk.connect(officer) as session:
            review = desk.review(session, query_id[:8])
            assert words(review.facts)["purpose"] == "contact tracing"
            assert {fact.about for fact in review.facts if fact.headquarters} == {
                "in scope",
                "of version 1",
                "state",
                "found",
            }
            assert (review.hindrance, review.given) == ("", False)
            signed = desk.to_approve(session, review).by_key(held.identity)
            summary = desk.approve(session, review, signed)
    assert [approval.approver for approval in summary.approvals] == ["bo", "cy"]

    digest = site.record(query_id).digest
    for camera, from_s in (("cam-1", 0), ("cam-2", 60), ("cam-1", 600)):
        site.add_candidate(candidate(camera, from_s), digest)
    with desk.connect(ana) as session:
        waited = desk.wait(session, query_id, desk.settled(candidates=3), timeout_s=30)
        assert waited.in_time
        assert desk.well_settled(waited.summary, candidates=3)
        case = desk.sealed_to_me(session, query_id)
        results = desk.open_results(session, case, keys.sealing)
        assert (len(results.undecided), results.problems) == (3, ())
        done: list[int] = []
        for verdict, numbers in ((CONFIRMED, [1, 2, 1]), (REJECTED, [3])):
            chosen = desk.numbered(results, numbers)
            desk.decide(
                session, results, verdict, chosen, keys.identity,
                progress=lambda item: done.append(item.number),
            )  # fmt: skip
        assert done == [1, 2, 3]
        results = desk.open_results(session, case, keys.sealing)
        report = desk.trace(results)
        (trace,) = report.traces
        assert [hit.address.camera for hit in trace.hits] == ["cam-1", "cam-2"]
        assert (len(trace.candidates), len(trace.rejected)) == (0, 1)

        places = tmp_path / "places.csv"
        places.write_text("camera,lat,lon\ncam-1,48.2,16.3\n")
        positions = desk.positions_for("geojson", places)
        around = desk.around_of(session, results, keys.sealing, positions=positions)
        written = desk.export(
            session, results, "geojson", tmp_path / "trace.geojson", keys.identity, around=around
        )
        assert (written.hits, written.undecided, written.unplaced) == (2, 0, ("cam-2",))
        assert len(json.loads(written.path.read_text())["features"]) == 2
        lines = tmp_path / "lines.csv"
        desk.export(session, results, "csv-line-list", lines, keys.identity, around=around)
        assert [row["camera"] for row in csv.DictReader(lines.open())] == ["cam-1", "cam-2"]


def test_keys_are_unlocked_by_the_passphrase_given_and_nobody_is_asked(site: OfficerSite) -> None:
    officer = desk.Officer.load(site.officer("ana"))
    with pytest.raises(WrongPassphrase):
        desk.unlock(officer, b"not this one")
    with pytest.raises(PassphraseMissing):
        desk.unlock(officer, None)
    keys = desk.unlock(officer, PASSPHRASE.encode())
    assert keys.identity.verify_key == s.signing_key("ana").verify_key
    assert keys.sealing.public == s.sealing_key("ana").public
    assert repr(keys) == "Keys()"


def test_an_officer_to_whom_nothing_is_sealed_signs_all_the_same(site: OfficerSite) -> None:
    _, keys = person(site, "bo")
    assert keys.identity.verify_key == s.signing_key("bo").verify_key
    with pytest.raises(OfficerError, match="nothing is sealed to you"):
        _ = keys.sealing


def test_a_closed_draft_files_nothing(site: OfficerSite) -> None:
    officer, keys = person(site, "ana")
    before = len(site.aggregator.desk.everything())
    with desk.connect(officer) as session:
        draft = desk.draft(session, request(site, session, "cam-1"), keys.sealing)
        draft.close()
        assert not any(t.row.any() for subject in draft.subjects for t in subject.templates)
        with pytest.raises(DraftInvalid, match="draft the query anew"):
            signed_and_filed(session, draft, keys)
    assert len(site.aggregator.desk.everything()) == before


def test_an_approval_that_would_count_for_nothing_is_not_signed(site: OfficerSite) -> None:
    query_id = filed(site)
    digest = site.record(query_id).digest
    ana, _ = person(site, "ana")
    with desk.connect(ana) as session, pytest.raises(OperationError, match="takes an approver"):
        desk.review(session, query_id)
    site.aggregator.desk.set_state(digest, "running")
    site.aggregator.desk.set_state(digest, "complete")
    bo, _ = person(site, "bo")
    with desk.connect(bo) as session:
        review = desk.review(session, query_id)
        assert "has ended" in review.hindrance
        with pytest.raises(ApprovalUseless, match="has ended"):
            desk.to_approve(session, review)
    assert site.aggregator.desk.approvals(digest) == []


def test_a_withdrawal_is_shown_then_signed_and_says_who_has_it(site: OfficerSite) -> None:
    query_id = filed(site)
    ana, keys = person(site, "ana")
    found = desk.find_withdrawable(ana, query_id)
    assert found.own
    assert words(found.facts)["withdraws"] == "the query"
    assert site.aggregator.desk.withdrawals(site.record(query_id).digest) == []
    outcome = desk.withdraw(
        ana, found, desk.to_withdraw(ana, found, "wrong patient").by_key(keys.identity)
    )
    assert outcome.missed == (DOWN,)
    assert outcome.closed
    assert "nothing more can be opened" in outcome.effect


@pytest.mark.slow
def test_a_query_is_resumed_and_waited_for_with_progress(site: OfficerSite) -> None:
    ana, keys = person(site, "ana")
    subject = site.subject_file("P-17")
    with desk.connect(ana) as session:
        now = datetime.now(UTC)
        scope = desk.scope(session, ["cam-1"], now - timedelta(hours=1), now)
        asked = desk.Request(scope, (subject,), purpose="contact tracing")
        with closing(desk.draft(session, asked, keys.sealing)) as draft:
            query_id = signed_and_filed(session, draft, keys)
        site.aggregator.desk.interrupt_open_queries()
        case = desk.own_case(session, query_id)
        assert desk.resume(session, case, [subject], keys.sealing).state == "awaiting-approvals"
        seen: list[str] = []

        def ends_it(summary: desk.QuerySummary) -> None:
            seen.append(summary.state)
            digest = site.record(query_id).digest
            site.aggregator.desk.set_state(digest, "running")
            site.aggregator.desk.set_state(digest, "complete")

        waited = desk.wait(session, query_id, desk.settled(), timeout_s=30, progress=ends_it)
        assert (seen, waited.summary.state) == (["awaiting-approvals"], "complete")
        late = desk.wait(session, query_id, lambda _summary: False, timeout_s=0)
        assert not late.in_time


@pytest.mark.slow
def test_logs_are_fetched_verified_and_read_without_a_terminal(
    site: OfficerSite, tmp_path: Path
) -> None:
    query_id = filed(site)
    eve, keys = person(site, "eve")
    folder = tmp_path / "logs"
    done: list[str] = []
    fetched = {one.actor: one for one in desk.fetch_logs(eve, folder, progress=done.append)}
    assert fetched[DOWN].unreachable
    assert not fetched["aggregator"].problem
    assert {"directory and policy", "log of aggregator", "log of c1"} <= set(done)
    copy = desk.read_audit_copy(folder, eve.config.authority_key)
    assert desk.may_open_bodies(copy, eve)
    auditor = desk.AuditorKey(eve.name, keys.sealing)
    verified = desk.verify_logs(copy, auditor)
    assert query_id in {query.query for query in verified.report.queries}
    (entry,) = desk.read_entries(
        copy, auditor, desk.Selection(query=query_id[:8], kinds={"query-filed"})
    )
    assert entry.body is not None
    assert desk.read_entries(copy, auditor, desk.Selection(log="nobody")) == []


@pytest.mark.slow
def test_a_pseudonym_that_was_asked_for_on_another_consent_is_noticed(site: OfficerSite) -> None:
    officer, keys = person(site, "ana")

    def said(pseudonym: str, consent: str, template: str) -> list[str]:
        subject = SubjectFile.enrol(
            pseudonym, consent, [s.template(template)], s.sealing_key("ana").public,
            enrolled_at_ms=s.NOW_MS,
        )  # fmt: skip
        path = site.folder / f"{template}.subject"
        path.write_bytes(subject.to_bytes())
        with desk.connect(officer) as session:
            asked = replace(request(site, session, "cam-1"), subjects=(path,))
            with closing(desk.draft(session, asked, keys.sealing)) as draft:
                signed_and_filed(session, draft, keys)
                return [one.text for one in draft.notices if "asked for before" in one.text]

    assert said("P-99", "C-1", "first") == []
    assert said("P-99", "C-1", "again") == []
    (words,) = said("P-99", "C-2", "other")
    assert "'P-99' was asked for before" in words
    assert "on another consent or order, 'C-1'" in words
    assert said("P-98", "C-2", "third") == []
