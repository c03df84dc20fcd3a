"""Lay an envelope out in columns so that matching reads one block, and put it together again."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from protocol.errors import MalformedMessage
from protocol.keytree import APPEARANCE, FACE
from protocol.sealing import SEGMENT, Blocks, Envelope, Header, model_dimension, opened_size
from protocol.sightings import row_bytes

_INSERT = """
INSERT INTO envelopes (
    stream, epoch, generation, slot, segment, sequence, count, face_model, appearance_model,
    received_ms, salt, header, signature, face, appearance, meta
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def segment_blocks(envelope: Envelope) -> Blocks | None:
    """Return the sealed blocks of a segment, None for a live envelope.

    Raises:
        MalformedMessage: the blocks are not as many bytes as the header's count and models say.
    """
    header = envelope.header
    if header.kind != SEGMENT:
        return None
    blocks = envelope.blocks()
    for label, block in ((FACE, blocks.face), (APPEARANCE, blocks.appearance)):
        model = header.models.get(label)
        if model is None:
            continue
        if block is None or opened_size(block) != header.count * row_bytes(model_dimension(model)):
            raise MalformedMessage(f"the {label} block is not {header.count} rows of '{model}'")
    opened_size(blocks.meta)
    return blocks


def model_number(connection: sqlite3.Connection, model: str) -> int:
    """Return the number of a model id in the store, giving it one when it is new."""
    row = connection.execute("SELECT id FROM models WHERE model = ?", (model,)).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO models (model) VALUES (?) RETURNING id", (model,)
        ).fetchone()
    return int(row[0])


def insert_envelope(
    connection: sqlite3.Connection,
    stream: int,
    envelope: Envelope,
    blocks: Blocks | None,
    *,
    models: tuple[int | None, int | None],
    received_ms: int,
) -> None:
    """Store a verified envelope; ``blocks`` as `segment_blocks` gave them.

    ``models`` are the numbers (`model_number`) of its face and appearance models.
    """
    header = envelope.header
    connection.execute(
        _INSERT,
        (
            stream,
            header.epoch,
            header.generation,
            header.slot,
            int(blocks is not None),
            header.sequence,
            header.count,
            *models,
            received_ms,
            header.salt,
            envelope.header_bytes,
            envelope.signature,
            envelope.ciphertext if blocks is None else blocks.face,
            None if blocks is None else blocks.appearance,
            None if blocks is None else blocks.meta,
        ),
    )


def read_envelope(database: Database, number: int) -> Envelope:
    """Return envelope ``number`` byte for byte as it came; its signature still verifies.

    Raises:
        KeyError: there is none of that number.
    """
    row = database.conn.execute(
        "SELECT header, signature, segment, face, appearance, meta FROM envelopes WHERE id = ?",
        (number,),
    ).fetchone()
    if row is None:
        raise KeyError(number)
    header, signature, segment, face, appearance, meta = row
    ciphertext = Blocks(face, appearance, meta).to_bytes() if segment else face
    return Envelope(Header.parse(header), header, ciphertext, signature)


def drop_replaced_live(
    connection: sqlite3.Connection, stream: int, epoch: int, generation: int, slot: int
) -> int:
    """Delete a slot's live envelopes if its segments hold at least as many sightings.

    Returns how many were deleted. Call it after anything of that slot was stored, verified.
    """
    scope = (stream, epoch, generation, slot)
    counts = dict(
        connection.execute(
            "SELECT segment, sum(count) FROM envelopes WHERE stream = ? AND epoch = ?"
            " AND generation = ? AND slot = ? GROUP BY segment",
            scope,
        ).fetchall()
    )
    if 0 not in counts or counts.get(1, 0) < counts[0]:
        return 0
    return connection.execute(
        "DELETE FROM envelopes WHERE stream = ? AND epoch = ? AND generation = ? AND slot = ?"
        " AND segment = 0",
        scope,
    ).rowcount
