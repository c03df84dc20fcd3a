"""Patients are kept sealed to their investigator, witnessed by another, and deleted whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import protocol_samples as s
import pytest

from officers.desk.consent_documents import MAX_DOCUMENT_BYTES
from officers.desk.officer import Officer, OfficerError
from officers.desk.own_files import OwnFileInvalid
from officers.desk.patients import (
    Consent,
    Patient,
    PatientInvalid,
    check_consent,
    check_new,
    consent_scan,
    forget_patient,
    keep_patient,
    patient,
    patients,
    take_in,
    take_sheet,
)
from officers.desk.photographs import Made
from officers.desk.witnessing import (
    WitnessRefused,
    look_at_sheet,
    to_witness,
    witnessed_sheet,
)
from protocol.enrolment import WitnessSheet
from protocol.errors import SignatureInvalid
from protocol.sightings import template_bytes
from protocol.templates import SubjectFile
from runtime.subject_files import read_sheet, sheet_path

SCAN = b"%PDF-1.7 the patient consents, as signed here"
CONSENT = Consent("C-2031/17", "scan of 17.pdf", SCAN)
KEY = s.sealing_key("ana")


def officer(folder: Path, name: str = "ana") -> Officer:
    folder.mkdir(exist_ok=True)
    (folder / "directory.cbor").write_bytes(s.directory().sign(s.authority()).to_bytes())
    authority = s.authority().verify_key.raw.hex()
    file = folder / f"{name}.toml"
    file.write_text(
        f'site = "{s.SITE}"\nname = "{name}"\nauthority = "{authority}"\n'
        f'state_dir = "state-{name}"\n'
    )
    return Officer.load(file)


@pytest.fixture
def ana(tmp_path: Path) -> Officer:
    return officer(tmp_path / "site")


def made(pseudonym: str = "patient-17", scan: bytes = SCAN, owner: str = "ana") -> Made:
    digest = hashlib.sha256(scan).digest() if scan else b""
    subject = SubjectFile.enrol(
        pseudonym, CONSENT.reference, [s.template(pseudonym)], s.sealing_key(owner).public,
        enrolled_at_ms=s.NOW_MS, consent_document=digest, investigator_name=owner,
    )  # fmt: skip
    return Made(subject.to_bytes(), 0.83, 0.9)


def enrolled(ana: Officer) -> Patient:
    return keep_patient(ana, made(), CONSENT, photos=2, key=KEY)


def test_what_is_kept_is_read_again(ana: Officer) -> None:
    kept = enrolled(ana)
    (one,) = patients(ana, KEY)
    assert one == kept == patient(ana, kept.id, KEY)
    assert (one.pseudonym, one.photos, one.quality) == ("patient-17", 2, 0.83)
    assert (one.document_name, one.document_type) == ("scan of 17.pdf", "application/pdf")
    assert consent_scan(ana, one, KEY) == SCAN


def test_no_template_and_no_scan_lies_there_in_the_clear(ana: Officer) -> None:
    one = enrolled(ana)
    template = s.template("patient-17")
    secrets = [SCAN, template_bytes(template.row, template.scale), b"scan of 17.pdf"]
    for path in ana.config.state_dir.rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_bytes() for secret in secrets), path
            assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(OwnFileInvalid, match="does not open"):
        consent_scan(ana, one, s.sealing_key("dan"))


def test_a_scan_that_was_put_in_the_place_of_another_does_not_open(ana: Officer) -> None:
    one = enrolled(ana)
    other = keep_patient(ana, made("p-18"), CONSENT, photos=1, key=KEY)
    one.path.with_suffix(".consent").write_bytes(other.path.with_suffix(".consent").read_bytes())
    with pytest.raises(OwnFileInvalid):
        consent_scan(ana, one, KEY)


@pytest.mark.parametrize("name", ["", "김 환자", "../patient", "a/b", "a" * 65, "<script>"])
def test_a_pseudonym_that_could_be_a_name_or_a_path_is_refused(ana: Officer, name: str) -> None:
    with pytest.raises(PatientInvalid, match="such as patient-17") as refused:
        check_new(ana, name)
    assert refused.value.field == "pseudonym"


def test_a_pseudonym_is_taken_once(ana: Officer) -> None:
    enrolled(ana)
    with pytest.raises(PatientInvalid, match="enrolled as patient-17 already"):
        check_new(ana, " patient-17 ")


def test_who_is_no_investigator_enrols_nobody(tmp_path: Path) -> None:
    with pytest.raises(OfficerError):
        check_new(officer(tmp_path / "site", "bo"), "p-1")


@pytest.mark.parametrize(
    ("consent", "said"),
    [
        (Consent("  "), "Give the reference"),
        (Consent("x" * 129), "1 to 128"),
        (Consent("C-1", "a", b"MZ"), "no PDF, JPEG or PNG"),
        (Consent("C-1", "a", b"%PDF-" + bytes(MAX_DOCUMENT_BYTES)), "larger than 24 MiB"),
    ],
)
def test_a_consent_that_says_nothing_or_cannot_be_shown_is_refused(
    consent: Consent, said: str
) -> None:
    with pytest.raises(PatientInvalid, match=said):
        check_consent(consent)


def test_what_another_investigators_key_opens_is_not_kept(ana: Officer) -> None:
    with pytest.raises(PatientInvalid, match="your sealing key opens"):
        take_in(ana, made(owner="dan").subject, KEY)
    assert patients(ana, KEY) == ()


def test_a_file_that_a_command_made_is_taken_in(ana: Officer) -> None:
    one = take_in(ana, made().subject, KEY)
    assert (one.pseudonym, one.photos, one.document_type) == ("patient-17", 0, "")
    with pytest.raises(PatientInvalid, match="No scan"):
        consent_scan(ana, one, KEY)


def test_another_officer_witnesses_and_the_sheet_comes_back(ana: Officer, tmp_path: Path) -> None:
    one = enrolled(ana)
    assert one.witnessed.kind == "missing"
    sheet = read_sheet(sheet_path(one.path))
    bo = officer(tmp_path / "site", "bo")
    looked = look_at_sheet(bo, sheet, ("scan.pdf", CONSENT.digest))
    assert one.witnessed.code in "".join(fact.words for fact in looked.facts)
    signed = to_witness(bo, looked).by_key(s.signing_key("bo"))
    back = witnessed_sheet(bo, looked, signed)
    assert take_sheet(ana, one, back.to_bytes()) == "bo"
    assert patient(ana, one.id, KEY).witnessed.kind == "signed"


def test_nobody_witnesses_their_own_or_another_document(ana: Officer, tmp_path: Path) -> None:
    sheet = read_sheet(sheet_path(enrolled(ana).path))
    with pytest.raises(WitnessRefused, match="they did themselves"):
        look_at_sheet(ana, sheet)
    bo = officer(tmp_path / "site", "bo")
    with pytest.raises(WitnessRefused, match="is not the document"):
        look_at_sheet(bo, sheet, ("other.pdf", bytes(32)))


def test_a_signature_for_another_enrolment_makes_no_sheet(ana: Officer, tmp_path: Path) -> None:
    bo = officer(tmp_path / "site", "bo")
    sheets = [WitnessSheet.of(SubjectFile.parse(made(name).subject)) for name in ("p-1", "p-2")]
    shown, other = (look_at_sheet(bo, sheet) for sheet in sheets)
    signed = to_witness(bo, other).by_key(s.signing_key("bo"))
    with pytest.raises(SignatureInvalid, match="another enrolment"):
        witnessed_sheet(bo, shown, signed)


def test_a_sheet_that_counts_for_nothing_is_not_taken(ana: Officer) -> None:
    one = enrolled(ana)
    sheet = read_sheet(sheet_path(one.path))
    own = sheet.signed_by(s.signing_key("ana"), witnessed_at_ms=s.NOW_MS)
    other = WitnessSheet.of(SubjectFile.parse(made("p-2").subject))
    for data, said in (
        (b"\xff\xff", "no witness's sheet"),
        (bytes(100_000), "no witness's sheet"),
        (other.to_bytes(), "another enrolment"),
        (sheet.to_bytes(), "counts for nothing"),
        (own.to_bytes(), "cannot witness"),
    ):
        with pytest.raises(PatientInvalid, match=said):
            take_sheet(ana, one, data)
    assert patient(ana, one.id, KEY).witnessed.kind == "missing"


def test_a_deleted_patient_leaves_nothing(ana: Officer) -> None:
    one = enrolled(ana)
    forget_patient(one)
    assert patients(ana, KEY) == ()
    assert not list(one.path.parent.iterdir())
    with pytest.raises(PatientInvalid, match="any more"):
        patient(ana, one.id, KEY)
    assert enrolled(ana).pseudonym == "patient-17"
