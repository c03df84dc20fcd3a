"""Candidates for the tests, from what one sighting says."""

from __future__ import annotations

from protocol.epoch import CAMERA_NOW
from protocol.names import CameraAddress, SightingName
from protocol.results import Candidate, row_of_version_1
from protocol.sightings import Encounter, MaskStatus, Sighting
from protocol.v2.header import CLOCK
from protocol.v2.sightings import Row


def candidate_of(
    *,
    subject: str,
    address: CameraAddress,
    sighting_id: bytes,
    first_seen_ms: int,
    last_seen_ms: int,
    mask: MaskStatus,
    mask_confidence: float,
    quality: float,
    modality: str,
    model: str,
    score: float,
    log10_lr: float | None,
    encounters: tuple[Encounter, ...] = (),
) -> Candidate:
    """A candidate whose sighting met ``encounters``, each of them somebody of their own."""
    sighting = Sighting(
        sighting_id,
        first_seen_ms,
        last_seen_ms,
        mask,
        mask_confidence,
        quality,
        {},
        encounters,
    )
    row = row_of_version_1(sighting, contacts=True)
    return Candidate(subject, address, sighting_id, row, modality, model, score, log10_lr)


def opened_candidate(
    name: SightingName,
    row: Row,
    *,
    site: str = "north",
    subject: str = "P-17",
    episode: bytes = b"episode1",
    score: float | None = 0.8,
    through: bytes | None = None,
    impossible: str | None = None,
    origin: str = CAMERA_NOW,
    time_source: str = CLOCK,
) -> Candidate:
    """A candidate of version 2, opened row by row."""
    return Candidate(
        subject=subject,
        address=CameraAddress(site, name.box, name.camera),
        sighting_id=name.sighting_id,
        row=row,
        modality="face",
        model="sample-16@00000000",
        score=score,
        log10_lr=None if score is None else 3.0,
        name=name,
        episode=episode,
        through=through,
        impossible=impossible,
        origin=origin,
        time_source=time_source,
    )
