"""Lay an envelope out in columns so that matching reads one block, and put it together again."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from protocol.epoch import Announcement
from protocol.errors import MalformedMessage
from protocol.keytree import MODALITIES
from protocol.sealing import SEGMENT, Blocks, Envelope, Header, model_dimension, opened_size
from protocol.sightings import row_bytes

LIVE_COLUMN = MODALITIES[0]
"""Where a live envelope's whole ciphertext stands; a segment has a column for each block."""
_BLOCKS = ", ".join(MODALITIES)
_COLUMNS = (
    "stream, epoch, generation, slot, segment, sequence, count, received_ms, salt, header,"
    f" signature, meta, {', '.join(f'{modality}_model' for modality in MODALITIES)}, {_BLOCKS}"
)
_INSERT = (
    f"INSERT INTO envelopes ({_COLUMNS})"  # noqa: S608 - our own words
    f" VALUES ({', '.join('?' for _ in _COLUMNS.split(','))})"
)


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


class ModelNumbers:
    """The numbers of model ids in the store; `forget` them when a transaction was undone."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def forget(self) -> None:
        """Ask the store again."""
        self._known.clear()

    def of(self, connection: sqlite3.Connection, model: str | None) -> int | None:
        """Return the number of a model id, giving it one when it is new; None for None."""
        if model is None:
            return None
        if model not in self._known:
            connection.execute("INSERT OR IGNORE INTO models (model) VALUES (?)", (model,))
            row = connection.execute("SELECT id FROM models WHERE model = ?", (model,)).fetchone()
            self._known[model] = int(row[0])
        return self._known[model]


def insert_announcement(
    connection: sqlite3.Connection, stream: int, announcement: Announcement, signed: bytes
) -> bool:
    """Store a verified announcement; return False if its generation has one for the epoch."""
    done = connection.execute(
        "INSERT OR IGNORE INTO announcements"
        " (stream, epoch, generation, sequence, announced_ms, signed) VALUES (?, ?, ?, ?, ?, ?)",
        (
            stream,
            announcement.epoch,
            announcement.generation,
            announcement.sequence,
            announcement.announced_at_ms,
            signed,
        ),
    )
    return done.rowcount > 0


def insert_envelope(
    connection: sqlite3.Connection,
    stream: int,
    envelope: Envelope,
    blocks: Blocks | None,
    *,
    models: ModelNumbers,
    received_ms: int,
) -> None:
    """Store a verified envelope; ``blocks`` as `segment_blocks` gave them."""
    header = envelope.header
    stored = {LIVE_COLUMN: envelope.ciphertext} if blocks is None else blocks.templates
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
            received_ms,
            header.salt,
            envelope.header_bytes,
            envelope.signature,
            None if blocks is None else blocks.meta,
            *(models.of(connection, header.models.get(modality)) for modality in MODALITIES),
            *(stored.get(modality) for modality in MODALITIES),
        ),
    )


def read_envelope(database: Database, number: int) -> Envelope:
    """Return envelope ``number`` byte for byte as it came; its signature still verifies.

    Raises:
        KeyError: there is none of that number.
    """
    row = database.conn.execute(
        f"SELECT header, signature, segment, meta, {_BLOCKS} FROM envelopes WHERE id = ?",  # noqa: S608 - our own words
        (number,),
    ).fetchone()
    if row is None:
        raise KeyError(number)
    header, signature, segment, meta, *columns = row
    named: dict[str, bytes | None] = dict(zip(MODALITIES, columns, strict=True))
    stored = {modality: block for modality, block in named.items() if block is not None}
    ciphertext = Blocks(stored, meta).to_bytes() if segment else stored[LIVE_COLUMN]
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
