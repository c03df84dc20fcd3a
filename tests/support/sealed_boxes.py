"""A small made-up site whose boxes seal and publish: for the tests of what receives from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from protocol import hpke
from protocol.directory import AGGREGATOR, BOX, CUSTODIAN, Directory, Principal
from protocol.epoch import CAMERA_NOW, Announcement, announce, excluded_subsets
from protocol.epoch_keys import EpochKeys, combine
from protocol.grant import Scope, release
from protocol.keytree import FACE, LIVE, META
from protocol.names import (
    ENVELOPE,
    EPOCH,
    EPOCH_MS,
    SLOT_MS,
    CameraAddress,
    box_health_topic,
    slot_start_ms,
)
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, Envelope, Header, seal_envelope
from protocol.sightings import (
    Encounter,
    MaskStatus,
    Sighting,
    encode_meta,
    encode_template_block,
    quantise_template,
)
from protocol.signing import SigningKey
from protocol.telemetry import ONLINE, Health

SITE = "test"
DAY = 20_500
DAY_MS = DAY * EPOCH_MS
NOON_SLOT = 48
NOW_MS = slot_start_ms(DAY, NOON_SLOT) + 60_000
DIMENSION = 32
MODEL = f"sample-{DIMENSION}@00000000"
OTHER_MODEL = f"other-{DIMENSION}@00000001"
CUSTODIANS = ("c1", "c2", "c3")
ALL_LABELS = (FACE, META, LIVE)
DAY_KEYS = {name: hpke.PrivateKey.generate() for name in CUSTODIANS}


def unit_vector(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a random (d,) vector of length 1."""
    vector = rng.standard_normal(DIMENSION)
    return vector / np.linalg.norm(vector)


def near(
    vector: npt.NDArray[np.float64], cosine: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return a vector of length 1 whose cosine with ``vector`` is ``cosine``."""
    other = rng.standard_normal(DIMENSION)
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    return np.asarray(cosine * vector + np.sqrt(1 - cosine**2) * other)


def sighting(
    vector: npt.NDArray[np.float64] | None,
    *,
    at_ms: int = NOW_MS - 3_600_000,
    mask: MaskStatus = MaskStatus.UNMASKED,
    encounters: Sequence[Encounter] = (),
) -> Sighting:
    """Return a sighting of four seconds with this template."""
    templates = {} if vector is None else {FACE: quantise_template(vector)}
    return Sighting(
        os.urandom(8), at_ms, at_ms + 4000, mask, 0.9, 0.8, templates, tuple(encounters)
    )


def within(one: Sighting, epoch: int, slot: int) -> Sighting:
    """Return a sighting with the times that it would have in a slot."""
    begin_ms = slot_start_ms(epoch, slot)
    if begin_ms <= one.last_seen_ms < begin_ms + SLOT_MS:
        return one
    lasted_ms = one.last_seen_ms - one.first_seen_ms
    last_ms = begin_ms + 60_000 + lasted_ms
    return replace(one, first_seen_ms=last_ms - lasted_ms, last_seen_ms=last_ms)


@dataclass(slots=True)
class TestBox:
    """A box with one camera: numbers, seals, signs as a real one."""

    __test__ = False

    name: str
    camera: str
    key: SigningKey
    sequence: int = 0
    generation: int = 100
    version: int = 1
    origin: str = CAMERA_NOW
    _roots: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> CameraAddress:
        """Where its messages come from."""
        return CameraAddress(SITE, self.name, self.camera)

    @property
    def principal(self) -> Principal:
        """Its entry in the directory."""
        return Principal(self.name, frozenset({BOX}), self.key.verify_key, cameras=(self.camera,))

    def next_sequence(self) -> int:
        """Use up a number."""
        self.sequence += 1
        return self.sequence - 1

    def roots(self, epoch: int) -> list[bytes]:
        """Return the roots of an epoch in the present generation."""
        return self._roots.setdefault(
            (epoch, self.generation), [os.urandom(32) for _ in excluded_subsets(CUSTODIANS, 2)]
        )

    def announcement(
        self, epoch: int = DAY, *, sequence: int | None = None, at_ms: int = NOW_MS
    ) -> tuple[str, bytes]:
        """Return the epoch's announcement: topic and payload."""
        number = self.next_sequence() if sequence is None else sequence
        made = self.announced(epoch, sequence=number, at_ms=at_ms)
        return self.address.topic(EPOCH), made.sign(self.key).to_bytes()

    def announced(self, epoch: int, *, sequence: int, at_ms: int = NOW_MS) -> Announcement:
        """Return the epoch's announcement, unsigned."""
        return announce(
            self.roots(epoch),
            address=self.address,
            epoch=epoch,
            generation=self.generation,
            sequence=sequence,
            threshold=2,
            custodians=CUSTODIANS,
            day_keys={name: key.public for name, key in DAY_KEYS.items()},
            models={FACE: MODEL},
            announced_at_ms=at_ms,
            version=self.version,
            origin=self.origin,
        )

    def keys(
        self,
        first_slot: int = 0,
        last_slot: int = 95,
        *,
        epoch: int = DAY,
        labels: Sequence[str] = ALL_LABELS,
    ) -> EpochKeys:
        """Return what enough custodians would grant of an epoch."""
        made = self.announced(epoch, sequence=0)
        scope = Scope(self.address, epoch, self.generation, first_slot, last_slot)
        roots = dict(enumerate(self.roots(epoch)))
        return combine(made, [release(roots, scope, labels, self.version)])

    def envelope(
        self,
        sightings: Sequence[Sighting],
        *,
        kind: str = LIVE_ENVELOPE,
        slot: int = NOON_SLOT - 4,
        epoch: int = DAY,
        sequence: int | None = None,
        sealed_at_ms: int | None = None,
        model: str = MODEL,
        as_they_are: bool = False,
    ) -> Envelope:
        """Seal and sign sightings, moved into the slot unless they are to stay ``as_they_are``."""
        if not as_they_are:
            sightings = [within(one, epoch, slot) for one in sightings]
        keys = self.keys(slot, slot, epoch=epoch)
        if sealed_at_ms is None:
            sealed_at_ms = min(NOW_MS, slot_start_ms(epoch, slot + 1))
        header = Header(
            kind,
            self.address,
            epoch,
            self.generation,
            slot,
            self.next_sequence() if sequence is None else sequence,
            len(sightings),
            {FACE: model},
            sealed_at_ms,
            os.urandom(8),
        )
        return seal_envelope(
            header,
            templates={FACE: encode_template_block(sightings, FACE, DIMENSION)},
            meta=encode_meta(sightings),
            keys={label: keys.key(slot, label) for label in ALL_LABELS},
            board=self.key,
        )

    def live(self, sightings: Sequence[Sighting], **options: int | str | bool) -> tuple[str, bytes]:
        """Return a live envelope: topic and payload."""
        envelope = self.envelope(sightings, kind=LIVE_ENVELOPE, **options)  # type: ignore[arg-type]
        return self.address.topic(ENVELOPE), envelope.to_bytes()

    def segment(
        self, sightings: Sequence[Sighting], **options: int | str | bool
    ) -> tuple[str, bytes]:
        """Return a segment: topic and payload."""
        envelope = self.envelope(sightings, kind=SEGMENT, **options)  # type: ignore[arg-type]
        return self.address.topic(ENVELOPE), envelope.to_bytes()

    def health(
        self, *, reported_at_ms: int = NOW_MS, state: str = ONLINE, **figures: float
    ) -> tuple[str, bytes]:
        """Return a health report: topic and payload."""
        report = Health(SITE, self.name, state, reported_at_ms, "1.0", figures)
        return box_health_topic(SITE, self.name), report.sign(self.key).to_bytes()


def make_box(number: int) -> TestBox:
    """Return box ``box-<number>`` with camera ``cam-<number>`` and a fresh key."""
    return TestBox(f"box-{number}", f"cam-{number}", SigningKey.generate(f"box-{number}"))


def make_directory(boxes: Sequence[TestBox], aggregator: SigningKey) -> Directory:
    """Return a directory of these boxes, three custodians and the aggregator."""
    principals = {box.name: box.principal for box in boxes}
    principals[aggregator.signer] = Principal(
        aggregator.signer, frozenset({AGGREGATOR}), aggregator.verify_key
    )
    for name in CUSTODIANS:
        principals[name] = Principal(
            name, frozenset({CUSTODIAN}), SigningKey.generate(name).verify_key
        )
    return Directory(SITE, 1, DAY_MS, 2, principals)


def revoked(directory: Directory, name: str) -> Directory:
    """Return the directory with ``name`` revoked."""
    return directory.revoke(name, at_ms=NOW_MS)


def without_camera(directory: Directory, box: str) -> Directory:
    """Return the directory in which ``box`` speaks for no camera."""
    changed = dict(directory.principals)
    changed[box] = replace(changed[box], cameras=())
    return directory.next_version(changed, at_ms=NOW_MS)
