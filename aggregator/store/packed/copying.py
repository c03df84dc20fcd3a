"""Copy objects of packed segments from one place to another: into a backup, and back.

Objects never change, so what is there already and whole is not copied again, and who is killed in
the middle goes on. Which objects there are stands in a list, a line each, beside the copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from aggregator.store.packed.checking import damage_of
from aggregator.store.packed.format import INDEX, read_index
from aggregator.store.packed.packing import MARK, MAX_MARK_BYTES
from aggregator.store.packed.place import Objects
from aggregator.store.packs import PLACED, Pack, PackName
from protocol.textformats import parse_json
from runtime.database import StorageDamaged, StorageError

_TELL_EVERY = 50
_Number = Annotated[int, Field(ge=0, le=1 << 40, strict=True)]
Tell = Callable[[str], None]


class _Line(BaseModel):
    """An object, as a list has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: _Number
    shard: _Number
    hour: _Number
    part: _Number
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    segments: _Number
    size: _Number


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied or was there; ``dropped``: those past retention that nobody keeps by now."""

    packs: tuple[Pack, ...]
    dropped: int = 0

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(pack.size for pack in self.packs)


def copy_objects(
    packs: Sequence[Pack],
    source: Objects,
    target: Objects,
    *,
    may_be_gone: Callable[[Pack], bool],
    tell: Tell,
) -> Copied:
    """Copy objects that are not whole at ``target``, and check each there.

    Args:
        packs: which.
        source: where they are.
        target: where to.
        may_be_gone: tells whether one that is missing is past its retention.
        tell: is told how far it is.

    Raises:
        StorageDamaged: one is missing or damaged at the source.
        StorageError: a place cannot be used.
    """
    copied: list[Pack] = []
    for number, pack in enumerate(packs, 1):
        if damage_of(target, pack) is not None:
            wrong = _copy(pack, source, target)
            if wrong is not None:
                if may_be_gone(pack):
                    continue
                raise StorageDamaged(
                    f"{wrong}; what is sealed in it can be had from nowhere else: look for its"
                    " files in an earlier backup of the place, then run this again"
                )
        copied.append(pack)
        if number % _TELL_EVERY == 0 or number == len(packs):
            tell(f"objects: {number:,} of {len(packs):,}")
    return Copied(tuple(copied), len(packs) - len(copied))


def require_there(
    packs: Sequence[Pack], place: Objects, *, may_be_gone: Callable[[Pack], bool], tell: Tell
) -> Copied:
    """Check that objects are where they were left: their indexes, which have the digests of all.

    Raises:
        StorageDamaged: some are missing or are not those.
        StorageError: the place cannot be used.
    """
    there: list[Pack] = []
    for number, pack in enumerate(packs, 1):
        path = f"{pack.name.path}.{INDEX}"
        data = place.get(path, most=pack.size)
        if data is None:
            if not may_be_gone(pack):
                raise StorageDamaged(
                    f"{place.name_of(path)} is missing: mount or put back the place first"
                )
            continue
        try:
            read_index(pack.name, data, digest=pack.digest)
        except ValueError as error:
            raise StorageDamaged(
                f"{place.name_of(path)}: {error}; put the place back from its own copy first"
            ) from None
        there.append(pack)
        if number % _TELL_EVERY == 0 or number == len(packs):
            tell(f"objects: {number:,} of {len(packs):,} are there")
    return Copied(tuple(there), len(packs) - len(there))


def mark_of(place: Objects) -> str:
    """Return the mark of the ledger whose objects are at a place; empty where there are none yet.

    Raises:
        StorageError: it cannot be read, or is none.
    """
    data = place.get(MARK, most=MAX_MARK_BYTES)
    mark = "" if data is None else bytes(data[:MAX_MARK_BYTES]).decode("ascii", "replace")
    if not all(letter in "0123456789abcdef" for letter in mark):
        raise StorageError(f"{place.name_of(MARK)} is no mark of a ledger: put it back as it was")
    return mark


def give_mark(place: Objects, mark: str) -> None:
    """Mark a place that is nobody's.

    Raises:
        StorageError: it is another ledger's, or cannot be used.
    """
    found = mark_of(place)
    if found and found != mark:
        raise StorageError(
            f"{place.place.url} holds packed segments of another ledger: give [objects] place a"
            " folder or prefix that is empty"
        )
    if not found and mark:
        place.put(MARK, mark.encode("ascii"))


def listed(packs: Iterable[Pack]) -> bytes:
    """Return the list of objects, a line each."""
    lines = (
        _Line(
            epoch=pack.name.epoch,
            shard=pack.name.shard,
            hour=pack.name.hour,
            part=pack.name.part,
            digest=pack.digest.hex(),
            segments=pack.segments,
            size=pack.size,
        ).model_dump_json()
        for pack in packs
    )
    return "".join(f"{line}\n" for line in lines).encode()


def read_list(data: bytes) -> Iterator[Pack]:
    """Yield the objects of a list.

    Raises:
        StorageDamaged: it is no such list.
    """
    for number, line in enumerate(data.splitlines(), 1):
        try:
            one = _Line.model_validate(parse_json(line))
        except ValueError:
            raise StorageDamaged(
                f"line {number} of the list of objects is none: use another backup"
            ) from None
        name = PackName(one.epoch, one.shard, one.hour, one.part)
        yield Pack(number, name, PLACED, bytes.fromhex(one.digest), one.segments, one.size)


def _copy(pack: Pack, source: Objects, target: Objects) -> str | None:
    """Copy one object, its index last; return what is wrong with it at the source."""
    data = source.get(f"{pack.name.path}.{INDEX}", most=pack.size)
    if data is None:
        return f"{source.name_of(pack.name.path)}.{INDEX} is missing"
    try:
        index = read_index(pack.name, data, digest=pack.digest)
    except ValueError as error:
        return f"{source.name_of(pack.name.path)}: {error}"
    for ending in index.files:
        path = f"{pack.name.path}.{ending}"
        content = source.get(path, most=pack.size)
        if content is None:
            return f"{source.name_of(path)} is missing"
        target.put(path, bytes(content))
    target.put(f"{pack.name.path}.{INDEX}", bytes(data))
    wrong = damage_of(target, pack)
    return None if wrong is None else damage_of(source, pack) or wrong
