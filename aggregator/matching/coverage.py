"""What boxes say of their own watching and of how many came, for the slots of a grant.

Silence is not blindness. Read are the segments' blocks of rows, of which nothing but the coverage
is looked at, and their counts where those were granted; no template and no metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aggregator.matching.lanes import ScopeKeys
from aggregator.matching.refusals import OF_AN_ENVELOPE
from aggregator.store import SegmentReader
from aggregator.store.rows import ToldRow
from protocol.epoch_keys import EpochKeys
from protocol.grant import Scope
from protocol.keytree import COUNTS, COVER
from protocol.sealing import SEGMENT, nonce_of, open_block
from protocol.v2.counts import Counts
from protocol.v2.rows import coverage_in
from protocol.watching import COUNT_COLUMNS, COUNTED, TOLD

Table = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Portion:
    """Envelopes of a scope that are to be looked at: those that came after a cursor, until another.

    ``anew``: they are all of the scope, so what was told of it before is to be forgotten.
    """

    keys: EpochKeys
    after: int
    through: int
    anew: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What the segments of one portion tell of each slot of its scope.

    Args:
        segments: (slots,) int32: how many opened.
        seconds: (slots, 6) int32, in the order of `protocol.watching.TOLD`.
        counting: (slots,) int32: how many of the segments counted people.
        counts: (slots, 8) int32: `protocol.watching.COUNTED`, and the most at once in each third.
    """

    scope: Scope
    anew: bool
    segments: Table
    seconds: Table
    counting: Table
    counts: Table


def tell_portions(reader: SegmentReader, portions: Sequence[Portion]) -> list[Told]:
    """Return what the portions' segments of version 2 tell; what does not open tells nothing."""
    return [_tell(reader, portion) for portion in portions if portion.keys.version > 1]


def add_counts(together: Table, more: Table) -> None:
    """Add counts in place: people add up, the most at once is the larger.

    Args:
        together, more: (..., 8), as in `Told`.
    """
    fixed = len(COUNTED)
    together[..., :fixed] += more[..., :fixed]
    np.maximum(together[..., fixed:], more[..., fixed:], out=together[..., fixed:])


def _tell(reader: SegmentReader, portion: Portion) -> Told:
    held = ScopeKeys(portion.keys)
    scope = portion.keys.scope
    slots = len(portion.keys.slots())
    told = Told(
        scope,
        portion.anew,
        np.zeros(slots, np.int32),
        np.zeros((slots, len(TOLD)), np.int32),
        np.zeros(slots, np.int32),
        np.zeros((slots, COUNT_COLUMNS), np.int32),
    )
    for row in reader.told(scope, after=portion.after, through=portion.through):
        at = row.slot - scope.first_slot
        with suppress(*OF_AN_ENVELOPE), _opened(held, row, COVER, row.cover) as opened:
            coverage = coverage_in(opened)
            told.segments[at] += 1
            if coverage is not None:
                told.seconds[at] += list(coverage.to_value().values())
        if row.counts is None:
            continue
        with suppress(*OF_AN_ENVELOPE), _opened(held, row, COUNTS, row.counts) as opened:
            add_counts(told.counts[at], _numbers(Counts.parse(opened)))
            told.counting[at] += 1
    return told


@contextmanager
def _opened(held: ScopeKeys, row: ToldRow, label: str, block: bytes) -> Iterator[bytearray]:
    """Open a block of a segment and wipe it behind.

    Raises:
        ScopeExceeded: that label was not granted.
        SealError, MalformedMessage: it does not open.
    """
    opened = open_block(
        held.key(row.slot, label, block),
        block,
        header=held.bindings(SEGMENT, label).of(row.slot, row.sequence, row.salt),
        label="",
        nonce=nonce_of(row.salt, row.sequence),
    )
    try:
        yield opened
    finally:
        opened[:] = bytes(len(opened))


def _numbers(counts: Counts) -> Table:
    return np.array([*(getattr(counts, name) for name in COUNTED), *counts.at_once], np.int32)
