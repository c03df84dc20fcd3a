"""Segments in rows and in packed objects, read as one (`aggregator.store.interface.SegmentReader`).

Rows are read first and objects then: what is packed between is met twice and given once, never
missed. Objects are read in the order in which their bytes lie, many segments at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from aggregator.store.envelopes import AnyEnvelope, put_together
from aggregator.store.interface import ReaderSource, SegmentReader
from aggregator.store.packed.days import Days, whole_hours
from aggregator.store.packed.format import HEAD, HEADER, NO_MODEL, PARTS, span_name
from aggregator.store.packed.objects import OpenedObject, Shelf
from aggregator.store.packed.place import ObjectsPlace
from aggregator.store.packs import SLOTS_AN_HOUR, Pack, PacksReading
from aggregator.store.rows import SealedRow, ToldRow
from aggregator.store.runs import RUN_BYTES, RUN_SEGMENTS, SealedBlocks, SegmentRun
from protocol.grant import Scope
from protocol.keytree import COVER, META
from protocol.sealing import SALT_BYTES
from runtime.database import StorageError

_Rows = npt.NDArray[Any]


class HotSource(ReaderSource, Protocol):
    """Opens the rows of a backend in another process, and what its ledger knows of objects."""

    def open_with_packs(self) -> tuple[SegmentReader, PacksReading]:
        """Open both for reading.

        Raises:
            StorageError: they are missing or unreadable.
        """


@dataclass(frozen=True, slots=True)
class PackedSource:
    """Where rows and objects are."""

    hot: HotSource
    place: ObjectsPlace

    def open(self) -> PackedReader:
        """Open both for reading.

        Raises:
            StorageError: the rows are missing or unreadable.
        """
        hot, packs = self.hot.open_with_packs()
        return PackedReader(hot, packs, Shelf(self.place.open()), self)


class _Piece(NamedTuple):
    """Rows of one object that lie together."""

    opened: OpenedObject
    begins: int
    ends: int

    @property
    def rows(self) -> _Rows:
        return self.opened.index.rows[self.begins : self.ends]

    def bytes_of(self, labels: Iterable[str]) -> int:
        return sum(int(self.rows[f"{label}_bytes"].sum()) for label in labels)


class PackedReader:
    """Reads what is in rows (``hot``) and what is in objects.

    Errors as `SegmentReader`'s, and StorageDamaged with the name of an object that is not what was
    written: nothing of it is given.
    """

    def __init__(
        self, hot: SegmentReader, packs: PacksReading, shelf: Shelf, source: ReaderSource
    ) -> None:
        self._hot = hot
        self._packs = packs
        self._shelf = shelf
        self._source = source
        self._numbers: dict[str, int] = {}
        self._tables: dict[tuple[str, ...], npt.NDArray[np.int32]] = {}
        self._days = Days(shelf, self._numbered)

    @property
    def source(self) -> ReaderSource:
        """What opens these segments in another process."""
        return self._source

    def newest(self) -> int:
        return self._hot.newest()

    def models(self) -> Mapping[int, str]:
        return self._hot.models()

    def count(self, scope: Scope, *, after: int = 0) -> int:
        return self._hot.count(scope, after=after)

    def scan(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SealedRow]:
        met: set[int] = set()
        for row in self._hot.scan(scope, modalities=modalities, after=after):
            if row.segment:
                met.add(row.number)
            yield row
        packs = self._packs_of(scope, after)
        for piece in self._pieces(scope, packs, after, met, (HEADER, *modalities)):
            yield from self._rows(piece, modalities)

    def runs(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SegmentRun | SealedRow]:
        met: set[int] = set()
        for part in self._hot.runs(scope, modalities=modalities, after=after):
            if isinstance(part, SegmentRun):
                met.update(part.numbers.tolist())
            elif part.segment:
                met.add(part.number)
            yield part
        packs = self._packs_of(scope, after)
        if not met and (found := self._days.find(scope, packs, modalities, after)):
            yield found.run()
            return
        gathered: list[_Piece] = []
        segments = size = 0
        for piece in self._pieces(scope, packs, after, met, modalities):
            opened, begins, ends = piece
            columns = opened.columns
            if columns.has_misfits and not _fits(piece, modalities):
                yield from self._rows(piece, modalities)
                continue
            gathered.append(piece)
            segments += ends - begins
            for modality in modalities:
                if (blocks := columns.blocks.get(modality)) is not None:
                    size += blocks.begins[ends] - blocks.begins[begins]
            if segments >= RUN_SEGMENTS or size >= RUN_BYTES:
                yield self._run(gathered, modalities)
                gathered, segments, size = [], 0, 0
        if gathered:
            yield self._run(gathered, modalities)

    def told(self, scope: Scope, *, after: int = 0, through: int) -> Iterator[ToldRow]:
        met: set[int] = set()
        for row in self._hot.told(scope, after=after, through=through):
            met.add(row.number)
            yield row
        packs = self._packs_of(scope, after)
        if not met and (found := self._days.find(scope, packs, (), after)):
            yield from (row for row in found.told() if row.number <= through)
            return
        for piece in self._pieces(scope, packs, after, met, (COVER,)):
            columns = piece.opened.columns
            begins, at = columns.covers[piece.begins], 0
            data = bytearray(columns.covers[piece.ends] - begins)
            piece.opened.read(COVER, piece.begins, piece.ends, memoryview(data))
            for number, slot, sequence, salt, version, size, more in columns.told[
                piece.begins : piece.ends
            ]:
                middle, end = at + size, at + size + more
                if number <= through and version == 2:
                    cover, counts = bytes(data[at:middle]), bytes(data[middle:end])
                    yield ToldRow(number, slot, sequence, salt, cover, counts or None)
                at = end

    def header(self, number: int) -> bytes:
        try:
            return self._hot.header(number)
        except KeyError:
            return self._block(number, HEADER)

    def meta(self, number: int) -> bytes:
        try:
            return self._hot.meta(number)
        except KeyError:
            return self._block(number, META)

    def cover(self, number: int) -> bytes:
        try:
            return self._hot.cover(number)
        except KeyError:
            return self._block(number, COVER)

    def vouch(self, number: int) -> None:
        pack = self._packs.pack_of(number)
        opened = None if pack is None else self._open(pack)
        if opened is not None:
            opened.vouch()

    def envelope(self, number: int) -> AnyEnvelope:
        try:
            return self._hot.envelope(number)
        except KeyError:
            opened, row = self._found(number)
        version = int(opened.index.rows["version"][row])
        labels = [label for label in opened.index.starts if label not in PARTS[HEAD]]
        blocks = {label: block for label in labels if (block := opened.block(label, row))}
        header, signature = (opened.block(label, row) for label in PARTS[HEAD])
        return put_together(header, signature, blocks, None, version=version)

    # ------------------------------------------------------------------ inside

    def _block(self, number: int, label: str) -> bytes:
        opened, row = self._found(number)
        return opened.block(label, row)

    def _found(self, number: int) -> tuple[OpenedObject, int]:
        pack = self._packs.pack_of(number)
        opened = None if pack is None else self._open(pack)
        if opened is None:
            raise KeyError(number)
        return opened, opened.row_of(number)

    def _open(self, pack: Pack) -> OpenedObject | None:
        """Return an object; None when it has meanwhile been dropped."""
        opened = self._shelf.open(pack)
        if opened is None and self._packs.is_placed(pack.number):
            raise self._shelf.damaged(pack, "its .idx is missing")
        return opened

    def _packs_of(self, scope: Scope, after: int) -> list[Pack]:
        """Return the objects that may hold something of a scope that came after a cursor."""
        hours = range(scope.first_slot // SLOTS_AN_HOUR, scope.last_slot // SLOTS_AN_HOUR + 1)
        return [
            pack
            for pack in self._packs.packs_of(scope.address, scope.epoch)
            if pack.name.hour in hours and pack.last > after
        ]

    def _pieces(
        self,
        scope: Scope,
        packs: Sequence[Pack],
        after: int,
        met: set[int],
        labels: Sequence[str],
    ) -> Iterator[_Piece]:
        """Yield what objects hold of a scope, in the order in which it lies there.

        Args:
            labels: the blocks that are going to be read.
        """
        self._shelf.warm(packs, labels)
        name, whole = span_name(scope.address, scope.generation), whole_hours(scope)
        for pack in packs:
            opened = self._open(pack)
            if opened is None:
                continue
            span = opened.index.spans.get(name)
            if span is None:
                continue
            if pack.name.hour in whole and after < pack.first and not met:
                yield _Piece(opened, *span)
                continue
            rows = opened.index.rows[span[0] : span[1]]
            wanted = (rows["slot"] >= scope.first_slot) & (rows["slot"] <= scope.last_slot)
            wanted &= rows["number"] > after
            if met:
                wanted &= ~np.isin(rows["number"], list(met))
            for begins, ends in _stretches(wanted):
                yield _Piece(opened, span[0] + begins, span[0] + ends)

    def _rows(self, piece: _Piece, modalities: Sequence[str]) -> Iterator[SealedRow]:
        heads = _split(piece, HEADER)
        known = _known(piece, modalities)
        blocks = {modality: _split(piece, modality) for modality in known}
        models = {
            modality: self._numbered(piece.opened, modality)[piece.begins : piece.ends]
            for modality in known
        }
        for at, row in enumerate(piece.rows):
            found = [models[m][at] if m in models else NO_MODEL for m in modalities]
            yield SealedRow(
                int(row["number"]),
                int(row["version"]),
                int(row["slot"]),
                1,
                int(row["sequence"]),
                int(row["sightings"]),
                row["salt"].tobytes(),
                heads[at][0],
                None,
                tuple(None if model == NO_MODEL else int(model) for model in found),
                tuple((blocks[m][at][0] or None) if m in blocks else None for m in modalities),
            )

    def _run(self, pieces: Sequence[_Piece], modalities: Sequence[str]) -> SegmentRun:
        parts = [(opened.columns, slice(begins, ends)) for opened, begins, ends in pieces]
        return SegmentRun(
            np.concatenate([columns.numbers[rows] for columns, rows in parts]),
            np.concatenate([columns.slots[rows] for columns, rows in parts]),
            np.concatenate([columns.sequences[rows] for columns, rows in parts]),
            b"".join(
                [
                    columns.salts[rows.start * SALT_BYTES : rows.stop * SALT_BYTES]
                    for columns, rows in parts
                ]
            ),
            tuple(self._blocks(pieces, modality) for modality in modalities),
        )

    def _blocks(self, pieces: Sequence[_Piece], modality: str) -> SealedBlocks:
        models: list[npt.NDArray[np.int32]] = []
        sizes: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        reads: list[tuple[_Piece, int, int]] = []
        end = 0
        for piece in pieces:
            opened, begins, ends = piece
            known = opened.columns.blocks.get(modality)
            if known is None:
                models.append(np.full(ends - begins, NO_MODEL, np.int32))
                sizes.append(np.zeros(ends - begins, np.int64))
                continue
            numbered = opened.numbered.get(modality)
            models.append(
                (self._numbered(opened, modality) if numbered is None else numbered)[begins:ends]
            )
            sizes.append(known.sizes[begins:ends])
            at, end = end, end + known.begins[ends] - known.begins[begins]
            reads.append((piece, at, end))
        sealed = np.empty(end, np.uint8).data  # all of it is read into
        for (opened, begins, ends), at, till in reads:
            opened.read(modality, begins, ends, sealed[at:till], checked=False)
        return SealedBlocks(np.concatenate(models), np.cumsum(np.concatenate(sizes)), sealed)

    def _numbered(self, opened: OpenedObject, modality: str) -> npt.NDArray[np.int32]:
        """Return the ledger's numbers of the models of an object's blocks, found once."""
        of = opened.columns.blocks.get(modality)
        if of is None:  # that modality is younger than the object
            return np.full(len(opened.columns.numbers), NO_MODEL, np.int32)
        found: npt.NDArray[np.int32]
        found = opened.numbered[modality] = self._table(opened)[
            opened.columns.blocks[modality].models
        ]
        return found

    def _table(self, opened: OpenedObject) -> npt.NDArray[np.int32]:
        names = opened.index.models
        table = self._tables.get(names)
        if table is not None:
            return table
        if not all(name in self._numbers for name in names):
            self._numbers = {model: number for number, model in self._hot.models().items()}
        missing = [name for name in names if name not in self._numbers]
        if missing:
            raise StorageError(
                f"{self._shelf.name_of(opened.pack)} has templates of '{missing[0]}', which "
                "the ledger does not know; was the ledger restored from an older backup?"
            )
        # The last is what NO_MODEL, -1, points at.
        table = np.array([*(self._numbers[name] for name in names), NO_MODEL], np.int32)
        self._tables[names] = table
        return table


def _known(piece: _Piece, modalities: Sequence[str]) -> list[str]:
    """Return of which modalities an object can have blocks: one may be younger than it."""
    return [modality for modality in modalities if modality in piece.opened.index.starts]


def _fits(piece: _Piece, modalities: Sequence[str]) -> bool:
    """Tell whether segments are of version 2, and their blocks as large as a seal."""
    columns, rows = piece.opened.columns, range(piece.begins, piece.ends)
    if columns.misfits and not columns.misfits.isdisjoint(rows):
        return False
    known = (columns.blocks[modality] for modality in modalities if modality in columns.blocks)
    return all(not of.misfits or of.misfits.isdisjoint(rows) for of in known)


def _stretches(wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each stretch of rows that are wanted."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _split(piece: _Piece, first: str) -> list[tuple[bytes, ...]]:
    """Return the blocks of the file in which ``first`` comes first, row by row."""
    labels = next(labels for labels in PARTS.values() if labels[0] == first)
    data = bytearray(piece.bytes_of(labels))
    piece.opened.read(first, piece.begins, piece.ends, memoryview(data))
    sizes = np.stack([piece.rows[f"{label}_bytes"] for label in labels], 1)
    view, at, found = memoryview(data), 0, []
    for row in sizes.tolist():
        blocks = []
        for size in row:
            blocks.append(bytes(view[at : at + size]))
            at += size
        found.append(tuple(blocks))
    return found
