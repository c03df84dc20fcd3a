"""A second officer reads, in plain words, what an enrolment is of, and signs; no template moves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import pytest
from officer_site import OfficerSite
from typer.testing import Result

from officers import desk
from protocol.enrolment import WitnessSheet, check_witnessed
from protocol.query import Subject
from protocol.templates import SubjectFile
from runtime.subject_files import sheet_path
from sealtrace.subject_cli import app

CONSENT = b"I consent. P. 17"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "consent.pdf"
    path.write_bytes(CONSENT)
    return path


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    """A subject file of ana's with its sheet beside it, as `subject enrol` leaves them."""
    file = SubjectFile.enrol(
        "P-17",
        "form 17",
        [s.template()],
        s.sealing_key("ana").public,
        enrolled_at_ms=s.NOW_MS,
        consent_document=hashlib.sha256(CONSENT).digest(),
        investigator_name="ana",
    )
    path = tmp_path / "p-17.subject"
    path.write_bytes(file.to_bytes())
    sheet_path(path).write_bytes(WitnessSheet.of(file).to_bytes())
    return path


def witness(
    site: OfficerSite, officer: str, *arguments: object, answer: str | None = None
) -> Result:
    return site.run(app, officer, "witness", *map(str, arguments), answer=answer)


def explained(result: Result, *said: str) -> None:
    assert result.exit_code == 1
    words = " ".join(result.output.split())
    for part in said:
        assert part in words, result.output
    assert "Traceback" not in result.output


def test_the_witness_reads_what_is_signed_for_and_signs(
    site: OfficerSite, subject: Path, document: Path
) -> None:
    sheet = sheet_path(subject)
    blank = sheet.read_bytes()
    declined = witness(site, "bo", sheet, "--consent-document", document, answer="n\n")
    explained(
        declined, "who is called P-17 from now on", "form 17", hashlib.sha256(CONSENT).hexdigest(),
        "compared here", "1 face template", "you are handed none", "by ana",
        WitnessSheet.parse(blank).code, "nothing was signed",
    )  # fmt: skip
    assert sheet.read_bytes() == blank
    agreed = witness(site, "bo", sheet, "--consent-document", document, answer="y\n")
    assert agreed.exit_code == 0, agreed.output
    assert "Give it back to ana" in agreed.output
    signed = WitnessSheet.parse(sheet.read_bytes())
    asked = Subject("P-17", "form 17", signed.templates, witnessed=signed.statement)
    said, name = check_witnessed(
        asked, requester="ana", directory=s.directory(), now_ms=2 * s.NOW_MS
    )
    assert (name, said.pseudonym) == ("bo", "P-17")
    assert said.consent_document == hashlib.sha256(CONSENT).digest()
    assert sheet.stat().st_mode & 0o077 == 0


def test_a_sheet_holds_no_template(subject: Path) -> None:
    sealed = SubjectFile.parse(subject.read_bytes()).sealed
    sheet = sheet_path(subject).read_bytes()
    assert s.template().row.tobytes() not in sheet
    assert not any(sealed[at : at + 16] in sheet for at in range(0, len(sealed) - 16, 16))


def test_a_lost_sheet_is_made_anew_from_the_subject_file(site: OfficerSite, subject: Path) -> None:
    sheet = sheet_path(subject)
    code = WitnessSheet.parse(sheet.read_bytes()).code
    sheet.unlink()
    before = subject.read_bytes()
    result = witness(site, "dan", subject, "--yes")  # another investigator
    assert result.exit_code == 0, result.output
    assert "not compared here" in result.output
    signed = WitnessSheet.parse(sheet.read_bytes())
    assert (signed.witness, signed.code) == ("dan", code)
    assert subject.read_bytes() == before


def test_another_document_is_found_out_before_anybody_signs(
    site: OfficerSite, subject: Path, document: Path
) -> None:
    document.write_bytes(b"I do not consent.")
    for answer in ("bo", "cy"):
        result = witness(site, answer, sheet_path(subject), "--consent-document", document, "--yes")
        explained(result, "is not the document", "do not sign")
    document.write_bytes(b"")
    empty = witness(site, "bo", sheet_path(subject), "--consent-document", document, "--yes")
    explained(empty, "is empty")
    assert WitnessSheet.parse(sheet_path(subject).read_bytes()).statement == b""


def test_who_cannot_witness_is_told(site: OfficerSite, subject: Path) -> None:
    explained(witness(site, "ana", sheet_path(subject), "--yes"), "nobody witnesses")
    explained(witness(site, "eve", sheet_path(subject), "--yes"), "auditor")
    assert WitnessSheet.parse(sheet_path(subject).read_bytes()).statement == b""


@pytest.mark.slow
def test_what_cannot_be_witnessed_is_told(site: OfficerSite, subject: Path) -> None:
    explained(witness(site, "bo", site.officer("bo"), "--yes"), "not a witness's sheet")
    explained(witness(site, "bo", subject.with_name("none.witness"), "--yes"), "none.witness")
    bare = SubjectFile.enrol(
        "P-18", "form 18", [s.template()], s.sealing_key("ana").public, enrolled_at_ms=s.NOW_MS
    )
    subject.write_bytes(bare.to_bytes())
    explained(witness(site, "bo", subject, "--yes"), "no document of consent", "enrol anew")


@pytest.mark.slow
def test_a_second_witness_is_told_of_the_first(site: OfficerSite, subject: Path) -> None:
    assert witness(site, "bo", sheet_path(subject), "--yes").exit_code == 0
    again = witness(site, "cy", sheet_path(subject), "--yes")
    assert "signed already by bo" in " ".join(again.output.split())
    assert WitnessSheet.parse(sheet_path(subject).read_bytes()).witness == "cy"


@pytest.mark.slow
def test_a_page_can_do_it_without_a_terminal(site: OfficerSite, subject: Path) -> None:
    officer = desk.Officer.load(site.officer("bo"))
    enrolment = desk.look_at_enrolment(officer, sheet_path(subject))
    assert {fact.about for fact in enrolment.facts} >= {"you sign that", "document", "code"}
    desk.witness_enrolment(enrolment, s.signing_key("bo"))
    assert WitnessSheet.parse(sheet_path(subject).read_bytes()).witness == "bo"
