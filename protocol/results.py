"""What a query leaves behind: candidates sealed to the investigator, and the decisions on them.

docs/threat-model.md: results that are kept are sealed to the investigators, so the aggregator that
stores them cannot read them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.names import CameraAddress
from protocol.sightings import ID_BYTES, Encounter, MaskStatus
from protocol.signing import Signed, SigningKey, sign

DECISION_KIND = "decision"
CANDIDATE_ID_BYTES = 16
CONFIRMED, REJECTED = "confirmed", "rejected"
_CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sighting whose comparison score with a subject reached the threshold.

    ``score`` is the cosine; ``log10_lr`` the calibrated likelihood ratio's logarithm, or None
    when the model has no calibration. ``encounters`` is empty unless contacts were asked for.
    """

    subject: str
    address: CameraAddress
    sighting_id: bytes
    first_seen_ms: int
    last_seen_ms: int
    mask: MaskStatus
    mask_confidence: float
    quality: float
    modality: str
    model: str
    score: float
    log10_lr: float | None
    encounters: tuple[Encounter, ...]

    def candidate_id(self, query_digest: bytes) -> bytes:
        """Return the id of this candidate within its query, 16 bytes; tells nothing by itself."""
        value = encode([query_digest, self.subject, self.address.camera, self.sighting_id])
        return hashlib.sha256(value).digest()[:CANDIDATE_ID_BYTES]

    def seal(self, investigator: hpke.PublicKey, *, query_digest: bytes) -> bytes:
        """Seal to the investigator who asked."""
        value = {
            "v": PROTOCOL_VERSION,
            "subject": self.subject,
            "site": self.address.site,
            "box": self.address.box,
            "camera": self.address.camera,
            "sighting_id": self.sighting_id,
            "first_seen_ms": self.first_seen_ms,
            "last_seen_ms": self.last_seen_ms,
            "mask": int(self.mask),
            "mask_confidence": float(self.mask_confidence),
            "quality": float(self.quality),
            "modality": self.modality,
            "model": self.model,
            "score": float(self.score),
            "log10_lr": self.log10_lr,
            "encounters": [
                [e.other_id, e.distance_m, e.seconds, int(e.other_mask), e.other_mask_confidence]
                for e in self.encounters
            ],
        }
        return investigator.seal(encode(value), purpose=_CANDIDATE, context=[query_digest])

    @classmethod
    def open(
        cls, sealed: bytes, investigator: hpke.PrivateKey, *, query_digest: bytes
    ) -> Candidate:
        """Open a candidate as the investigator who asked.

        Raises:
            AuthenticationFailed: another investigator's, of another query, or altered.
        """
        opened = investigator.open(sealed, purpose=_CANDIDATE, context=[query_digest])
        fields = Fields(decode(opened, what="candidate"), what="candidate")
        fields.version()
        candidate = cls(
            subject=fields.text("subject", max_length=128),
            address=CameraAddress(fields.text("site"), fields.text("box"), fields.text("camera")),
            sighting_id=fields.raw("sighting_id", size=ID_BYTES),
            first_seen_ms=fields.integer("first_seen_ms"),
            last_seen_ms=fields.integer("last_seen_ms"),
            mask=MaskStatus(fields.integer("mask", high=max(MaskStatus))),
            mask_confidence=fields.number("mask_confidence", 0, 1),
            quality=fields.number("quality", 0, 1),
            modality=fields.text("modality"),
            model=fields.text("model"),
            score=fields.number("score", -2, 2),
            log10_lr=fields.optional("log10_lr", lambda name: fields.number(name, -1e6, 1e6)),
            encounters=tuple(
                _read_encounter(value) for value in fields.array("encounters", max_items=65_536)
            ),
        )
        fields.done()
        return candidate


@dataclass(frozen=True, slots=True)
class Decision:
    """An investigator's word on a candidate: confirmed (it becomes a hit) or rejected."""

    query_digest: bytes
    candidate_id: bytes
    verdict: str
    decided_at_ms: int

    def sign(self, investigator: SigningKey) -> Signed:
        """Sign as the investigator."""
        payload: Mapping[str, object] = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "candidate_id": self.candidate_id,
            "verdict": self.verdict,
            "decided_at_ms": self.decided_at_ms,
        }
        return sign(DECISION_KIND, encode(payload), investigator)

    @classmethod
    def parse(cls, payload: bytes) -> Decision:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a decision.
        """
        fields = Fields(decode(payload, what="decision"), what="decision")
        fields.version()
        decision = cls(
            fields.raw("query_digest", size=32),
            fields.raw("candidate_id", size=CANDIDATE_ID_BYTES),
            fields.choice("verdict", frozenset({CONFIRMED, REJECTED})),
            fields.integer("decided_at_ms"),
        )
        fields.done()
        return decision


def _read_encounter(value: object) -> Encounter:
    if (
        not isinstance(value, list)
        or len(value) != 5
        or not isinstance(value[0], bytes)
        or not isinstance(value[1], int | float | None)
        or not isinstance(value[2], int | float)
        or not isinstance(value[3], int)
        or value[3] not in set(MaskStatus)
        or not isinstance(value[4], int | float)
    ):
        raise MalformedMessage("not an encounter")
    distance = None if value[1] is None else float(value[1])
    return Encounter(value[0], distance, float(value[2]), MaskStatus(value[3]), float(value[4]))
