"""Envelopes of version 2: a header in the clear, and one sealed block a label.

``[header, [* block], signature]``. The header lists the blocks in their order, each with its label,
its space if it holds templates, and its SHA-256; the box signs the header alone, so whoever keeps
one block can check it without the others. Every seal is ``commitment (32) || AES-256-GCM ciphertext
|| tag (16)``, with the nonce ``salt[:4] || sequence (8, big endian)``; what names the slot, the
envelope and the block is its additional data.

Blocks of a segment: one a modality that somebody has a template of, ``cover`` (the rows), ``meta``
(each row's metadata under a key of its own, end to end, random bytes behind), ``counts`` where the
policy says so. A **live** envelope has one block, ``live``: the same ones, encoded and sealed once
more under the slot's ``live`` key. Nothing in the clear tells how many sightings there are but the
size classes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.encoding import Fields, decode, encode
from protocol.epoch import ORIGINS
from protocol.errors import AuthenticationFailed, MalformedMessage
from protocol.keytree import ModalityKey
from protocol.names import SLOTS_PER_EPOCH, CameraAddress, SlotName
from protocol.sealing import (
    ENVELOPE_KIND,
    LIVE_ENVELOPE,
    MAX_ENVELOPE_BYTES,
    SALT_BYTES,
    SEGMENT,
    nonce_of,
    open_block,
    seal_block,
)
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.signing import Signed, SigningKey, Verifier, sign
from protocol.v2 import CONTEXT, VERSION
from protocol.v2.blocks import Space, lay_out
from protocol.v2.keys import COVER, LABELS, LIVE, META, MODALITIES
from protocol.v2.padding import fill
from protocol.v2.rows import Coverage, Rows
from protocol.v2.sightings import Row, Sighting

CLOCK, STAMPED, STATED = "clock", "stamped", "stated"
"""How the time was known: the board's clock, what the recording carries, what an officer said."""
MAX_RANGES = 256
DIGEST_BYTES = 32
_KINDS = frozenset({LIVE_ENVELOPE, SEGMENT})
_TIMES = frozenset({CLOCK, STAMPED, STATED})
_MAX_HEADER_BYTES = 16 << 10
_MAX_HEADER_ITEMS = 1024


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """What a header says of one block: ``space`` where it holds templates; ``digest`` SHA-256."""

    label: str
    digest: bytes
    space: Space | None = None

    def to_value(self) -> list[object]:
        """Return the array that is encoded."""
        space = self.space
        return [
            self.label,
            None if space is None else space.name,
            None if space is None else space.encoding,
            self.digest,
        ]

    @classmethod
    def from_value(cls, value: object) -> BlockEntry:
        """Read a decoded array.

        Raises:
            MalformedMessage: it is not a block's entry.
        """
        if (
            not isinstance(value, list)
            or len(value) != 4
            or value[0] not in LABELS
            or not isinstance(value[3], bytes)
            or len(value[3]) != DIGEST_BYTES
        ):
            raise MalformedMessage("a block's entry is not [label, space, encoding, digest]")
        label, name, encoding, digest = value
        if label not in MODALITIES:
            if name is not None or encoding is not None:
                raise MalformedMessage(f"the block '{label}' holds no templates of a space")
            return cls(label, digest)
        if not all(_is_line(part) for part in (name, encoding)):
            raise MalformedMessage(f"the block '{label}' does not say of which space it is")
        return cls(label, digest, Space(name, encoding))


@dataclass(frozen=True, slots=True)
class Header:
    """What an envelope says in the clear.

    Args:
        kind: live or segment.
        sequence: counts a camera's envelopes and announcements without a gap.
        origin: a camera's pictures of now, or a recording's.
        time_source: how the times were known.
        salt: 8 random bytes a seal.
        replaces: for a segment, the live envelopes that it takes the place of: ranges of their
            sequence numbers, first and last.
        blocks: in the order in which they follow.
    """

    kind: str
    name: SlotName
    sequence: int
    origin: str
    time_source: str
    sealed_at_ms: int
    salt: bytes
    replaces: tuple[tuple[int, int], ...]
    blocks: tuple[BlockEntry, ...]

    def to_bytes(self) -> bytes:
        """Encode; the box signs these bytes."""
        name = self.name
        return encode(
            {
                "v": VERSION,
                "kind": self.kind,
                "site": name.address.site,
                "box": name.address.box,
                "camera": name.address.camera,
                "epoch": name.epoch,
                "generation": name.generation,
                "slot": name.slot,
                "sequence": self.sequence,
                "origin": self.origin,
                "time_source": self.time_source,
                "sealed_at_ms": self.sealed_at_ms,
                "salt": self.salt,
                "replaces": [list(part) for part in self.replaces],
                "blocks": [entry.to_value() for entry in self.blocks],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read a header.

        Raises:
            MalformedMessage: it is not one.
            UnsupportedVersion: of another version of the protocol.
        """
        value = decode(
            data, what="envelope header", max_bytes=_MAX_HEADER_BYTES, max_items=_MAX_HEADER_ITEMS
        )
        fields = Fields(value, what="header")
        fields.version(VERSION)
        header = cls(
            kind=fields.choice("kind", _KINDS),
            name=SlotName(
                CameraAddress(fields.text("site"), fields.text("box"), fields.text("camera")),
                fields.integer("epoch", high=2**31),
                fields.integer("generation", low=1),
                fields.integer("slot", high=SLOTS_PER_EPOCH - 1),
            ),
            sequence=fields.integer("sequence"),
            origin=fields.choice("origin", ORIGINS),
            time_source=fields.choice("time_source", _TIMES),
            sealed_at_ms=fields.integer("sealed_at_ms"),
            salt=fields.raw("salt", size=SALT_BYTES),
            replaces=_read_ranges(fields.array("replaces", max_items=MAX_RANGES)),
            blocks=tuple(
                BlockEntry.from_value(item)
                for item in fields.array("blocks", max_items=len(LABELS), min_items=1)
            ),
        )
        fields.done()
        header._check()
        return header

    def _check(self) -> None:
        labels = [entry.label for entry in self.blocks]
        if len(set(labels)) != len(labels):
            raise MalformedMessage("a header lists a block twice")
        if self.kind == LIVE_ENVELOPE and (labels != [LIVE] or self.replaces):
            raise MalformedMessage("a live envelope has one block, 'live', and replaces nothing")
        if self.kind == SEGMENT and (LIVE in labels or not {COVER, META} <= set(labels)):
            raise MalformedMessage("a segment has rows and metadata, and nothing under 'live'")
        if self.replaces and self.replaces[-1][1] >= self.sequence:
            raise MalformedMessage("a segment replaces what came before it")

    @property
    def nonce(self) -> bytes:
        """The 12-byte nonce of this envelope's seals."""
        return nonce_of(self.salt, self.sequence)

    def binding(self, label: str, space: Space | None = None) -> bytes:
        """Return the additional data of one block's seal."""
        return encode(
            [
                CONTEXT,
                self.kind,
                *self.name.to_value(),
                self.sequence,
                self.salt,
                label,
                None if space is None else space.name,
                None if space is None else space.encoding,
            ]
        )

    def row_binding(self, row_id: bytes) -> bytes:
        """Return the additional data of one row's seal."""
        return encode([CONTEXT, self.kind, *self.name.to_value(), self.sequence, self.salt, row_id])


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
        value = decode(
            data, what="envelope", max_bytes=MAX_ENVELOPE_BYTES, max_items=4 + len(LABELS)
        )
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
        opened = self.open(LIVE, live_key)
        value = decode(bytes(opened), what="live envelope", max_items=6 * len(LABELS))
        if not isinstance(value, list) or not all(
            isinstance(item, list) and len(item) == 2 and isinstance(item[1], bytes)
            for item in value
        ):
            raise MalformedMessage("a live envelope does not open to blocks")
        entries = tuple(BlockEntry.from_value(item[0]) for item in value)
        labels = [entry.label for entry in entries]
        if len(set(labels)) != len(labels) or not {COVER, META} <= set(labels) or LIVE in labels:
            raise MalformedMessage("a live envelope does not open to rows and metadata")
        blocks = tuple(item[1] for item in value)
        for entry, block in zip(entries, blocks, strict=True):
            check_block(entry, block)
        return replace(self, header=replace(self.header, blocks=entries), blocks=blocks)


def parse_envelope(data: bytes) -> Envelope | EnvelopeOfVersion1:
    """Split an envelope of whichever version: version 1 has one ciphertext, version 2 a list.

    Raises:
        MalformedMessage, MessageTooLarge, UnsupportedVersion: it is of neither.
    """
    value = decode(data, what="envelope", max_bytes=MAX_ENVELOPE_BYTES, max_items=4 + len(LABELS))
    if isinstance(value, list) and len(value) == 3 and isinstance(value[1], list):
        return Envelope.parse(data)
    return EnvelopeOfVersion1.parse(data)


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
    """

    sightings: Sequence[Sighting]
    spaces: Mapping[str, Space]
    coverage: Coverage | None = None
    padded: bool = True
    always: frozenset[str] = frozenset()


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


def _read_ranges(items: Sequence[object]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for item in items:
        if not isinstance(item, list) or [type(part) for part in item] != [int, int]:
            raise MalformedMessage("what a segment replaces is not ranges of numbers")
        first, last = item
        if not 0 <= first <= last or (ranges and first <= ranges[-1][1] + 1):
            raise MalformedMessage("what a segment replaces is not ascending ranges apart")
        ranges.append((first, last))
    return tuple(ranges)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable()
