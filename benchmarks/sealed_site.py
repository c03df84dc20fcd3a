"""A made-up site for the benchmarks: boxes that seal random sightings, as real ones do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from protocol import hpke
from protocol.directory import AGGREGATOR, BOX, CUSTODIAN, Directory, Principal
from protocol.encoding import encode
from protocol.epoch import Announcement, announce, excluded_subsets
from protocol.epoch_keys import EpochKeys, combine
from protocol.grant import Scope, release
from protocol.keytree import COVER, FACE, LIVE, META, ModalityKey
from protocol.names import ENVELOPE, EPOCH, EPOCH_MS, CameraAddress, SlotName, slot_start_ms
from protocol.sealing import (
    LIVE_ENVELOPE,
    SEAL_OVERHEAD,
    SEGMENT,
    Header,
    seal_block,
    seal_envelope,
)
from protocol.sightings import (
    Encounter,
    MaskStatus,
    Sighting,
    encode_meta,
    row_bytes,
)
from protocol.signing import SigningKey, sign
from protocol.v2.blocks import Space
from protocol.v2.blocks import lay_out as lay_out_rows
from protocol.v2.envelopes import Envelope as EnvelopeOfVersion2
from protocol.v2.header import CLOCK, BlockEntry
from protocol.v2.header import Header as HeaderOfVersion2
from protocol.v2.padding import fill
from protocol.v2.rows import Coverage, Rows
from protocol.v2.sightings import Encounter as EncounterOfVersion2
from protocol.v2.sightings import Row
from protocol.v2.sightings import Sighting as SightingOfVersion2

SITE = "bench"
DIMENSION = 128
MODEL = f"bench-{DIMENSION}@00000000"
CUSTODIANS = ("c1", "c2", "c3")
Message = tuple[str, bytes]


def unit_rows(rng: np.random.Generator, count: int) -> npt.NDArray[np.int8]:
    """Return (count, d) int8 templates as `protocol.sightings.quantise_template` makes them."""
    values = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    values *= 127 / np.abs(values).max(axis=1, keepdims=True)
    return np.rint(values).astype(np.int8)


def face_block(rows: npt.NDArray[np.int8]) -> bytes:
    """Return a face block, plain: rows and scales as `encode_template_block` lays them out."""
    table = np.empty((len(rows), row_bytes(DIMENSION)), np.uint8)
    table[:, :DIMENSION] = rows.view(np.uint8)
    norms = np.linalg.norm(rows.astype(np.float32), axis=1)
    table[:, DIMENSION:] = (1 / norms).astype("<f4").view(np.uint8).reshape(-1, 4)
    return table.tobytes()


@cache
def meta_block(count: int, met: int, at_ms: int) -> bytes:
    """Return a meta block of ``count`` sightings, ``met`` encounters each."""
    encounter = Encounter(os.urandom(8), 1.2, 8.5, MaskStatus.MASKED, 0.9)
    return encode_meta(
        [
            Sighting(
                os.urandom(8), at_ms, at_ms + 4000, MaskStatus.UNMASKED, 0.9, 0.8,
                {}, (encounter,) * met,
            )
            for _ in range(count)
        ]
    )  # fmt: skip


@cache
def rows_block(count: int, met: int, at_ms: int) -> tuple[bytes, int]:
    """Return a block of rows of version 2, plain, and how many bytes the sealed metadata has."""
    encounter = EncounterOfVersion2(
        os.urandom(8), os.urandom(8), at_ms, at_ms + 4000, 3.5, 1.2, 1.4
    )
    row = Row(at_ms, at_ms + 4000, MaskStatus.UNMASKED, 0.9, 0.8, encounters=(encounter,) * met)
    size = len(row.to_bytes()) + SEAL_OVERHEAD
    seen = [SightingOfVersion2(os.urandom(8), os.urandom(8), row) for _ in range(count)]
    rows = Rows.of(seen, [size] * count, modalities=(), coverage=Coverage(watched_s=900))
    return bytes(rows.to_bytes()), size * count


@dataclass(slots=True)
class Camera:
    """One camera's day: its keys, and the counters of its box."""

    address: CameraAddress
    board: SigningKey
    announcement: Announcement
    roots: tuple[bytes, ...]
    sequence: int = 0
    _keys: dict[int, dict[str, ModalityKey]] = field(default_factory=dict)

    def message_of_day(self) -> Message:
        """Return the announcement as published."""
        signed = self.announcement.sign(self.board).to_bytes()
        return self.address.topic(EPOCH), signed

    def granted(self, first_slot: int = 0, last_slot: int = 95) -> EpochKeys:
        """Return the keys that a full set of custodians would grant."""
        scope = Scope(
            self.address,
            self.announcement.epoch,
            self.announcement.generation,
            first_slot,
            last_slot,
        )
        version = self.announcement.version
        labels = (FACE, META if version == 1 else COVER, LIVE)
        released = release(dict(enumerate(self.roots)), scope, labels, version)
        return combine(self.announcement, [released])

    def seal(self, kind: str, slot: int, rows: npt.NDArray[np.int8], *, met: int = 1) -> Message:
        """Return an envelope of ``rows``, (n, d) int8, as published."""
        self.sequence += 1
        epoch = self.announcement.epoch
        at_ms = slot_start_ms(epoch, slot)
        if slot not in self._keys:
            keys = self.granted(slot, slot)
            rest = META if self.announcement.version == 1 else COVER
            self._keys[slot] = {label: keys.key(slot, label) for label in (FACE, rest, LIVE)}
        if self.announcement.version > 1:
            return self._seal_second(kind, slot, rows, met=met, at_ms=at_ms)
        header = Header(
            kind,
            self.address,
            epoch,
            self.announcement.generation,
            slot,
            self.sequence,
            len(rows),
            {FACE: MODEL},
            at_ms + 900_000,
            os.urandom(8),
        )
        envelope = seal_envelope(
            header,
            templates={FACE: face_block(rows)},
            meta=meta_block(len(rows), met, at_ms),
            keys=self._keys[slot],
            board=self.board,
        )
        return self.address.topic(ENVELOPE), envelope.to_bytes()

    def _seal_second(
        self, kind: str, slot: int, rows: npt.NDArray[np.int8], *, met: int, at_ms: int
    ) -> Message:
        """Return an envelope of version 2, its metadata random: here nobody opens it."""
        space = Space(MODEL)
        header = HeaderOfVersion2(
            kind,
            SlotName(self.address, self.announcement.epoch, self.announcement.generation, slot),
            self.sequence,
            self.announcement.origin,
            CLOCK,
            at_ms + 900_000,
            os.urandom(8),
            (),
            (),
        )
        scales = 1 / np.linalg.norm(rows.astype(np.float32), axis=1)
        face = lay_out_rows([*zip(rows, scales.tolist(), strict=True)], space)
        cover, metadata = rows_block(len(rows), met, at_ms)
        blocks: list[bytes] = []
        entries: list[BlockEntry] = []
        plain: list[tuple[str, bytes | bytearray, Space | None]]
        plain = [(FACE, face, space), (COVER, cover, None)]
        for label, block, of in plain:
            sealed = seal_block(
                self._keys[slot][label],
                block,
                header=header.binding(label, of),
                label="",
                nonce=header.nonce,
            )
            blocks.append(sealed)
            entries.append(BlockEntry(label, hashlib.sha256(sealed).digest(), of))
        blocks.append(fill(os.urandom(metadata)))
        entries.append(BlockEntry(META, hashlib.sha256(blocks[-1]).digest()))
        if kind == LIVE_ENVELOPE:
            told = zip(entries, blocks, strict=True)
            inside = encode([[entry.to_value(), block] for entry, block in told])
            binding = header.binding(LIVE)
            sealed = seal_block(
                self._keys[slot][LIVE], inside, header=binding, label="", nonce=header.nonce
            )
            blocks, entries = [sealed], [BlockEntry(LIVE, hashlib.sha256(sealed).digest())]
        whole = replace(header, blocks=tuple(entries))
        signature = sign("envelope", whole.to_bytes(), self.board).signature
        envelope = EnvelopeOfVersion2(whole, whole.to_bytes(), tuple(blocks), signature)
        return self.address.topic(ENVELOPE), envelope.to_bytes()


@dataclass(frozen=True, slots=True)
class Site:
    """Boxes of one camera each, their directory, and a day on which everything happens."""

    directory: Directory
    cameras: tuple[Camera, ...]
    aggregator: SigningKey

    @property
    def now_ms(self) -> int:
        """A moment after the end of the day."""
        return (self.cameras[0].announcement.epoch + 1) * EPOCH_MS

    def segments(
        self, rng: np.random.Generator, slots: Sequence[int], *, size: int
    ) -> Iterator[Message]:
        """Yield each camera's announcement, then a segment of ``size`` for each camera and slot."""
        for camera in self.cameras:
            yield camera.message_of_day()
        for slot in slots:
            for camera in self.cameras:
                yield camera.seal(SEGMENT, slot, unit_rows(rng, size))


def make_site(cameras: int, *, epoch: int = 20_000, version: int = 1) -> Site:
    """Make a site of ``cameras`` boxes with one camera each, that seal in this version."""
    day_keys = {name: hpke.PrivateKey.generate().public for name in CUSTODIANS}
    made = []
    principals = {}
    for number in range(1, cameras + 1):
        board = SigningKey.generate(f"box-{number}")
        address = CameraAddress(SITE, f"box-{number}", f"cam-{number}")
        roots = tuple(os.urandom(32) for _ in excluded_subsets(CUSTODIANS, 2))
        announcement = announce(
            roots,
            address=address,
            epoch=epoch,
            generation=1,
            sequence=0,
            threshold=2,
            custodians=CUSTODIANS,
            day_keys=day_keys,
            models={FACE: MODEL},
            announced_at_ms=epoch * EPOCH_MS,
            version=version,
        )
        made.append(Camera(address, board, announcement, roots))
        principals[board.signer] = Principal(
            board.signer, frozenset({BOX}), board.verify_key, cameras=(address.camera,)
        )
    aggregator = SigningKey.generate("aggregator")
    principals["aggregator"] = Principal(
        "aggregator", frozenset({AGGREGATOR}), aggregator.verify_key
    )
    for name in CUSTODIANS:
        key = SigningKey.generate(name).verify_key
        principals[name] = Principal(name, frozenset({CUSTODIAN}), key)
    directory = Directory(SITE, 1, epoch * EPOCH_MS, 2, principals)
    return Site(directory, tuple(made), aggregator)
