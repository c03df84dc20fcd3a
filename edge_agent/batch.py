"""Batches of sightings: what can be sealed, how large it becomes, sealing it, wiping it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from protocol.errors import MalformedMessage
from protocol.keytree import ModalityKey
from protocol.sealing import SALT_BYTES, SEGMENT, Header, model_dimension, seal_envelope
from protocol.sightings import (
    ID_BYTES,
    Sighting,
    encode_meta,
    encode_template_block,
    row_bytes,
)
from protocol.signing import SigningKey

_META_BYTES = 32  # of a sighting, without encounters
_ENCOUNTER_BYTES = 20


def why_unusable(sighting: Sighting, dimensions: Mapping[str, int]) -> str | None:
    """Return why a sighting cannot be sealed, None if it can.

    One that cannot would hold up its whole batch for ever. ``dimensions`` are those of the
    templates that are sealed here, by modality.
    """
    ids = [sighting.sighting_id, *(encounter.other_id for encounter in sighting.encounters)]
    if any(len(one) != ID_BYTES for one in ids):
        return f"an id has not {ID_BYTES} bytes"
    if not 0 <= sighting.first_seen_ms <= sighting.last_seen_ms:
        return "it ends before it begins"
    for modality, template in sighting.templates.items():
        dimension = dimensions.get(modality)
        if dimension is None:
            return f"it has a {modality} template, and no network here makes those"
        if template.row.shape != (dimension,):
            return f"its {modality} template has not {dimension} dimensions"
    try:
        encode_meta([sighting])
    except MalformedMessage as error:
        return str(error)
    return None


def sealed_size(sighting: Sighting, dimensions: Mapping[str, int]) -> int:
    """Return about how many bytes a sighting takes in an envelope, a row in each template block."""
    meta = _META_BYTES + _ENCOUNTER_BYTES * len(sighting.encounters)
    return sum(row_bytes(dimension) for dimension in dimensions.values()) + meta


def draw_salt(kind: str) -> bytes:
    """Draw a salt whose first bit tells the kind.

    A segment takes the numbers of live envelopes that nobody was handed, under the same keys. What
    was deleted may still be found on a stolen disk, so the two must not share a nonce by chance
    either.
    """
    drawn = bytearray(os.urandom(SALT_BYTES))
    drawn[0] = drawn[0] & 0x7F | (0x80 if kind == SEGMENT else 0)
    return bytes(drawn)


def sealed(
    header: Header,
    sightings: Sequence[Sighting],
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


def moved(sighting: Sighting, by_ms: int) -> Sighting:
    """Return a sighting as a clock that is ``by_ms`` ahead would have stamped it.

    It keeps its id and shares its templates' memory, so that wiping either wipes both.
    """
    if not by_ms:
        return sighting
    first = max(0, sighting.first_seen_ms + by_ms)
    last = max(first, sighting.last_seen_ms + by_ms)
    return replace(sighting, first_seen_ms=first, last_seen_ms=last)


def wipe(sightings: Sequence[Sighting]) -> None:
    """Overwrite the templates with zeros."""
    for sighting in sightings:
        for template in sighting.templates.values():
            if template.row.flags.writeable:
                template.row.fill(0)
