"""Witness an enrolment: first, in plain words, what is signed for; the signing is a second call.

The witness sees the pseudonym, the document's hash and the templates' digests, never a template.
"""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from officers.desk.facts import Fact
from officers.desk.officer import Officer
from officers.desk.own_word import check_own, check_same
from officers.desk.phrases import Phrase, listed, moment, nphrase, option, phrase, theirs
from protocol.directory import APPROVER, INVESTIGATOR
from protocol.enrolment import ENROLMENT_KIND, WitnessedEnrolment, WitnessSheet
from protocol.signing import Signed, SigningKey, Unsigned
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import atomic_write
from runtime.subject_files import (
    SUBJECT_SUFFIX,
    blank_sheet,
    hash_document,
    read_sheet,
    sheet_path,
)


class WitnessRefused(OperationError):
    """This officer's signature under this enrolment would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An enrolment before its witness: what is signed for, and where the signed sheet will lie.

    ``path`` is None where the sheet came from no file.
    """

    sheet: WitnessSheet
    path: Path | None
    facts: tuple[Fact, ...]


def look_at_enrolment(officer: Officer, file: Path, document: Path | None = None) -> Enrolment:
    """Return all that a witness must read; nothing is signed.

    Args:
        officer: the witness.
        file: the sheet, or the subject file that it lies beside.
        document: the consent or order as the witness holds it, to compare.

    Raises:
        OfficerError: the officer is neither approver nor investigator.
        FileProblem, SubjectFileInvalid: a file cannot be read, or is not what it should be.
        WitnessRefused: it is the officer's own enrolment, or of another document.
    """
    is_subject = file.suffix == SUBJECT_SUFFIX
    sheet = blank_sheet(file) if is_subject else read_sheet(file)
    compared = None if document is None else (str(document), hash_document(document))
    looked = look_at_sheet(officer, sheet, compared)
    return replace(looked, path=sheet_path(file) if is_subject else file)


def look_at_sheet(
    officer: Officer, sheet: WitnessSheet, document: tuple[str, bytes] | None = None
) -> Enrolment:
    """Return all that a witness must read of a sheet that is at hand; as `look_at_enrolment`.

    Args:
        document: what the consent or order is called that the witness holds, and its SHA-256.
    """
    officer.require(_duty(officer))
    if sheet.investigator == officer.name:
        raise WitnessRefused(
            phrase(
                "'{me}' enrolled '{pseudonym}', and nobody witnesses what they did themselves; ask "
                "another officer",
                me=officer.name,
                pseudonym=theirs(sheet.pseudonym),
            )
        )
    if document is not None and not hmac.compare_digest(document[1], sheet.consent_document):
        raise WitnessRefused(
            phrase(
                "{document} is not the document that was given when '{pseudonym}' was enrolled "
                "(SHA-256 {digest}); do not sign, ask the investigator which it was",
                document=theirs(document[0]),
                pseudonym=theirs(sheet.pseudonym),
                digest=sheet.consent_document.hex(),
            )
        )
    return Enrolment(sheet, None, _facts(sheet, None if document is None else document[0]))


def to_witness(officer: Officer, enrolment: Enrolment) -> Unsigned:
    """Return what is signed to witness an enrolment."""
    return enrolment.sheet.for_witness(witnessed_at_ms=system_ms()).unsigned(officer.name)


def witnessed_sheet(officer: Officer, enrolment: Enrolment, signed: Signed) -> WitnessSheet:
    """Return the sheet with what was signed for it.

    Raises:
        SignatureInvalid: it is not this enrolment that was signed for, or not by the officer.
    """
    payload = check_own(officer, signed, ENROLMENT_KIND, _duty(officer))
    said = WitnessedEnrolment.parse(payload)
    meant = enrolment.sheet.for_witness(witnessed_at_ms=said.witnessed_at_ms)
    check_same(meant.unsigned(officer.name).payload, payload, "enrolment")
    return enrolment.sheet.with_statement(signed)


def witness_enrolment(enrolment: Enrolment, key: SigningKey) -> None:
    """Sign for what was read, and write the signed sheet.

    Args:
        enrolment: from `look_at_enrolment`.
        key: the witness's.

    Raises:
        FileProblem: the sheet cannot be written.
    """
    signed = enrolment.sheet.signed_by(key, witnessed_at_ms=system_ms())
    if enrolment.path is not None:
        atomic_write(enrolment.path, signed.to_bytes(), 0o600)


def _duty(officer: Officer) -> str:
    """Return the duty by which an officer witnesses."""
    entry = officer.directory.principals.get(officer.name)
    return APPROVER if entry is not None and APPROVER in entry.duties else INVESTIGATOR


def _facts(sheet: WitnessSheet, document: str | None) -> tuple[Fact, ...]:
    digest = sheet.consent_document.hex()
    facts = [
        Fact(
            phrase("you sign that"),
            phrase(
                "the photographs were of the person who is called {pseudonym} from now on, and the "
                "document below is that person's consent, or the order. You were there, or have "
                "compared photographs, person and papers yourself",
                pseudonym=theirs(sheet.pseudonym),
            ),
        ),
        Fact(phrase("consent or order"), theirs(sheet.consent_reference)),
        Fact(
            phrase("document"),
            phrase(
                "SHA-256 {digest}: that of {document}, compared here",
                digest=digest,
                document=theirs(document),
            )
            if document is not None
            else phrase(
                "SHA-256 {digest}: not compared here: give {document}, or compare with `sha256sum "
                "FILE`",
                digest=digest,
                document=option("--consent-document FILE", "The document as you hold it"),
            ),
        ),
        Fact(
            phrase("enrolled"),
            phrase(
                "{at}, by {investigator}, as the sheet says",
                at=moment(sheet.enrolled_at_ms),
                investigator=theirs(sheet.investigator),
            )
            if sheet.investigator
            else phrase("{at}, as the sheet says", at=moment(sheet.enrolled_at_ms)),
        ),
        Fact(phrase("templates"), _templates(sheet)),
        Fact(
            phrase("code"),
            phrase(
                "{code}: must be the one that the program showed when it had enrolled",
                code=sheet.code,
            ),
        ),
        Fact(
            phrase("who reads it"),
            phrase("approvers before they sign, every custodian before it opens, and auditors"),
        ),
    ]
    if sheet.witness:
        words = phrase(
            "by {witness}; your signature replaces theirs", witness=theirs(sheet.witness)
        )
        facts.append(Fact(phrase("signed already"), words))
    return tuple(facts)


def _templates(sheet: WitnessSheet) -> Phrase:
    kinds = Counter(template.modality for template in sheet.templates)
    made = listed([f"{count} {kind}" for kind, count in sorted(kinds.items())], "and")
    return nphrase(
        "{made} template, by digest: you are handed none, and your signature opens none",
        "{made} templates, by digest: you are handed none, and your signature opens none",
        len(sheet.templates),
        made=made,
    )
