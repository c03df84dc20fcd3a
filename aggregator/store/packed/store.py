"""A backend's rows and packed objects under one roof (`aggregator.store.interface.Store`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aggregator.store.envelopes import SealedEnvelope
from aggregator.store.interface import ReaderSource, Segments, Store
from aggregator.store.ledger import Ledger, LedgerReading
from aggregator.store.packed.objects import Shelf
from aggregator.store.packed.place import Objects, ObjectsPlace
from aggregator.store.packed.reading import HotSource, PackedReader, PackedSource


class PackedSegments(PackedReader):
    """The segments inside a transaction: written as rows, packed later."""

    def __init__(self, hot: Segments, ledger: Ledger, shelf: Shelf, source: ReaderSource) -> None:
        super().__init__(hot, ledger, shelf, source)
        self._rows_of = hot
        self._ledger = ledger

    def append(self, stream: int, envelope: SealedEnvelope, *, received_ms: int) -> None:
        self._rows_of.append(stream, envelope, received_ms=received_ms)

    def replaced(self) -> int:
        return self._rows_of.replaced()

    def drop_replaced_live(self, stream: int, epoch: int, generation: int, slot: int) -> int:
        return self._rows_of.drop_replaced_live(stream, epoch, generation, slot)

    def drop_days(self, *, before_epoch: int, most: int) -> int:
        gone = self._rows_of.drop_days(before_epoch=before_epoch, most=most)
        if gone < most:
            gone += self._ledger.drop_packs(before_epoch=before_epoch, most=most - gone)
        return gone


@dataclass(frozen=True, slots=True)
class PackedUnit:
    """One transaction."""

    ledger: Ledger
    segments: PackedSegments


class PackedStore:
    """A store whose segments are rows at first, and in objects once their hour is over.

    Args:
        inner: the backend, which has the ledger and the rows.
        source: opens its rows elsewhere.
        place: where the objects are.
    """

    def __init__(self, inner: Store, source: HotSource, place: ObjectsPlace) -> None:
        self.inner = inner
        self.objects: Objects = place.open()
        self._source = PackedSource(source, place)
        self._shelf = Shelf(self.objects)
        self.segments = PackedReader(inner.segments, inner.ledger, self._shelf, self._source)

    @property
    def ledger(self) -> LedgerReading:
        """The ledger as it was committed."""
        return self.inner.ledger

    @contextmanager
    def writing(self, *, durable: bool = False, beside: bool = False) -> Iterator[PackedUnit]:
        """Hold one transaction, as `Store.writing` says."""
        with self.inner.writing(durable=durable, beside=beside) as unit:
            ledger = unit.ledger
            segments = PackedSegments(unit.segments, ledger, self._shelf, self._source)
            yield PackedUnit(ledger, segments)

    def close(self) -> None:
        """Close everything."""
        self.inner.close()
