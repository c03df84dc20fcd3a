"""A shard's day laid out camera by camera: what its two dozen objects hold of one lies together.

Made for whoever reads one camera of a shard after the other, as a large query does: what would be
put together anew for each of them is sorted once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aggregator.store.packed.columns import Lengths
from aggregator.store.packed.format import SpanName, span_name
from aggregator.store.packed.objects import OpenedObject, Shelf
from aggregator.store.packs import SLOTS_AN_HOUR, Pack
from aggregator.store.rows import ToldRow
from aggregator.store.runs import RUN_BYTES, RUN_SEGMENTS, SealedBlocks, SegmentRun
from protocol.grant import Scope
from protocol.keytree import COVER
from protocol.sealing import SALT_BYTES

_MOST_SEGMENTS = 1 << 16
"""A day with more of them (a box sends without end) is not laid out."""
Models = npt.NDArray[np.int32]
Numbered = Callable[[OpenedObject, str], Models]
"""Gives the ledger's numbers of the models of an object's blocks of a modality."""
_Told = tuple[int, int, int, bytes, int, int, int]
_Pieces = Mapping[SpanName, Sequence[tuple[int, int, int]]]
"""By span: which object, and its rows from where to where."""


class Stretch(NamedTuple):
    """Bytes of a file that lie together: of which object, and from where to where."""

    opened: OpenedObject
    begins: int
    ends: int


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """The blocks of one modality: models and sizes, as in `BlockColumns`, and where they lie."""

    models: Models
    sizes: Lengths
    stretches: Mapping[SpanName, Sequence[Stretch]]


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """The segments of some objects: those of one span together, in the order of the objects.

    Args:
        objects: whose they are.
        spans: to the segments of a camera and generation.
        numbers, slots, sequences, salts: as in `SegmentRun`.
        blocks: by modality, of those that were asked for.
        told, covers: as in `Columns`, and where ``cover`` and ``counts`` lie, by span; empty where
            modalities were asked for.
    """

    objects: Sequence[OpenedObject]
    spans: Mapping[SpanName, slice]
    numbers: Lengths
    slots: npt.NDArray[np.int32]
    sequences: Lengths
    salts: bytes
    blocks: Mapping[str, _Blocks]
    told: Sequence[_Told]
    covers: Mapping[SpanName, Sequence[Stretch]]

    @classmethod
    def of(cls, objects: Sequence[OpenedObject], models: Mapping[str, Sequence[Models]]) -> Day:
        """Lay a day out.

        Args:
            objects: in the order in which they are read, none of which has misfits.
            models: by modality, those of each object's blocks.
        """
        pieces: dict[SpanName, list[tuple[int, int, int]]] = {}
        for at, opened in enumerate(objects):
            for name, (begins, ends) in opened.index.spans.items():
                pieces.setdefault(name, []).append((at, begins, ends))
        columns = [opened.columns for opened in objects]
        before = np.cumsum([0, *(len(of.numbers) for of in columns)])
        listed = np.array([piece for of_span in pieces.values() for piece in of_span], np.int64)
        sizes = listed[:, 2] - listed[:, 1]
        shifts = before[listed[:, 0]] + listed[:, 1] - (np.cumsum(sizes) - sizes)
        order = np.repeat(shifts, sizes) + np.arange(before[-1])
        salts = np.frombuffer(b"".join([of.salts for of in columns]), np.uint8)
        told: Sequence[_Told] = ()
        covers: Mapping[SpanName, Sequence[Stretch]] = {}
        if not models:
            told = itemgetter(*order.tolist(), 0)([one for of in columns for one in of.told])[:-1]
            covers = _stretches(objects, pieces, [of.covers for of in columns])
        return cls(
            objects,
            _spans(pieces),
            np.concatenate([of.numbers for of in columns])[order],
            np.concatenate([of.slots for of in columns])[order],
            np.concatenate([of.sequences for of in columns])[order],
            salts.reshape(-1, SALT_BYTES)[order].tobytes(),
            {
                modality: _blocks(modality, objects, of_objects, pieces, order)
                for modality, of_objects in models.items()
            },
            told,
            covers,
        )


class Found(NamedTuple):
    """A span of a day. Its methods raise as `OpenedObject.read` does."""

    day: Day
    name: SpanName
    span: slice

    def run(self) -> SegmentRun:
        """Return its segments, their blocks read."""
        day, span = self.day, self.span
        return SegmentRun(
            day.numbers[span],
            day.slots[span],
            day.sequences[span],
            day.salts[span.start * SALT_BYTES : span.stop * SALT_BYTES],
            tuple(self._read(modality, blocks) for modality, blocks in day.blocks.items()),
        )

    def told(self) -> Iterator[ToldRow]:
        """Yield what its segments tell of their slots."""
        data = _filled(COVER, self.day.covers[self.name], checked=True).tobytes()
        at = 0
        for number, slot, sequence, salt, _version, size, more in self.day.told[self.span]:
            middle, end = at + size, at + size + more
            yield ToldRow(
                number, slot, sequence, salt, data[at:middle], data[middle:end] if more else None
            )
            at = end

    def size(self) -> int:
        """Return how many bytes there are to be read for a run."""
        return sum(int(blocks.sizes[self.span].sum()) for blocks in self.day.blocks.values())

    def _read(self, modality: str, blocks: _Blocks) -> SealedBlocks:
        offsets = np.zeros(self.span.stop - self.span.start + 1, np.int64)
        np.cumsum(blocks.sizes[self.span], out=offsets[1:])
        sealed = _filled(modality, blocks.stretches[self.name], checked=False)
        return SealedBlocks(blocks.models[self.span], offsets, sealed)


class Days:
    """Keeps the day that was laid out last, for each choice of modalities.

    Args:
        shelf: the objects.
        numbered: how their models are called in runs.
    """

    def __init__(self, shelf: Shelf, numbered: Numbered) -> None:
        self._shelf = shelf
        self._numbered = numbered
        self._before: dict[tuple[str, ...], list[int]] = {}
        self._last: dict[tuple[str, ...], Day] = {}

    def find(
        self, scope: Scope, packs: Sequence[Pack], modalities: Sequence[str], after: int
    ) -> Found | None:
        """Return all that objects hold of a scope, where one before it lay in the same objects.

        None where that is not so, or where it is not one run: then it is read object by object.

        Args:
            packs: the objects that may hold something of it.
            modalities: to make a run of; none for what is told.
            after: a cursor.
        """
        chosen, numbers = tuple(modalities), [pack.number for pack in packs]
        before, self._before[chosen] = self._before.get(chosen), numbers
        hours = whole_hours(scope)
        if before != numbers or not all(
            pack.name.hour in hours and after < pack.first for pack in packs
        ):
            return None
        day = self._laid_out(packs, chosen)
        name = span_name(scope.address, scope.generation)
        span = None if day is None else day.spans.get(name)
        if day is None or span is None or span.stop - span.start >= RUN_SEGMENTS:
            return None
        found = Found(day, name, span)
        return found if found.size() < RUN_BYTES else None

    def _laid_out(self, packs: Sequence[Pack], modalities: tuple[str, ...]) -> Day | None:
        objects = self._shelf.open_all(packs)
        if not objects:
            return None
        day = self._last.get(modalities)
        if day is None or day.objects != objects:
            if sum(len(one.index.rows) for one in objects) > _MOST_SEGMENTS or any(
                one.columns.has_misfits for one in objects
            ):
                return None
            models = {name: [self._numbered(one, name) for one in objects] for name in modalities}
            day = self._last[modalities] = Day.of(objects, models)
        return day


def whole_hours(scope: Scope) -> range:
    """Return the hours of which all is in a scope."""
    first = -(-scope.first_slot // SLOTS_AN_HOUR)
    return range(first, (scope.last_slot + 1) // SLOTS_AN_HOUR)


def _filled(label: str, stretches: Sequence[Stretch], *, checked: bool) -> memoryview:
    """Return stretches of the files in which a block stands, end to end."""
    data = np.empty(sum([ends - begins for _, begins, ends in stretches]), np.uint8).data
    at = 0
    for opened, begins, ends in stretches:
        till = at + ends - begins
        opened.fill(label, begins, data[at:till], checked=checked)
        at = till
    return data


def _spans(pieces: _Pieces) -> dict[SpanName, slice]:
    spans: dict[SpanName, slice] = {}
    at = 0
    for name, of_span in pieces.items():
        till = at + sum(ends - begins for _, begins, ends in of_span)
        spans[name] = slice(at, till)
        at = till
    return spans


def _stretches(
    objects: Sequence[OpenedObject], pieces: _Pieces, bounds: Sequence[Sequence[int]]
) -> dict[SpanName, list[Stretch]]:
    """Return where the blocks of each span lie.

    Args:
        bounds: of each object: where the block of each row begins, and where the last one ends.
    """
    return {
        name: [
            Stretch(objects[at], bounds[at][begins], bounds[at][ends])
            for at, begins, ends in of_span
            if bounds[at] and bounds[at][begins] < bounds[at][ends]
        ]
        for name, of_span in pieces.items()
    }


def _blocks(
    modality: str,
    objects: Sequence[OpenedObject],
    models: Sequence[Models],
    pieces: _Pieces,
    order: npt.NDArray[np.int64],
) -> _Blocks:
    known = [opened.columns.blocks.get(modality) for opened in objects]
    sizes = [
        np.zeros(len(of_object), np.int64) if of is None else of.sizes
        for of, of_object in zip(known, models, strict=True)
    ]
    bounds = [() if of is None else of.begins for of in known]
    return _Blocks(
        np.concatenate(models)[order],
        np.concatenate(sizes)[order],
        _stretches(objects, pieces, bounds),
    )
