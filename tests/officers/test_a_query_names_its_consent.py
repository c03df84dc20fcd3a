"""Every query on consent names its document by hash; who reads it can hold one against it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import protocol_samples as s
import pytest
from desk_pages import PageDesk, links_of, page_desk, words_of
from officer_site import OfficerSite

from officers import desk
from officers.desk.case_json import case_json
from officers.desk.consent_documents import (
    AnotherDocument,
    NamedDocument,
    hold_against,
    named_documents,
)
from officers.desk.draft_troubles import troubles
from officers.desk.drafts import SavedDraft
from officers.desk.patients import patients, take_in
from officers.query_cli import app
from protocol.errors import PolicyViolation
from protocol.policy import Policy, parse_policy
from protocol.templates import SubjectFile

FORM = b"%PDF-1.7 I, the patient, consent"
DIGEST = hashlib.sha256(FORM).digest()
OLDER = b"""policy_schema = 2
confirmations = 1
purposes = ["exercise"]
enrolment_without_witness = true
"""
POLICY = OLDER + b"consent_documents = true\n" + s.POLICY_TEXT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("consent"), policy=POLICY)
    yield made
    made.close()


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("older"), policy=OLDER + s.POLICY_TEXT)
    yield made
    made.close()


def subject_of(site: OfficerSite, pseudonym: str, document: bytes) -> Path:
    file = SubjectFile.enrol(
        pseudonym, "consent 2031/17", [s.template(pseudonym)], s.sealing_key("ana").public,
        enrolled_at_ms=s.NOW_MS, consent_document=document, investigator_name="ana",
    )  # fmt: skip
    path = site.folder / f"{pseudonym}.subject"
    path.write_bytes(file.to_bytes())
    return path


def filed(site: OfficerSite, pseudonym: str, document: bytes = DIGEST) -> str:
    now = datetime.now(UTC).replace(minute=40, second=0)
    with desk.connect(desk.Officer.load(site.officer("ana"))) as session:
        scope = desk.scope(session, ("cam-1",), now - timedelta(hours=1), now)
        asked = desk.Request(scope, (subject_of(site, pseudonym, document),), purpose="a drill")
        with closing(desk.draft(session, asked, s.sealing_key("ana"))) as draft:
            signed = desk.to_file(session, draft).by_key(s.signing_key("ana"))
            return desk.file(session, draft, signed).id


@pytest.fixture(scope="module")
def query_id(site: OfficerSite) -> str:
    return filed(site, "P-17")


def facts_of(site: OfficerSite, query_id: str) -> dict[str, str]:
    with desk.connect(desk.Officer.load(site.officer("bo"))) as session:
        facts = desk.facts_of(session, desk.look(session, query_id))
    return {str(fact.about): str(fact.words) for fact in facts}


def test_the_documents_hash_is_signed_and_an_approver_reads_it(
    site: OfficerSite, query_id: str
) -> None:
    query = site.record(query_id).query
    assert [one.consent_document for one in query.subjects] == [DIGEST]
    assert DIGEST.hex() in facts_of(site, query_id)["document"]
    with desk.connect(desk.Officer.load(site.officer("bo"))) as session:
        case = desk.look(session, query_id).case
        said = case_json(case, "", session.officer.directory, now_ms=s.NOW_MS)
    assert said["subjects"][0]["consent_document"] == DIGEST.hex()


@pytest.mark.slow
def test_under_an_older_policy_queries_are_as_older_machines_read_them(older: OfficerSite) -> None:
    query_id = filed(older, "P-17")
    assert older.record(query_id).query.subjects[0].consent_document == b""
    assert "its hash" not in facts_of(older, query_id)["document"]
    assert "not named" in facts_of(older, query_id)["document"]


def test_who_was_enrolled_without_a_document_is_not_searched_for_on_consent(
    site: OfficerSite,
) -> None:
    with pytest.raises(PolicyViolation, match="'P-18' is not named: enrol anew"):
        filed(site, "P-18", b"")
    ana = desk.Officer.load(site.officer("ana"))
    key = s.sealing_key("ana")
    take_in(ana, subject_of(site, "P-18", b"").read_bytes(), key)
    draft = SavedDraft("0" * 16, 0, patients=("P-18",))
    said = [str(one.words) for one in troubles(ana, draft, patients(ana, key), now=NOW)]
    assert any("P-18 was enrolled without one: enrol anew with the scan" in one for one in said)
    ordered = replace(draft, legal_basis="statutory-order")
    said = [str(one.words) for one in troubles(ana, ordered, patients(ana, key), now=NOW)]
    assert not any("P-18 was enrolled without one" in one for one in said)


NOW = datetime.now(UTC)


def test_the_very_document_is_known_again_and_no_other(site: OfficerSite, query_id: str) -> None:
    named = (NamedDocument("P-17", "consent 17", DIGEST), NamedDocument("P-18", "consent 18"))
    assert hold_against(named, FORM) == named[:1]
    with pytest.raises(AnotherDocument, match=hashlib.sha256(FORM + b"\n").hexdigest()):
        hold_against(named, FORM + b"\n")
    with pytest.raises(AnotherDocument, match="is empty"):
        hold_against(named, b"")
    with pytest.raises(AnotherDocument, match="names no document"):
        hold_against(named[1:], FORM)
    query = site.record(query_id).query
    (said,) = named_documents(query, "ana", site.directory, now_ms=s.NOW_MS)
    assert (said.digest, said.witness) == (DIGEST, "")


def test_a_document_is_held_against_a_query_by_a_command(
    site: OfficerSite, query_id: str, tmp_path: Path
) -> None:
    form, other = tmp_path / "form.pdf", tmp_path / "other.pdf"
    form.write_bytes(FORM)
    other.write_bytes(b"another")
    held = site.run(app, "bo", "show", query_id[:8], "--consent-document", str(form))
    assert held.exit_code == 0, held.output
    assert "form.pdf is the document on which the query looks for P-17" in held.stderr
    wrong = site.run(app, "bo", "show", query_id[:8], "--consent-document", str(other))
    assert wrong.exit_code == 1
    assert "not the document that the query rests on" in wrong.stderr


@pytest.fixture(scope="module")
def bo(site: OfficerSite) -> Iterator[PageDesk]:
    with page_desk(site, "bo") as made:
        yield made


def held(desk: PageDesk, query_id: str, content: bytes) -> str:
    return words_of(
        desk.post(f"/documents/{query_id}", files={"document": ("form.pdf", content, "x/y")})
    )


@pytest.mark.slow
def test_an_approver_holds_a_document_against_the_query_on_a_page(
    bo: PageDesk, query_id: str
) -> None:
    decide = bo.get(f"/queries/{query_id}/decide")
    assert DIGEST.hex() in words_of(decide)
    assert f"/documents/{query_id}" in links_of(decide)
    assert f"/documents/{query_id}" in links_of(bo.get(f"/queries/{query_id}"))
    assert DIGEST.hex() in words_of(bo.get(f"/documents/{query_id}"))
    assert "The file form.pdf is the document on which" in held(bo, query_id, FORM)
    assert "This is not the document" in held(bo, query_id, b"another")
    assert "The document is empty" in held(bo, query_id, b"")
    assert "Choose the document" in words_of(bo.post(f"/documents/{query_id}"))
    assert "This is not the document" in held(bo, query_id, bytes(2 << 20)), "scans are large"


@pytest.mark.slow
def test_nothing_of_a_document_that_was_held_against_it_stays(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    marked = b"%PDF-1.7 nobody else has read this" * 99
    held(bo, query_id, marked)
    files = [path for path in site.folder.rglob("*") if path.is_file()]
    assert files
    assert not any(marked[:200] in path.read_bytes() for path in files)


@pytest.mark.slow
def test_a_policy_says_to_programs_whether_it_asks_for_the_document() -> None:
    policies: list[Policy] = [parse_policy(POLICY), parse_policy(OLDER + s.POLICY_TEXT)]
    assert [one.consent_documents for one in policies] == [True, False]
