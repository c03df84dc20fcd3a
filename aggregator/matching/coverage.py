"""What boxes say of their own watching and of how many came, for the slots of a grant.

Silence is not blindness. Read are the segments' blocks of rows, of which nothing but the coverage
is looked at, and their counts where those were granted; no template and no metadata.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from aggregator.matching.lanes import ScopeKeys
from aggregator.matching.refusals import OF_AN_ENVELOPE
from aggregator.store import SegmentReader
from aggregator.store.rows import ToldRow
from protocol.epoch_keys import EpochKeys
from protocol.grant import Scope
from protocol.keytree import COUNTS, COVER
from protocol.sealing import (
    COMMITMENT_BYTES,
    SEAL_OVERHEAD,
    SEGMENT,
    nonce_of,
    nonces_of,
    open_block,
    open_sealed_into,
)
from protocol.v2.counts import MOST, Counts
from protocol.v2.rows import COVERED, Coverage, coverage_in
from protocol.watching import COUNT_COLUMNS, COUNTED

Table = npt.NDArray[np.int32]
T = TypeVar("T")
_ROWS_AT_ONCE = 96
_NOTHING = Coverage().seconds
_TOO_MANY = 2 * MOST
"""People of a slot that nobody believes: counts stay there, and never wrap around."""


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
        seconds: (slots, 6) int32, in the order of `protocol.v2.rows.COVERED`.
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
    together[..., :fixed] += np.minimum(more[..., :fixed], _TOO_MANY)
    np.minimum(together[..., :fixed], _TOO_MANY, out=together[..., :fixed])
    np.maximum(together[..., fixed:], more[..., fixed:], out=together[..., fixed:])


def _tell(reader: SegmentReader, portion: Portion) -> Told:
    held, scope = ScopeKeys(portion.keys), portion.keys.scope
    opened: list[int] = []
    seconds: list[tuple[int, ...]] = []
    counted: list[int] = []
    numbers: list[tuple[int, ...]] = []
    told = reader.told(scope, after=portion.after, through=portion.through)
    while rows := list(islice(told, _ROWS_AT_ONCE)):
        for row, coverage in _read_all(held, rows, COVER, coverage_in):
            opened.append(row.slot - scope.first_slot)
            seconds.append(_NOTHING if coverage is None else coverage.seconds)
        for row, counts in _read_all(held, rows, COUNTS, Counts.parse):
            counted.append(row.slot - scope.first_slot)
            numbers.append((*(getattr(counts, name) for name in COUNTED), *counts.at_once))
    return _together(portion, opened, seconds, counted, numbers)


def _together(
    portion: Portion,
    opened: Sequence[int],
    seconds: Sequence[Sequence[int]],
    counted: Sequence[int],
    numbers: Sequence[Sequence[int]],
) -> Told:
    """Return by slot what was read segment by segment."""
    slots = len(portion.keys.slots())
    told = Told(
        portion.keys.scope,
        portion.anew,
        np.bincount(opened, minlength=slots).astype(np.int32),
        np.zeros((slots, len(COVERED)), np.int32),
        np.bincount(counted, minlength=slots).astype(np.int32),
        np.zeros((slots, COUNT_COLUMNS), np.int32),
    )
    if opened:
        np.add.at(told.seconds, np.array(opened), np.array(seconds, np.int32))
    for at, row in zip(counted, numbers, strict=True):
        add_counts(told.counts[at], np.array(row, np.int32))
    return told


def _read_all(
    held: ScopeKeys, rows: Sequence[ToldRow], label: str, read: Callable[[memoryview], T]
) -> Iterator[tuple[ToldRow, T]]:
    """Open the blocks of one label, read each and wipe it; pass over what does not open."""
    there = rows if label == COVER else [row for row in rows if row.counts is not None]
    if not there:
        return
    _, slots, sequences, salts, covers, counts = zip(*there, strict=True)
    try:
        keys, commitments = held.keys.keys(slots, label)
        bindings = held.bindings(SEGMENT, label).of_many(slots, sequences, salts)
        nonces = nonces_of(b"".join(salts), np.array(sequences, np.int64))
    except OF_AN_ENVELOPE:  # one of them cannot be as it says, or has no key that all agree on
        for row in there:
            with suppress(*OF_AN_ENVELOPE):
                yield row, _read_alone(held, row, label, read)
        return
    blocks = covers if label == COVER else counts
    stated = b"".join([block[:COMMITMENT_BYTES] for block in blocks])
    right = hmac.compare_digest(stated, b"".join(commitments))  # of all; else each is looked at
    buffer = bytearray(max(map(len, blocks)))
    view = memoryview(buffer)
    try:
        for row, block, key, commitment, binding, nonce in zip(
            there, blocks, keys, commitments, bindings, nonces, strict=True
        ):
            size = len(block) - SEAL_OVERHEAD
            if size < 0 or not (right or hmac.compare_digest(block[:COMMITMENT_BYTES], commitment)):
                continue
            opened = view[:size]
            try:
                open_sealed_into(key, block[COMMITMENT_BYTES:], opened, binding, nonce)
                found = read(opened)
            except OF_AN_ENVELOPE:
                continue
            yield row, found
    finally:
        buffer[:] = bytes(len(buffer))


def _read_alone(held: ScopeKeys, row: ToldRow, label: str, read: Callable[[memoryview], T]) -> T:
    """Open a block of a segment, read it, and wipe it.

    Raises:
        ScopeExceeded: that label was not granted.
        SealError, MalformedMessage: it does not open, or to something else.
    """
    block = row.cover if label == COVER else row.counts or b""
    opened = open_block(
        held.key(row.slot, label, block),
        block,
        header=held.bindings(SEGMENT, label).of(row.slot, row.sequence, row.salt),
        label="",
        nonce=nonce_of(row.salt, row.sequence),
    )
    try:
        return read(memoryview(opened))
    finally:
        opened[:] = bytes(len(opened))
