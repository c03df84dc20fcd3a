"""Segments of version 2 as matching reads them: many at once, by columns instead of one by one.

A segment of a quarter hour holds some twenty rows, so an object for each costs more than comparing
it. A run holds what comparing needs and nothing else: no header, no metadata. What does not fit
into its columns (live envelopes, version 1, a row of a file that somebody edited) comes as a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aggregator.store.rows import SealedRow
from protocol.names import SLOTS_PER_EPOCH
from protocol.sealing import SALT_BYTES, SEAL_OVERHEAD

RUN_SEGMENTS = 512
"""A run made of rows holds at most so many segments,"""
RUN_BYTES = 4 << 20
"""and is ended by the segment that makes it so large."""
NO_MODEL = -1
MAX_MODEL = (1 << 31) - 1
_MODELS = range(MAX_MODEL + 1)
_NUMBERS = range(1 << 63)


Segment = tuple[Any, ...]
"""Number, slot, sequence and salt of a segment, a model's number or None for each modality, then a
block or None for each: each as `SegmentRun` says. What follows is not looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class SealedBlocks:
    """The blocks of one modality of a run's n segments, sealed, end to end.

    Args:
        models: (n,) int32, the model's number (`SegmentReader.models`); `NO_MODEL` where the
            segment has no such block.
        offsets: (n + 1,) int64: block i lies from ``offsets[i]`` up to ``offsets[i + 1]``, and is
            empty where there is none; one that is there has at least `SEAL_OVERHEAD` bytes.
        sealed: all of them, or of more than them: ``offsets[0]`` need not be 0.
    """

    models: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    sealed: memoryview


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRun:
    """Segments of version 2 of one scope.

    Args:
        numbers: (n,) int64, the segments' numbers in store.
        slots: (n,) int32, 0 to 95.
        sequences: (n,) int64, not negative.
        salts: n x `SALT_BYTES` bytes.
        blocks: one for each modality that was asked for, in that order.
    """

    numbers: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int32]
    sequences: npt.NDArray[np.int64]
    salts: bytes
    blocks: tuple[SealedBlocks, ...]

    def __len__(self) -> int:
        return len(self.numbers)


def runs_from_scan(
    rows: Iterable[SealedRow], *, modalities: int
) -> Iterator[SegmentRun | SealedRow]:
    """Make runs out of rows: what `SegmentReader.runs` gives, for a backend that keeps rows.

    Args:
        modalities: how many were asked for.
    """
    gathered = Gathered(modalities)
    for row in rows:
        if not _fits(row):
            yield row
            continue
        columns = (row.number, row.slot, row.sequence, row.salt, *row.models, *row.blocks)
        size = sum([len(block) for block in row.blocks if block is not None])
        if run := gathered.add_one(columns, size):
            yield run
    if run := gathered.rest():
        yield run


class Gathered:
    """Segments on their way into a run, for a backend that reads a few at a time.

    Args:
        modalities: how many were asked for.
    """

    def __init__(self, modalities: int) -> None:
        self._modalities = modalities
        self._blocks = slice(4 + modalities, 4 + 2 * modalities)
        self._segments: list[Segment] = []
        self._size = 0

    def add(self, batch: Sequence[Segment]) -> SegmentRun | None:
        """Take in segments that fit; return a run of all so far when it is large enough."""
        self._segments += batch
        for column in [*zip(*batch, strict=True)][self._blocks]:
            self._size += sum(map(len, filter(None, column)))
        return self._large()

    def add_one(self, segment: Segment, size: int) -> SegmentRun | None:
        """Take in one segment, whose blocks have ``size`` bytes, as :meth:`add`."""
        self._segments.append(segment)
        self._size += size
        return self._large()

    def _large(self) -> SegmentRun | None:
        if len(self._segments) >= RUN_SEGMENTS or self._size >= RUN_BYTES:
            return self.rest()
        return None

    def rest(self) -> SegmentRun | None:
        """Return a run of all so far, None where there is nothing."""
        segments, self._segments, self._size = self._segments, [], 0
        return _run(segments, self._modalities) if segments else None


def _fits(row: SealedRow) -> bool:
    """Tell whether a row is a segment of version 2 of which each column is what it must be."""
    if row.version != 2 or row.segment != 1 or len(row.salt) != SALT_BYTES:
        return False
    if not 0 <= row.slot < SLOTS_PER_EPOCH or row.sequence not in _NUMBERS:
        return False
    return all(
        model is None or (model in _MODELS and block is not None and len(block) >= SEAL_OVERHEAD)
        for model, block in zip(row.models, row.blocks, strict=True)
    )


def _run(segments: Sequence[Segment], modalities: int) -> SegmentRun:
    numbers, slots, sequences, salts, *rest = zip(*segments, strict=True)
    return SegmentRun(
        np.array(numbers, np.int64),
        np.array(slots, np.int32),
        np.array(sequences, np.int64),
        b"".join(salts),
        tuple(map(_blocks, rest[:modalities], rest[modalities : 2 * modalities])),
    )


def _blocks(models: Sequence[int | None], blocks: Sequence[bytes | None]) -> SealedBlocks:
    numbers = [NO_MODEL if model is None else model for model in models]
    sealed = [
        b"" if model is None or block is None else block
        for model, block in zip(models, blocks, strict=True)
    ]
    offsets = np.zeros(len(sealed) + 1, np.int64)
    np.cumsum([*map(len, sealed)], out=offsets[1:])
    return SealedBlocks(np.array(numbers, np.int32), offsets, memoryview(b"".join(sealed)))
