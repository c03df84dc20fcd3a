"""The aggregator's store: what came in, sealed, and what was asked of it. All SQL is in here."""

from __future__ import annotations

from pathlib import Path

from aggregator.store.inspection import Inspector
from aggregator.store.interface import ReaderSource, SegmentReader, Segments, Store, Unit
from aggregator.store.ledger import Ledger, LedgerReading
from aggregator.store.packed.checking import ObjectsInspector
from aggregator.store.packed.place import ObjectsPlace
from aggregator.store.packed.reading import PackedSource
from aggregator.store.packed.store import PackedStore
from aggregator.store.place import SEGMENTS, StorePlace, require_not_moved, require_postgresql
from aggregator.store.runs import SegmentRun
from aggregator.store.sqlite.inspection import SqliteInspector
from aggregator.store.sqlite.segments import SegmentFile
from aggregator.store.sqlite.store import SqliteStore

__all__ = [
    "Inspector",
    "Ledger",
    "LedgerReading",
    "ObjectsInspector",
    "ObjectsPlace",
    "ReaderSource",
    "SegmentReader",
    "SegmentRun",
    "Segments",
    "Store",
    "StorePlace",
    "Unit",
    "open_inspector",
    "open_objects",
    "open_reader",
    "open_store",
]


def open_store(place: StorePlace | Path) -> Store:
    """Open the store that the configuration names; what is missing there is made.

    A path is a file of the embedded backend (`aggregator.store.sqlite`). Which backend it is, is
    chosen here and nowhere else.

    Raises:
        StorageError: it cannot be opened: see `runtime.database.open_database`, and
            `aggregator.store.postgresql`.
    """
    if isinstance(place, Path):
        place = StorePlace(place)
    if place.url:
        require_postgresql()
        from aggregator.store.postgresql.segments import SegmentServer  # noqa: PLC0415
        from aggregator.store.postgresql.store import PostgresqlStore  # noqa: PLC0415

        return PackedStore(PostgresqlStore(place), SegmentServer(place), _objects_of(place))
    require_not_moved(place.database)
    return PackedStore(SqliteStore(place.database), SegmentFile(place.database), _objects_of(place))


def open_reader(place: StorePlace | Path) -> SegmentReader:
    """Open the sealed segments of a store for reading and nothing else; nothing is made.

    What is opened is used by the thread that opens it.

    Raises:
        StorageError: they are missing or unreadable.
    """
    if isinstance(place, Path):
        place = StorePlace(place)
    if place.url:
        require_postgresql()
        from aggregator.store.postgresql.segments import SegmentServer  # noqa: PLC0415

        return PackedSource(SegmentServer(place), _objects_of(place)).open()
    require_not_moved(place.database)
    return PackedSource(SegmentFile(place.database), _objects_of(place)).open()


def open_objects(place: StorePlace | Path) -> ObjectsInspector:
    """Open what is packed for looking through it, whether or not the service runs.

    Raises:
        StorageError: the ledger is missing or unreadable.
    """
    if isinstance(place, Path):
        place = StorePlace(place)
    if place.url:
        require_postgresql()
        from aggregator.store.postgresql.segments import SegmentServer  # noqa: PLC0415

        return ObjectsInspector(SegmentServer(place), _objects_of(place))
    return ObjectsInspector(SegmentFile(place.database), _objects_of(place))


def _objects_of(place: StorePlace) -> ObjectsPlace:
    return place.objects or ObjectsPlace(str(place.database.absolute().parent / SEGMENTS))


def open_inspector(place: StorePlace | Path) -> Inspector:
    """Open the same store for looking into it, whether or not the service runs.

    Raises:
        StorageError: it is missing or unreadable.
    """
    if isinstance(place, Path):
        place = StorePlace(place)
    if place.url:
        require_postgresql()
        from aggregator.store.postgresql.inspection import PostgresqlInspector  # noqa: PLC0415

        return PostgresqlInspector(place)
    return SqliteInspector(place.database)
