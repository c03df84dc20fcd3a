"""Candidates for the tests, from what one sighting says."""

from __future__ import annotations

from protocol.names import CameraAddress
from protocol.results import Candidate, row_of_version_1
from protocol.sightings import Encounter, MaskStatus, Sighting


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
