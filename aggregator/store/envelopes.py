"""An envelope of either version as a store keeps it: checked against its header, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.errors import MalformedMessage, ModelMismatch
from protocol.keytree import COUNTS, COVER, LIVE, META, MODALITIES
from protocol.names import SIGHTING_ID_BYTES
from protocol.sealing import SEAL_OVERHEAD, SEGMENT, Blocks, model_dimension, opened_size
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.sealing import Header as HeaderOfVersion1
from protocol.sightings import row_bytes
from protocol.v2.blocks import COUNT_BYTES, INT8, Space
from protocol.v2.envelopes import Envelope as EnvelopeOfVersion2
from protocol.v2.header import Header as HeaderOfVersion2
from protocol.v2.sightings import EPISODE_BYTES

AnyEnvelope = EnvelopeOfVersion1 | EnvelopeOfVersion2
_ABOUT_A_ROW = SIGHTING_ID_BYTES + EPISODE_BYTES + 4
"""Bytes of the block ``cover`` that each sighting takes at least."""
_KEPT = frozenset({*MODALITIES, META, COVER, COUNTS})


@dataclass(frozen=True, slots=True)
class SealedEnvelope:
    """An envelope laid out, so that each of its blocks can be kept and read by itself.

    Args:
        sightings: how many it holds; in version 2, which does not tell, how many there is room for
            at most.
        models: modality to what its templates are of: the model, in version 2 the space.
        blocks: of a segment, sealed, by label.
        live: of a live envelope: all of it, sealed.
        replaces: of a segment of version 2: ranges of the live envelopes that it takes the place
            of.
    """

    version: int
    epoch: int
    generation: int
    slot: int
    sequence: int
    sightings: int
    models: Mapping[str, str]
    salt: bytes
    header: bytes
    signature: bytes
    blocks: Mapping[str, bytes] = field(default_factory=dict)
    live: bytes | None = None
    replaces: tuple[tuple[int, int], ...] = ()


def lay_out(envelope: AnyEnvelope) -> SealedEnvelope:
    """Return an envelope as a store keeps it.

    Raises:
        MalformedMessage, ModelMismatch: the blocks are not what the header says that they are.
    """
    if isinstance(envelope, EnvelopeOfVersion1):
        return _of_version_1(envelope)
    return _of_version_2(envelope)


def put_together(
    header: bytes,
    signature: bytes,
    blocks: Mapping[str, bytes],
    live: bytes | None,
    *,
    version: int,
) -> AnyEnvelope:
    """Return the envelope that was laid out, byte for byte.

    Raises:
        MalformedMessage: what is in store is not one.
    """
    if version == 1:
        if live is None:
            labels: tuple[str, ...] = MODALITIES
            templates = {label: blocks[label] for label in labels if label in blocks}
            live = Blocks(templates, blocks.get(META, b"")).to_bytes()
        return EnvelopeOfVersion1(HeaderOfVersion1.parse(header), header, live, signature)
    parsed = HeaderOfVersion2.parse(header)
    held = dict(blocks) if live is None else {LIVE: live}
    in_order = tuple(held.get(entry.label, b"") for entry in parsed.blocks)
    return EnvelopeOfVersion2(parsed, header, in_order, signature)


def model_of(space: Space) -> str:
    """Return by what name templates are compared: those of an unknown encoding with none."""
    return space.name if space.encoding == INT8 else f"{space.name} ({space.encoding})"


def room_for(model: str, blocks: int, size: int) -> int:
    """Return how many templates ``blocks`` sealed blocks of version 2 have room for.

    Args:
        model: as :func:`model_of` gives it; of one whose rows are not known there are none.
        size: bytes of all of them.
    """
    try:
        width = row_bytes(model_dimension(model))
    except ModelMismatch:
        return 0
    return max(0, size - blocks * (SEAL_OVERHEAD + COUNT_BYTES)) // width


def _of_version_1(envelope: EnvelopeOfVersion1) -> SealedEnvelope:
    header = envelope.header
    blocks: dict[str, bytes] = {}
    if header.kind == SEGMENT:
        found = envelope.blocks()
        for label, model in header.models.items():
            block = found.templates.get(label)
            size = header.count * row_bytes(model_dimension(model))
            if block is None or opened_size(block) != size:
                raise MalformedMessage(f"the {label} block is not {header.count} rows of '{model}'")
        opened_size(found.meta)
        blocks = {**found.templates, META: found.meta}
    return SealedEnvelope(
        1,
        header.epoch,
        header.generation,
        header.slot,
        header.sequence,
        header.count,
        header.models,
        header.salt,
        envelope.header_bytes,
        envelope.signature,
        blocks,
        None if blocks else envelope.ciphertext,
    )


def _of_version_2(envelope: EnvelopeOfVersion2) -> SealedEnvelope:
    header = envelope.header
    models: dict[str, str] = {}
    blocks: dict[str, bytes] = {}
    live: bytes | None = None
    for entry, block in zip(header.blocks, envelope.blocks, strict=True):
        if entry.label == LIVE:
            live = block
            opened_size(block)
            continue
        if entry.label not in _KEPT:
            raise MalformedMessage(f"a block '{entry.label}' has no place in a segment")
        if entry.label != META:
            opened_size(block)
        if entry.space is not None:
            models[entry.label] = model_of(entry.space)
            _check_rows(entry.label, block, entry.space)
        blocks[entry.label] = block
    if live is None:
        room = opened_size(blocks[COVER]) // (_ABOUT_A_ROW + 4 * len(models))
    else:
        room = opened_size(live) // (_ABOUT_A_ROW + SEAL_OVERHEAD)
    name = header.name
    return SealedEnvelope(
        2,
        name.epoch,
        name.generation,
        name.slot,
        header.sequence,
        room,
        models,
        header.salt,
        envelope.header_bytes,
        envelope.signature,
        blocks,
        live,
        header.replaces,
    )


def _check_rows(label: str, block: bytes, space: Space) -> None:
    """Check that a template block is rows and their number, where the encoding is known."""
    if space.encoding == INT8 and (opened_size(block) - COUNT_BYTES) % space.width:
        raise MalformedMessage(f"the {label} block is not rows of '{space.name}' and their number")
