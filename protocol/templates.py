"""A subject's templates: as an investigator keeps them, and as they ride beside a query.

docs/protocol.md, "Queries". Neither custodians nor approvers ever hold biometrics: a query carries
salted digests, and the templates themselves go sealed to the matcher and to nobody else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from protocol import hpke
from protocol.clothes import MAX_WORDS
from protocol.encoding import Fields, decode, encode
from protocol.errors import (
    MalformedMessage,
    ModelMismatch,
    SealError,
    TemplatesDisagree,
    UnsupportedVersion,
)
from protocol.keytree import MODALITIES
from protocol.query import DIGEST_BYTES, MAX_TEMPLATES, Query, TemplateReference, references_from
from protocol.sealing import model_dimension
from protocol.sightings import row_bytes, template_bytes

SALT_BYTES = 32
SUBJECT_FILE_VERSION = 2
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

        Raises:
            MalformedMessage, ModelMismatch: it is not a template of the model it names.
        """
        if (
            not isinstance(value, list)
            or len(value) != 4
            or not isinstance(value[0], str)
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


def check_resemblance(
    subject: str, templates: Sequence[Template], least: Callable[[str], float]
) -> None:
    """Check that templates said to be of one person resemble one another, each pair of a model.

    Pairs, not each with their mean: an average of several people resembles all of them.

    Args:
        least: model id to the cosine that two of its templates must reach.

    Raises:
        TemplatesDisagree: two do not; it names them by their place, counted from 1.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for place, template in enumerate(templates):
        groups.setdefault((template.modality, template.model), []).append(place)
    for (_modality, model), places in groups.items():
        needed = least(model)
        rows = np.stack([templates[place].row.astype(np.float64) for place in places])
        scales = np.array([templates[place].scale for place in places])
        try:
            cosines = (rows * scales[:, None]) @ (rows * scales[:, None]).T
        finally:
            rows.fill(0)
        low, high = np.unravel_index(int(np.argmin(cosines)), cosines.shape)
        if cosines[low, high] < needed:
            first, second = sorted((places[low] + 1, places[high] + 1))
            raise TemplatesDisagree(
                f"templates {first} and {second} of '{subject}' do not seem to be of one person "
                f"(score {cosines[low, high]:.2f}, {needed:.2f} is needed): enrol each person "
                "under a pseudonym of their own"
            )


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

    Raises:
        AuthenticationFailed: altered, or sealed to another matcher or for another query.
        SealError: they are not the templates that the query was signed for.
    """
    opened = matcher.open(sealed, purpose=_TEMPLATES, context=[query_digest])
    value = decode(opened, what="query templates")
    if not isinstance(value, dict) or not all(
        isinstance(v, list) and len(v) <= MAX_TEMPLATES for v in value.values()
    ):
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
class SubjectFile:
    """An enrolled subject as an investigator keeps it: templates sealed to the investigator.

    All but ``sealed`` is clear, and tells no template; ``sealed`` opens with the investigator's
    sealing key alone, and only beside what stands in the clear as it was when it was sealed.

    Args:
        models: ids of the models that made the templates.
        references: of the templates, with their salted digests; none in a file of version 1.
        consent_document: SHA-256 of the document of consent or of the order; empty if none was
            given, so that nobody can witness the enrolment.
        investigator: to whom it is sealed, by name; empty in a file of version 1.
        words: the clothes in words that its one template was made of; empty for a person.
    """

    pseudonym: str
    consent_reference: str
    enrolled_at_ms: int
    models: tuple[str, ...]
    sealed: bytes
    references: tuple[TemplateReference, ...] = ()
    consent_document: bytes = b""
    investigator: str = ""
    version: int = SUBJECT_FILE_VERSION
    words: str = ""

    @classmethod
    def enrol(
        cls,
        pseudonym: str,
        consent_reference: str,
        templates: Sequence[Template],
        investigator: hpke.PublicKey,
        *,
        enrolled_at_ms: int,
        consent_document: bytes = b"",
        investigator_name: str = "",
        words: str = "",
    ) -> SubjectFile:
        """Seal ``templates`` to the investigator."""
        references = tuple(TemplateReference(t.modality, t.model, t.digest) for t in templates)
        file = cls(
            pseudonym,
            consent_reference,
            enrolled_at_ms,
            _models_of(references),
            b"",
            references,
            consent_document,
            investigator_name,
            words=words,
        )
        sealed = investigator.seal(
            encode([template.to_value() for template in templates]),
            purpose=_SUBJECT_FILE,
            context=file._context(),
        )
        return replace(file, sealed=sealed)

    def open(self, investigator: hpke.PrivateKey) -> tuple[Template, ...]:
        """Open the templates.

        Raises:
            AuthenticationFailed: another investigator's file, or altered.
            MalformedMessage: what it says of its templates is not true.
        """
        opened = investigator.open(self.sealed, purpose=_SUBJECT_FILE, context=self._context())
        value = decode(opened, what="subject templates")
        if not isinstance(value, list) or not 0 < len(value) <= MAX_TEMPLATES:
            raise MalformedMessage("a subject file holds no templates")
        templates = tuple(Template.from_value(item) for item in value)
        stated = [reference.digest for reference in self.references]
        if self.version > 1 and stated != [template.digest for template in templates]:
            raise MalformedMessage("a subject file names other templates than it holds")
        return templates

    def to_bytes(self) -> bytes:
        """Encode for the disk."""
        value: dict[str, object] = {
            "v": self.version,
            "pseudonym": self.pseudonym,
            "consent_reference": self.consent_reference,
            "enrolled_at_ms": self.enrolled_at_ms,
            "sealed": self.sealed,
        }
        if self.version == 1:
            value["models"] = list(self.models)
        else:
            value |= {
                "templates": [reference.to_value() for reference in self.references],
                "consent_document": self.consent_document or None,
                "investigator": self.investigator or None,
            }
            if self.words:  # left out otherwise: earlier versions know no such key
                value["words"] = self.words
        return encode(value)

    @classmethod
    def parse(cls, data: bytes) -> SubjectFile:
        """Read a subject file of either version.

        Raises:
            MalformedMessage, ModelMismatch: it is not one.
            UnsupportedVersion: it is of a version to come.
        """
        fields = Fields(decode(data, what="subject file", max_bytes=1 << 20), what="subject file")
        version = fields.integer("v")
        if not 1 <= version <= SUBJECT_FILE_VERSION:
            raise UnsupportedVersion(
                f"the subject file is of version {version}, and this machine reads "
                f"{SUBJECT_FILE_VERSION} at most: it needs its update"
            )
        subject = cls(
            fields.text("pseudonym", max_length=128),
            fields.text("consent_reference"),
            fields.integer("enrolled_at_ms"),
            (),
            fields.raw("sealed"),
            version=version,
        )
        if version == 1:
            models = fields.texts("models", max_items=MAX_TEMPLATES, min_items=1)
            subject = replace(subject, models=models)
        else:
            references = references_from(
                fields.array("templates", max_items=MAX_TEMPLATES, min_items=1)
            )
            subject = replace(
                subject,
                references=references,
                models=_models_of(references),
                consent_document=fields.optional(
                    "consent_document", lambda name: fields.raw(name, size=DIGEST_BYTES)
                )
                or b"",
                investigator=fields.optional("investigator", fields.name) or "",
                words=fields.text("words", max_length=MAX_WORDS) if "words" in fields else "",
            )
        fields.done()
        return subject

    def _context(self) -> list[object]:
        """Return what the seal is bound to."""
        if self.version == 1:
            return [self.pseudonym, self.consent_reference]
        digests = [reference.digest for reference in self.references]
        said = [self.words] if self.words else []
        return [self.pseudonym, self.consent_reference, self.consent_document, digests, *said]


def _models_of(references: Sequence[TemplateReference]) -> tuple[str, ...]:
    return tuple(sorted({reference.model for reference in references}))
