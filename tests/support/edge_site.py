"""A site in miniature: everybody's keys, and a box's sealing part over a real outbox file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.config import SealingConfig
from edge_agent.coverage import View
from edge_agent.epochs import BoardEpochs, DayKeyring
from edge_agent.outbox import EPOCH as EPOCH_MESSAGE
from edge_agent.outbox import Outbox
from edge_agent.seal import CameraSealer
from edge_agent.stills.keeping import CameraStills
from edge_agent.stills.portraits import Still
from edge_agent.stills.ring import StillRing
from protocol import epoch_keys, grant, hpke, names
from protocol.daykeys import DayKeys
from protocol.directory import AGGREGATOR, BOX, CUSTODIAN, Directory, Principal
from protocol.epoch import CAMERA_NOW, EPOCH_KIND, Announcement
from protocol.errors import MalformedMessage
from protocol.keytree import COUNTS, COVER, DEPTH, FACE, LIVE, META, descend, tree_top
from protocol.names import CameraAddress, SightingName, SlotName, slot_start_ms
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, open_block
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.sightings import (
    MaskStatus,
    Quantised,
    decode_meta,
    quantise_template,
    split_rows,
)
from protocol.sightings import Sighting as SightingOfVersion1
from protocol.signing import Signed, SigningKey, signed_kind
from protocol.v2.blocks import true_rows
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Envelope, parse_envelope
from protocol.v2.evidence import SealedStill, open_still_key, release_stills
from protocol.v2.header import CLOCK
from protocol.v2.keys import row_key, row_value
from protocol.v2.rows import ABSENT, Coverage
from protocol.v2.sightings import Encounter, MaskSpan, Row, Sighting
from runtime.trust import Trust

DEADLINE_S = 60.0
DIMENSION = 32
MODEL = f"test-{DIMENSION}@00000000"
ID_BASE = 0x5EA1_ED1D_0000_0000
EPOCH, SLOT = 20_700, 40
NOON_MS = slot_start_ms(EPOCH, SLOT) + 60_000


def wait_until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return as soon as ``condition`` holds; fail the test after ``DEADLINE_S``."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.01)


@cache
def _drawn(seed: int) -> Quantised:
    return quantise_template(np.random.default_rng(seed).normal(size=DIMENSION))


def _template(seed: int) -> Quantised:
    """Return a copy: whoever seals a template wipes it."""
    drawn = _drawn(seed)
    return drawn._replace(row=drawn.row.copy())


def make_sighting(
    last_ms: int, *, seed: int = 0, seconds: float = 3.0, encounters: int = 1, face: bool = True
) -> Sighting:
    """A sighting whose template is recognisable: it depends on ``seed`` alone."""
    first_ms = last_ms - round(seconds * 1000)
    met_ms = first_ms, min(last_ms, first_ms + 2000)
    return Sighting(
        sighting_id=(ID_BASE + seed).to_bytes(8, "big"),
        episode=(~(ID_BASE + seed) & (1 << 64) - 1).to_bytes(8, "big"),
        row=Row(
            first_ms=first_ms,
            last_ms=last_ms,
            mask=MaskStatus.MASKED,
            mask_confidence=1.0,
            quality=0.8,
            masks=(MaskSpan(first_ms, last_ms, MaskStatus.MASKED, 1.0),),
            networks={FACE: MODEL} if face else {},
            encounters=tuple(
                Encounter(
                    other_id=bytes([n]) * 8,
                    other_episode=bytes([n, 0]) * 4,
                    first_ms=met_ms[0],
                    last_ms=met_ms[1],
                    within_s=2.0,
                    nearest_m=1.5,
                    median_m=1.75,
                    other_masks=(MaskSpan(*met_ms, MaskStatus.UNMASKED, 0.5),),
                )
                for n in range(encounters)
            ),
        ),
        templates={FACE: _template(seed)} if face else {},
    )


def is_announcement(payload: bytes) -> bool:
    """Tell whether a message of a box says to be one."""
    try:
        return signed_kind(payload) == EPOCH_KIND
    except MalformedMessage:
        return False


def seed_of(sighting: Seen) -> int:
    """The seed that a sighting was made from."""
    return int.from_bytes(sighting.sighting_id, "big") - ID_BASE


@dataclass(frozen=True)
class Seen:
    """A sighting as it was opened, of whichever version; ``row`` and ``episode`` from 2 on."""

    sighting_id: bytes
    first_seen_ms: int
    last_seen_ms: int
    mask: MaskStatus
    mask_confidence: float
    encounters: Sequence[Any]
    episode: bytes = b""
    row: Row | None = None

    @property
    def nearest_m(self) -> list[float]:
        """Of each encounter."""
        name = "distance_m" if self.row is None else "nearest_m"
        return [getattr(one, name) for one in self.encounters]

    @classmethod
    def of_version_1(cls, one: SightingOfVersion1) -> Seen:
        return cls(
            one.sighting_id,
            one.first_seen_ms,
            one.last_seen_ms,
            one.mask,
            one.mask_confidence,
            one.encounters,
        )

    @classmethod
    def of_row(cls, sighting_id: bytes, episode: bytes, row: Row) -> Seen:
        return cls(
            sighting_id,
            row.first_ms,
            row.last_ms,
            row.mask,
            row.mask_confidence,
            row.encounters,
            episode,
            row,
        )


@cache
def _day_secret(custodian: str, epoch: int) -> hpke.PrivateKey:
    """A day key; making one takes milliseconds, and no test needs that of another site."""
    return hpke.PrivateKey.generate()


@dataclass
class Clock:
    """A wall clock that tests set, and the clock that nobody can set, which only `pass_s` moves."""

    now_ms: int = NOON_MS
    boot_ms: int = 1_000_000

    def __call__(self) -> int:
        return self.now_ms

    def pass_s(self, seconds: float) -> int:
        self.now_ms += round(seconds * 1000)
        self.boot_ms += round(seconds * 1000)
        return self.now_ms

    def set_s(self, by_s: float) -> int:
        """Set the wall clock ahead, or back if negative."""
        self.now_ms += round(by_s * 1000)
        return self.now_ms

    @property
    def origin_ms(self) -> int:
        return self.now_ms - self.boot_ms


@dataclass(frozen=True)
class Opened:
    """An envelope as the custodians together can open it."""

    kind: str
    epoch: int
    generation: int
    slot: int
    sequence: int
    sightings: list[Seen]
    size: int = 0
    coverage: Coverage | None = None
    replaces: tuple[tuple[int, int], ...] = ()
    counts: Counts | None = None
    origin: str = CAMERA_NOW
    time_source: str = CLOCK

    @property
    def ids(self) -> list[int]:
        return [seed_of(sighting) for sighting in self.sightings]


@dataclass
class Site:
    """Keys of everybody, the directory, and what only custodians could do together."""

    folder: Path
    custodian_names: tuple[str, ...] = ("c1", "c2", "c3")
    cameras: tuple[str, ...] = ("cam-1", "cam-2")
    version: int = 2
    authority: SigningKey = field(default_factory=lambda: SigningKey.generate("authority"))
    board: SigningKey = field(default_factory=lambda: SigningKey.generate("box-1"))
    aggregator: SigningKey = field(default_factory=lambda: SigningKey.generate("aggregator"))

    def __post_init__(self) -> None:
        self.custodians = {name: SigningKey.generate(name) for name in self.custodian_names}
        self.day_secrets: dict[tuple[str, int], hpke.PrivateKey] = {}
        self._roots_of: tuple[Announcement | None, dict[str, dict[int, bytes]]] = (None, {})
        films = self.cameras if self.version > 1 else ()
        box = replace(self._principal(self.board, BOX, self.cameras), recordings=films)
        principals = [self._principal(self.aggregator, AGGREGATOR), box]
        principals += [self._principal(key, CUSTODIAN) for key in self.custodians.values()]
        self.directory = Directory(
            "demo", 1, NOON_MS, 2, {p.name: p for p in principals}, form=self.version
        )
        self.installed = self.folder / "directory.cbor"
        self.installed.write_bytes(self.signed_directory())

    @staticmethod
    def _principal(key: SigningKey, duty: str, cameras: tuple[str, ...] = ()) -> Principal:
        return Principal(key.signer, frozenset({duty}), key.verify_key, cameras=cameras)

    def signed_directory(self, directory: Directory | None = None) -> bytes:
        return (directory or self.directory).sign(self.authority, self.version).to_bytes()

    def trust(self, state: Path | None = None) -> Trust:
        return Trust(
            site="demo",
            authority=self.authority.verify_key,
            installed=self.installed,
            state_dir=state,
        )

    def day_keys(
        self, custodian: str, epochs: Sequence[int] = (), *, issued_at_ms: int = NOON_MS
    ) -> bytes:
        """Signed day keys of a custodian; the private halves are kept."""
        keys = {}
        for epoch in epochs or (EPOCH, EPOCH + 1):
            secret = self.day_secrets.setdefault((custodian, epoch), _day_secret(custodian, epoch))
            keys[epoch] = secret.public
        return (
            DayKeys("demo", custodian, issued_at_ms, keys)
            .sign(self.custodians[custodian])
            .to_bytes()
        )

    def keyring(self, folder: Path, trust: Trust, custodians: Sequence[str] | None = None) -> Any:
        keyring = DayKeyring(trust, site="demo", folder=folder)
        for name in self.custodian_names if custodians is None else custodians:
            keyring.accept(self.day_keys(name))
        return keyring

    def announcement(self, payload: bytes) -> Announcement:
        signed = Signed.parse(payload, kind=EPOCH_KIND)
        verified = signed.verify(self.directory.resolver(BOX))
        return Announcement.parse(verified, box=signed.signer)

    def open(
        self,
        payloads: Sequence[bytes],
        *,
        custodians: Sequence[str] = ("c1", "c3"),
        dimension: int = DIMENSION,
    ) -> list[Opened]:
        """Verify announcements and envelopes as a receiver does, and open the envelopes.

        Templates are compared with those of `make_sighting`, unless of another dimension.
        """
        strange = dimension != DIMENSION
        announced: dict[tuple[str, int], Announcement] = {}
        opened = []
        for payload in payloads:
            if is_announcement(payload):
                announcement = self.announcement(payload)
                announced[announcement.address.camera, announcement.generation] = announcement
                continue
            envelope = parse_envelope(payload)
            envelope.verify(self.directory.resolver(BOX))
            if isinstance(envelope, Envelope):
                name = envelope.header.name
                announcement = announced[name.address.camera, name.generation]
                opened.append(self._open_2(envelope, announcement, custodians, strange=strange))
            else:
                header = envelope.header
                announcement = announced[header.address.camera, header.generation]
                opened.append(
                    self._open_1(
                        envelope, announcement, custodians, dimension=dimension, strange=strange
                    )
                )
        return opened

    def open_still(
        self,
        sealed: bytes,
        announcements: Sequence[bytes],
        *,
        custodians: Sequence[str] = ("c1", "c3"),
    ) -> bytes:
        """Open a sealed still by what custodians release for it alone."""
        still = SealedStill.parse(sealed)
        for payload in announcements:
            announcement = self.announcement(payload)
            name = still.name.slot_name("demo")
            if (announcement.address, announcement.epoch, announcement.generation) != (
                name.address,
                name.epoch,
                name.generation,
            ):
                continue
            released = {
                custodian: release_stills(roots, announcement, [still.name])[still.name]
                for custodian, roots in self._roots(announcement, custodians).items()
            }
            key = open_still_key(announcement, still.name, released, still.sealed[:32]).key
            return bytes(still.open(key))
        raise AssertionError("the generation was not announced")

    def _roots(
        self, announcement: Announcement, custodians: Sequence[str]
    ) -> dict[str, dict[int, bytes]]:
        """What each custodian's share opens to; keys and rows of an envelope both ask."""
        of, roots = self._roots_of
        if of is not announcement:
            roots = {}
        for name in {*custodians} - roots.keys():
            roots[name] = announcement.open_share(name, self.day_secrets[name, announcement.epoch])
        self._roots_of = announcement, roots
        return {name: roots[name] for name in custodians}

    def _keys(
        self,
        announcement: Announcement,
        custodians: Sequence[str],
        slot: int,
        labels: Sequence[str],
    ) -> epoch_keys.EpochKeys:
        """What custodians release of one slot, put together."""
        a = announcement
        scope = grant.Scope(a.address, a.epoch, a.generation, slot, slot)
        releases = [
            grant.release(roots, scope, labels, a.version)
            for roots in self._roots(a, custodians).values()
        ]
        return epoch_keys.combine(a, releases)

    def _open_2(
        self,
        envelope: Envelope,
        announcement: Announcement,
        custodians: Sequence[str],
        *,
        strange: bool,
    ) -> Opened:
        header = envelope.header
        name = header.name
        assert announcement.version == 2
        assert header.origin == announcement.origin
        keys = self._keys(announcement, custodians, name.slot, [FACE, COVER, COUNTS, LIVE])
        inner = envelope
        if header.kind == LIVE_ENVELOPE:
            inner = envelope.inner(keys.key(name.slot, LIVE))
        rows = inner.rows(keys.key(name.slot, COVER))
        entry, _ = inner.block(FACE)
        assert entry.space is not None
        assert entry.space.name == announcement.models[FACE]
        block = inner.open(FACE, keys.key(name.slot, FACE))
        count = true_rows(memoryview(block), entry.space)
        assert count == np.count_nonzero(rows.places[FACE] != ABSENT)
        width = entry.space.width
        table, _ = split_rows(np.frombuffer(block, np.uint8, count * width), width - 4)
        roots: dict[int, bytes] = {}
        for shares in self._roots(announcement, custodians).values():
            roots |= shares
        leaves = [
            descend(tree_top(roots[number], META, 2), DEPTH, name.slot).key
            for number in sorted(roots)
        ]
        seen = []
        for number in range(len(rows)):
            row_id = rows.id_of(number)
            key = row_key([row_value(leaf, row_id) for leaf in leaves], name, row_id)
            row = inner.row(rows, number, key)
            one = Seen.of_row(row_id, rows.episodes[number].tobytes(), row)
            place = rows.places[FACE][number]
            if not strange and place != ABSENT:
                assert (table[place] == _drawn(seed_of(one)).row).all()
            assert (FACE in row.networks) == (place != ABSENT)
            seen.append(one)
        return Opened(
            header.kind,
            name.epoch,
            name.generation,
            name.slot,
            header.sequence,
            seen,
            len(envelope.to_bytes()),
            rows.coverage,
            header.replaces,
            inner.counts(keys.key(name.slot, COUNTS)) if inner.has(COUNTS) else None,
            header.origin,
            header.time_source,
        )

    def _open_1(
        self,
        envelope: EnvelopeOfVersion1,
        announcement: Announcement,
        custodians: Sequence[str],
        *,
        dimension: int,
        strange: bool,
    ) -> Opened:
        header = envelope.header
        assert announcement.version == 1
        keys = self._keys(announcement, custodians, header.slot, [FACE, META, LIVE])
        live = keys.key(header.slot, LIVE) if header.kind == LIVE_ENVELOPE else None
        blocks = envelope.blocks(live)

        def plain(block: bytes, label: str) -> bytes:
            key = keys.key(header.slot, label)
            return bytes(
                open_block(
                    key, block, header=envelope.header_bytes, label=label, nonce=envelope.nonce
                )
            )

        rows, _ = split_rows(
            np.frombuffer(plain(blocks.templates[FACE], FACE), np.uint8), dimension
        )
        meta = decode_meta(plain(blocks.meta, META), count=header.count)
        sightings = []
        for number in range(header.count):
            one = Seen.of_version_1(meta.sighting(number))
            template = _drawn(0 if strange else seed_of(one)).row
            assert strange or (rows[number] == template).all() or not rows[number].any()
            sightings.append(one)
        return Opened(
            header.kind,
            header.epoch,
            header.generation,
            header.slot,
            header.sequence,
            sightings,
            len(envelope.to_bytes()),
        )


@dataclass
class Box:
    """The sealing part of a box over a real outbox file, with a clock that the test sets."""

    site: Site
    folder: Path
    clock: Clock = field(default_factory=Clock)
    custodians: tuple[str, ...] | None = None
    sealing: SealingConfig = field(
        default_factory=lambda: SealingConfig(live_after_s=0.1, grace_s=5, day_keys_wait_s=0)
    )
    max_bytes: int = 1 << 30
    max_pages: int | None = None
    max_segment_bytes: int = 6 << 20
    memory_bytes: int = 1 << 20
    counting: bool = False
    stills_bytes: int = 1 << 20
    stills_hours: float = 72.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trust = self.site.trust(self.folder)
        self.keyring = self.site.keyring(self.folder / "day-keys", self.trust, self.custodians)
        self.outbox = Outbox(
            self.folder / "outbox.sqlite",
            max_bytes=self.max_bytes,
            memory_bytes=self.memory_bytes,
            max_pages=self.max_pages,
        )
        self.announced: list[bytes] = []
        self.ring = StillRing(
            self.folder / "stills.sqlite", max_bytes=self.stills_bytes, hours=self.stills_hours
        )
        self.stills: dict[str, CameraStills] = {}
        self.sealer = self.new_sealer("cam-1")

    def new_sealer(
        self,
        camera: str,
        *,
        own_time: bool = False,
        models: Mapping[str, str] | None = None,
        origin: str = CAMERA_NOW,
        time_source: str = CLOCK,
    ) -> CameraSealer:
        epochs = BoardEpochs(
            CameraAddress("demo", "box-1", camera),
            trust=self.trust,
            keyring=self.keyring,
            board=self.site.board,
            models=models or {FACE: MODEL},
            outbox=self.outbox,
            day_keys_wait_s=self.sealing.day_keys_wait_s,
            origin=origin,
        )
        self.stills[camera] = CameraStills(camera, self.ring)
        return CameraSealer(
            epochs,
            stills=self.stills[camera],
            outbox=self.outbox,
            board=self.site.board,
            config=self.sealing,
            max_segment_bytes=self.max_segment_bytes,
            own_time=own_time,
            time_source=time_source,
            wall_ms=self.clock,
            boot_ms=lambda: self.clock.boot_ms,
            counting=lambda: self.counting,
        )

    def see(self, *seeds: int, ago_s: float = 1.0) -> None:
        """Hand over sightings that ended a second ago (or whenever is said)."""
        last_ms = self.clock.now_ms - round(ago_s * 1000)
        self.sealer.add([make_sighting(last_ms, seed=seed) for seed in seeds], self.clock.now_ms)

    def see_with_still(
        self, seed: int, picture: bytes, *, ago_s: float = 1.0, sealed: bool = True
    ) -> None:
        """Hand over a sighting of which a picture was made; without one there is a reason."""
        last_ms = self.clock.now_ms - round(ago_s * 1000)
        seen = make_sighting(last_ms, seed=seed)
        still = Still(bytearray(picture), "" if picture else "others-near")
        self.sealer.add([seen], self.clock.now_ms, stills={seen.sighting_id: still})
        assert not (sealed and any(still.jpeg)), "wiped as soon as it is sealed"

    def watch(self, seconds: float, view: View = View.WATCHED) -> None:
        """Let time pass in which the camera sees something, or nothing."""
        begin_ms, origin_ms = self.clock.now_ms, self.clock.origin_ms
        self.clock.pass_s(seconds)
        self.sealer.cover(view, begin_ms, self.clock.now_ms, origin_ms=origin_ms)
        self.sealer.tick(self.clock.now_ms)

    def live_now(self) -> None:
        """Wait until what is held has been sealed live."""

        def sealed() -> bool:
            self.sealer.tick(self.clock.now_ms)
            return not any(bucket.waiting for bucket in self.sealer._held)

        wait_until(sealed, "live envelopes")

    @property
    def spread_s(self) -> float:
        """How long after the grace this camera's segments are sealed."""
        return self.sealer._spread_ms / 1000 if self.site.version > 1 else 0.0

    def to_next_slot(self) -> None:
        """Let the slot end, and the minute after it in which segments are sealed."""
        slot = names.slot_of(self.clock.now_ms)
        epoch = names.epoch_of(self.clock.now_ms)
        self.clock.pass_s((slot_start_ms(epoch, slot + 1) + 6_000 - self.clock.now_ms) / 1000)
        self.clock.pass_s(self.spread_s)
        self.sealer.tick(self.clock.now_ms)

    def payloads(self) -> list[bytes]:
        """Take everything from the outbox, as the publisher would."""
        messages = self.outbox.take(100_000)
        self.announced += [one.payload for one in messages if one.kind == EPOCH_MESSAGE]
        return [message.payload for message in messages]

    def opened(self) -> list[Opened]:
        return self.site.open(self.payloads())

    def names(self, payloads: Sequence[bytes]) -> list[SightingName]:
        """Names of all sightings in segments, as whoever opens their rows knows them."""
        return [
            SightingName.of(
                SlotName(self.sealer.address, o.epoch, o.generation, o.slot), one.sighting_id
            )
            for o in self.site.open(payloads)
            if o.kind == SEGMENT
            for one in o.sightings
        ]
