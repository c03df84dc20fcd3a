"""Subject queries, the templates that ride beside them, approvals and withdrawals.

PROTOCOL.md, "Subject query". A query names its subjects by pseudonym and their templates by a
salted digest; the templates themselves go sealed to the matcher and nobody else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import MalformedMessage, ModelMismatch, SealError
from protocol.names import SLOT_MS, require_name
from protocol.policy import LEGAL_BASES, MODALITIES
from protocol.sealing import model_dimension
from protocol.sightings import row_bytes, template_bytes
from protocol.signing import Signed, SigningKey, sign

QUERY_KIND, APPROVAL_KIND, WITHDRAWAL_KIND = "query", "approval", "withdrawal"
MATCHER_KEY_KIND = "matcher-key"
ID_BYTES, SALT_BYTES, DIGEST_BYTES = 16, 32, 32
MAX_SUBJECTS, MAX_TEMPLATES, MAX_CAMERAS = 10, 8, 65_536
_TEMPLATES = "query-templates"
_SUBJECT_FILE = "subject-file"


@dataclass(frozen=True, slots=True)
class Template:
    """One template of a subject, in the clear: ``row`` (d,) int8 with its scale, and a salt."""

    modality: str
    model: str
    salt: bytes
    row: npt.NDArray[np.int8]
    scale: float

    @property
    def digest(self) -> bytes:
        """SHA-256 over salt, model and template: commits to it without telling it."""
        body = encode([self.salt, self.modality, self.model, template_bytes(self.row, self.scale)])
        return hashlib.sha256(body).digest()

    def to_value(self) -> list[object]:
        """Return the array that is encoded."""
        return [self.modality, self.model, self.salt, template_bytes(self.row, self.scale)]

    @classmethod
    def from_value(cls, value: object) -> Template:
        """Read a decoded array.

        :raises MalformedMessage, ModelMismatch: it is not a template of the model it names.
        """
        if (
            not isinstance(value, list)
            or len(value) != 4
            or value[0] not in MODALITIES
            or not isinstance(value[1], str)
            or not isinstance(value[2], bytes)
            or len(value[2]) != SALT_BYTES
            or not isinstance(value[3], bytes)
        ):
            raise MalformedMessage("not a template")
        dimension = model_dimension(value[1])
        if len(value[3]) != row_bytes(dimension):
            raise ModelMismatch(f"a template is not of model '{value[1]}'")
        row = np.frombuffer(value[3][:dimension], np.int8).copy()  # so that it can be wiped
        scale = float(np.frombuffer(value[3][dimension:], "<f4")[0])
        if not np.isfinite(scale) or not 0.98 < scale * float(np.linalg.norm(row * 1.0)) < 1.02:
            raise MalformedMessage("a template has not unit length")
        return cls(value[0], value[1], value[2], row, scale)


@dataclass(frozen=True, slots=True)
class TemplateReference:
    """What a query says of a template: its modality, model id and digest."""

    modality: str
    model: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject: a pseudonym, the reference of the recorded consent or order, the templates."""

    pseudonym: str
    consent_reference: str
    templates: tuple[TemplateReference, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A subject query: who, where, when, how and why.

    :param window_from_ms, window_to_ms: whole slots; ``to`` is exclusive and may lie ahead.
    :param live: whether the slot that is running may be opened before it ends.
    :param thresholds: model id to the comparison score that makes a candidate.
    :param expected_false: false candidates to expect, as shown before anyone signed.
    :param policy_digest: the policy that requester and approvers saw.
    """

    query_id: bytes
    site: str
    subjects: tuple[Subject, ...]
    purpose: str
    legal_basis: str
    cameras: tuple[str, ...]
    window_from_ms: int
    window_to_ms: int
    modalities: tuple[str, ...]
    live: bool
    thresholds: Mapping[str, float]
    contacts: bool
    max_candidates: int
    expected_false: float
    requested_at_ms: int
    not_after_ms: int
    policy_digest: bytes

    def sign(self, requester: SigningKey) -> Signed:
        """Sign as the requesting investigator."""
        payload = {
            "v": PROTOCOL_VERSION,
            "id": self.query_id,
            "site": self.site,
            "subjects": [
                {
                    "pseudonym": subject.pseudonym,
                    "consent_reference": subject.consent_reference,
                    "templates": [[t.modality, t.model, t.digest] for t in subject.templates],
                }
                for subject in self.subjects
            ],
            "purpose": self.purpose,
            "legal_basis": self.legal_basis,
            "cameras": list(self.cameras),
            "window_from_ms": self.window_from_ms,
            "window_to_ms": self.window_to_ms,
            "modalities": list(self.modalities),
            "live": self.live,
            "thresholds": dict(self.thresholds),
            "contacts": self.contacts,
            "max_candidates": self.max_candidates,
            "expected_false": self.expected_false,
            "requested_at_ms": self.requested_at_ms,
            "not_after_ms": self.not_after_ms,
            "policy_digest": self.policy_digest,
        }
        return sign(QUERY_KIND, encode(payload), requester)

    @classmethod
    def parse(cls, payload: bytes) -> Query:
        """Read a verified payload.

        :raises MalformedMessage: it is not a query, or its window is not of whole slots.
        """
        fields = Fields(decode(payload, what="query"), what="query")
        fields.version()
        query = cls(
            query_id=fields.raw("id", size=ID_BYTES),
            site=fields.name("site"),
            subjects=tuple(
                _read_subject(value)
                for value in fields.array("subjects", max_items=MAX_SUBJECTS, min_items=1)
            ),
            purpose=fields.text("purpose", max_length=2000),
            legal_basis=fields.choice("legal_basis", LEGAL_BASES),
            cameras=tuple(
                require_name(camera, what="camera")
                for camera in fields.texts("cameras", max_items=MAX_CAMERAS, min_items=1)
            ),
            window_from_ms=fields.integer("window_from_ms"),
            window_to_ms=fields.integer("window_to_ms"),
            modalities=fields.texts("modalities", max_items=len(MODALITIES), min_items=1),
            live=fields.boolean("live"),
            thresholds=_read_thresholds(fields.mapping("thresholds", max_items=MAX_TEMPLATES)),
            contacts=fields.boolean("contacts"),
            max_candidates=fields.integer("max_candidates", low=1, high=10_000),
            expected_false=fields.number("expected_false", 0, 1e15),
            requested_at_ms=fields.integer("requested_at_ms"),
            not_after_ms=fields.integer("not_after_ms"),
            policy_digest=fields.raw("policy_digest", size=DIGEST_BYTES),
        )
        fields.done()
        query._check()
        return query

    def _check(self) -> None:
        if (
            self.window_from_ms % SLOT_MS
            or self.window_to_ms % SLOT_MS
            or self.window_to_ms <= self.window_from_ms
        ):
            raise MalformedMessage("a query's window is not one or more whole slots")
        if not set(self.modalities) <= MODALITIES:
            raise MalformedMessage("a query asks for an unknown modality")
        pseudonyms = [subject.pseudonym for subject in self.subjects]
        if len(set(pseudonyms)) != len(pseudonyms):
            raise MalformedMessage("a query names a subject twice")
        for subject in self.subjects:
            for template in subject.templates:
                if template.modality not in self.modalities:
                    raise MalformedMessage("a template is of a modality not asked for")
                if template.model not in self.thresholds:
                    raise MalformedMessage(f"no threshold is given for model '{template.model}'")


def seal_templates(
    templates: Mapping[str, Sequence[Template]], matcher: hpke.PublicKey, *, query_digest: bytes
) -> bytes:
    """Seal the subjects' templates (pseudonym to templates) to the matcher of one query."""
    value = {name: [t.to_value() for t in listed] for name, listed in templates.items()}
    return matcher.seal(encode(value), purpose=_TEMPLATES, context=[query_digest])


def open_templates(
    sealed: bytes, matcher: hpke.PrivateKey, query: Query, *, query_digest: bytes
) -> dict[str, tuple[Template, ...]]:
    """Open the templates of ``query`` and hold each against the digest that was signed.

    :raises AuthenticationFailed: altered, or sealed to another matcher or for another query.
    :raises SealError: they are not the templates that the query was signed for.
    """
    opened = matcher.open(sealed, purpose=_TEMPLATES, context=[query_digest])
    value = decode(opened, what="query templates")
    if not isinstance(value, dict) or not all(isinstance(v, list) for v in value.values()):
        raise MalformedMessage("not the templates of a query")
    templates = {
        str(name): tuple(Template.from_value(item) for item in listed)
        for name, listed in value.items()
    }
    for subject in query.subjects:
        stated = [(t.modality, t.model, t.digest) for t in subject.templates]
        brought = [(t.modality, t.model, t.digest) for t in templates.get(subject.pseudonym, ())]
        if not hmac.compare_digest(
            encode([list(s) for s in stated]), encode([list(b) for b in brought])
        ):
            raise SealError(f"the templates of '{subject.pseudonym}' are not those of the query")
    if set(templates) != {subject.pseudonym for subject in query.subjects}:
        raise SealError("templates came for somebody whom the query does not name")
    return templates


@dataclass(frozen=True, slots=True)
class MatcherKey:
    """The fresh sealing key that the aggregator's matcher made for one query."""

    query_digest: bytes
    key: hpke.PublicKey
    created_at_ms: int

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "key": self.key.raw,
            "created_at_ms": self.created_at_ms,
        }
        return sign(MATCHER_KEY_KIND, encode(payload), aggregator)

    @classmethod
    def parse(cls, payload: bytes) -> MatcherKey:
        """Read a verified payload.

        :raises MalformedMessage: it is not a matcher's key.
        """
        fields = Fields(decode(payload, what="matcher key"), what="matcher key")
        fields.version()
        key = cls(
            fields.raw("query_digest", size=DIGEST_BYTES),
            hpke.PublicKey(fields.raw("key", size=hpke.PUBLIC_BYTES)),
            fields.integer("created_at_ms"),
        )
        fields.done()
        return key


@dataclass(frozen=True, slots=True)
class Approval:
    """An approver's yes to one query, under one policy. The signer is the approver."""

    query_digest: bytes
    policy_digest: bytes
    approved_at_ms: int

    def sign(self, approver: SigningKey) -> Signed:
        """Sign as the approver."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "policy_digest": self.policy_digest,
            "approved_at_ms": self.approved_at_ms,
        }
        return sign(APPROVAL_KIND, encode(payload), approver)

    @classmethod
    def parse(cls, payload: bytes) -> Approval:
        """Read a verified payload.

        :raises MalformedMessage: it is not an approval.
        """
        fields = Fields(decode(payload, what="approval"), what="approval")
        fields.version()
        approval = cls(
            fields.raw("query_digest", size=DIGEST_BYTES),
            fields.raw("policy_digest", size=DIGEST_BYTES),
            fields.integer("approved_at_ms"),
        )
        fields.done()
        return approval


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An approver takes an approval back, or the requester the whole query. For good."""

    query_digest: bytes
    reason: str
    withdrawn_at_ms: int

    def sign(self, officer: SigningKey) -> Signed:
        """Sign as the approver or requester."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "reason": self.reason,
            "withdrawn_at_ms": self.withdrawn_at_ms,
        }
        return sign(WITHDRAWAL_KIND, encode(payload), officer)

    @classmethod
    def parse(cls, payload: bytes) -> Withdrawal:
        """Read a verified payload.

        :raises MalformedMessage: it is not a withdrawal.
        """
        fields = Fields(decode(payload, what="withdrawal"), what="withdrawal")
        fields.version()
        withdrawal = cls(
            fields.raw("query_digest", size=DIGEST_BYTES),
            fields.text("reason", max_length=2000),
            fields.integer("withdrawn_at_ms"),
        )
        fields.done()
        return withdrawal


@dataclass(frozen=True, slots=True)
class SubjectFile:
    """An enrolled subject as an investigator keeps it: templates sealed to the investigator.

    ``pseudonym`` and ``consent_reference`` are clear; ``sealed`` opens with the investigator's
    sealing key alone.
    """

    pseudonym: str
    consent_reference: str
    enrolled_at_ms: int
    models: tuple[str, ...]
    sealed: bytes

    @classmethod
    def enrol(
        cls,
        pseudonym: str,
        consent_reference: str,
        templates: Sequence[Template],
        investigator: hpke.PublicKey,
        *,
        enrolled_at_ms: int,
    ) -> SubjectFile:
        """Seal ``templates`` to the investigator."""
        sealed = investigator.seal(
            encode([template.to_value() for template in templates]),
            purpose=_SUBJECT_FILE,
            context=[pseudonym, consent_reference],
        )
        models = tuple(template.model for template in templates)
        return cls(pseudonym, consent_reference, enrolled_at_ms, models, sealed)

    def open(self, investigator: hpke.PrivateKey) -> tuple[Template, ...]:
        """Open the templates.

        :raises AuthenticationFailed: another investigator's file, or altered.
        """
        opened = investigator.open(
            self.sealed, purpose=_SUBJECT_FILE, context=[self.pseudonym, self.consent_reference]
        )
        value = decode(opened, what="subject templates")
        if not isinstance(value, list) or not 0 < len(value) <= MAX_TEMPLATES:
            raise MalformedMessage("a subject file holds no templates")
        return tuple(Template.from_value(item) for item in value)

    def to_bytes(self) -> bytes:
        """Encode for the disk."""
        return encode(
            {
                "v": PROTOCOL_VERSION,
                "pseudonym": self.pseudonym,
                "consent_reference": self.consent_reference,
                "enrolled_at_ms": self.enrolled_at_ms,
                "models": list(self.models),
                "sealed": self.sealed,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> SubjectFile:
        """Read a subject file.

        :raises MalformedMessage: it is not one.
        """
        fields = Fields(decode(data, what="subject file", max_bytes=1 << 20), what="subject file")
        fields.version()
        subject = cls(
            fields.text("pseudonym", max_length=128),
            fields.text("consent_reference"),
            fields.integer("enrolled_at_ms"),
            fields.texts("models", max_items=MAX_TEMPLATES, min_items=1),
            fields.raw("sealed"),
        )
        fields.done()
        return subject


def _read_subject(value: object) -> Subject:
    fields = Fields(value, what="subject")
    pseudonym = fields.text("pseudonym", max_length=128)
    reference = fields.text("consent_reference")
    templates = []
    for item in fields.array("templates", max_items=MAX_TEMPLATES, min_items=1):
        if (
            not isinstance(item, list)
            or len(item) != 3
            or item[0] not in MODALITIES
            or not isinstance(item[1], str)
            or not isinstance(item[2], bytes)
            or len(item[2]) != DIGEST_BYTES
        ):
            raise MalformedMessage("a template reference is not [modality, model, digest]")
        model_dimension(item[1])
        templates.append(TemplateReference(item[0], item[1], item[2]))
    fields.done()
    return Subject(pseudonym, reference, tuple(templates))


def _read_thresholds(values: Mapping[str, object]) -> dict[str, float]:
    thresholds = {}
    for model, score in values.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not -1 <= score <= 1:
            raise MalformedMessage("a threshold is not a score from -1 to 1")
        thresholds[model] = float(score)
    return thresholds
