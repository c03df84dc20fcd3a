"""Subject queries.

docs/protocol.md, "Queries". A query names its subjects by pseudonym and their templates by a
salted digest; the templates themselves go sealed to the matcher alone (`protocol.templates`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.clothes import MAX_WORDS
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, UnsupportedVersion
from protocol.keytree import FOLLOWED, MODALITIES
from protocol.names import SLOT_MS, SightingName, require_name
from protocol.policy import LEGAL_BASES, LINKED_CONTACTS, NEAR_CONTACTS, OPTIONS
from protocol.sealing import model_dimension
from protocol.signing import Signed, SigningKey, Unsigned

QUERY_KIND = "query"
MAX_QUERY_BYTES = 4 << 20
"""Of a signed query: it may name ten thousand cameras."""
ID_BYTES, DIGEST_BYTES = 16, 32
MAX_SUBJECTS, MAX_TEMPLATES, MAX_CAMERAS = 10, 8, 65_536
MAX_CONFIRMERS, MAX_EXAMPLES = 8, 8
SLOT_MIN, MAX_AFTERWARDS_MIN = SLOT_MS // 60_000, 1440
QUERY_VERSIONS = frozenset({1, 2})
_MAX_WITNESSED = 4096


@dataclass(frozen=True, slots=True)
class TemplateReference:
    """What a query says of a template: its modality, model id and digest."""

    modality: str
    model: str
    digest: bytes

    @classmethod
    def from_value(cls, value: object) -> TemplateReference:
        """Read a decoded array.

        Raises:
            MalformedMessage, ModelMismatch: it is not a reference to a template.
        """
        if (
            not isinstance(value, list)
            or len(value) != 3
            or not isinstance(value[0], str)
            or value[0] not in MODALITIES
            or not isinstance(value[1], str)
            or not isinstance(value[2], bytes)
            or len(value[2]) != DIGEST_BYTES
        ):
            raise MalformedMessage("a template reference is not [modality, model, digest]")
        model_dimension(value[1])
        return cls(value[0], value[1], value[2])

    def to_value(self) -> list[object]:
        """Return the array that is encoded."""
        return [self.modality, self.model, self.digest]


def references_from(values: Sequence[object]) -> tuple[TemplateReference, ...]:
    """Read decoded references, each of another template.

    Raises:
        MalformedMessage, ModelMismatch: one is not a reference to a template, or comes twice.
    """
    references = tuple(TemplateReference.from_value(value) for value in values)
    if len({reference.digest for reference in references}) != len(references):
        raise MalformedMessage("a template is named twice")
    return references


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject: a pseudonym, the reference of the recorded consent or order, the templates.

    Args:
        witnessed: the second officer's signed statement (`protocol.enrolment`), from version 2 on.
        examples: sightings that serve in place of a photograph, from version 2 on.
        words: the clothes in words that the one template was made of, as the asker's program says;
            empty for anybody who was seen. From version 2 on.
        consent_document: SHA-256 of the document of consent or of the order; empty where it is not
            said. From version 2 on.
    """

    pseudonym: str
    consent_reference: str
    templates: tuple[TemplateReference, ...]
    witnessed: bytes = b""
    examples: tuple[SightingName, ...] = ()
    words: str = ""
    consent_document: bytes = b""

    def to_value(self, version: int) -> dict[str, object]:
        """Return the map that is encoded in a query of that version."""
        value: dict[str, object] = {
            "pseudonym": self.pseudonym,
            "consent_reference": self.consent_reference,
            "templates": [template.to_value() for template in self.templates],
        }
        if version > 1:
            value["witnessed"] = self.witnessed or None
            value["examples"] = [example.to_value() for example in self.examples]
            if self.words:  # left out otherwise: earlier versions know no such key
                value["words"] = self.words
            if self.consent_document:  # the same
                value["consent_document"] = self.consent_document
        return value

    @classmethod
    def from_value(cls, value: object, version: int) -> Subject:
        """Read a decoded map.

        Raises:
            MalformedMessage: it is not a subject.
        """
        fields = Fields(value, what="subject")
        examples: tuple[SightingName, ...] = ()
        witnessed = b""
        if version > 1:
            examples = tuple(
                SightingName.from_value(item)
                for item in fields.array("examples", max_items=MAX_EXAMPLES)
            )
            stated = fields.optional(
                "witnessed", lambda name: fields.raw(name, max_size=_MAX_WITNESSED)
            )
            witnessed = stated or b""
        subject = cls(
            pseudonym=fields.text("pseudonym", max_length=128),
            consent_reference=fields.text("consent_reference"),
            templates=tuple(
                TemplateReference.from_value(item)
                for item in fields.array(
                    "templates", max_items=MAX_TEMPLATES, min_items=0 if examples else 1
                )
            ),
            witnessed=witnessed,
            examples=examples,
            words=fields.text("words", max_length=MAX_WORDS)
            if version > 1 and "words" in fields
            else "",
            consent_document=fields.raw("consent_document", size=DIGEST_BYTES)
            if version > 1 and "consent_document" in fields
            else b"",
        )
        fields.done()
        return subject


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query asks for besides comparing; from version 2 on. The defaults ask for nothing.

    Args:
        linked_contacts: that the templates of those who were near a confirmed candidate are
            compared with one another, so that one person has one number.
        continuation: that a subject be followed by clothes from a confirmed sighting.
        same_place_counts: how many others were there.
        evidence_stills: of how many sightings at most a picture is asked for.
        afterwards_min: with ``same_place_counts``, that it is counted only from a sighting that was
            confirmed until so many minutes afterwards: whole quarter hours; 0: always.
    """

    linked_contacts: bool = False
    continuation: bool = False
    same_place_counts: bool = False
    evidence_stills: int = 0
    afterwards_min: int = 0

    @property
    def about_company(self) -> bool:
        """Whether something is done with what the rows of confirmed candidates tell."""
        return self.linked_contacts or self.afterwards_min > 0

    @property
    def wait_for_decisions(self) -> bool:
        """Whether something is done once officers have confirmed a candidate."""
        return self.continuation or self.about_company


@dataclass(frozen=True, slots=True)
class Query:
    """A subject query: who, where, when, how and why.

    Args:
        window_from_ms, window_to_ms: whole slots; ``to`` is exclusive and may lie ahead.
        live: whether the slot that is running may be opened before it ends.
        thresholds: model id to the comparison score that makes a candidate.
        expected_false: false candidates to expect, as shown before anyone signed.
        policy_digest: the policy that requester and approvers saw.
        version: of its form; 1 has nothing of what follows.
        purpose_kind: which of the policy's purposes it serves.
        confirmers: officers besides the requester to whom results are sealed, and who confirm hits.
        asks: for what besides comparing.
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
    version: int = 1
    purpose_kind: str = ""
    confirmers: tuple[str, ...] = ()
    asks: Asked = Asked()

    @property
    def options(self) -> tuple[str, ...]:
        """Which of `protocol.policy.OPTIONS` it asks for."""
        asks = self.asks
        asked = {
            "live": self.live,
            NEAR_CONTACTS: self.contacts,
            LINKED_CONTACTS: asks.linked_contacts,
            "continuation": asks.continuation,
            "same_place_counts": asks.same_place_counts,
            "evidence": asks.evidence_stills > 0,
        }
        return tuple(option for option in OPTIONS if asked[option])

    @property
    def by_words(self) -> bool:
        """Whether it looks for clothes said in words: nobody in particular."""
        return any(subject.words for subject in self.subjects)

    @property
    def ahead_ms(self) -> int:
        """How much of the window lies ahead of the asking: for so long people are followed.

        The quarter hour that was running then does not count: "until now" ends with it.
        """
        running_ends_ms = (self.requested_at_ms // SLOT_MS + 1) * SLOT_MS
        return max(0, self.window_to_ms - max(self.window_from_ms, running_ends_ms))

    def sign(self, requester: SigningKey) -> Signed:
        """Sign as the requesting investigator."""
        return self.unsigned(requester.signer).by_key(requester)

    def unsigned(self, requester: str) -> Unsigned:
        """Return what is signed as the requesting investigator of that name."""
        payload: dict[str, object] = {
            "v": self.version,
            "id": self.query_id,
            "site": self.site,
            "subjects": [subject.to_value(self.version) for subject in self.subjects],
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
        if self.version > 1:
            payload |= {
                "purpose_kind": self.purpose_kind,
                "confirmers": list(self.confirmers),
                "linked_contacts": self.asks.linked_contacts,
                "continuation": self.asks.continuation,
                "same_place_counts": self.asks.same_place_counts,
                "evidence_stills": self.asks.evidence_stills,
            }
            if self.asks.afterwards_min:  # left out otherwise: earlier versions know no such key
                payload["afterwards_min"] = self.asks.afterwards_min
        return Unsigned(QUERY_KIND, requester, encode(payload))

    @classmethod
    def parse(cls, payload: bytes) -> Query:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a query, or its window is not of whole slots.
        """
        fields = Fields(decode(payload, what="query"), what="query")
        version = fields.integer("v")
        if version not in QUERY_VERSIONS:
            raise UnsupportedVersion(
                f"the query is of version {version}, and this machine reads {max(QUERY_VERSIONS)} "
                "at most: it needs its update"
            )
        query = cls(
            query_id=fields.raw("id", size=ID_BYTES),
            site=fields.name("site"),
            subjects=tuple(
                Subject.from_value(value, version)
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
            version=version,
        )
        if version > 1:
            query = replace(
                query,
                purpose_kind=fields.text("purpose_kind", max_length=128),
                confirmers=tuple(
                    require_name(name, what="confirmer")
                    for name in fields.texts("confirmers", max_items=MAX_CONFIRMERS)
                ),
                asks=Asked(
                    linked_contacts=fields.boolean("linked_contacts"),
                    continuation=fields.boolean("continuation"),
                    same_place_counts=fields.boolean("same_place_counts"),
                    evidence_stills=fields.integer("evidence_stills", high=10_000),
                    afterwards_min=fields.integer("afterwards_min", 1, MAX_AFTERWARDS_MIN)
                    if "afterwards_min" in fields
                    else 0,
                ),
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
        if not set(self.modalities) <= set(MODALITIES):
            raise MalformedMessage("a query asks for an unknown modality")
        if self.asks.linked_contacts and not self.contacts:
            raise MalformedMessage("a query asks whose contact somebody was, and for no contacts")
        if self.asks.afterwards_min % SLOT_MIN or (
            self.asks.afterwards_min and not self.asks.same_place_counts
        ):
            raise MalformedMessage(
                "a query counts who came afterwards in no whole quarter hours, or counts nobody"
            )
        if self.by_words:
            self._check_by_words()
        pseudonyms = [subject.pseudonym for subject in self.subjects]
        if len(set(pseudonyms)) != len(pseudonyms):
            raise MalformedMessage("a query names a subject twice")
        for subject in self.subjects:
            for template in subject.templates:
                if template.modality not in self.modalities:
                    raise MalformedMessage("a template is of a modality not asked for")
                if template.model not in self.thresholds:
                    raise MalformedMessage(f"no threshold is given for model '{template.model}'")

    def _check_by_words(self) -> None:
        """Words come alone: their threshold would do for nothing else, and nobody is followed."""
        alone = all(
            subject.words
            and not subject.examples
            and [template.modality for template in subject.templates] == [FOLLOWED]
            for subject in self.subjects
        )
        if not alone or self.modalities != (FOLLOWED,):
            raise MalformedMessage(
                "a query by words of clothes looks for something else besides: it needs one "
                "appearance template for each description, and nothing more"
            )
        if self.asks.continuation or self.asks.linked_contacts:
            raise MalformedMessage(
                "a query by words of clothes follows people or links their contacts: nobody whom "
                "words find is known to be anybody"
            )


def _read_thresholds(values: Mapping[str, object]) -> dict[str, float]:
    thresholds = {}
    for model, score in values.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not -1 <= score <= 1:
            raise MalformedMessage("a threshold is not a score from -1 to 1")
        thresholds[model] = float(score)
    return thresholds
