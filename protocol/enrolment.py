"""The witness of an enrolment: whose photographs they were, and that the consent was there.

Approvers read a pseudonym and digests, and cannot see whose face is behind them. So a second
officer, who was there when the photographs were taken or compared them with the person's papers,
signs for the pseudonym, the document of consent (by its hash) and the digests of the templates. A
query carries the statement, and custodians check it where the policy asks for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace

from protocol.directory import APPROVER, INVESTIGATOR, Directory
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import EnrolmentNotWitnessed, MalformedMessage, ProtocolError
from protocol.keytree import NEEDS_CONSENT
from protocol.query import DIGEST_BYTES, MAX_TEMPLATES, Subject, TemplateReference, references_from
from protocol.signing import Signed, SigningKey, Unsigned, Verifier
from protocol.templates import SubjectFile

ENROLMENT_KIND = "enrolment"
MAX_STATEMENT_BYTES = 4096
MAX_SHEET_BYTES = 16 * 1024
LARGEST_LEAD_MS = 5 * 60_000
_SHEET = "witness sheet"
_CODE_DIGITS = 24


@dataclass(frozen=True, slots=True)
class WitnessedEnrolment:
    """What the witness signs for.

    Args:
        consent_document: SHA-256 of the document of consent or of the order.
        templates: digests of the templates that were made.
    """

    pseudonym: str
    consent_document: bytes
    templates: tuple[bytes, ...]
    witnessed_at_ms: int

    def unsigned(self, witness: str) -> Unsigned:
        """Return what the officer signs who was there."""
        payload = {
            "v": PROTOCOL_VERSION,
            "pseudonym": self.pseudonym,
            "consent_document": self.consent_document,
            "templates": list(self.templates),
            "witnessed_at_ms": self.witnessed_at_ms,
        }
        return Unsigned(ENROLMENT_KIND, witness, encode(payload))

    def sign(self, witness: SigningKey) -> Signed:
        """Sign as the officer who was there."""
        return self.unsigned(witness.signer).by_key(witness)

    @classmethod
    def parse(cls, payload: bytes) -> WitnessedEnrolment:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a witness's statement.
        """
        fields = Fields(decode(payload, what="witnessed enrolment"), what="witnessed enrolment")
        fields.version()
        statement = cls(
            fields.text("pseudonym", max_length=128),
            fields.raw("consent_document", size=DIGEST_BYTES),
            _digests(fields.array("templates", max_items=MAX_TEMPLATES, min_items=1)),
            fields.integer("witnessed_at_ms"),
        )
        fields.done()
        return statement


@dataclass(frozen=True, slots=True)
class WitnessSheet:
    """What the witness is handed to sign, and hands back signed: a file beside the subject's file.

    It tells no template and opens none. Nobody signs for the sheet itself: its reader takes nothing
    in it for true but what the witness signed.

    Args:
        investigator: who enrolled, by name; empty if that is not known.
        templates: what was made, by salted digest.
        statement: the signed `WitnessedEnrolment`; empty until a witness has signed.
    """

    pseudonym: str
    consent_reference: str
    consent_document: bytes
    templates: tuple[TemplateReference, ...]
    enrolled_at_ms: int
    investigator: str = ""
    statement: bytes = b""

    @classmethod
    def of(cls, file: SubjectFile) -> WitnessSheet:
        """Return the sheet of a subject file, for a witness to sign.

        Raises:
            EnrolmentNotWitnessed: nobody can witness this enrolment.
        """
        if not file.consent_document:
            raise EnrolmentNotWitnessed(
                f"nobody can witness the enrolment of '{file.pseudonym}': no document of consent "
                "was given with it; enrol anew with --consent-document"
            )
        return cls(
            file.pseudonym,
            file.consent_reference,
            file.consent_document,
            file.references,
            file.enrolled_at_ms,
            file.investigator,
        )

    @property
    def witness(self) -> str:
        """Who signed, by the statement's own word, which is not checked; empty if nobody has."""
        try:
            return Signed.parse(
                self.statement, kind=ENROLMENT_KIND, max_bytes=MAX_STATEMENT_BYTES
            ).signer
        except ProtocolError:
            return ""

    @property
    def code(self) -> str:
        """Short for all that the witness signs for; who saw it at the enrolment knows it again."""
        digests = [template.digest for template in self.templates]
        body = encode([_SHEET, self.pseudonym, self.consent_document, digests])
        text = hashlib.sha256(body).hexdigest()[:_CODE_DIGITS]
        return " ".join(text[at : at + 4] for at in range(0, _CODE_DIGITS, 4))

    def for_witness(self, *, witnessed_at_ms: int) -> WitnessedEnrolment:
        """Return what a witness of this sheet signs for."""
        return WitnessedEnrolment(
            self.pseudonym,
            self.consent_document,
            tuple(template.digest for template in self.templates),
            witnessed_at_ms,
        )

    def with_statement(self, signed: Signed) -> WitnessSheet:
        """Return the sheet with the witness's statement, which is not checked."""
        return replace(self, statement=signed.to_bytes())

    def signed_by(self, witness: SigningKey, *, witnessed_at_ms: int) -> WitnessSheet:
        """Return the sheet with the witness's statement."""
        return self.with_statement(self.for_witness(witnessed_at_ms=witnessed_at_ms).sign(witness))

    def to_bytes(self) -> bytes:
        """Encode for the disk."""
        return encode(
            {
                "v": PROTOCOL_VERSION,
                "pseudonym": self.pseudonym,
                "consent_reference": self.consent_reference,
                "consent_document": self.consent_document,
                "templates": [template.to_value() for template in self.templates],
                "enrolled_at_ms": self.enrolled_at_ms,
                "investigator": self.investigator or None,
                "statement": self.statement or None,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> WitnessSheet:
        """Read a sheet; its statement is still anybody's word.

        Raises:
            MalformedMessage, ModelMismatch: it is not one.
        """
        fields = Fields(decode(data, what=_SHEET, max_bytes=MAX_SHEET_BYTES), what=_SHEET)
        fields.version()
        sheet = cls(
            fields.text("pseudonym", max_length=128),
            fields.text("consent_reference"),
            fields.raw("consent_document", size=DIGEST_BYTES),
            references_from(fields.array("templates", max_items=MAX_TEMPLATES, min_items=1)),
            fields.integer("enrolled_at_ms"),
            fields.optional("investigator", fields.name) or "",
            fields.optional(
                "statement", lambda name: fields.raw(name, max_size=MAX_STATEMENT_BYTES)
            )
            or b"",
        )
        fields.done()
        return sheet


def check_witnessed(
    subject: Subject, *, requester: str, directory: Directory, now_ms: int
) -> tuple[WitnessedEnrolment, str]:
    """Check that another officer than ``requester`` witnessed the enrolment of ``subject``.

    Returns:
        What was signed for, and by whom.

    Raises:
        EnrolmentNotWitnessed: no statement, not a genuine one, the requester's own, of another
            subject or document, or not of every template that the query brings.
    """
    who = f"the enrolment of '{subject.pseudonym}'"
    if not subject.witnessed:
        raise EnrolmentNotWitnessed(
            f"{who} was witnessed by nobody, and the policy asks for it: have a second officer "
            "sign with `sealtrace subject witness`"
        )

    def resolve(name: str) -> Verifier:
        principal = directory.principals.get(name)
        approver = principal is not None and APPROVER in principal.duties
        return directory.resolver(APPROVER if approver else INVESTIGATOR)(name)

    try:
        signed = Signed.parse(subject.witnessed, kind=ENROLMENT_KIND, max_bytes=MAX_STATEMENT_BYTES)
        statement = WitnessedEnrolment.parse(signed.verify(resolve))
    except ProtocolError as error:
        raise EnrolmentNotWitnessed(f"the witness's statement over {who}: {error}") from error
    own = directory.require(requester, INVESTIGATOR).verify_key.raw
    theirs = directory.principals[signed.signer].verify_key.raw
    if signed.signer == requester or hmac.compare_digest(theirs, own):
        raise EnrolmentNotWitnessed(f"'{requester}' cannot witness {who}, whom they ask for")
    if statement.pseudonym != subject.pseudonym:
        raise EnrolmentNotWitnessed(f"the witness's statement over {who} is of somebody else")
    unseen = {template.digest for template in subject.templates} - set(statement.templates)
    if unseen:
        raise EnrolmentNotWitnessed(
            f"{len(unseen)} templates of '{subject.pseudonym}' are none that the witness signed for"
        )
    named = subject.consent_document
    if named and not hmac.compare_digest(named, statement.consent_document):
        raise EnrolmentNotWitnessed(f"the witness's statement over {who} is over another document")
    if statement.witnessed_at_ms > now_ms + LARGEST_LEAD_MS:
        raise EnrolmentNotWitnessed(f"the witness's statement over {who} is dated in the future")
    return statement, signed.signer


def check_examples_shown(subject: Subject, modalities: Iterable[str]) -> None:
    """Check that a witnessed template stands by each kind that an example may show with consent.

    Args:
        subject: whose own templates have been witnessed.
        modalities: that the query opens.

    Raises:
        EnrolmentNotWitnessed: there is none: an earlier sighting could show anybody's face.
    """
    own = {template.modality for template in subject.templates}
    unseen = NEEDS_CONSENT.intersection(modalities) - own
    if subject.examples and unseen:
        kind = " and ".join(sorted(unseen))
        raise EnrolmentNotWitnessed(
            f"the query opens {kind} templates, and '{subject.pseudonym}' brings none that a "
            "witness has seen: that an earlier sighting is theirs would be the asker's word alone. "
            f"Bring the subject's own {kind} template, or leave {kind} out"
        )


def _digests(items: list[object]) -> tuple[bytes, ...]:
    digests = [item for item in items if isinstance(item, bytes) and len(item) == DIGEST_BYTES]
    if len(digests) != len(items) or len(set(digests)) != len(digests):
        raise MalformedMessage("a witness's statement names templates by distinct digests")
    return tuple(digests)
