"""Look through packed segments for who keeps them: how many there are, and which are not whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aggregator.store.packed.format import INDEX, NotAnObject, read_index
from aggregator.store.packed.objects import Shelf
from aggregator.store.packed.place import Objects, ObjectsPlace
from aggregator.store.packed.reading import HotSource
from aggregator.store.packs import Pack


@dataclass(frozen=True, slots=True)
class DayOfObjects:
    """The placed objects of a day: how many, of how many segments; ``size`` in bytes."""

    epoch: int
    objects: int
    segments: int
    size: int


class ObjectsInspector:
    """Reads what a ledger knows of objects, and the objects; writes nothing.

    Args:
        source: opens the ledger for reading.
        place: where the objects are.
    """

    def __init__(self, source: HotSource, place: ObjectsPlace) -> None:
        """Open the ledger.

        Raises:
            StorageError: it is missing or unreadable.
        """
        self._packs = source.open_with_packs()[1]
        self._place = place

    def days(self) -> list[DayOfObjects]:
        """Return what there is, day by day."""
        days = []
        for epoch in sorted(self._packs.pack_days()):
            packs = self._packs.packs_on(epoch)
            segments = sum(pack.segments for pack in packs)
            size = sum(pack.size for pack in packs)
            days.append(DayOfObjects(epoch, len(packs), segments, size))
        return days

    def damage(self, epoch: int) -> Iterator[str | None]:
        """Read every file of a day's objects; yield for each object what is wrong with it.

        None for an object that is whole, or was dropped meanwhile.

        Raises:
            StorageError: the place cannot be read.
        """
        for pack in self._packs.packs_on(epoch):
            wrong = damage_of(self._place.open(), pack)
            yield wrong if wrong is None or self._packs.is_placed(pack.number) else None

    def packs(self) -> Iterator[Pack]:
        """Yield every placed object, day by day."""
        for epoch in sorted(self._packs.pack_days()):
            yield from self._packs.packs_on(epoch)

    def is_placed(self, pack: Pack) -> bool:
        """Tell whether the ledger still has an object."""
        return self._packs.is_placed(pack.number)


def damage_of(objects: Objects, pack: Pack) -> str | None:
    """Read every file of an object; return what is wrong with it, None if nothing is.

    Raises:
        StorageError: the place cannot be read.
    """
    shelf = Shelf(objects)  # a new one: every digest is checked again
    data = objects.get(f"{pack.name.path}.{INDEX}", most=pack.size)
    if data is None:
        return f"{shelf.name_of(pack)}: its .{INDEX} is missing"
    try:
        index = read_index(pack.name, data, digest=pack.digest)
        for ending, note in index.files.items():
            shelf.check_file(pack, ending, note, shelf.open_file(pack, ending, note))
    except NotAnObject as error:
        return f"{shelf.name_of(pack)}: {error}"
    return None
