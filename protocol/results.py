"""What a query leaves behind: candidates sealed to officers, and the decisions on them.

docs/threat-model.md: results that are kept are sealed to the investigator who asked and to the
officers who confirm, so the aggregator that stores them cannot read them. With the candidates go
the **openings**: which rows of metadata custodians opened for the query, under their receipts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.epoch import ORIGINS
from protocol.errors import MalformedMessage, UnsupportedVersion
from protocol.keytree import FOLLOWED
from protocol.names import CameraAddress, SightingName
from protocol.sightings import ID_BYTES, MaskStatus
from protocol.sightings import Encounter as EncounterOfVersion1
from protocol.sightings import Sighting as SightingOfVersion1
from protocol.signing import Signed, SigningKey, Unsigned
from protocol.v2.header import TIME_SOURCES
from protocol.v2.release import MAX_ROWS, SALT_BYTES
from protocol.v2.sightings import EPISODE_BYTES, Encounter, MaskSpan, Row

DECISION_KIND = "decision"
CANDIDATE_ID_BYTES = 16
CONFIRMED, REJECTED = "confirmed", "rejected"
_CANDIDATE, _OPENING = "candidate", "opening"
_FORM = 2
_MAX_RECEIPTS = 64
_UNMATCHED = -2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sighting that a query found, with what its metadata says.

    Args:
        subject: whose.
        address: of the camera.
        sighting_id: 8 bytes.
        row: when, mask, quality, and whom they met (nobody, unless contacts were asked for).
        modality, model: of the templates that were compared; ``model`` names their space.
        score: the cosine; None for a sighting that was not matched itself (``through``).
        log10_lr: the calibrated likelihood ratio's logarithm; None without calibration or score.
        name: of the sighting, which says by which keys it opened; None as version 1 wrote it.
        episode: 8 bytes, the same for as long as the box followed this person; None of a
            generation of version 1.
        through: the matched sighting of the same episode that this one was opened for.
        impossible: why it cannot be true, in words. It is listed because its row was opened.
        origin, time_source: where its pictures came from and how their times were known
            (`protocol.v2.header`), by the box's word; None as version 1 left it.
        follows: the confirmed sighting whose clothes it was found by, minutes before or after; None
            where it was found by what was asked for. It is nobody's identification.
    """

    subject: str
    address: CameraAddress
    sighting_id: bytes
    row: Row
    modality: str
    model: str
    score: float | None
    log10_lr: float | None
    name: SightingName | None = None
    episode: bytes | None = None
    through: bytes | None = None
    impossible: str | None = None
    origin: str | None = None
    time_source: str | None = None
    follows: SightingName | None = None

    @property
    def by_appearance(self) -> bool:
        """Whether it was found by clothes and build, which many people share."""
        return self.modality == FOLLOWED

    @property
    def first_seen_ms(self) -> int:
        """When the sighting began, ms UTC."""
        return self.row.first_ms

    @property
    def last_seen_ms(self) -> int:
        """When it ended, ms UTC."""
        return self.row.last_ms

    @property
    def mask(self) -> MaskStatus:
        """As voted over the whole."""
        return self.row.mask

    @property
    def mask_confidence(self) -> float:
        """Of the vote, 0 to 1."""
        return self.row.mask_confidence

    @property
    def quality(self) -> float:
        """Of the best crop, 0 to 1."""
        return self.row.quality

    @property
    def encounters(self) -> tuple[Encounter, ...]:
        """Who was near."""
        return self.row.encounters

    @property
    def strength(self) -> float:
        """The score, for ordering; below every score where it was not matched itself."""
        return _UNMATCHED if self.score is None else self.score

    def candidate_id(self, query_digest: bytes) -> bytes:
        """Return the id of this candidate within its query, 16 bytes; tells nothing by itself."""
        if self.episode is not None and self.name is not None:
            return candidate_id_of(query_digest, self.subject, self.name)
        # A sighting of version 1 keeps the id that it had before there was another.
        return _candidate_id([query_digest, self.subject, self.address.camera, self.sighting_id])

    def seal(self, officer: hpke.PublicKey, *, query_digest: bytes) -> bytes:
        """Seal to an officer who asked or confirms."""
        return officer.seal(self.to_bytes(), purpose=_CANDIDATE, context=[query_digest])

    def to_bytes(self) -> bytes:
        """Encode it, in the clear: it leaves a process only sealed."""
        value: dict[str, object] = {
            "v": _FORM,
            "subject": self.subject,
            "site": self.address.site,
            "box": self.address.box,
            "camera": self.address.camera,
            "sighting_id": self.sighting_id,
            "row": self.row.to_bytes(),
            "modality": self.modality,
            "space": self.model,
            "score": None if self.score is None else float(self.score),
            "log10_lr": self.log10_lr,
            "name": None if self.name is None else self.name.to_value(),
            "episode": self.episode,
            "through": self.through,
            "impossible": self.impossible,
            "origin": self.origin,
            "time_source": self.time_source,
        }
        if self.follows is not None:
            value["follows"] = self.follows.to_value()
        return encode(value)

    @classmethod
    def open(cls, sealed: bytes, officer: hpke.PrivateKey, *, query_digest: bytes) -> Candidate:
        """Open a candidate as an officer to whom it was sealed.

        Raises:
            AuthenticationFailed: somebody else's, of another query, or altered.
            MalformedMessage, UnsupportedVersion: it opens to something else.
        """
        return cls.parse(officer.open(sealed, purpose=_CANDIDATE, context=[query_digest]))

    @classmethod
    def parse(cls, opened: bytes) -> Candidate:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            MalformedMessage, UnsupportedVersion: it is something else.
        """
        fields = Fields(decode(opened, what="candidate"), what="candidate")
        form = fields.integer("v")
        if form not in {1, _FORM}:
            raise UnsupportedVersion(
                f"the candidate is of form {form}, and this program reads {_FORM} at most: it "
                "needs its update"
            )
        candidate = _read_form_1(fields) if form == 1 else _read_form_2(fields)
        fields.done()
        return candidate


def candidate_id_of(query_digest: bytes, subject: str, name: SightingName) -> bytes:
    """Return the id of the candidate that a sighting of version 2 is, 16 bytes."""
    return _candidate_id([query_digest, subject, *name.to_value()])


def row_of_version_1(sighting: SightingOfVersion1, *, contacts: bool) -> Row:
    """Return what version 1 says of a sighting as a row: each encounter is an episode of its own.

    Args:
        contacts: whether whom they met is to be told.
    """
    first_ms, last_ms = sighting.first_seen_ms, sighting.last_seen_ms
    return Row(
        first_ms,
        last_ms,
        sighting.mask,
        sighting.mask_confidence,
        sighting.quality,
        encounters=tuple(
            _encounter_of_version_1(one, first_ms, last_ms) for one in sighting.encounters
        )
        if contacts
        else (),
    )


@dataclass(frozen=True, slots=True)
class Opening:
    """Which rows custodians opened for a query at one request, and their word for it.

    Args:
        rows: what was asked for.
        receipts: custodian to the signed `protocol.v2.release.RowRelease` as it came, and the salt
            of its digest (32 bytes), with which an officer holds it against ``rows``.
    """

    rows: tuple[SightingName, ...]
    receipts: Mapping[str, tuple[bytes, bytes]]

    def seal(self, officer: hpke.PublicKey, *, query_digest: bytes) -> bytes:
        """Seal to an officer who asked or confirms."""
        value = {
            "v": _FORM,
            "rows": [row.to_value() for row in self.rows],
            "receipts": {name: list(one) for name, one in self.receipts.items()},
        }
        return officer.seal(encode(value), purpose=_OPENING, context=[query_digest])

    @classmethod
    def open(cls, sealed: bytes, officer: hpke.PrivateKey, *, query_digest: bytes) -> Opening:
        """Open as an officer to whom it was sealed.

        Raises:
            AuthenticationFailed: somebody else's, of another query, or altered.
            MalformedMessage: it opens to something else.
        """
        opened = officer.open(sealed, purpose=_OPENING, context=[query_digest])
        fields = Fields(decode(opened, what="opening"), what="opening")
        fields.version(_FORM)
        opening = cls(
            tuple(
                SightingName.from_value(item) for item in fields.array("rows", max_items=MAX_ROWS)
            ),
            _read_receipts(fields.mapping("receipts", max_items=_MAX_RECEIPTS)),
        )
        fields.done()
        return opening


@dataclass(frozen=True, slots=True)
class Decision:
    """An investigator's word on a candidate: confirmed (it becomes a hit) or rejected."""

    query_digest: bytes
    candidate_id: bytes
    verdict: str
    decided_at_ms: int

    def unsigned(self, investigator: str) -> Unsigned:
        """Return what is signed as the investigator of that name."""
        payload: Mapping[str, object] = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "candidate_id": self.candidate_id,
            "verdict": self.verdict,
            "decided_at_ms": self.decided_at_ms,
        }
        return Unsigned(DECISION_KIND, investigator, encode(payload))

    def sign(self, investigator: SigningKey) -> Signed:
        """Sign as the investigator."""
        return self.unsigned(investigator.signer).by_key(investigator)

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


def _candidate_id(value: list[object]) -> bytes:
    return hashlib.sha256(encode(value)).digest()[:CANDIDATE_ID_BYTES]


def _read_form_2(fields: Fields) -> Candidate:
    name = fields.optional("name", lambda key: SightingName.from_value(fields.value(key)))
    candidate = Candidate(
        subject=fields.text("subject", max_length=128),
        address=CameraAddress(fields.text("site"), fields.text("box"), fields.text("camera")),
        sighting_id=fields.raw("sighting_id", size=ID_BYTES),
        row=Row.parse(fields.raw("row")),
        modality=fields.text("modality"),
        model=fields.text("space"),
        score=fields.optional("score", lambda key: fields.number(key, -2, 2)),
        log10_lr=fields.optional("log10_lr", lambda key: fields.number(key, -1e6, 1e6)),
        name=name,
        episode=fields.optional("episode", lambda key: fields.raw(key, size=EPISODE_BYTES)),
        through=fields.optional("through", lambda key: fields.raw(key, size=ID_BYTES)),
        impossible=fields.optional("impossible", lambda key: fields.text(key, max_length=1024)),
        origin=fields.optional("origin", lambda key: fields.choice(key, ORIGINS)),
        time_source=fields.optional("time_source", lambda key: fields.choice(key, TIME_SOURCES)),
        follows=SightingName.from_value(fields.value("follows")) if "follows" in fields else None,
    )
    address = candidate.address
    if name is not None and (name.box, name.camera, name.sighting_id) != (
        address.box,
        address.camera,
        candidate.sighting_id,
    ):
        raise MalformedMessage("a candidate is called by another sighting's name")
    if candidate.follows is not None and (
        not candidate.by_appearance or candidate.log10_lr is not None
    ):
        raise MalformedMessage("a candidate goes on from a hit by something else than clothes")
    return candidate


def _read_form_1(fields: Fields) -> Candidate:
    address = CameraAddress(fields.text("site"), fields.text("box"), fields.text("camera"))
    first_ms, last_ms = fields.integer("first_seen_ms"), fields.integer("last_seen_ms")
    row = Row(
        first_ms=first_ms,
        last_ms=last_ms,
        mask=MaskStatus(fields.integer("mask", high=max(MaskStatus))),
        mask_confidence=fields.number("mask_confidence", 0, 1),
        quality=fields.number("quality", 0, 1),
        encounters=tuple(
            _encounter_of_version_1(_read_encounter(value), first_ms, last_ms)
            for value in fields.array("encounters", max_items=65_536)
        ),
    )
    return Candidate(
        subject=fields.text("subject", max_length=128),
        address=address,
        sighting_id=fields.raw("sighting_id", size=ID_BYTES),
        row=row,
        modality=fields.text("modality"),
        model=fields.text("model"),
        score=fields.number("score", -2, 2),
        log10_lr=fields.optional("log10_lr", lambda name: fields.number(name, -1e6, 1e6)),
    )


def _encounter_of_version_1(met: EncounterOfVersion1, first_ms: int, last_ms: int) -> Encounter:
    span = MaskSpan(first_ms, last_ms, met.other_mask, met.other_mask_confidence)
    return Encounter(
        other_id=met.other_id,
        other_episode=met.other_id,
        first_ms=first_ms,
        last_ms=last_ms,
        within_s=met.seconds,
        nearest_m=met.distance_m,
        median_m=None,
        other_masks=(span,),
    )


def _read_receipts(values: Mapping[str, object]) -> dict[str, tuple[bytes, bytes]]:
    receipts = {}
    for name, value in values.items():
        if (
            not isinstance(value, list)
            or [type(part) for part in value] != [bytes, bytes]
            or len(value[1]) != SALT_BYTES
        ):
            raise MalformedMessage("a receipt is not [signed release, salt]")
        receipts[name] = (value[0], value[1])
    return receipts


def _read_encounter(value: object) -> EncounterOfVersion1:
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
    return EncounterOfVersion1(
        value[0], distance, float(value[2]), MaskStatus(value[3]), float(value[4])
    )
