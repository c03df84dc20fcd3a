"""Put a store into a backup while it is in use, and back: the ledger first, then its objects.

In that order an object that the ledger of the backup names was there when it was copied; one that
is packed meanwhile is not in it, nor named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from aggregator.store import open_objects, open_store
from aggregator.store.packed.copying import (
    copy_objects,
    give_mark,
    listed,
    mark_of,
    read_list,
    require_there,
)
from aggregator.store.packed.place import ObjectsPlace
from aggregator.store.packs import Pack
from aggregator.store.place import SEGMENTS, StorePlace, require_not_moved, require_postgresql
from runtime.backup.manifest import FileNote, Manifest, ObjectsNote
from runtime.backup.taking import Taking
from runtime.database import StorageDamaged, StorageError
from runtime.fsio import read_file

DUMP, LIST = "ledger.pgdump", "objects.list"
FILE, SERVER, ELSEWHERE = "file", "postgresql", "elsewhere"
"""How a ledger is in a backup: as its file, as a dump, or not at all."""
_MAX_LIST_BYTES = 1 << 30
Tell = Callable[[str], None]


def add_ledger(place: StorePlace, taking: Taking, *, without: bool, tell: Tell) -> str:
    """Put the ledger into a backup as it is now; return how it is there.

    Args:
        place: where the store is.
        taking: the backup.
        without: leave a ledger on a server to the server's own backup.
        tell: is told what is being done.

    Raises:
        StorageError: it cannot be read.
    """
    if not place.url:
        require_not_moved(place.database)
        taking.add_database(place.database)
        return FILE
    if without:
        return ELSEWHERE
    require_postgresql()
    from aggregator.store.postgresql.dumping import dump  # noqa: PLC0415

    rows = dump(place, taking.folder / DUMP, tell)
    taking.note(DUMP, rows)
    return SERVER


def add_objects(place: StorePlace, taking: Taking, *, copied: bool, tell: Tell) -> ObjectsNote:
    """Put the objects that the ledger knows into a backup, or the list of them.

    Raises:
        StorageDamaged: one is missing or damaged.
        StorageError: ledger or place cannot be read.
    """
    objects = _objects_of(place)
    copy = StorePlace(taking.folder / place.database.name, objects=objects)
    taken = taking.files.get(DUMP if place.url else place.database.name)
    packs: list[Pack] = []
    if taken is None or "packs" in taken.rows:  # an earlier version's ledger knows of none
        packs.extend(open_objects(place if place.url else copy).packs())
    source = objects.open()
    mark = mark_of(source) if packs or copied else ""

    def gone(pack: Pack) -> bool:
        return not open_objects(place).is_placed(pack)

    if copied:
        target = ObjectsPlace(str(taking.folder / SEGMENTS)).open()
        give_mark(target, mark)
        found = copy_objects(packs, source, target, may_be_gone=gone, tell=tell)
    else:
        found = require_there(packs, source, may_be_gone=gone, tell=tell)
    taking.add(LIST, listed(found.packs))
    return ObjectsNote(
        copied=copied, place=objects.url, mark=mark, objects=len(found.packs), size=found.size
    )


def check_objects(backup: Path, manifest: Manifest, tell: Tell) -> None:
    """Read every object that is copied in a backup.

    Raises:
        StorageDamaged: one is missing or damaged.
    """
    if manifest.objects is not None and manifest.objects.copied:
        packs = _listed_in(backup, manifest)
        place = ObjectsPlace(str(backup / SEGMENTS)).open()
        copy_objects(packs, place, place, may_be_gone=lambda _: False, tell=tell)


def put_objects_back(
    place: StorePlace, backup: Path, manifest: Manifest, *, first_day: int, tell: Tell
) -> int:
    """Put copied objects where the configuration says, or check that they are where they were left.

    Args:
        place: of the store.
        backup: the backup's folder.
        manifest: of it, verified.
        first_day: those of days before are past their retention, and are left out.
        tell: is told how far it is.

    Returns:
        how many are there now.

    Raises:
        StorageDamaged: one is missing or damaged.
        StorageError: the place is another ledger's, or cannot be used.
    """
    note = manifest.objects
    if note is None:
        return 0
    packs = _listed_in(backup, manifest)
    kept = [pack for pack in packs if pack.name.epoch >= first_day]
    target = _objects_of(place).open()
    if not note.copied:
        if packs and mark_of(target) != note.mark:
            raise StorageError(
                f"{target.place.url} is not where this ledger's objects were left ({note.place}):"
                " mount it, or set [objects] place to where they are by now"
            )
        found = require_there(kept, target, may_be_gone=lambda _: False, tell=tell)
        return len(found.packs)
    give_mark(target, note.mark)
    source = ObjectsPlace(str(backup / SEGMENTS)).open()
    found = copy_objects(kept, source, target, may_be_gone=lambda _: False, tell=tell)
    return len(found.packs)


def require_room_for_ledger(place: StorePlace) -> bool:
    """Tell whether a dump is to be put into the database: it is empty.

    Raises:
        StorageError: it cannot be reached.
    """
    require_postgresql()
    from aggregator.store.postgresql.dumping import is_empty  # noqa: PLC0415

    return is_empty(place)


def put_ledger_back(place: StorePlace, dump: Path, note: FileNote, tell: Tell) -> None:
    """Put a dump into the database, which is empty, and bring it up to this version.

    Raises:
        StorageError: it cannot be.
    """
    from aggregator.store.postgresql.dumping import put_back  # noqa: PLC0415

    put_back(place, dump, note.rows, tell)
    open_store(place).close()


def bring_up_to_date(database: Path, place: StorePlace) -> None:
    """Bring a staged ledger up to this version, before it is put in its place.

    Raises:
        SchemaTooNew: a newer version made it.
        StorageError: it cannot be used.
    """
    open_store(StorePlace(database, objects=_objects_of(place))).close()


def _listed_in(backup: Path, manifest: Manifest) -> list[Pack]:
    """Return the objects that a backup lists, by the bytes that were signed for."""
    data = read_file(backup / LIST, _MAX_LIST_BYTES)
    note = manifest.files.get(LIST)
    if note is None or hashlib.sha256(data).hexdigest() != note.sha256:
        raise StorageDamaged(f"{backup / LIST} is not what was written: use another backup")
    return list(read_list(data))


def _objects_of(place: StorePlace) -> ObjectsPlace:
    return place.objects or ObjectsPlace(str(place.database.absolute().parent / SEGMENTS))
