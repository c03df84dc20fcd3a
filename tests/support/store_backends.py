"""Every backend of the aggregator's store: what the contract's tests run over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from laid_down import new_store
from postgresql_server import server
from psycopg.conninfo import conninfo_to_dict
from sealed_boxes import TestBox

from aggregator.store import Store, StorePlace, Unit, open_store
from aggregator.store.envelopes import AnyEnvelope, lay_out
from aggregator.store.packed.packing import Packer
from aggregator.store.packed.place import ObjectsPlace
from aggregator.store.packed.store import PackedStore, PackedUnit
from aggregator.store.postgresql.segments import SegmentServer
from aggregator.store.postgresql.store import PostgresqlStore
from aggregator.store.sqlite.segments import SegmentFile
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.names import CameraAddress
from protocol.signing import Signed
from protocol.v2.envelopes import parse_envelope

FAR_MS = 1 << 45
"""A time at which every hour is over."""


class PackingAtOnce(PackedStore):
    """A store that packs all that can be packed as soon as it is committed."""

    _writes = 0

    @contextmanager
    def writing(self, *, durable: bool = False, beside: bool = False) -> Iterator[PackedUnit]:
        self._writes += 1
        try:
            with super().writing(durable=durable, beside=beside) as unit:
                yield unit
        finally:
            self._writes -= 1
        if self._writes == 0:
            packer_of(self.inner, self).round(at_once=True)


def packer_of(store: Store, packed: PackedStore, *, now_ms: int = FAR_MS) -> Packer:
    """Return who packs at ``packed``'s place what is in ``store``."""
    return Packer(store, packed.objects, wait_ms=600_000, now_ms=lambda: now_ms)


def _packed(folder: Path) -> Store:
    path = folder / "aggregator.db"
    objects = ObjectsPlace(str(folder / "segments"))
    return PackingAtOnce(new_store(path), SegmentFile(path), objects)


def _packed_on_a_server(folder: Path) -> Store:
    place = place_in(folder)
    objects = ObjectsPlace(str(folder / "segments"))
    return PackingAtOnce(PostgresqlStore(place), SegmentServer(place), objects)


BACKENDS: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: new_store(folder / "aggregator.db"),
    "sqlite+packed": _packed,
    "postgresql": lambda folder: open_store(place_in(folder)),
    "postgresql+packed": _packed_on_a_server,
}
ON_A_SERVER = frozenset({"postgresql", "postgresql+packed"})
"""Those start a process."""
DROP_DAYS_WHOLE = frozenset({"postgresql", "postgresql+packed"})


def every_backend(*names: str) -> list[Any]:
    """Return the names of backends (all, where none is named) as parameters of a test."""
    return [
        pytest.param(name, marks=[pytest.mark.processes] if name in ON_A_SERVER else [])
        for name in sorted(names or BACKENDS)
    ]


def place_in(folder: Path) -> StorePlace:
    """Return the place of a folder's own database on the session's server; new ones are empty."""
    note = folder / "postgresql.url"
    if not note.exists():
        note.write_text(server().new_database(_template()))
    return StorePlace(folder / "aggregator.db", note.read_text())


def forget(folder: Path) -> None:
    """Drop a folder's database, if it has one."""
    note = folder / "postgresql.url"
    if note.exists():
        server().drop_database(note.read_text())
        note.unlink()


@cache
def _template() -> str:
    """Return the name of a database that is what a first opening leaves."""
    url = server().new_database()
    open_store(StorePlace(Path("unused"), url)).close()
    return str(conninfo_to_dict(url)["dbname"])


@dataclass(frozen=True)
class Backend:
    """One backend's place in a folder; can be opened again, by another process too."""

    name: str
    folder: Path

    @property
    def place(self) -> StorePlace:
        """Where it is, as a configuration says it."""
        if self.name in ON_A_SERVER:
            return place_in(self.folder)
        return StorePlace(self.folder / "aggregator.db")

    def open(self) -> Store:
        """Open the store that is there, or make it."""
        return BACKENDS[self.name](self.folder)


def stream_of(unit: Unit, address: CameraAddress) -> int:
    """Return the number of a camera's stream, adding it when it is new."""
    return (unit.ledger.stream(address) or unit.ledger.add_stream(address)).number


def keep(unit: Unit, box: TestBox, *messages: tuple[str, bytes]) -> list[AnyEnvelope]:
    """Append envelopes of a box, as its segments and live messages have them."""
    kept = []
    for _, payload in messages:
        envelope = parse_envelope(payload)
        unit.segments.append(stream_of(unit, box.address), lay_out(envelope), received_ms=1)
        kept.append(envelope)
    return kept


def announce(unit: Unit, box: TestBox, message: tuple[str, bytes]) -> bool:
    """Add an announcement of a box; tell whether it was new."""
    signed = Signed.parse(message[1], kind=EPOCH_KIND)
    said = Announcement.parse(signed.payload, box=signed.signer)
    return unit.ledger.add_announcement(stream_of(unit, box.address), said, message[1])
