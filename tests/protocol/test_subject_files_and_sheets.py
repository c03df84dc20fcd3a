"""Subject files of either version, and the sheet that a witness of the enrolment signs."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import protocol_samples as s
import pytest

from protocol.encoding import decode, encode
from protocol.enrolment import WitnessedEnrolment, WitnessSheet, check_witnessed
from protocol.errors import (
    AuthenticationFailed,
    EnrolmentNotWitnessed,
    MalformedMessage,
    UnsupportedVersion,
)
from protocol.query import Subject, TemplateReference
from protocol.signing import SigningKey
from protocol.templates import SubjectFile, Template

ANA = s.sealing_key("ana")
DOCUMENT = s.fixed("consent form", 32)
TEMPLATES = (s.template(), s.template("second"))
REFERENCES = tuple(TemplateReference(t.modality, t.model, t.digest) for t in TEMPLATES)
SHEET = WitnessSheet("P-17", "form 17", DOCUMENT, REFERENCES, s.NOW_MS - 5000, "ana")


def enrolled(consent_document: bytes = DOCUMENT) -> SubjectFile:
    return SubjectFile.enrol(
        "P-17",
        "form 17",
        TEMPLATES,
        ANA.public,
        enrolled_at_ms=s.NOW_MS,
        consent_document=consent_document,
        investigator_name="ana",
    )


def of_version_1() -> bytes:
    """A file as the first version wrote it."""
    sealed = ANA.public.seal(
        encode([s.template().to_value()]), purpose="subject-file", context=["P-17", "form 17"]
    )
    return encode(
        {
            "v": 1,
            "pseudonym": "P-17",
            "consent_reference": "form 17",
            "enrolled_at_ms": 5,
            "models": [s.MODEL],
            "sealed": sealed,
        }
    )


def digests(templates: tuple[Template, ...]) -> list[bytes]:
    return [template.digest for template in templates]


def test_a_file_says_which_document_and_templates_it_is_of_and_opens_for_its_owner() -> None:
    for document in (DOCUMENT, b""):
        file = enrolled(document)
        read = SubjectFile.parse(file.to_bytes())
        assert read == file
        assert (read.consent_document, read.investigator) == (document, "ana")
        assert read.references == REFERENCES
        assert read.models == (s.MODEL,)
        assert digests(read.open(ANA)) == digests(TEMPLATES)
        for template in TEMPLATES:
            assert template.row.tobytes() not in file.to_bytes()


def test_a_file_of_the_first_version_is_still_read_and_opened() -> None:
    file = SubjectFile.parse(of_version_1())
    assert (file.version, file.models, file.references) == (1, (s.MODEL,), ())
    assert file.consent_document == b""
    assert digests(file.open(ANA)) == [s.template().digest]
    assert SubjectFile.parse(file.to_bytes()) == file


def test_a_file_of_a_version_to_come_is_named() -> None:
    fields = decode(enrolled().to_bytes(), what="file")
    with pytest.raises(UnsupportedVersion, match=r"version 3.*update"):
        SubjectFile.parse(encode({**fields, "v": 3}))


@pytest.mark.parametrize(
    "change",
    [
        {"consent_document": bytes(32)},
        {"consent_document": b""},
        {"references": REFERENCES[:1]},
        {"references": tuple(reversed(REFERENCES))},
        {"pseudonym": "P-18"},
    ],
)
def test_a_file_whose_clear_part_was_changed_does_not_open(change: dict[str, object]) -> None:
    changed = replace(enrolled(), **change)  # type: ignore[arg-type]
    with pytest.raises(AuthenticationFailed):
        SubjectFile.parse(changed.to_bytes()).open(ANA)


def test_a_file_that_names_other_templates_than_it_holds_does_not_open() -> None:
    digest = s.fixed("another template", 32)
    false = (TemplateReference("face", s.MODEL, digest),)
    sealed = ANA.public.seal(
        encode([s.template().to_value()]),
        purpose="subject-file",
        context=["P-17", "form 17", DOCUMENT, [digest]],
    )
    file = SubjectFile("P-17", "form 17", 5, (s.MODEL,), sealed, false, DOCUMENT, "ana")
    with pytest.raises(MalformedMessage, match="other templates"):
        SubjectFile.parse(file.to_bytes()).open(ANA)


def test_a_template_is_named_once() -> None:
    fields = decode(enrolled().to_bytes(), what="file")
    twice = [REFERENCES[0].to_value()] * 2
    with pytest.raises(MalformedMessage, match="twice"):
        SubjectFile.parse(encode({**fields, "templates": twice}))


def test_a_signed_sheet_makes_an_enrolment_witnessed() -> None:
    assert WitnessSheet.parse(SHEET.to_bytes()) == SHEET
    signed = SHEET.signed_by(s.signing_key("bo"), witnessed_at_ms=s.NOW_MS)
    read = WitnessSheet.parse(signed.to_bytes())
    assert read == signed
    subject = Subject("P-17", "form 17", REFERENCES, witnessed=read.statement)
    said, witness = check_witnessed(
        subject, requester="ana", directory=s.directory(), now_ms=s.NOW_MS
    )
    assert (said.consent_document, witness) == (DOCUMENT, "bo")
    unsigned = replace(subject, witnessed=SHEET.statement)
    with pytest.raises(EnrolmentNotWitnessed, match="nobody"):
        check_witnessed(unsigned, requester="ana", directory=s.directory(), now_ms=s.NOW_MS)


def test_the_code_tells_sheets_apart_by_all_that_a_witness_signs_for() -> None:
    signed = SHEET.signed_by(s.signing_key("bo"), witnessed_at_ms=s.NOW_MS)
    assert signed.code == SHEET.code
    others = (
        replace(SHEET, pseudonym="P-18"),
        replace(SHEET, consent_document=bytes(32)),
        replace(SHEET, templates=REFERENCES[:1]),
    )
    assert len({SHEET.code, *(other.code for other in others)}) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("pseudonym", "P\x1b[31m"),
        ("consent_document", b"short"),
        ("consent_document", None),
        ("templates", []),
        ("templates", [REFERENCES[0].to_value()] * 2),
        ("investigator", "Ana!"),
        ("statement", bytes(5000)),
        ("more", 1),
    ],
)
def test_a_sheet_of_another_form_is_refused(field: str, value: object) -> None:
    fields = decode(SHEET.to_bytes(), what="sheet")
    with pytest.raises(MalformedMessage):
        WitnessSheet.parse(encode({**fields, field: value}))


def test_a_sheet_is_made_of_a_file_that_names_a_document_and_of_no_other() -> None:
    sheet = WitnessSheet.of(enrolled())
    assert sheet == replace(SHEET, enrolled_at_ms=s.NOW_MS)
    assert re.fullmatch(r"([0-9a-f]{4} ){5}[0-9a-f]{4}", sheet.code)
    for file in (enrolled(b""), SubjectFile.parse(of_version_1())):
        with pytest.raises(EnrolmentNotWitnessed, match="enrol anew"):
            WitnessSheet.of(file)


def test_what_is_not_known_stands_as_null_in_a_sheet() -> None:
    unknown = replace(SHEET, investigator="")
    fields = decode(unknown.to_bytes(), what="sheet")
    assert (fields["investigator"], fields["statement"]) == (None, None)
    assert WitnessSheet.parse(unknown.to_bytes()) == unknown


@pytest.mark.parametrize(
    "change",
    [
        {"templates": [5]},
        {"templates": ["a" * 32]},
        {"pseudonym": "p" * 129},
        {"more": 1},
    ],
)
def test_a_statement_of_another_form_is_refused(change: dict[str, object]) -> None:
    said = WitnessedEnrolment("p" * 128, DOCUMENT, (b"a" * 32,), 5)
    payload = said.sign(s.signing_key("bo")).payload
    assert WitnessedEnrolment.parse(payload) == said
    with pytest.raises(MalformedMessage):
        WitnessedEnrolment.parse(encode({**decode(payload, what="statement"), **change}))


def test_the_requester_under_a_second_name_witnesses_nothing() -> None:
    directory = s.directory()
    twin = replace(directory.principals["ana"], name="anna")
    both = replace(directory, principals={**directory.principals, "anna": twin})
    key = SigningKey("anna", s.signing_key("ana").seed)
    signed = SHEET.signed_by(key, witnessed_at_ms=s.NOW_MS)
    subject = Subject("P-17", "form 17", REFERENCES, witnessed=signed.statement)
    with pytest.raises(EnrolmentNotWitnessed, match="cannot witness"):
        check_witnessed(subject, requester="ana", directory=both, now_ms=s.NOW_MS)


def test_a_witness_whose_clock_is_ahead_a_little_counts() -> None:
    for ahead_ms, counts in ((5 * 60_000, True), (5 * 60_000 + 1, False)):
        signed = SHEET.signed_by(s.signing_key("bo"), witnessed_at_ms=s.NOW_MS + ahead_ms)
        subject = Subject("P-17", "form 17", REFERENCES, witnessed=signed.statement)
        judged = partial(
            check_witnessed, subject, requester="ana", directory=s.directory(), now_ms=s.NOW_MS
        )
        if counts:
            assert judged()
        else:
            with pytest.raises(EnrolmentNotWitnessed, match="future"):
                judged()
