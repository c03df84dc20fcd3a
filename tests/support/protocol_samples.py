"""Fixed principals and messages of a made-up site, for the protocol's tests and vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypedDict, Unpack

import numpy as np

from protocol import hpke
from protocol.about_queries import Approval, Refusal
from protocol.directory import (
    AGGREGATOR,
    APPROVER,
    AUDITOR,
    AUTHORITY,
    BOX,
    CUSTODIAN,
    INVESTIGATOR,
    REGISTRAR,
    Directory,
    Principal,
)
from protocol.epoch import Announcement, announce
from protocol.keytree import FACE, LABELS, ModalityKey, PuncturableTree, modality_key
from protocol.names import SLOT_MS, CameraAddress, slot_start_ms
from protocol.policy import Policy, parse_policy
from protocol.query import Asked, Query, Subject, TemplateReference
from protocol.sealing import SEGMENT, Envelope, Header, seal_envelope
from protocol.sightings import (
    Encounter,
    MaskStatus,
    Sighting,
    encode_meta,
    encode_template_block,
    quantise_template,
)
from protocol.signing import Signed, SigningKey
from protocol.templates import Template

SITE = "vectors"
EPOCH = 20_500
GENERATION = 7
SLOT = 41
NOW_MS = slot_start_ms(EPOCH, SLOT) + 5 * 60_000
ADDRESS = CameraAddress(SITE, "box-1", "cam-1")
MODEL = "sample-16@00000000"
DIMENSION = 16
CUSTODIANS = ("c1", "c2", "c3")

POLICY_TEXT = b"""site = "vectors"
version = 1
programme_ends = 2030-01-01T00:00:00Z
approvals = 2
max_subjects = 10
max_window_hours = 48
max_live_hours = 24
max_cameras = 100
max_query_days = 14
max_candidates = 100
retention_days = 14

[threshold_floor]
"sample-16@00000000" = 0.4

[legal_basis.consent]
modalities = ["face", "appearance"]
extra_approvals = 0

[legal_basis.statutory-order]
modalities = ["appearance"]
extra_approvals = 1
"""
POLICY: Policy = parse_policy(POLICY_TEXT)


def fixed(name: str, size: int) -> bytes:
    """Return ``size`` bytes that depend on ``name`` alone."""
    return hashlib.shake_256(b"sealtrace sample " + name.encode()).digest(size)


@cache
def signing_key(name: str) -> SigningKey:
    return SigningKey(name, fixed(f"sign {name}", 32))


@cache
def sealing_key(name: str) -> hpke.PrivateKey:
    return hpke.PrivateKey(fixed(f"seal {name}", 96))


def principal(name: str, duty: str, **more: object) -> Principal:
    return Principal(
        name,
        frozenset({duty}),
        signing_key(name).verify_key,
        **more,  # type: ignore[arg-type]
    )


@cache
def _listed() -> tuple[Principal, ...]:
    return (
        principal("box-1", BOX, cameras=("cam-1",)),
        principal("box-2", BOX, cameras=("cam-2",)),
        *(principal(name, CUSTODIAN) for name in CUSTODIANS),
        principal("aggregator", AGGREGATOR, seal_key=sealing_key("aggregator").public),
        principal("ana", INVESTIGATOR, seal_key=sealing_key("ana").public),
        principal("bo", APPROVER),
        principal("cy", APPROVER),
        principal("di", APPROVER),
        principal("registrar", REGISTRAR),
        principal("eve", AUDITOR, seal_key=sealing_key("eve").public),
    )


def directory() -> Directory:
    return Directory(SITE, 3, NOW_MS, 2, {p.name: p for p in _listed()})


def authority() -> SigningKey:
    return signing_key(AUTHORITY)


def roots() -> list[bytes]:
    return [fixed(f"root {number}", 32) for number in range(3)]


def day_key(custodian: str) -> hpke.PrivateKey:
    return sealing_key(f"{custodian} day {EPOCH}")


def announcement() -> Announcement:
    return announce(
        roots(),
        address=ADDRESS,
        epoch=EPOCH,
        generation=GENERATION,
        sequence=0,
        threshold=2,
        custodians=CUSTODIANS,
        day_keys={name: day_key(name).public for name in CUSTODIANS},
        models={FACE: MODEL},
        announced_at_ms=NOW_MS,
    )


def slot_keys(slot: int = SLOT) -> dict[str, ModalityKey]:
    return {
        label: modality_key(
            [PuncturableTree(root, label).leaf(slot) for root in roots()],
            site=SITE,
            camera=ADDRESS.camera,
            epoch=EPOCH,
            generation=GENERATION,
            slot=slot,
            label=label,
        )
        for label in LABELS
    }


def unit_vector(name: str) -> np.ndarray:
    numbers = np.frombuffer(fixed(f"vector {name}", DIMENSION * 2), "<i2").astype(np.float64)
    return numbers / np.linalg.norm(numbers)


def sighting(name: str) -> Sighting:
    return Sighting(
        sighting_id=fixed(f"id {name}", 8),
        first_seen_ms=NOW_MS - 4000,
        last_seen_ms=NOW_MS,
        mask=MaskStatus.MASKED,
        mask_confidence=0.9,
        quality=0.8,
        templates={FACE: quantise_template(unit_vector(name))},
        encounters=(Encounter(fixed("id other", 8), 1.25, 3.5, MaskStatus.UNMASKED, 0.7),),
    )


def envelope(
    kind: str = SEGMENT,
    *,
    count: int = 3,
    sequence: int = 1,
    keys: Mapping[str, ModalityKey] | None = None,
    seen: Sequence[Sighting] | None = None,
) -> Envelope:
    seen = seen or [sighting(f"person {number}") for number in range(count)]
    header = Header(
        kind, ADDRESS, EPOCH, GENERATION, SLOT, sequence, len(seen), {FACE: MODEL}, NOW_MS,
        fixed("salt", 8),
    )  # fmt: skip
    return seal_envelope(
        header,
        templates={FACE: encode_template_block(seen, FACE, DIMENSION)},
        meta=encode_meta(seen),
        keys=keys or slot_keys(),
        board=signing_key("box-1"),
    )


def template(name: str = "subject") -> Template:
    row, scale = quantise_template(unit_vector(name))
    return Template("face", MODEL, fixed(f"template salt {name}", 32), row, scale)


class QueryChanges(TypedDict, total=False):
    """What a test may ask instead of what the sample query asks."""

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
    requested_at_ms: int
    not_after_ms: int
    policy_digest: bytes
    version: int
    purpose_kind: str
    confirmers: tuple[str, ...]
    asks: Asked


class CaseChanges(QueryChanges, total=False):
    """The same, and who approves."""

    approvers: tuple[str, ...]


def query(**changes: Unpack[QueryChanges]) -> Query:
    reference = TemplateReference("face", MODEL, template().digest)
    asked = Query(
        query_id=fixed("query", 16),
        site=SITE,
        subjects=(Subject("P-17", "consent form 2026/17", (reference,)),),
        purpose="contact tracing of a confirmed patient",
        legal_basis="consent",
        cameras=("cam-1",),
        window_from_ms=slot_start_ms(EPOCH, 38),
        window_to_ms=slot_start_ms(EPOCH, 44),
        modalities=("face",),
        live=True,
        thresholds={MODEL: 0.5},
        contacts=True,
        max_candidates=50,
        expected_false=0.002,
        requested_at_ms=NOW_MS - SLOT_MS,
        not_after_ms=NOW_MS + 24 * 4 * SLOT_MS,
        policy_digest=POLICY.digest,
    )
    return replace(asked, **changes)


@dataclass(frozen=True)
class Case:
    """A signed query with its approvals, as they would reach a custodian."""

    query: Signed
    approvals: list[Signed]


def approval(signed: Signed, approver: str, *, policy_digest: bytes = POLICY.digest) -> Signed:
    return Approval(signed.digest, policy_digest, NOW_MS).sign(signing_key(approver))


def refusal(
    signed: Signed, approver: str, *, reason: str = "the hours are too wide", at_ms: int = NOW_MS
) -> Signed:
    return Refusal(signed.digest, POLICY.digest, reason, at_ms).sign(signing_key(approver))


def case(*, approvers: tuple[str, ...] = ("bo", "cy"), **changes: Unpack[QueryChanges]) -> Case:
    signed = query(**changes).sign(signing_key("ana"))
    return Case(signed, [approval(signed, name) for name in approvers])
