"""Batches of sightings: what can be sealed, how large it becomes, sealing it, wiping it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protocol.errors import MalformedMessage
from protocol.keytree import ModalityKey
from protocol.sealing import Header, model_dimension, seal_envelope
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


def why_unusable(sighting: Sighting, dimension: int) -> str | None:
    """Return why a sighting cannot be sealed, None if it can.

    One that cannot would hold up its whole batch for ever.
    """
    ids = [sighting.sighting_id, *(encounter.other_id for encounter in sighting.encounters)]
    if any(len(one) != ID_BYTES for one in ids):
        return f"an id has not {ID_BYTES} bytes"
    if not 0 <= sighting.first_seen_ms <= sighting.last_seen_ms:
        return "it ends before it begins"
    if sighting.face is not None and sighting.face.shape != (dimension,):
        return f"its template has not {dimension} dimensions"
    try:
        encode_meta([sighting])
    except MalformedMessage as error:
        return str(error)
    return None


def sealed_size(sighting: Sighting, dimension: int) -> int:
    """Return about how many bytes a sighting takes in an envelope."""
    meta = _META_BYTES + _ENCOUNTER_BYTES * len(sighting.encounters)
    return row_bytes(dimension) + meta


def sealed(
    header: Header,
    sightings: Sequence[Sighting],
    keys: Mapping[str, ModalityKey],
    board: SigningKey,
) -> bytes:
    """Return the envelope of ``sightings``; the plain blocks made on the way are wiped."""
    face = encode_template_block(sightings, model_dimension(header.models["face"]))
    meta = bytearray(encode_meta(sightings))
    try:
        return seal_envelope(header, face=face, meta=meta, keys=keys, board=board).to_bytes()
    finally:
        face[:] = bytes(len(face))
        meta[:] = bytes(len(meta))


def moved(sighting: Sighting, by_ms: int) -> Sighting:
    """Return a sighting as a clock that is ``by_ms`` ahead would have stamped it.

    It keeps its id and shares its template's memory, so that wiping either wipes both.
    """
    if not by_ms:
        return sighting
    first = max(0, sighting.first_seen_ms + by_ms)
    last = max(first, sighting.last_seen_ms + by_ms)
    return replace(sighting, first_seen_ms=first, last_seen_ms=last)


def wipe(sightings: Sequence[Sighting]) -> None:
    """Overwrite the templates with zeros."""
    for sighting in sightings:
        if sighting.face is not None and sighting.face.flags.writeable:
            sighting.face.fill(0)
