"""Whether an envelope's blocks are what its header says, before any backend stores them."""

from __future__ import annotations

from protocol.errors import MalformedMessage
from protocol.sealing import SEGMENT, Blocks, Envelope, model_dimension, opened_size
from protocol.sightings import row_bytes


def segment_blocks(envelope: Envelope) -> Blocks | None:
    """Return the sealed blocks of a segment, None for a live envelope.

    Raises:
        MalformedMessage: the blocks are not as many bytes as the header's count and models say.
    """
    header = envelope.header
    if header.kind != SEGMENT:
        return None
    blocks = envelope.blocks()
    for label, model in header.models.items():
        block = blocks.templates.get(label)
        if block is None or opened_size(block) != header.count * row_bytes(model_dimension(model)):
            raise MalformedMessage(f"the {label} block is not {header.count} rows of '{model}'")
    opened_size(blocks.meta)
    return blocks
