"""What a simulated city's boards send, written straight into a store: real keys, real seals.

Every quarter hour of every camera is one signed segment of version 2 under keys of its own. Drawn
once and used again are the strangers' templates (each segment takes consecutive ones from a pool,
beginning anywhere), and the metadata of strangers is random bytes of its true size: nobody opens
it. Segments in which a subject stands are sealed whole, row by row, as a board does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from aggregator.store import Store
from aggregator.store.envelopes import lay_out
from benchmarks.city_site import CLOTHES_SPACE, CUSTODIANS, FACE_SPACE, SITE, CitySite
from protocol import hpke
from protocol.epoch import Announcement, announce, excluded_subsets
from protocol.keytree import (
    APPEARANCE,
    COVER,
    DEPTH,
    FACE,
    META,
    ModalityKey,
    SlotKeys,
    descend,
    expand,
    tree_top,
)
from protocol.names import EPOCH_MS, SLOT_MS, CameraAddress, SlotName, slot_start_ms
from protocol.sealing import LIVE_ENVELOPE, SEAL_OVERHEAD, SEGMENT, seal_block
from protocol.sightings import MaskStatus, Quantised, row_bytes
from protocol.signing import SigningKey, sign
from protocol.v2 import VERSION
from protocol.v2.blocks import COUNT_BYTES, Space
from protocol.v2.envelopes import Batch, Envelope, seal
from protocol.v2.header import CLOCK, BlockEntry, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.padding import SMALLEST_ROWS, fill, size_class
from protocol.v2.rows import Coverage, Rows
from protocol.v2.sightings import Encounter, MaskSpan, Row, Sighting

SLOTS = 96
SIZES = (21, 5, 64)
SHARES = (0.59, 0.30, 0.11)
"""How many sightings a segment has, and what share of segments: 20.9 on average."""
WITHOUT_FACE = 8
"""One sighting of so many shows no face: it has clothes alone."""
POOL = 1 << 16
_SPACES = {FACE: Space(FACE_SPACE), APPEARANCE: Space(CLOTHES_SPACE)}
_DIMENSIONS = {FACE: 128, APPEARANCE: 256}
_ROOTS = len(excluded_subsets(CUSTODIANS, 2))


@dataclass(frozen=True)
class Subject:
    """Somebody who is looked for: a template, and where he is seen: (camera, day, slot)."""

    name: str
    row: npt.NDArray[np.int8]
    walks: tuple[tuple[int, int, int], ...] = ()

    @property
    def scale(self) -> float:
        """What makes the row unit length."""
        return float(1 / np.linalg.norm(self.row.astype(np.float32)))


def make_subjects(
    rng: np.random.Generator, count: int, cameras: int, days: int, *, slots: int = SLOTS
) -> list[Subject]:
    """Draw subjects, each of whom walks past four of the cameras."""
    made = []
    for number, row in enumerate(quantised(rng.standard_normal((count, 128)))):
        walks = tuple(
            (int(rng.integers(cameras)), int(rng.integers(days)), int(rng.integers(slots)))
            for _ in range(4)
        )
        made.append(Subject(f"patient-{number + 1}", row, walks))
    return made


def quantised(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """Return (n, d) int8 rows as boards make them."""
    scaled = values * (127 / np.abs(values).max(axis=1, keepdims=True))
    return np.asarray(np.rint(scaled), np.int8)


@dataclass
class CameraDay:
    """One camera's day as its board holds it; can be pickled."""

    address: CameraAddress
    seed: bytes
    announcement: Announcement
    signed: bytes
    roots: tuple[bytes, ...]
    sequence: int = 0
    _leaves: dict[str, list[tuple[bytes, ...]]] = field(default_factory=dict)
    _keys: SlotKeys | None = None

    def prepare(self) -> None:
        """Derive the day's leaves at once, as whoever seals every slot of it does."""
        for label in (FACE, APPEARANCE, COVER):
            trees = [expand([tree_top(root, label, VERSION)]) for root in self.roots]
            self._leaves[label] = [tuple(tree[slot] for tree in trees) for slot in range(SLOTS)]
        address = self.address
        self._keys = SlotKeys(
            site=address.site,
            box=address.box,
            camera=address.camera,
            epoch=self.announcement.epoch,
            generation=1,
            version=VERSION,
        )

    def forget(self) -> None:
        """Forget the leaves."""
        self._leaves.clear()

    def key(self, slot: int, label: str) -> ModalityKey:
        """Return a slot's key of a label."""
        if label in self._leaves and self._keys is not None:
            return self._keys.key(self._leaves[label][slot], slot, label)
        return slot_key(self._leaves_of(slot, label), self.name(slot), label)

    def name(self, slot: int) -> SlotName:
        """Return a slot's name."""
        return SlotName(self.address, self.announcement.epoch, 1, slot)

    def header(self, kind: str, slot: int, at_ms: int) -> Header:
        """Return the next envelope's header, without its blocks."""
        self.sequence += 1
        origin, salt = self.announcement.origin, os.urandom(8)
        return Header(
            kind, self.name(slot), self.sequence, origin, CLOCK, at_ms, salt, (), ()
        )  # fmt: skip

    def sealed(self, kind: str, slot: int, seen: Sequence[Sighting], *, at_ms: int) -> Envelope:
        """Seal people as a board does, row by row."""
        leaves = self._leaves_of(slot, META)
        coverage = Coverage(watched_s=900) if kind == SEGMENT else None
        return seal(
            self.header(kind, slot, at_ms),
            Batch(seen, _SPACES, coverage, True, frozenset(_SPACES)),
            key=lambda label: self.key(slot, label),
            row_key=lambda row_id: row_key(
                [row_value(leaf, row_id) for leaf in leaves], self.name(slot), row_id
            ),
            board=SigningKey(self.address.box, self.seed),
        )

    def live(self, slot: int, subject: Subject, *, at_ms: int) -> bytes:
        """Return a live envelope in which somebody is seen now."""
        one = sighting(np.random.default_rng(), subject, at_ms=at_ms - 2000)
        return self.sealed(LIVE_ENVELOPE, slot, [one], at_ms=at_ms).to_bytes()

    def _leaves_of(self, slot: int, label: str) -> tuple[bytes, ...]:
        tops = (tree_top(root, label, VERSION) for root in self.roots)
        return tuple(descend(top, DEPTH, slot).key for top in tops)


def camera_days(
    site: CitySite, numbers: Sequence[int], epoch: int, day_keys: Mapping[str, Mapping[int, bytes]]
) -> list[CameraDay]:
    """Have cameras announce a day to the custodians."""
    keys = {name: hpke.PublicKey(listed[epoch]) for name, listed in day_keys.items()}
    made = []
    for number in numbers:
        box = f"box-{number + 1}"
        address = CameraAddress(SITE, box, f"cam-{number + 1}")
        roots = tuple(os.urandom(32) for _ in range(_ROOTS))
        announcement = announce(
            roots,
            address=address,
            epoch=epoch,
            generation=1,
            sequence=0,
            threshold=2,
            custodians=CUSTODIANS,
            day_keys=keys,
            models={FACE: FACE_SPACE, APPEARANCE: CLOTHES_SPACE},
            announced_at_ms=epoch * EPOCH_MS,
            version=VERSION,
        )
        signed = announcement.sign(site.key(box)).to_bytes()
        made.append(CameraDay(address, site.seeds[box], announcement, signed, roots))
    return made


def announce_in(store: Store, days: Sequence[CameraDay]) -> dict[CameraAddress, int]:
    """Write announcements into a store; return the number of each camera's stream."""
    streams = {}
    with store.writing() as unit:
        for day in days:
            known = unit.ledger.stream(day.address)
            stream = (known or unit.ledger.add_stream(day.address)).number
            unit.ledger.add_announcement(stream, day.announcement, day.signed)
            streams[day.address] = stream
    return streams


@dataclass
class Filled:
    """What was written: segments, who is in them, who of them shows a face, bytes of segments."""

    segments: int = 0
    sightings: int = 0
    faces: int = 0
    size: int = 0

    def add(self, other: Filled) -> None:
        """Add what else was written."""
        self.segments += other.segments
        self.sightings += other.sightings
        self.faces += other.faces
        self.size += other.size


class Traffic:
    """Seals a city's segments, in the order of time as they come: each slot of all cameras."""

    def __init__(self, seed: int, subjects: Sequence[Subject]) -> None:
        self._rng = np.random.default_rng(seed)
        self._pools = {modality: _pool(self._rng, d) for modality, d in _DIMENSIONS.items()}
        self._walks: dict[tuple[int, int, int], list[Subject]] = {}
        for subject in subjects:
            for walk in subject.walks:
                self._walks.setdefault(walk, []).append(subject)

    def fill(
        self, store: Store, day: int, cameras: Sequence[CameraDay], *, slots: int = SLOTS
    ) -> Iterator[Filled]:
        """Write a day of all cameras, or its first slots; yield after each what was written."""
        streams = announce_in(store, cameras)
        boards = [SigningKey(camera.address.box, camera.seed) for camera in cameras]
        for camera in cameras:
            camera.prepare()
        for slot in range(slots):
            filled = Filled()
            ends_ms = slot_start_ms(cameras[0].announcement.epoch, slot) + SLOT_MS
            with store.writing() as unit:
                for number, camera in enumerate(cameras):
                    walkers = self._walks.get((number, day, slot), ())
                    if walkers:
                        people = [*walkers, *[None] * (SIZES[0] - len(walkers))]
                        at_ms = ends_ms - SLOT_MS // 2
                        seen = [sighting(self._rng, one, at_ms=at_ms) for one in people]
                        envelope = camera.sealed(SEGMENT, slot, seen, at_ms=ends_ms)
                        filled.sightings += len(seen)
                        filled.faces += len(seen)
                    else:
                        size = int(self._rng.choice(SIZES, p=SHARES))
                        envelope = self._segment(camera, boards[number], slot, size, ends_ms)
                        filled.sightings += size
                        filled.faces += with_face(size)
                    filled.segments += 1
                    filled.size += sum(map(len, envelope.blocks)) + len(envelope.header_bytes)
                    stream = streams[camera.address]
                    unit.segments.append(stream, lay_out(envelope), received_ms=ends_ms)
            yield filled
        for camera in cameras:
            camera.forget()

    def _segment(
        self, camera: CameraDay, board: SigningKey, slot: int, size: int, at_ms: int
    ) -> Envelope:
        header = camera.header(SEGMENT, slot, at_ms)
        cover, metadata = _strangers(size)
        rows = {FACE: with_face(size), APPEARANCE: size}
        entries: list[BlockEntry] = []
        blocks: list[bytes] = []
        plain: list[tuple[str, bytes | bytearray, Space | None]] = [
            (modality, self._block(modality, rows[modality]), _SPACES[modality])
            for modality in sorted(_SPACES)
        ]
        plain.append((COVER, cover, None))
        for label, block, space in plain:
            binding = header.binding(label, space)
            key = camera.key(slot, label)
            sealed = seal_block(key, block, header=binding, label="", nonce=header.nonce)
            entries.append(BlockEntry(label, hashlib.sha256(sealed).digest(), space))
            blocks.append(sealed)
        blocks.append(fill(os.urandom(metadata)))
        entries.append(BlockEntry(META, hashlib.sha256(blocks[-1]).digest()))
        whole = Header(
            header.kind, header.name, header.sequence, header.origin, header.time_source,
            header.sealed_at_ms, header.salt, (), tuple(entries),
        )  # fmt: skip
        header_bytes = whole.to_bytes()
        signature = sign("envelope", header_bytes, board).signature
        return Envelope(whole, header_bytes, tuple(blocks), signature)

    def _block(self, modality: str, count: int) -> bytearray:
        width = row_bytes(_DIMENSIONS[modality])
        held = size_class(count, SMALLEST_ROWS)
        block = bytearray(held * width + COUNT_BYTES)
        first = int(self._rng.integers(POOL - count)) * width
        block[: count * width] = self._pools[modality][first : first + count * width]
        block[held * width :] = count.to_bytes(COUNT_BYTES, "little")
        return block


def with_face(size: int) -> int:
    """Return how many of so many sightings show a face."""
    return size - size // WITHOUT_FACE


def sighting(rng: np.random.Generator, subject: Subject | None, *, at_ms: int) -> Sighting:
    """Return a sighting of a subject (cosine about 0.8 with the template), or of a stranger."""
    face: npt.NDArray[np.floating] = rng.standard_normal(128)
    if subject is not None:
        face = subject.row * subject.scale + 0.75 * face / np.linalg.norm(face)
    rows = {
        FACE: quantised(face[None, :])[0],
        APPEARANCE: quantised(rng.standard_normal((1, 256)))[0],
    }
    templates = {
        modality: Quantised(row, float(1 / np.linalg.norm(row.astype(np.float32))))
        for modality, row in rows.items()
    }
    return Sighting(os.urandom(8), os.urandom(8), _row(at_ms), templates)


def _row(at_ms: int) -> Row:
    mask = MaskSpan(at_ms, at_ms + 4000, MaskStatus.UNMASKED, 0.9)
    other = Encounter(
        os.urandom(8), os.urandom(8), at_ms, at_ms + 4000, 4.0, 1.2, 1.5, (mask,), (mask,)
    )
    return Row(
        at_ms, at_ms + 4000, MaskStatus.UNMASKED, 0.9, 0.8, (mask,),
        {FACE: FACE_SPACE, APPEARANCE: CLOTHES_SPACE}, encounters=(other,),
    )  # fmt: skip


@cache
def _strangers(size: int) -> tuple[bytes, int]:
    """Return the rows of strangers, plain, and how many bytes their sealed metadata has."""
    row = _row(EPOCH_MS)
    sealed = len(row.to_bytes()) + SEAL_OVERHEAD
    rng = np.random.default_rng(0)
    seen = [sighting(rng, None, at_ms=EPOCH_MS) for _ in range(size)]
    without = size // WITHOUT_FACE
    for number, one in enumerate(seen[:without]):
        clothes = {APPEARANCE: one.templates[APPEARANCE]}
        seen[number] = Sighting(one.sighting_id, one.episode, one.row, clothes)
    rows = Rows.of(
        seen, [sealed] * size, modalities=sorted(_SPACES), coverage=Coverage(watched_s=900)
    )
    return bytes(rows.to_bytes()), sealed * size


def _pool(rng: np.random.Generator, dimension: int) -> bytes:
    """Return plain rows of strangers, one behind the other."""
    table = np.empty((POOL, row_bytes(dimension)), np.uint8)
    rows = quantised(rng.standard_normal((POOL, dimension), np.float32))
    table[:, :dimension] = rows.view(np.uint8)
    norms = np.linalg.norm(rows.astype(np.float32), axis=1)
    table[:, dimension:] = (1 / norms).astype("<f4").view(np.uint8).reshape(-1, 4)
    return table.tobytes()
