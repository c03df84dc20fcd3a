"""A made-up site for the benchmarks: boxes that seal random sightings, as real ones do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from protocol import hpke
from protocol.directory import AGGREGATOR, BOX, CUSTODIAN, Directory, Principal
from protocol.epoch import Announcement, announce, excluded_subsets
from protocol.epoch_keys import EpochKeys, combine
from protocol.grant import Scope, release
from protocol.keytree import FACE, LIVE, META, ModalityKey
from protocol.names import ENVELOPE, EPOCH, EPOCH_MS, CameraAddress, slot_start_ms
from protocol.sealing import SEGMENT, Header, seal_envelope
from protocol.sightings import (
    Encounter,
    MaskStatus,
    Sighting,
    encode_meta,
    row_bytes,
)
from protocol.signing import SigningKey

SITE = "bench"
DIMENSION = 192
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
        released = release(dict(enumerate(self.roots)), scope, (FACE, META, LIVE))
        return combine(self.announcement, [released])

    def seal(self, kind: str, slot: int, rows: npt.NDArray[np.int8], *, met: int = 1) -> Message:
        """Return an envelope of ``rows``, (n, d) int8, as published."""
        self.sequence += 1
        epoch = self.announcement.epoch
        at_ms = slot_start_ms(epoch, slot)
        if slot not in self._keys:
            keys = self.granted(slot, slot)
            self._keys[slot] = {label: keys.key(slot, label) for label in (FACE, META, LIVE)}
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


def make_site(cameras: int, *, epoch: int = 20_000) -> Site:
    """Make a site of ``cameras`` boxes with one camera each."""
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
