"""Envelopes of version 2: a header in the clear, and one sealed block a label.

``[header, [* block], signature]``. The header lists the blocks in their order, each with its label,
its space if it holds templates, and its SHA-256; the box signs the header alone, so whoever keeps
one block can check it without the others. Every seal is ``commitment (32) || AES-256-GCM ciphertext
|| tag (16)``, with the nonce ``salt[:4] || sequence (8, big endian)``; what names the slot, the
envelope and the block is its additional data.

Blocks of a segment: one a modality that somebody has a template of, ``cover`` (the rows), ``meta``
(each row's metadata under a key of its own, end to end, random bytes behind), ``counts`` where the
policy permits them. A **live** envelope has one block, ``live``: the same ones (no counts), encoded
and sealed once more under the slot's ``live`` key. Nothing in the clear tells how many sightings
there are but the size classes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.encoding import decode, encode
from protocol.errors import AuthenticationFailed, MalformedMessage
from protocol.keytree import COUNTS, COVER, LIVE, META, ModalityKey
from protocol.sealing import (
    ENVELOPE_KIND,
    LIVE_ENVELOPE,
    MAX_ENVELOPE_BYTES,
    open_block,
    seal_block,
)
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.signing import Signed, SigningKey, Verifier, sign
from protocol.v2.blocks import Space, lay_out
from protocol.v2.counts import Counts
from protocol.v2.header import BlockEntry, Header
from protocol.v2.keys import LABELS
from protocol.v2.padding import fill
from protocol.v2.rows import Coverage, Rows
from protocol.v2.sightings import Row, Sighting


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope as it came; ``header_bytes`` are what the signature covers."""

    header: Header
    header_bytes: bytes
    blocks: tuple[bytes, ...]
    signature: bytes

    def to_bytes(self) -> bytes:
        """Encode for the wire."""
        return encode([self.header_bytes, list(self.blocks), self.signature])

    @classmethod
    def parse(cls, data: bytes) -> Envelope:
        """Split an envelope and read its header; nothing is verified yet.

        Raises:
            MalformedMessage, MessageTooLarge: it is not an envelope.
        """
        return cls._of(_split(data))

    @classmethod
    def _of(cls, value: object) -> Envelope:
        if (
            not isinstance(value, list)
            or len(value) != 3
            or not isinstance(value[0], bytes)
            or not isinstance(value[1], list)
            or not all(isinstance(block, bytes) for block in value[1])
            or not isinstance(value[2], bytes)
        ):
            raise MalformedMessage("an envelope is not [header, blocks, signature]")
        header = Header.parse(value[0])
        if len(value[1]) != len(header.blocks):
            raise MalformedMessage("an envelope has not the blocks that its header lists")
        return cls(header, value[0], tuple(value[1]), value[2])

    def verify(self, resolve: Callable[[str], Verifier]) -> None:
        """Check the box's signature over the header, then each block's digest.

        Raises:
            SignatureInvalid: see :meth:`protocol.signing.Signed.verify`.
            AuthenticationFailed: a block is not the one that the box signed for.
        """
        box = self.header.name.address.box
        Signed(ENVELOPE_KIND, box, self.header_bytes, self.signature).verify(resolve)
        for entry, block in zip(self.header.blocks, self.blocks, strict=True):
            check_block(entry, block)

    def block(self, label: str) -> tuple[BlockEntry, bytes]:
        """Return a block with its entry.

        Raises:
            MalformedMessage: the envelope has none under this label.
        """
        for entry, block in zip(self.header.blocks, self.blocks, strict=True):
            if entry.label == label:
                return entry, block
        raise MalformedMessage(f"the envelope has no block '{label}'")

    def has(self, label: str) -> bool:
        """Tell whether there is a block under this label."""
        return any(entry.label == label for entry in self.header.blocks)

    def open(self, label: str, key: ModalityKey) -> bytearray:
        """Open one block into a new buffer, which the caller wipes.

        Raises:
            MalformedMessage: the envelope has none under this label.
            KeyCommitmentMismatch, AuthenticationFailed: it does not open.
        """
        entry, block = self.block(label)
        binding = self.header.binding(label, entry.space)
        return open_block(key, block, header=binding, label="", nonce=self.header.nonce)

    def rows(self, key: ModalityKey) -> Rows:
        """Open the rows with the slot's ``cover`` key. Errors as :meth:`open`."""
        return Rows.parse(self.open(COVER, key))

    def counts(self, key: ModalityKey) -> Counts:
        """Open what was counted with the slot's ``counts`` key. Errors as :meth:`open`."""
        return Counts.parse(self.open(COUNTS, key))

    def row(self, rows: Rows, number: int, key: ModalityKey) -> Row:
        """Open the metadata of one sighting with its row key.

        Raises:
            KeyCommitmentMismatch, AuthenticationFailed: the key is not that row's.
            MalformedMessage: the rows point outside the metadata.
        """
        _, sealed = self.block(META)
        span = rows.span_of(number)
        if span.stop > len(sealed):
            raise MalformedMessage("rows: the metadata ends before they say")
        opened = open_block(
            key,
            sealed[span],
            header=self.header.row_binding(rows.id_of(number)),
            label="",
            nonce=self.header.nonce,
        )
        try:
            return Row.parse(bytes(opened))
        finally:
            opened[:] = bytes(len(opened))

    def inner(self, live_key: ModalityKey) -> Envelope:
        """Open a live envelope: the same with the blocks that a segment has.

        Raises:
            KeyCommitmentMismatch, AuthenticationFailed: it does not open.
            MalformedMessage: what it opens to is not blocks.
        """
        entries, blocks = inner_blocks(self.open(LIVE, live_key))
        return replace(self, header=replace(self.header, blocks=entries), blocks=blocks)


def inner_blocks(
    opened: bytes | bytearray,
) -> tuple[tuple[BlockEntry, ...], tuple[bytes, ...]]:
    """Return the blocks that a live envelope opens to, sealed, and their entries.

    Raises:
        AuthenticationFailed: a block is not that of its entry.
        MalformedMessage: it does not open to blocks.
    """
    value = decode(bytes(opened), what="live envelope", max_items=6 * len(LABELS))
    if not isinstance(value, list) or not all(
        isinstance(item, list) and len(item) == 2 and isinstance(item[1], bytes) for item in value
    ):
        raise MalformedMessage("a live envelope does not open to blocks")
    entries = tuple(BlockEntry.from_value(item[0]) for item in value)
    labels = [entry.label for entry in entries]
    if len(set(labels)) != len(labels) or not {COVER, META} <= set(labels) or LIVE in labels:
        raise MalformedMessage("a live envelope does not open to rows and metadata")
    blocks = tuple(item[1] for item in value)
    for entry, block in zip(entries, blocks, strict=True):
        check_block(entry, block)
    return entries, blocks


def parse_envelope(data: bytes) -> Envelope | EnvelopeOfVersion1:
    """Split an envelope of whichever version: version 1 has one ciphertext, version 2 a list.

    Raises:
        MalformedMessage, MessageTooLarge, UnsupportedVersion: it is of neither.
    """
    value = _split(data)
    if isinstance(value, list) and len(value) == 3 and isinstance(value[1], list):
        return Envelope._of(value)
    return EnvelopeOfVersion1.parse(data)


def _split(data: bytes) -> object:
    return decode(data, what="envelope", max_bytes=MAX_ENVELOPE_BYTES, max_items=4 + len(LABELS))


def check_block(entry: BlockEntry, block: bytes) -> None:
    """Check that a block is the one whose digest the box signed.

    Raises:
        AuthenticationFailed: it is another.
    """
    if not hmac.compare_digest(hashlib.sha256(block).digest(), entry.digest):
        raise AuthenticationFailed(f"the {entry.label} block is not the one that the box signed")


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be sealed in one envelope.

    Args:
        sightings: unique ids.
        spaces: modality to the space of its templates; a block is made for each that somebody has.
        coverage: of the slot; None in a live envelope.
        padded: False where the policy hides no sizes.
        always: modalities whose block is there even when nobody has such a template, so that its
            absence tells nothing.
        counts: of the slot; None where the policy permits none, and in a live envelope.
    """

    sightings: Sequence[Sighting]
    spaces: Mapping[str, Space]
    coverage: Coverage | None = None
    padded: bool = True
    always: frozenset[str] = frozenset()
    counts: Counts | None = None


def seal(
    header: Header,
    batch: Batch,
    *,
    key: Callable[[str], ModalityKey],
    row_key: Callable[[bytes], ModalityKey],
    board: SigningKey,
) -> Envelope:
    """Seal a batch under its slot's keys and sign it as ``board``.

    Args:
        header: its ``blocks`` are filled in here.
        key: of a label in this slot.
        row_key: of a sighting by its id.

    Raises:
        MalformedMessage: something in the batch cannot be sealed.
    """
    metadata = [
        seal_block(
            row_key(one.sighting_id),
            one.row.to_bytes(),
            header=header.row_binding(one.sighting_id),
            label="",
            nonce=header.nonce,
        )
        for one in batch.sightings
    ]
    modalities = [
        modality
        for modality in batch.spaces
        if modality in batch.always or any(modality in one.templates for one in batch.sightings)
    ]
    entries, blocks = [], []

    def add(label: str, block: bytes, space: Space | None = None) -> None:
        entries.append(BlockEntry(label, hashlib.sha256(block).digest(), space))
        blocks.append(block)

    def seal_plain(label: str, plain: bytearray, space: Space | None = None) -> bytes:
        binding = header.binding(label, space)
        try:
            return seal_block(key(label), plain, header=binding, label="", nonce=header.nonce)
        finally:
            plain[:] = bytes(len(plain))

    for modality in sorted(modalities):
        space = batch.spaces[modality]
        templates = [
            one.templates[modality] for one in batch.sightings if modality in one.templates
        ]
        plain = lay_out([(t.row, t.scale) for t in templates], space, padded=batch.padded)
        add(modality, seal_plain(modality, plain, space), space)
    rows = Rows.of(
        batch.sightings,
        [len(sealed) for sealed in metadata],
        modalities=modalities,
        coverage=batch.coverage,
    )
    add(COVER, seal_plain(COVER, rows.to_bytes(padded=batch.padded)))
    add(META, fill(b"".join(metadata), padded=batch.padded))
    if batch.counts is not None:
        add(COUNTS, seal_plain(COUNTS, batch.counts.to_bytes()))
    if header.kind == LIVE_ENVELOPE:
        inside = encode(
            [[entry.to_value(), block] for entry, block in zip(entries, blocks, strict=True)]
        )
        entries, blocks = [], []
        add(LIVE, seal_plain(LIVE, bytearray(inside)))
    whole = replace(header, blocks=tuple(entries))
    header_bytes = whole.to_bytes()
    Header.parse(header_bytes)
    signature = sign(ENVELOPE_KIND, header_bytes, board).signature
    return Envelope(whole, header_bytes, tuple(blocks), signature)
