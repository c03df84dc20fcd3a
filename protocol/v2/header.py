"""The header of a segment or live envelope of version 2: all that it says in the clear.

It names slot and box, lists the blocks with their digests, and is what the box signs
(`protocol.v2.envelopes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.encoding import Fields, decode, encode, encode_unsigned
from protocol.epoch import ORIGINS
from protocol.errors import MalformedMessage
from protocol.keytree import COVER, LIVE, META, MODALITIES
from protocol.names import SLOTS_PER_EPOCH, CameraAddress, SlotName
from protocol.sealing import LIVE_ENVELOPE, SALT_BYTES, SEGMENT, nonce_of
from protocol.v2 import CONTEXT, VERSION
from protocol.v2.blocks import Space
from protocol.v2.keys import LABELS

CLOCK, STAMPED, STATED = "clock", "stamped", "stated"
"""How the time was known: the board's clock, what the recording carries, what an officer said."""
TIME_SOURCES = frozenset({CLOCK, STAMPED, STATED})
MAX_RANGES = 256
DIGEST_BYTES = 32
_KINDS = frozenset({LIVE_ENVELOPE, SEGMENT})
_MAX_HEADER_BYTES = 16 << 10
_MAX_HEADER_ITEMS = 1024
_ARRAY = 0x80  # the head of a CBOR array of up to 23 items, less their number
_SALT = bytes([0x40 | SALT_BYTES])  # the head of a salt in CBOR


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
            time_source=fields.choice("time_source", TIME_SOURCES),
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


class BlockBindings:
    """What :meth:`Header.binding` gives, for one block of each of many envelopes of a generation.

    Encoded once is what they share: matching would spend more on their headers than on their seals.
    """

    def __init__(
        self,
        kind: str,
        address: CameraAddress,
        *,
        epoch: int,
        generation: int,
        label: str,
        space: Space | None = None,
    ) -> None:
        before = [CONTEXT, kind, address.site, address.box, address.camera, epoch, generation]
        behind = [label, *((None, None) if space is None else (space.name, space.encoding))]
        head = bytes([_ARRAY | (len(before) + 3 + len(behind))])
        self._before = head + encode(before)[1:]
        self._behind = encode(behind)[1:]

    def of(self, slot: int, sequence: int, salt: bytes) -> bytes:
        """Return the additional data of the block in one envelope.

        Raises:
            MalformedMessage, OverflowError: a header cannot say this.
        """
        if len(salt) != SALT_BYTES:
            raise MalformedMessage(f"a salt has {SALT_BYTES} bytes")
        # One by one: an array takes its encoder ten times as long as what is in it.
        return b"".join(
            (
                self._before,
                encode_unsigned(slot),
                encode_unsigned(sequence),
                _SALT,
                salt,
                self._behind,
            )
        )

    def of_many(
        self, slots: Sequence[int], sequences: Sequence[int], salts: Sequence[bytes]
    ) -> list[bytes]:
        """Return what :meth:`of` does, for many envelopes.

        Raises:
            MalformedMessage, OverflowError: a header cannot say this.
        """
        if set(map(len, salts)) - {SALT_BYTES}:
            raise MalformedMessage(f"a salt has {SALT_BYTES} bytes")
        before, behind = self._before, self._behind
        heads = {slot: before + encode_unsigned(slot) for slot in set(slots)}
        return [
            heads[slot] + encode_unsigned(sequence) + _SALT + salt + behind
            for slot, sequence, salt in zip(slots, sequences, salts, strict=True)
        ]


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
