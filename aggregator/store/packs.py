"""What the ledger knows of packed segments: which objects there are, and what is in each.

Part of `aggregator.store.ledger`. A segment is packed once its hour is over: its bytes go into an
**object** (`aggregator.store.packed`), its row leaves the tables of segments, and what counting
needs of it stays here, without a byte of it. An object is an intent first (`WRITING`), then
`PLACED` in the transaction that takes the rows away, then `DROPPING` until its files are gone:
whatever is killed between, the state says what is still to do.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from protocol.names import CameraAddress
from runtime.database import StorageError

SHARD_STREAMS = 64
"""So many streams, by their numbers, share the objects of an hour."""
SLOTS_AN_HOUR = 4
WRITING, PLACED, DROPPING, GONE = 1, 2, 3, 4


class PackLost(StorageError):
    """An object cannot be placed: somebody else has given it up, or packed the same segments."""


@dataclass(frozen=True, slots=True, order=True)
class PackName:
    """Which object: day, shard, hour of the day (0 to 23), and the how manieth of that hour."""

    epoch: int
    shard: int
    hour: int
    part: int = 1

    @property
    def path(self) -> str:
        """Its path without an ending: ``EPOCH/SHARD/HOUR``, of a second part ``.../HOUR.2``."""
        last = f"{self.hour:02}" if self.part == 1 else f"{self.hour:02}.{self.part}"
        return f"{self.epoch}/{self.shard:04}/{last}"


@dataclass(frozen=True, slots=True)
class Pack:
    """One object, as the ledger has it.

    Args:
        number: its own in the ledger.
        digest: SHA-256 of its file ``.idx``, which has those of the others; empty until placed.
        segments: how many are in it.
        size: bytes of all its files.
        first: the lowest number of a segment in it,
        last: and the highest.
    """

    number: int
    name: PackName
    state: int = WRITING
    digest: bytes = b""
    segments: int = 0
    size: int = 0
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True, order=True)
class WaitingHour:
    """Segments of one shard and hour that could be packed; ``late``: others of it already are."""

    epoch: int
    shard: int
    hour: int
    segments: int
    late: bool


class HotSegment(NamedTuple):
    """A segment that is still in rows, with all that putting it together again takes.

    ``models`` by modality, names; ``blocks`` by label, those that are there.
    """

    number: int
    address: CameraAddress
    generation: int
    slot: int
    version: int
    sequence: int
    sightings: int
    received_ms: int
    salt: bytes
    header: bytes
    signature: bytes
    models: Mapping[str, str]
    blocks: Mapping[str, bytes]


class PacksReading(Protocol):
    """Objects and what is in them."""

    def packs_of(self, address: CameraAddress, epoch: int) -> list[Pack]:
        """Return the placed objects that can hold segments of a camera's day, by hour."""

    def packs_on(self, epoch: int) -> list[Pack]:
        """Return the placed objects of a day, by shard and hour."""

    def pack_of(self, segment: int) -> Pack | None:
        """Return the placed object that a segment is in; None when it is in none."""

    def is_placed(self, pack: int) -> bool:
        """Tell whether an object is there for reading (still)."""

    def unsettled_packs(self) -> list[Pack]:
        """Return the objects that are being written or dropped, oldest first."""

    def pack_days(self) -> set[int]:
        """Return the days of which objects are placed."""

    def waiting_hours(self, *, over_slot: int) -> list[WaitingHour]:
        """Return what could be packed, oldest first.

        Args:
            over_slot: quarter hours since 1970: hours that end at its beginning or before are over.
        """

    def hot_segments(self, hour: WaitingHour) -> Generator[HotSegment]:
        """Yield the segments of a waiting hour, by stream, generation and slot; close it early.

        There may be more than fit into memory: a box decides how much it sends. A row that is no
        whole segment (somebody edited the file) is left out.
        """

    def pack_place(self) -> str | None:
        """Return the mark of the place where this ledger's objects are; None before the first."""


class PacksWriting(PacksReading, Protocol):
    """Registers objects."""

    def begin_pack(self, hour: WaitingHour, *, now_ms: int) -> Pack:
        """Note that an object is going to be written, under a name that none ever had."""

    def place_pack(self, pack: Pack, segments: Sequence[int]) -> None:
        """Have an object that is whole and durable hold these segments, and delete their rows.

        Raises:
            PackLost: it was given up meanwhile, or one of the segments is no row any more. Nothing
                may be kept of this transaction.
        """

    def give_up_pack(self, pack: int) -> None:
        """Note that an object which is being written is to be dropped: it cannot be placed then."""

    def forget_pack(self, pack: int) -> None:
        """Note that the files of a dropped object are gone; its name is not used again."""

    def drop_packs(self, *, before_epoch: int, most: int) -> int:
        """Give up objects of past days, until so many segments are gone or no object is left.

        Returns how many segments; their files are deleted later, and read by nobody from now on.
        """

    def mark_pack_place(self, mark: str) -> None:
        """Note the mark of the place where this ledger's objects are."""
