"""Takes single templates out of sealed envelopes: of sightings that are known by id or by episode.

For examples that a query names, hits that are followed, and companions that are linked. A block is
opened whole, for as long as it takes to copy the rows that are wanted, and overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregator.matching.finder import Place, open_inside, open_rows
from aggregator.matching.lanes import ScopeKeys
from aggregator.store import SegmentReader
from aggregator.store.envelopes import model_of
from aggregator.store.rows import SealedRow
from protocol.errors import MalformedMessage
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, nonce_of, open_block
from protocol.sightings import SCALE_BYTES
from protocol.templates import SALT_BYTES, Template
from protocol.v2.blocks import Space, count_rows
from protocol.v2.rows import Rows


@dataclass(frozen=True, slots=True)
class Block:
    """A sealed block of templates of an envelope."""

    modality: str
    model: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class OpenEnvelope:
    """An envelope whose rows are open, and its blocks of templates, sealed still."""

    row: SealedRow
    rows: Rows
    blocks: Sequence[Block]


def open_envelope(
    reader: SegmentReader, held: ScopeKeys, row: SealedRow, modalities: Sequence[str]
) -> OpenEnvelope | None:
    """Open the rows of an envelope; None if it is not of the version of its scope.

    Args:
        modalities: in the order in which ``row`` has them.

    Raises:
        KeyError: it has meanwhile been dropped.
        SealError, MalformedMessage, ScopeExceeded: it does not open (`matching.refusals`).
    """
    if row.version != held.keys.version:
        return None
    inside = None if row.segment else open_inside(held, row)
    rows = open_rows(reader, held, Place(row.number, row.slot, row.header, inside))
    if inside is None:
        names = reader.models()
        blocks = [
            Block(modality, names[model], block)
            for modality, model, block in zip(modalities, row.models, row.blocks, strict=True)
            if model is not None and block is not None
        ]
    else:
        blocks = [
            Block(entry.label, model_of(entry.space), block)
            for entry, block in zip(*inside, strict=True)
            if entry.space is not None and entry.label in modalities
        ]
    return OpenEnvelope(row, rows, blocks)


def take_rows(
    held: ScopeKeys, row: SealedRow, block: Block, places: Sequence[int]
) -> list[Template]:
    """Copy the templates at some places of a block; the caller wipes them.

    Raises:
        SealError, ScopeExceeded: it does not open.
        MalformedMessage: there is no such place.
    """
    space = Space(block.model)
    kind = SEGMENT if row.segment else LIVE_ENVELOPE
    opened = open_block(
        held.key(row.slot, block.modality, block.sealed),
        block.sealed,
        header=held.bindings(kind, block.modality, space).of(row.slot, row.sequence, row.salt),
        label="",
        nonce=nonce_of(row.salt, row.sequence),
    )
    try:
        count = count_rows(memoryview(opened), space.width)
        if any(place >= count for place in places):
            raise MalformedMessage("rows: a template lies behind the last of its block")
        taken = []
        for place in places:
            one = np.frombuffer(opened, np.uint8, space.width, place * space.width)
            values = one[:-SCALE_BYTES].view(np.int8).copy()
            scale = float(one[-SCALE_BYTES:].copy().view("<f4")[0])
            salt = os.urandom(SALT_BYTES)
            taken.append(Template(block.modality, block.model, salt, values, scale))
        return taken
    finally:
        opened[:] = bytes(len(opened))


def wipe(templates: Sequence[Template]) -> None:
    """Overwrite templates that were taken."""
    for template in templates:
        template.row.fill(0)
