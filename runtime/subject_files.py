"""Where a subject file and its witness's sheet lie: for who enrols, witnesses and asks."""

from __future__ import annotations

import re
from pathlib import Path

from protocol.enrolment import MAX_SHEET_BYTES, WitnessSheet
from protocol.errors import ProtocolError
from protocol.templates import SubjectFile
from runtime.errors import OperationError
from runtime.fsio import read_file, sha256_file

SUBJECT_SUFFIX, SHEET_SUFFIX = ".subject", ".witness"
_MAX_SUBJECT_BYTES = 1 << 20
_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SubjectFileInvalid(OperationError):
    """A file is not what it is taken for, or says too little."""


def require_pseudonym(text: str) -> str:
    """Return ``text`` if it can be a pseudonym: an ASCII id, which also names files.

    Raises:
        SubjectFileInvalid: it cannot.
    """
    if not _PSEUDONYM.fullmatch(text):
        raise SubjectFileInvalid(
            f"the pseudonym {text!r} is not 1 to 64 letters (A to Z), digits, dots, hyphens or "
            "underscores beginning with a letter or digit; choose another. What people call the "
            "case, in any script, is kept with `sealtrace subject case PSEUDONYM --name`"
        )
    return text


def read_subject(path: Path) -> SubjectFile:
    """Read a subject file; it stays sealed.

    Raises:
        FileProblem: it cannot be read.
        SubjectFileInvalid: it is not one.
    """
    try:
        return SubjectFile.parse(read_file(path, _MAX_SUBJECT_BYTES))
    except ProtocolError as error:
        raise SubjectFileInvalid(
            f"{path} is not a subject file ({error}); make one with `sealtrace subject enrol`"
        ) from error


def sheet_path(subject: Path) -> Path:
    """Return where the witness's sheet of a subject file lies: beside it."""
    return subject.with_suffix(SHEET_SUFFIX)


def read_sheet(path: Path) -> WitnessSheet:
    """Read a witness's sheet; nothing in it has been checked.

    Raises:
        FileProblem: it cannot be read.
        SubjectFileInvalid: it is not one.
    """
    try:
        return WitnessSheet.parse(read_file(path, MAX_SHEET_BYTES))
    except ProtocolError as error:
        raise SubjectFileInvalid(
            f"{path} is not a witness's sheet ({error}); `sealtrace subject enrol "
            "--consent-document FILE` makes one beside the subject file"
        ) from error


def blank_sheet(path: Path) -> WitnessSheet:
    """Return the sheet of a subject file, for a witness to sign.

    Raises:
        FileProblem: the subject file cannot be read.
        SubjectFileInvalid: it is not one, or no document of consent was given when it was made.
    """
    try:
        return WitnessSheet.of(read_subject(path))
    except ProtocolError as error:
        raise SubjectFileInvalid(f"{path}: {error}") from error


def hash_document(path: Path) -> bytes:
    """Return the SHA-256 of a document of consent or of an order.

    Raises:
        FileProblem: it cannot be read.
        SubjectFileInvalid: it is no file, or there is nothing in it.
    """
    if path.exists() and not path.is_file():
        raise SubjectFileInvalid(f"{path} is not a regular file; name the document itself")
    digest, size = sha256_file(path)
    if not size:
        raise SubjectFileInvalid(f"the document {path} is empty; name the one that was signed")
    return bytes.fromhex(digest)
