"""Seal sightings as version 1 of the protocol wrote them, for a site that reads no other yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from protocol.keytree import ModalityKey
from protocol.sealing import Header, model_dimension, seal_envelope
from protocol.sightings import Encounter, MaskStatus, encode_meta, encode_template_block
from protocol.sightings import Sighting as SightingOfVersion1
from protocol.signing import SigningKey
from protocol.v2.sightings import MaskSpan, Sighting


def as_version_1(sighting: Sighting) -> SightingOfVersion1:
    """Return a sighting without what version 1 has no room for; the templates' memory is shared.

    Lost are the episode, what it continues, the mask status as it went on, and when encounters
    were; of a companion's mask spans the status that lasted longest remains.
    """
    row = sighting.row
    return SightingOfVersion1(
        sighting_id=sighting.sighting_id,
        first_seen_ms=row.first_ms,
        last_seen_ms=row.last_ms,
        mask=row.mask,
        mask_confidence=row.mask_confidence,
        quality=row.quality,
        templates=sighting.templates,
        encounters=tuple(
            Encounter(met.other_id, met.nearest_m, met.within_s, *_longest(met.other_masks))
            for met in row.encounters
        ),
    )


def _longest(spans: Sequence[MaskSpan]) -> tuple[MaskStatus, float]:
    """Return the status that lasted longest, and the mean of its confidences, by time."""
    lasted: dict[MaskStatus, int] = defaultdict(int)
    weighed: dict[MaskStatus, float] = defaultdict(float)
    for span in spans:
        for_ms = span.until_ms - span.from_ms + 1  # a moment counts, too
        lasted[span.status] += for_ms
        weighed[span.status] += for_ms * span.confidence
    if not lasted:
        return MaskStatus.UNKNOWN, 0.0
    status = max(lasted, key=lambda one: lasted[one])
    return status, weighed[status] / lasted[status]


def sealed(
    header: Header,
    sightings: Sequence[SightingOfVersion1],
    keys: Mapping[str, ModalityKey],
    board: SigningKey,
) -> bytes:
    """Return the envelope of ``sightings``; the plain blocks made on the way are wiped."""
    meta = bytearray(encode_meta(sightings))
    templates = {
        modality: encode_template_block(sightings, modality, model_dimension(model))
        for modality, model in header.models.items()
    }
    try:
        sealed = seal_envelope(header, templates=templates, meta=meta, keys=keys, board=board)
        return sealed.to_bytes()
    finally:
        for block in (*templates.values(), meta):
            block[:] = bytes(len(block))
