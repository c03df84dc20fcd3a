"""The buffers of matching: opened rows laid end to end, compared, and only the best remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aggregator.matching.kernel import BLOCK_ROWS, Kernel
from aggregator.matching.probes import Probes
from aggregator.matching.shares import fair_shares
from aggregator.store import SegmentRun
from protocol.epoch_keys import EpochKeys
from protocol.errors import AuthenticationFailed, KeyCommitmentMismatch, MalformedMessage
from protocol.grant import Scope
from protocol.keytree import ModalityKey
from protocol.sealing import (
    COMMITMENT_BYTES,
    SALT_BYTES,
    SEAL_OVERHEAD,
    nonce_of,
    open_block_into,
    open_sealed_into,
    opened_size,
)
from protocol.sightings import MAX_BATCH
from protocol.v2.blocks import COUNT, COUNT_BYTES, Space, count_rows
from protocol.v2.header import BlockBindings, BlockEntry


@dataclass(slots=True)
class ScopeKeys:
    """One scope's keys, each derived once.

    ``liars`` is shared by the scopes of a pass, and added to: custodian to the scopes of which it
    released other keys than those that open.
    """

    keys: EpochKeys
    liars: dict[str, set[Scope]] = field(default_factory=dict)
    _derived: dict[tuple[int, str], ModalityKey] = field(default_factory=dict)
    _bindings: dict[tuple[str, str, str], BlockBindings] = field(default_factory=dict)

    def key(self, slot: int, label: str, block: bytes) -> ModalityKey:
        """Return a slot's key, by the first block that is to be opened with it.

        Raises:
            ScopeExceeded: not granted.
            KeyNotReleased: no key that enough custodians released is that of the block.
        """
        found = self._derived.get((slot, label))
        if found is None:
            commitment = bytes(block[:COMMITMENT_BYTES])
            try:
                opening = self.keys.opening(slot, label, commitment, doubted=frozenset(self.liars))
            except KeyCommitmentMismatch as error:
                raise KeyNotReleased(str(error)) from error
            for custodian in opening.liars:
                self.liars.setdefault(custodian, set()).add(self.keys.scope)
            found = self._derived[slot, label] = opening.key
        return found

    def bindings(self, kind: str, label: str, space: Space | None = None) -> BlockBindings:
        """Return what binds the blocks of one label to their envelopes, from version 2 on."""
        name = (kind, label, "" if space is None else space.name)
        found = self._bindings.get(name)
        if found is None:
            scope = self.keys.scope
            found = self._bindings[name] = BlockBindings(
                kind,
                scope.address,
                epoch=scope.epoch,
                generation=scope.generation,
                label=label,
                space=space,
            )
        return found


class KeyNotReleased(KeyCommitmentMismatch):
    """What the custodians released is not what the block says that it was sealed under."""


Inside = tuple[tuple[BlockEntry, ...], tuple[bytes, ...]]
"""The blocks of a live envelope of version 2, and their entries."""


class Source(NamedTuple):
    """Where a run of rows came from: one an envelope, so it is of what is made fastest.

    ``sightings`` is how many rows it has (version 1), ``meta`` a live envelope's sealed metadata,
    and ``inside`` the blocks that a live envelope of version 2 opened to; None for a segment.
    """

    number: int
    scope: ScopeKeys
    slot: int
    sightings: int
    header: bytes
    nonce: bytes
    meta: bytes | None = None
    inside: Inside | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RunSources:
    """Where the segments of a run came from: one is made a `Source` where something is found in it.

    Its header is fetched by number where it is needed: a run has none.
    """

    scope: ScopeKeys
    run: SegmentRun

    def source(self, at: int) -> Source:
        """Return the source of the run's segment ``at``."""
        run = self.run
        salt = run.salts[at * SALT_BYTES : (at + 1) * SALT_BYTES]
        return Source(
            int(run.numbers[at]),
            self.scope,
            int(run.slots[at]),
            0,
            b"",
            nonce_of(salt, int(run.sequences[at])),
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that reached a subject's threshold; ``row`` counts within its source."""

    score: float
    source: Source
    row: int
    subject: str
    probes: Probes


class Best:
    """Keeps ``limit`` hits, the best of each camera in turn (`aggregator.matching.shares`)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.left_out: Counter[str] = Counter()
        """How many hits were forgotten, by camera."""
        self.hits: list[Hit] = []

    def add(self, hits: Sequence[Hit]) -> None:
        """Note hits; forget some when there are more than twice the limit."""
        self.hits.extend(hits)
        if len(self.hits) > 2 * self._limit:
            self.hits, gone = fair_shares(
                self.hits,
                self._limit,
                camera=lambda hit: (hit.source.scope.keys.scope.address, hit.subject),
                score=lambda hit: hit.score,
            )
            self.left_out.update(hit.source.scope.keys.scope.address.camera for hit in gone)


ToOpen = tuple[int, int, int, bytes, bytes, bytes]
"""A block of a run: of which segment, where it begins and ends; its key, nonce, and binding."""


class Lane:
    """The buffer of one modality and model: opened rows laid end to end until they are compared."""

    def __init__(self, probes: Probes, best: Best) -> None:
        self.probes = probes
        self.space = Space(probes.model)
        self.kernel = Kernel(probes.matrix, probes.thresholds)
        self.sightings = 0
        self.malformed = 0
        self._best = best
        self._buffer, self._view = _buffer(BLOCK_ROWS * self.kernel.width + COUNT_BYTES)
        self._used = 0
        self._sources: list[Source | tuple[RunSources, int]] = []
        self._starts: list[int] = []

    def add(self, key: ModalityKey, block: bytes, source: Source) -> None:
        """Open a template block behind those already there.

        Raises:
            SealError: it does not open.
            MalformedMessage: it has not ``source.sightings`` rows.
        """
        size = source.sightings * self.kernel.width
        if opened_size(block) != size:
            raise MalformedMessage(f"the block is not {source.sightings} rows")
        open_block_into(
            key,
            block,
            self._room(size),
            header=source.header,
            label=self.probes.modality,
            nonce=source.nonce,
        )
        self._took(source, source.sightings)

    def add_padded(self, key: ModalityKey, block: bytes, source: Source, binding: bytes) -> None:
        """Open a template block of version 2 behind those already there, over their padding.

        Args:
            binding: what its seal is bound to.

        Raises:
            SealError: it does not open.
            MalformedMessage: it has not the rows that it says it has.
        """
        view = self._room(opened_size(block))
        open_block_into(key, block, view, header=binding, label="", nonce=source.nonce)
        self._took(source, count_rows(view, self.kernel.width))

    def add_run(
        self, sources: RunSources, sealed: memoryview, opening: Iterable[ToOpen]
    ) -> list[int]:
        """Open template blocks of a run of version 2, each over the padding of the one before.

        Args:
            sealed: in which the blocks lie.
            opening: the blocks, whose commitments have been compared with their keys'.

        Returns:
            Which segments of the run do not open, or not to the rows that they say they have:
            nothing of them was taken in.
        """
        width, view, used = self.kernel.width, self._view, self._used
        took, starts, failed = self._sources, self._starts, []
        count_at = COUNT.unpack_from
        for at, begins, ends, key, nonce, binding in opening:
            size = ends - begins - SEAL_OVERHEAD
            if used + size > len(view):
                self._used = used
                self.flush()
                if size > len(view):
                    self._grow(size)
                    view = self._view
                used = 0
            end = used + size
            block = sealed[begins + COMMITMENT_BYTES : ends]
            try:
                open_sealed_into(key, block, view[used:end], binding, nonce)
            except AuthenticationFailed:
                failed.append(at)
                continue
            body = size - COUNT_BYTES
            # As `count_rows` does, whose error says what is wrong.
            rows = count_at(view, end - COUNT_BYTES)[0] if body >= 0 else 0
            if body < 0 or body % width or rows * width > body or rows > MAX_BATCH:
                failed.append(at)
            elif rows:
                took.append((sources, at))
                starts.append(used // width)
                used += rows * width
        self._used = used
        return failed

    def _room(self, size: int) -> memoryview:
        """Return the next ``size`` bytes of the buffer, which is emptied first if need be."""
        if self._used + size > len(self._view):
            self.flush()
            if size > len(self._view):
                self._grow(size)
        return self._view[self._used : self._used + size]

    def _took(self, source: Source, rows: int) -> None:
        if rows:
            self._sources.append(source)
            self._starts.append(self._used // self.kernel.width)
            self._used += rows * self.kernel.width

    def flush(self) -> None:
        """Compare what has been opened, and note who reached a threshold."""
        if not self._used:
            return
        table = self._buffer[: self._used].reshape(-1, self.kernel.width)
        hits = self.kernel.hits(table)
        self.sightings += len(table)
        self.malformed += hits.malformed
        if hits.rows.size:
            places = np.searchsorted(self._starts, hits.rows, side="right") - 1
            best: dict[tuple[int, str], Hit] = {}
            for row, query, score, place in zip(
                hits.rows.tolist(),
                hits.queries.tolist(),
                hits.scores.tolist(),
                places.tolist(),
                strict=True,
            ):
                subject = self.probes.subjects[query]
                known = best.get((row, subject))
                if known is None or score > known.score:
                    own_row = row - self._starts[place]
                    source = self._sources[place]
                    if not isinstance(source, Source):
                        source = source[0].source(source[1])
                    best[row, subject] = Hit(score, source, own_row, subject, self.probes)
            self._best.add(list(best.values()))
        self._used = 0
        self._sources.clear()
        self._starts.clear()

    def wipe(self) -> None:
        """Overwrite every opened template, and the subjects' own."""
        self._buffer.fill(0)
        self.kernel.wipe()

    def _grow(self, size: int) -> None:
        self._buffer.fill(0)
        self._buffer, self._view = _buffer(size)


def _buffer(size: int) -> tuple[npt.NDArray[np.uint8], memoryview]:
    """Return ``size`` zero bytes as an array and as a view for opening into."""
    raw = bytearray(size)
    return np.frombuffer(raw, np.uint8), memoryview(raw)
