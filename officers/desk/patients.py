"""The patients whom an investigator has enrolled at the desk: what is kept of each, and where.

In the officer's state folder, four files a patient: the sealed template (the subject file that
commands take, too), the witness's sheet, what is to be remembered of the photographs, and the scan
of the consent, the last two sealed to the investigator. Nothing of them is in the clear but what a
query would say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from officers.desk.consent_documents import MAX_DOCUMENT_BYTES
from officers.desk.officer import Officer
from officers.desk.own_files import (
    delete,
    folder_of,
    read_sealed,
    read_sealed_json,
    write_sealed,
    write_sealed_json,
)
from officers.desk.photographs import Made
from officers.desk.phrases import Phrase, phrase
from protocol import hpke
from protocol.directory import INVESTIGATOR
from protocol.displaynames import display_name
from protocol.enrolment import MAX_SHEET_BYTES, WitnessSheet, check_witnessed
from protocol.errors import EnrolmentNotWitnessed, MalformedMessage, ProtocolError
from protocol.keytree import FOLLOWED
from protocol.query import Subject
from protocol.templates import SubjectFile
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import atomic_write
from runtime.subject_files import (
    SHEET_SUFFIX,
    SUBJECT_SUFFIX,
    read_sheet,
    read_subject,
    require_pseudonym,
    sheet_path,
)

PATIENTS_FOLDER = "patients"
MAX_SUBJECT_BYTES = 1 << 20
_DETAILS_SUFFIX, _SCAN_SUFFIX = ".enrolment", ".consent"
_DETAILS, _SCAN = "enrolment-details/1", "consent-scan/1"
_SCHEMA = 1
_ID_DIGITS = 12
_MAX_REFERENCE = 128
_TYPES = (
    (b"%PDF-", "application/pdf"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
)
WitnessKind = Literal["impossible", "missing", "signed", "worthless"]


class PatientInvalid(OperationError):
    """A patient cannot be enrolled or found so; the words say why. ``field``: by which input."""

    def __init__(self, words: Phrase, field: str = "") -> None:
        super().__init__(words)
        self.field = field


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Whether a second officer stands behind an enrolment.

    Args:
        kind: impossible: no document was given; missing: nobody has signed; worthless: what was
            signed counts for nothing.
        code: short for what the witness signs for.
    """

    kind: WitnessKind
    words: Phrase
    code: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """An enrolled person.

    Args:
        id: names this very enrolment in addresses, where no pseudonym stands.
        photos, quality: of the photographs; 0 where that is not known.
        document_type: of the scan that is kept; empty if there is none.
    """

    id: str
    path: Path
    file: SubjectFile
    witnessed: Witnessed
    photos: int = 0
    quality: float = 0.0
    document_name: str = ""
    document_type: str = ""

    @property
    def pseudonym(self) -> str:
        """What queries call the patient."""
        return self.file.pseudonym

    @property
    def clothes_alone(self) -> bool:
        """Whether nothing but clothes is held of them."""
        held = {one.modality for one in self.file.references}
        return held == {FOLLOWED}


@dataclass(frozen=True, slots=True)
class Consent:
    """The consent or order: its reference, and its scan if there is one."""

    reference: str
    name: str = ""
    scan: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the scan, as queries and witnesses name it; empty if there is none."""
        return hashlib.sha256(self.scan).digest() if self.scan else b""


def document_type(data: bytes) -> str:
    """Return what kind of scan this is.

    Raises:
        PatientInvalid: it is empty, too large, or of a kind that could not be shown again.
    """
    if not data:
        raise PatientInvalid(phrase("The document is empty; choose the scan itself."), "document")
    if len(data) > MAX_DOCUMENT_BYTES:
        words = phrase(
            "The document is larger than {most} MiB; scan it smaller.",
            most=MAX_DOCUMENT_BYTES >> 20,
        )
        raise PatientInvalid(words, "document")
    for begins, kind in _TYPES:
        if data.startswith(begins):
            return kind
    raise PatientInvalid(
        phrase("The document is no PDF, JPEG or PNG file; save the scan as one of these."),
        "document",
    )


def check_consent(consent: Consent) -> Consent:
    """Return the consent with its reference in normal form.

    Raises:
        PatientInvalid: it has no reference, or its scan cannot be kept.
    """
    if not consent.reference.strip():
        words = phrase("Give the reference of the consent or order; no query goes without one.")
        raise PatientInvalid(words, "consent")
    try:
        reference = display_name(consent.reference, what="consent", max_length=_MAX_REFERENCE)
    except MalformedMessage as error:
        words = phrase(
            "The reference of the consent has to be a text of 1 to {most} characters.",
            most=_MAX_REFERENCE,
        )
        raise PatientInvalid(words, "consent") from error
    if consent.scan:
        document_type(consent.scan)
    return Consent(reference, consent.name, consent.scan)


def check_new(officer: Officer, pseudonym: str) -> str:
    """Return a pseudonym under which nobody is enrolled here.

    Raises:
        OfficerError: the officer is no investigator.
        PatientInvalid: it is no pseudonym, or taken.
    """
    officer.require(INVESTIGATOR)
    try:
        name = require_pseudonym(pseudonym.strip())
    except OperationError as error:
        words = phrase(
            "A pseudonym is 1 to 64 letters (A to Z), digits, dots, hyphens or underscores, such "
            "as patient-17: never the name."
        )
        raise PatientInvalid(words, "pseudonym") from error
    if _subject_path(officer, name).exists():
        words = phrase(
            "Somebody is enrolled as {pseudonym} already. Choose another pseudonym, or delete that "
            "enrolment first.",
            pseudonym=name,
        )
        raise PatientInvalid(words, "pseudonym")
    return name


def keep_patient(
    officer: Officer, made: Made, consent: Consent, *, photos: int, key: hpke.PrivateKey
) -> Patient:
    """Keep who was enrolled, and the scan of the consent; all of it or nothing.

    Args:
        officer: the investigator.
        made: from `PhotoHelper.enrol`, for this consent.
        consent: from `check_consent`.
        photos: how many there were.
        key: the investigator's, which must open what was made.

    Raises:
        PatientInvalid: the pseudonym is taken by now, or the key does not open what was made.
        FileProblem: it cannot be written.
    """
    file = _opens(made.subject, key)
    path = _subject_path(officer, check_new(officer, file.pseudonym))
    details = {
        "schema": _SCHEMA,
        "photos": photos,
        "quality": round(made.quality, 3),
        "document_name": consent.name,
        "document_type": document_type(consent.scan) if consent.scan else "",
    }
    about = _about(made.subject)
    try:
        if consent.scan:
            write_sealed(officer, path.with_suffix(_SCAN_SUFFIX), consent.scan, _SCAN, about)
        write_sealed_json(officer, path.with_suffix(_DETAILS_SUFFIX), details, _DETAILS, about)
        if file.consent_document:
            atomic_write(sheet_path(path), WitnessSheet.of(file).to_bytes(), 0o600)
        _write_new(path, made.subject)
    except BaseException:
        if not path.exists():
            _delete_besides(path)
        raise
    return _read(officer, path, key)


def take_in(officer: Officer, data: bytes, key: hpke.PrivateKey) -> Patient:
    """Keep a subject file that a command made.

    Args:
        data: of the file.

    Raises:
        PatientInvalid: it is none of this officer's, or its pseudonym is taken.
        FileProblem: it cannot be written.
    """
    file = _opens(data, key)
    path = _subject_path(officer, check_new(officer, file.pseudonym))
    if file.consent_document:
        atomic_write(sheet_path(path), WitnessSheet.of(file).to_bytes(), 0o600)
    _write_new(path, data)
    return _read(officer, path, key)


def patients(officer: Officer, key: hpke.PrivateKey) -> tuple[Patient, ...]:
    """Return who is enrolled here, the newest first; what is no subject file is passed by."""
    found = []
    for path in _kept(officer):
        with suppress(OperationError):
            found.append(_read(officer, path, key))
    return tuple(sorted(found, key=lambda one: (-one.file.enrolled_at_ms, one.pseudonym)))


def patient(officer: Officer, patient_id: str, key: hpke.PrivateKey) -> Patient:
    """Return one patient.

    Raises:
        PatientInvalid: nobody is enrolled here under that id.
    """
    for one in patients(officer, key):
        if one.id == patient_id:
            return one
    raise PatientInvalid(
        phrase("Nobody is enrolled here so any more: the enrolment was deleted, or done anew.")
    )


def consent_scan(officer: Officer, one: Patient, key: hpke.PrivateKey) -> bytes:
    """Open the scan of a patient's consent.

    Raises:
        PatientInvalid: there is none, or it is not the one that the subject file names.
        OwnFileInvalid: it does not open.
    """
    path = one.path.with_suffix(_SCAN_SUFFIX)
    if not path.exists():
        raise PatientInvalid(phrase("No scan of the consent is kept here."))
    most = MAX_DOCUMENT_BYTES + (1 << 16)
    scan = read_sealed(officer, path, key, _SCAN, _about(one.path.read_bytes()), most_bytes=most)
    if hashlib.sha256(scan).digest() != one.file.consent_document:
        raise PatientInvalid(
            phrase("The scan that is kept is not the document that the enrolment names.")
        )
    return scan


def take_sheet(officer: Officer, one: Patient, data: bytes) -> str:
    """Keep the sheet that a witness has signed, and return who that is.

    Raises:
        PatientInvalid: it is no sheet, of another enrolment, or nobody's whose word counts.
        FileProblem: it cannot be written.
    """
    try:
        if len(data) > MAX_SHEET_BYTES:
            raise MalformedMessage("too large")
        sheet = WitnessSheet.parse(data)
    except ProtocolError as error:
        words = phrase("This is no witness's sheet; choose the file that the witness sent back.")
        raise PatientInvalid(words, "sheet") from error
    if not one.file.consent_document or sheet.code != WitnessSheet.of(one.file).code:
        words = phrase("This sheet is of another enrolment; choose the one of this patient.")
        raise PatientInvalid(words, "sheet")
    try:
        witness = _check(officer, one.file, sheet.statement)
    except EnrolmentNotWitnessed as error:
        words = phrase("The sheet counts for nothing: {error}", error=error)
        raise PatientInvalid(words, "sheet") from error
    atomic_write(sheet_path(one.path), sheet.to_bytes(), 0o600)
    return witness


def forget_patient(one: Patient) -> None:
    """Delete all that is kept of a patient here; queries that were filed stay as they are.

    Raises:
        FileProblem: a file cannot be deleted.
    """
    delete(one.path)
    _delete_besides(one.path)


def _opens(data: bytes, key: hpke.PrivateKey) -> SubjectFile:
    if len(data) > MAX_SUBJECT_BYTES:
        raise PatientInvalid(phrase("The file is too large to be a subject file."), "file")
    try:
        file = SubjectFile.parse(data)
        for template in file.open(key):
            template.row.fill(0)
    except ProtocolError as error:
        words = phrase("This is no subject file that your sealing key opens: {error}", error=error)
        raise PatientInvalid(words, "file") from error
    return file


def _read(officer: Officer, path: Path, key: hpke.PrivateKey) -> Patient:
    file = read_subject(path)
    about = _about(path.read_bytes())
    details: dict[str, object] = {}
    with suppress(OperationError):  # made by a command, or under an earlier key
        details = read_sealed_json(
            officer, path.with_suffix(_DETAILS_SUFFIX), key, _DETAILS, about, schema=_SCHEMA
        )
    photos, quality = details.get("photos"), details.get("quality")
    has_scan = path.with_suffix(_SCAN_SUFFIX).exists()
    return Patient(
        about[:_ID_DIGITS],
        path,
        file,
        _witnessed(officer, file, path),
        photos if isinstance(photos, int) else 0,
        float(quality) if isinstance(quality, int | float) else 0.0,
        str(details.get("document_name", "")) if has_scan else "",
        str(details.get("document_type", "")) if has_scan else "",
    )


def _witnessed(officer: Officer, file: SubjectFile, path: Path) -> Witnessed:
    if not file.consent_document:
        return Witnessed("impossible", phrase("nobody can witness: no document was given"))
    code = WitnessSheet.of(file).code
    try:
        sheet = read_sheet(sheet_path(path))
    except OperationError:
        return Witnessed("missing", phrase("nobody has witnessed yet"), code)
    if not sheet.statement:
        return Witnessed("missing", phrase("nobody has witnessed yet"), code)
    try:
        witness = _check(officer, file, sheet.statement)
    except EnrolmentNotWitnessed as error:
        words = phrase("what was signed counts for nothing: {error}", error=error)
        return Witnessed("worthless", words, code)
    return Witnessed("signed", phrase("witnessed by {witness}", witness=witness), code)


def _check(officer: Officer, file: SubjectFile, statement: bytes) -> str:
    """Verify a witness's statement over a subject file; return whose it is."""
    whole = Subject(file.pseudonym, file.consent_reference, file.references, witnessed=statement)
    said, witness = check_witnessed(
        whole, requester=officer.name, directory=officer.directory, now_ms=system_ms()
    )
    if said.consent_document != file.consent_document:
        raise EnrolmentNotWitnessed(
            f"the witness's statement over the enrolment of '{file.pseudonym}' is over another "
            "document"
        )
    return witness


def _write_new(path: Path, data: bytes) -> None:
    atomic_write(path, data, 0o600, overwrite=False)


def _delete_besides(path: Path) -> None:
    for suffix in (SHEET_SUFFIX, _DETAILS_SUFFIX, _SCAN_SUFFIX):
        delete(path.with_suffix(suffix))


def _about(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _subject_path(officer: Officer, pseudonym: str) -> Path:
    # The suffix is put behind: a pseudonym may have dots of its own.
    return folder_of(officer, PATIENTS_FOLDER) / f"{pseudonym}{SUBJECT_SUFFIX}"


def _kept(officer: Officer) -> Iterator[Path]:
    folder = officer.config.state_dir / PATIENTS_FOLDER
    if folder.is_dir():
        yield from sorted(folder.glob(f"*{SUBJECT_SUFFIX}"))
