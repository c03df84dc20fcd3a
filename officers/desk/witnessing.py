"""Witness an enrolment: first, in plain words, what is signed for; the signing is a second call.

The witness sees the pseudonym, the document's hash and the templates' digests, never a template.
"""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from officers.desk.facts import Fact
from officers.desk.moments import local_text
from officers.desk.officer import Officer
from protocol.directory import APPROVER, INVESTIGATOR
from protocol.enrolment import WitnessSheet
from protocol.signing import SigningKey
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
    """An enrolment before its witness: what is signed for, and where the signed sheet will lie."""

    sheet: WitnessSheet
    path: Path
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
    listed = officer.directory.principals.get(officer.name)
    approver = listed is not None and APPROVER in listed.duties
    officer.require(APPROVER if approver else INVESTIGATOR)
    is_subject = file.suffix == SUBJECT_SUFFIX
    sheet = blank_sheet(file) if is_subject else read_sheet(file)
    if sheet.investigator == officer.name:
        raise WitnessRefused(
            f"'{officer.name}' enrolled '{sheet.pseudonym}', and nobody witnesses what they did "
            "themselves; ask another officer"
        )
    if document is not None and not hmac.compare_digest(
        hash_document(document), sheet.consent_document
    ):
        raise WitnessRefused(
            f"{document} is not the document that was given when '{sheet.pseudonym}' was enrolled "
            f"(SHA-256 {sheet.consent_document.hex()}); do not sign, ask the investigator which "
            "it was"
        )
    return Enrolment(sheet, sheet_path(file) if is_subject else file, _facts(sheet, document))


def witness_enrolment(enrolment: Enrolment, key: SigningKey) -> None:
    """Sign for what was read, and write the signed sheet.

    Args:
        enrolment: from `look_at_enrolment`.
        key: the witness's.

    Raises:
        FileProblem: the sheet cannot be written.
    """
    signed = enrolment.sheet.signed_by(key, witnessed_at_ms=system_ms())
    atomic_write(enrolment.path, signed.to_bytes(), 0o600)


def _facts(sheet: WitnessSheet, document: Path | None) -> tuple[Fact, ...]:
    by = f", by {sheet.investigator}" if sheet.investigator else ""
    compared = (
        f"that of {document}, compared here"
        if document is not None
        else "not compared here: give --consent-document FILE, or compare with `sha256sum FILE`"
    )
    kinds = Counter(template.modality for template in sheet.templates)
    made = " and ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    facts = [
        Fact(
            "you sign that",
            f"the photographs were of the person who is called {sheet.pseudonym} from now on, and "
            "the document below is that person's consent, or the order. You were there, or have "
            "compared photographs, person and papers yourself",
        ),
        Fact("consent or order", sheet.consent_reference),
        Fact("document", f"SHA-256 {sheet.consent_document.hex()}: {compared}"),
        Fact("enrolled", f"{local_text(sheet.enrolled_at_ms)}{by}, as the sheet says"),
        Fact(
            "templates",
            f"{made} template{'s' if len(sheet.templates) > 1 else ''}, by digest: you are handed "
            "none, and your signature opens none",
        ),
        Fact("code", f"{sheet.code}: must be the one that the program showed when it had enrolled"),
        Fact(
            "who reads it",
            "approvers before they sign, every custodian before it opens, and auditors",
        ),
    ]
    if sheet.witness:
        facts.append(Fact("signed already", f"by {sheet.witness}; your signature replaces theirs"))
    return tuple(facts)
