"""A site in miniature: everybody's keys, and a box's sealing part over a real outbox file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.config import SealingConfig
from edge_agent.epochs import BoardEpochs, DayKeyring
from edge_agent.outbox import Outbox
from edge_agent.seal import CameraSealer
from protocol import epoch_keys, grant, hpke, names
from protocol.daykeys import DayKeys
from protocol.directory import AGGREGATOR, BOX, CUSTODIAN, Directory, Principal
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.keytree import FACE, LIVE, META
from protocol.names import CameraAddress, slot_start_ms
from protocol.sealing import LIVE_ENVELOPE, Envelope, open_block
from protocol.sightings import (
    Encounter,
    MaskStatus,
    Sighting,
    decode_meta,
    quantise_template,
    split_rows,
)
from protocol.signing import Signed, SigningKey
from runtime.trust import Trust

DEADLINE_S = 30.0
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


def make_sighting(
    last_ms: int, *, seed: int = 0, seconds: float = 3.0, encounters: int = 1, face: bool = True
) -> Sighting:
    """A sighting whose template is recognisable: it depends on ``seed`` alone."""
    rng = np.random.default_rng(seed)
    return Sighting(
        sighting_id=(ID_BASE + seed).to_bytes(8, "big"),
        first_seen_ms=last_ms - round(seconds * 1000),
        last_seen_ms=last_ms,
        mask=MaskStatus.MASKED,
        mask_confidence=1.0,
        quality=0.8,
        templates={FACE: quantise_template(rng.normal(size=DIMENSION))} if face else {},
        encounters=tuple(
            Encounter(bytes([n]) * 8, 1.5, 2.0, MaskStatus.UNMASKED, 0.5) for n in range(encounters)
        ),
    )


def seed_of(sighting: Sighting) -> int:
    """The seed that a sighting was made from."""
    return int.from_bytes(sighting.sighting_id, "big") - ID_BASE


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
    sightings: list[Sighting]

    @property
    def ids(self) -> list[int]:
        return [seed_of(sighting) for sighting in self.sightings]


@dataclass
class Site:
    """Keys of everybody, the directory, and what only custodians could do together."""

    folder: Path
    custodian_names: tuple[str, ...] = ("c1", "c2", "c3")
    cameras: tuple[str, ...] = ("cam-1", "cam-2")
    authority: SigningKey = field(default_factory=lambda: SigningKey.generate("authority"))
    board: SigningKey = field(default_factory=lambda: SigningKey.generate("box-1"))
    aggregator: SigningKey = field(default_factory=lambda: SigningKey.generate("aggregator"))

    def __post_init__(self) -> None:
        self.custodians = {name: SigningKey.generate(name) for name in self.custodian_names}
        self.day_secrets: dict[tuple[str, int], hpke.PrivateKey] = {}
        box = self._principal(self.board, BOX, self.cameras)
        principals = [self._principal(self.aggregator, AGGREGATOR), box]
        principals += [self._principal(key, CUSTODIAN) for key in self.custodians.values()]
        self.directory = Directory("demo", 1, NOON_MS, 2, {p.name: p for p in principals})
        self.installed = self.folder / "directory.cbor"
        self.installed.write_bytes(self.signed_directory())

    @staticmethod
    def _principal(key: SigningKey, duty: str, cameras: tuple[str, ...] = ()) -> Principal:
        return Principal(key.signer, frozenset({duty}), key.verify_key, cameras=cameras)

    def signed_directory(self, directory: Directory | None = None) -> bytes:
        return (directory or self.directory).sign(self.authority).to_bytes()

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
            secret = self.day_secrets.setdefault((custodian, epoch), hpke.PrivateKey.generate())
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
            try:
                announcement = self.announcement(payload)
            except Exception:
                envelope = Envelope.parse(payload)
            else:
                announced[announcement.address.camera, announcement.generation] = announcement
                continue
            envelope.verify(self.directory.resolver(BOX))
            header = envelope.header
            announcement = announced[header.address.camera, header.generation]
            scope = grant.Scope(
                header.address, header.epoch, header.generation, header.slot, header.slot
            )
            releases = [
                grant.release(
                    announcement.open_share(name, self.day_secrets[name, header.epoch]),
                    scope,
                    [FACE, META, LIVE],
                )
                for name in custodians
            ]
            keys = epoch_keys.combine(announcement, releases)
            live = keys.key(header.slot, LIVE) if header.kind == LIVE_ENVELOPE else None
            blocks = envelope.blocks(live)

            def plain(block: bytes, label: str, keys: Any = keys, e: Envelope = envelope) -> bytes:
                key = keys.key(e.header.slot, label)
                return bytes(
                    open_block(key, block, header=e.header_bytes, label=label, nonce=e.nonce)
                )

            rows, _ = split_rows(
                np.frombuffer(plain(blocks.templates[FACE], FACE), np.uint8), dimension
            )
            meta = decode_meta(plain(blocks.meta, META), count=header.count)
            sightings = []
            for number in range(header.count):
                one = meta.sighting(number)
                expected = make_sighting(0, seed=0 if strange else seed_of(one))
                template = expected.templates[FACE].row
                assert strange or (rows[number] == template).all() or not rows[number].any()
                sightings.append(one)
            opened.append(
                Opened(
                    header.kind,
                    header.epoch,
                    header.generation,
                    header.slot,
                    header.sequence,
                    sightings,
                )
            )
        return opened


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
        self.sealer = self.new_sealer("cam-1")

    def new_sealer(
        self, camera: str, *, own_time: bool = False, models: Mapping[str, str] | None = None
    ) -> CameraSealer:
        epochs = BoardEpochs(
            CameraAddress("demo", "box-1", camera),
            trust=self.trust,
            keyring=self.keyring,
            board=self.site.board,
            models=models or {FACE: MODEL},
            outbox=self.outbox,
            day_keys_wait_s=self.sealing.day_keys_wait_s,
        )
        return CameraSealer(
            epochs,
            outbox=self.outbox,
            board=self.site.board,
            config=self.sealing,
            max_segment_bytes=self.max_segment_bytes,
            own_time=own_time,
            wall_ms=self.clock,
            boot_ms=lambda: self.clock.boot_ms,
        )

    def see(self, *seeds: int, ago_s: float = 1.0) -> None:
        """Hand over sightings that ended a second ago (or whenever is said)."""
        last_ms = self.clock.now_ms - round(ago_s * 1000)
        self.sealer.add([make_sighting(last_ms, seed=seed) for seed in seeds], self.clock.now_ms)

    def live_now(self) -> None:
        """Wait until what is held has been sealed live."""

        def sealed() -> bool:
            self.sealer.tick(self.clock.now_ms)
            return not any(bucket.waiting for bucket in self.sealer._held)

        wait_until(sealed, "live envelopes")

    def to_next_slot(self) -> None:
        """Let the slot end, and the grace after it."""
        slot = names.slot_of(self.clock.now_ms)
        epoch = names.epoch_of(self.clock.now_ms)
        self.clock.pass_s((slot_start_ms(epoch, slot + 1) + 6_000 - self.clock.now_ms) / 1000)
        self.sealer.tick(self.clock.now_ms)

    def payloads(self) -> list[bytes]:
        """Take everything from the outbox, as the publisher would."""
        return [message.payload for message in self.outbox.take(100_000)]

    def opened(self) -> list[Opened]:
        return self.site.open(self.payloads())
