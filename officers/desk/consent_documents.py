"""The documents of consent that a query rests on, and whether a document at hand is one of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from officers.desk.phrases import Phrase, phrase, theirs
from protocol.directory import Directory
from protocol.enrolment import check_witnessed
from protocol.errors import ProtocolError
from protocol.policy import CONSENT
from protocol.query import Query, Subject
from runtime.errors import OperationError

MAX_DOCUMENT_BYTES = 24 << 20


class AnotherDocument(OperationError):
    """A document is none of those that the query rests on, or the query names none."""


@dataclass(frozen=True, slots=True)
class NamedDocument:
    """By which document a subject is looked for.

    Args:
        pseudonym: of the subject.
        reference: of the consent or order, in the asker's words.
        digest: SHA-256; empty where the query does not say it.
        witness: who signed as witness over that document; empty if nobody did.
    """

    pseudonym: str
    reference: str
    digest: bytes = b""
    witness: str = ""


def named_documents(
    query: Query, requester: str, directory: Directory, *, now_ms: int
) -> tuple[NamedDocument, ...]:
    """Return what a verified query says of each subject's document: itself, or by its witness."""

    def of(subject: Subject) -> NamedDocument:
        digest, witness = subject.consent_document, ""
        try:
            said, witness = check_witnessed(
                subject, requester=requester, directory=directory, now_ms=now_ms
            )
            digest = said.consent_document
        except ProtocolError:  # no witness whose word counts
            witness = ""
        return NamedDocument(subject.pseudonym, subject.consent_reference, digest, witness)

    return tuple(of(subject) for subject in query.subjects)


def hold_against(documents: Sequence[NamedDocument], content: bytes) -> tuple[NamedDocument, ...]:
    """Return for which subjects a document is the one that the query rests on.

    Raises:
        AnotherDocument: for none of them, or the document is empty.
    """
    if not content:
        raise AnotherDocument(phrase("The document is empty; choose the scan itself."))
    held = hashlib.sha256(content).digest()
    found = tuple(one for one in documents if one.digest and hmac.compare_digest(one.digest, held))
    if found:
        return found
    if not any(one.digest for one in documents):
        raise AnotherDocument(
            phrase(
                "The query names no document, so that nothing can be held against it. Ask whoever "
                "filed it for one that does."
            )
        )
    raise AnotherDocument(
        phrase(
            "This is not the document that the query rests on: its SHA-256 is {digest}. A scan "
            "made anew, or a file saved once more, is another file: ask for the very one.",
            digest=held.hex(),
        )
    )


def document_words(subject: Subject, query: Query) -> Phrase | None:
    """Return which document a subject's consent is; None for an order that names none."""
    if subject.consent_document:
        return phrase(
            "{subject}: the file whose SHA-256 is {digest}",
            subject=theirs(subject.pseudonym),
            digest=subject.consent_document.hex(),
        )
    if query.legal_basis != CONSENT:
        return None
    if subject.witnessed:
        return phrase(
            "{subject}: the one that the witness signed for", subject=theirs(subject.pseudonym)
        )
    return phrase(
        "{subject}: not named: that there is one is the asker's word alone, and no document can be "
        "held against this query",
        subject=theirs(subject.pseudonym),
    )
