"""A store with segments of a few cameras, to be packed, killed, spoilt and packed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from boxes_v2 import BoxOfVersion2, make_box_v2, person, strangers
from laid_down import new_store
from sealed_boxes import DAY, TestBox, make_box, sighting, unit_vector
from store_backends import FAR_MS, keep, place_in

from aggregator.store import ObjectsPlace
from aggregator.store.packed.packing import Packed, Packer
from aggregator.store.packed.store import PackedStore
from aggregator.store.packs import WaitingHour
from aggregator.store.postgresql.segments import SegmentServer
from aggregator.store.postgresql.store import PostgresqlStore
from aggregator.store.sqlite.segments import SegmentFile
from protocol.grant import Scope
from protocol.keytree import FACE
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH

RNG = np.random.default_rng(31)
WAIT_MS = 600_000


def store_in(
    folder: Path, place: ObjectsPlace | None = None, *, backend: str = "sqlite"
) -> PackedStore:
    """Open the store that is there, or make it."""
    path = folder / "aggregator.db"
    objects = place or ObjectsPlace(str(folder / "segments"))
    if backend == "sqlite":
        return PackedStore(new_store(path), SegmentFile(path), objects)
    server = place_in(folder)
    return PackedStore(PostgresqlStore(server), SegmentServer(server), objects)


class PackedSite:
    """Two boxes of version 2 and one of version 1, their store, and all envelopes kept in it."""

    def __init__(
        self, folder: Path, place: ObjectsPlace | None = None, *, backend: str = "sqlite"
    ) -> None:
        self.folder = folder
        self.place = place
        self.backend = backend
        self.store = store_in(folder, place, backend=backend)
        self.boxes: list[BoxOfVersion2] = [make_box_v2(1), make_box_v2(2)]
        self.old = make_box(3)
        self.kept: dict[int, bytes] = {}

    @property
    def cameras(self) -> list[TestBox]:
        return [*self.boxes, self.old]

    def fill(self, slots: Sequence[int] = (4, 5, 9), *, day: int = DAY) -> None:
        """Take in a segment of each camera and quarter hour."""
        for slot in slots:
            for box in self.boxes:
                self.keep(box, box.segment(strangers(2, RNG), slot=slot, epoch=day))
            self.keep(
                self.old, self.old.segment([sighting(unit_vector(RNG))], slot=slot, epoch=day)
            )

    def keep(self, box: TestBox, message: tuple[str, bytes]) -> None:
        """Take in one envelope, and remember it by its number."""
        with self.store.writing() as unit:
            keep(unit, box, message)
        self.kept[self.store.segments.newest()] = message[1]

    def live(self, slot: int) -> None:
        """Take in a live envelope of the first box."""
        self.keep(self.boxes[0], self.boxes[0].live([person(unit_vector(RNG))], slot=slot))

    def packer(self, *, now_ms: int = FAR_MS, awake_ms: Callable[[], int] = lambda: 0) -> Packer:
        """Return who packs it."""
        return Packer(
            self.store,
            self.store.objects,
            wait_ms=WAIT_MS,
            now_ms=lambda: now_ms,
            awake_ms=awake_ms,
        )

    def pack(self, *, now_ms: int = FAR_MS) -> Packed:
        """Pack all that is due."""
        return self.packer(now_ms=now_ms).round(at_once=True)

    def hours(self) -> list[WaitingHour]:
        """Return what could be packed."""
        return self.store.ledger.waiting_hours(over_slot=1 << 40)

    def reopen(self) -> None:
        """Have the process that held the store be another one."""
        self.store.close()
        self.store = store_in(self.folder, self.place, backend=self.backend)

    def files(self) -> list[str]:
        """Return the files of objects in the folder, in order."""
        folder = self.folder / "segments"
        found = (path for path in folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(folder)) for path in found if path.name != "MARK")

    def scope(self, box: TestBox, day: int = DAY, first: int = 0, last: int = 95) -> Scope:
        """Return a scope of a camera."""
        return Scope(box.address, day, box.generation, first, last)

    def numbers(self, day: int = DAY) -> list[int]:
        """Return the number of every envelope that scans of a day give, those given twice twice."""
        return sorted(
            row.number
            for box in self.cameras
            for row in self.store.segments.scan(self.scope(box, day), modalities=(FACE,))
        )

    def require_all(self, day: int = DAY) -> None:
        """Check that every envelope is there once, byte for byte."""
        assert self.numbers(day) == sorted(self.kept)
        for number, payload in self.kept.items():
            assert self.store.segments.envelope(number).to_bytes() == payload


def end_of_hour_ms(hour: int, day: int = DAY) -> int:
    """Return when an hour of a day is over."""
    return (day * SLOTS_PER_EPOCH + (hour + 1) * 4) * SLOT_MS
