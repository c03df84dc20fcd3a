"""How a store is, for who looks after it: its schema, its packed segments, whether all is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aggregator.store.packed.checking import DayOfObjects, ObjectsInspector
from aggregator.store.packed.packing import MARK
from aggregator.store.packed.place import ObjectsPlace
from aggregator.store.place import SEGMENTS, StorePlace, require_not_moved, require_postgresql
from aggregator.store.sqlite.schema import MIGRATIONS
from aggregator.store.sqlite.segments import SegmentFile
from runtime.database import StorageError

EMBEDDED_SCHEMA = len(MIGRATIONS)
"""How many steps of the embedded backend's schema this program knows."""
_MAX_MARK_BYTES = 1024
_THERE = "SELECT to_regclass('schema_steps') IS NOT NULL"
_DONE = "SELECT coalesce(max(number), 0) FROM schema_steps"


@dataclass(frozen=True, slots=True)
class ServerSchema:
    """How many steps of its schema a server's database has been through, and we know."""

    has: int
    known: int


def server_schema(place: StorePlace) -> ServerSchema:
    """Ask the server, in a transaction that can write nothing.

    Raises:
        StorageError: it cannot be reached.
    """
    require_postgresql()
    from aggregator.store.postgresql.schema import MIGRATIONS as STEPS  # noqa: PLC0415
    from aggregator.store.postgresql.sessions import Committed, Server  # noqa: PLC0415

    server = Server(place, read_only=True)
    try:
        session = Committed(server)
        there = bool(session.rows(_THERE)[0][0])
        return ServerSchema(int(session.rows(_DONE)[0][0]) if there else 0, len(STEPS))
    finally:
        server.close()


def packed_days(place: StorePlace) -> list[DayOfObjects]:
    """Return what is packed, day by day, as the ledger knows it.

    Raises:
        StorageError: the ledger cannot be read.
    """
    objects = objects_of(place)
    if place.url:
        require_postgresql()
        from aggregator.store.postgresql.segments import SegmentServer  # noqa: PLC0415

        return ObjectsInspector(SegmentServer(place), objects).days()
    require_not_moved(place.database)
    return ObjectsInspector(SegmentFile(place.database), objects).days()


def require_objects(place: StorePlace) -> str:
    """Check that the place of packed segments is there; return what it is called.

    Raises:
        StorageError: it cannot be read, or has lost the file that marks it.
    """
    objects = objects_of(place)
    if objects.open().get(MARK, most=_MAX_MARK_BYTES) is None:
        raise StorageError(
            f"{objects.url} has no file {MARK}, and the ledger knows of objects there: mount that"
            " place, or put its files back"
        )
    return objects.url


def folder_of(place: StorePlace) -> Path | None:
    """Return the folder of packed segments; None where they are in an S3."""
    return objects_of(place).folder


def objects_of(place: StorePlace) -> ObjectsPlace:
    """Return where packed segments are."""
    return place.objects or ObjectsPlace(str(place.database.absolute().parent / SEGMENTS))
