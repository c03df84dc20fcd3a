"""What a sighting costs in either version: bytes on the wire, sealing, opening, a row's release.

Run: `python -m benchmarks.bench_versions [--quick]`. Needs nothing but the packages.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import count, pairwise

import numpy as np

from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from benchmarks.sealed_site import MODEL, Camera, make_site, unit_rows
from edge_agent.version1 import as_version_1
from edge_agent.version1 import sealed as sealed_in_version_1
from protocol.epoch import CAMERA_NOW, excluded_subsets
from protocol.keytree import COVER, DEPTH, FACE, META, ModalityKey, descend, tree_top
from protocol.names import SlotName, slot_start_ms
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, nonce_of, open_block_into, opened_size
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.sealing import Header as HeaderOfVersion1
from protocol.sightings import MaskStatus, Quantised
from protocol.v2 import VERSION
from protocol.v2.blocks import Space, true_rows
from protocol.v2.envelopes import Batch, Envelope, seal
from protocol.v2.header import CLOCK, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.rows import Coverage
from protocol.v2.sightings import Encounter, MaskSpan, Row, Sighting

SIZES = (1, 8, 64)
SLOT = 40
CITY_CAMERAS = 10_820
SLOTS_A_DAY = 96
_SPACES = {FACE: Space(MODEL)}


class Day:
    """One camera's day in both versions, of the same templates."""

    def __init__(self) -> None:
        self.camera: Camera = make_site(1).cameras[0]
        announced = self.camera.announcement
        self.name = SlotName(self.camera.address, announced.epoch, announced.generation, SLOT)
        self._leaves = cache(self._leaves_of)
        self._number = 0

    def _leaves_of(self, label: str) -> tuple[bytes, ...]:
        return tuple(
            descend(tree_top(root, label, VERSION), DEPTH, SLOT).key for root in self.camera.roots
        )

    def key(self, label: str) -> ModalityKey:
        """Return the slot's key of a label."""
        return slot_key(self._leaves(label), self.name, label)

    def row_key(self, row_id: bytes) -> ModalityKey:
        """Return the key of one row, from what all roots come to."""
        return row_key([row_value(leaf, row_id) for leaf in self._leaves(META)], self.name, row_id)

    def first(self, kind: str, size: int) -> bytes:
        """Return an envelope of version 1."""
        rows = unit_rows(np.random.default_rng(size), size)
        return self.camera.seal(kind, SLOT, rows)[1]

    def second(self, kind: str, size: int, *, padded: bool = True, met: int = 1) -> Envelope:
        """Return an envelope of version 2 of as many people, each of whom met ``met`` others."""
        return self.sealed(kind, self.batch(kind, size, padded=padded, met=met))

    def batch(self, kind: str, size: int, *, padded: bool = True, met: int = 1) -> Batch:
        """Return as many people, each of whom met ``met`` others, as they are sealed together."""
        rows = unit_rows(np.random.default_rng(size), size)
        return Batch(
            [_sighting(self.name, row, met) for row in rows],
            _SPACES,
            Coverage(watched_s=900) if kind == SEGMENT else None,
            padded,
            frozenset({FACE}),
        )

    def sealed(self, kind: str, batch: Batch) -> Envelope:
        """Seal a batch as version 2 does."""
        self._number += 1
        header = Header(
            kind,
            self.name,
            self._number,
            CAMERA_NOW,
            CLOCK,
            slot_start_ms(self.name.epoch, SLOT + 1),
            os.urandom(8),
            (),
            (),
        )
        return seal(header, batch, key=self.key, row_key=self.row_key, board=self.camera.board)


def _sighting(name: SlotName, row: np.ndarray[tuple[int], np.dtype[np.int8]], met: int) -> Sighting:
    begins = slot_start_ms(name.epoch, name.slot)
    mask = MaskSpan(begins, begins + 4000, MaskStatus.UNMASKED, 0.9)
    other = Encounter(
        os.urandom(8), os.urandom(8), begins, begins + 4000, 4.0, 1.2, 1.5, (mask,), (mask,)
    )
    scale = float(1 / np.linalg.norm(row.astype(np.float32)))
    told = Row(
        begins,
        begins + 4000,
        MaskStatus.UNMASKED,
        0.9,
        0.8,
        (mask,),
        {FACE: MODEL},
        encounters=(other,) * met,
    )
    return Sighting(os.urandom(8), os.urandom(8), told, {FACE: Quantised(row, scale)})


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` repeats less."""
    quiet_logs()
    day = Day()
    figures: list[Figure] = []
    for kind, size in [(LIVE_ENVELOPE, 1), *((SEGMENT, size) for size in SIZES)]:
        figures += _bytes(day, kind, size)
    figures += _empty(day)
    for size in SIZES:
        figures += _opening(day, size, rounds=200 if quick else 3000)
    figures += _sealing(day, 64, rounds=60 if quick else 600)
    figures += _rows(day, rounds=200 if quick else 3000)
    return figures


def _bytes(day: Day, kind: str, size: int) -> list[Figure]:
    what = f"{'live envelope' if kind == LIVE_ENVELOPE else 'segment'} of {size}"
    first = len(day.first(kind, size)) / size
    against = f"{what}, version 1"
    bare = len(day.second(kind, size, padded=False).to_bytes()) / size
    padded = len(day.second(kind, size).to_bytes()) / size
    return [
        Figure(against, first, "bytes a sighting"),
        Figure(f"{what}, version 2, bare", bare, "bytes a sighting", against, bare / first),
        Figure(f"{what}, version 2", padded, "bytes a sighting", against, padded / first),
    ]


def _empty(day: Day) -> list[Figure]:
    bare = len(day.second(SEGMENT, 0, padded=False).to_bytes())
    padded = len(day.second(SEGMENT, 0).to_bytes())
    city = padded * CITY_CAMERAS * SLOTS_A_DAY
    return [
        Figure("an empty segment, bare", bare, "bytes"),
        Figure("an empty segment", padded, "bytes"),
        Figure(f"{CITY_CAMERAS:,} cameras that see nobody, a day", city / 1e9, "GB"),
        Figure("the same", city * 8 / 86_400 / 1e6, "Mbit/s"),
    ]


def _opening(day: Day, size: int, *, rounds: int) -> list[Figure]:
    """Open the template block as matching does: derive the key, decrypt into one buffer."""
    one = EnvelopeOfVersion1.parse(day.first(SEGMENT, size))
    keys = day.camera.granted(SLOT, SLOT)
    old = one.blocks().templates[FACE]
    two = day.second(SEGMENT, size)
    entry, new = two.block(FACE)
    if entry.space is None:
        raise ValueError("a block of templates names its space")
    binding, space = two.header.binding(FACE, entry.space), entry.space
    first_buffer, second_buffer = bytearray(len(old) - 48), bytearray(len(new) - 48)
    first, second = keys.key(SLOT, FACE), day.key(FACE)

    def of_first() -> None:
        if opened_size(old) != len(first_buffer):
            raise ValueError("not the rows that the header counts")
        open_block_into(
            first,
            old,
            memoryview(first_buffer),
            header=one.header_bytes,
            label=FACE,
            nonce=nonce_of(one.header.salt, one.header.sequence),
        )

    def of_second() -> None:
        view = memoryview(second_buffer)
        open_block_into(second, new, view, header=binding, label="", nonce=two.header.nonce)
        true_rows(view, space)

    before, after = _in_turn(of_first, of_second, rounds)
    against = f"opening a segment of {size} for matching, version 1"
    return [
        Figure(against, before, "µs"),
        Figure(f"the same, version 2 ({len(new)} bytes, before {len(old)})", after, "µs",
               against, after / before),
    ]  # fmt: skip


def _sealing(day: Day, size: int, *, rounds: int) -> list[Figure]:
    """Seal the same people in either version as a box does: metadata, blocks, signature."""
    batch, granted = day.batch(SEGMENT, size), day.camera.granted(SLOT, SLOT)
    seen = [as_version_1(one) for one in batch.sightings]
    keys = {label: granted.key(SLOT, label) for label in (FACE, META)}
    numbers = count(1)

    def of_first() -> None:
        header = HeaderOfVersion1(
            SEGMENT,
            day.camera.address,
            day.name.epoch,
            day.name.generation,
            SLOT,
            next(numbers),
            size,
            {FACE: MODEL},
            slot_start_ms(day.name.epoch, SLOT + 1),
            os.urandom(8),
        )
        sealed_in_version_1(header, seen, keys, day.camera.board)

    before, after = _in_turn(of_first, lambda: day.sealed(SEGMENT, batch).to_bytes(), rounds)
    against = f"sealing a segment of {size}, met one each, version 1"
    return [
        Figure(against, before / size, "µs a sighting"),
        Figure("the same, version 2", after / size, "µs a sighting", against, after / before),
    ]


def _rows(day: Day, *, rounds: int) -> list[Figure]:
    envelope = day.second(SEGMENT, 64)
    rows = envelope.rows(day.key(COVER))
    row_id = rows.id_of(7)
    values = [os.urandom(32) for _ in excluded_subsets(("c1", "c2", "c3"), 2)]
    key = day.row_key(row_id)
    _, sealed = envelope.block(META)
    cover = day.key(COVER)
    span = rows.span_of(7)
    first_row, second_row = _in_turn(
        lambda: row_key(values, day.name, row_id), lambda: envelope.row(rows, 7, key), rounds
    )
    opened, released = _in_turn(
        lambda: envelope.rows(cover), lambda: row_value(values[0], row_id), rounds
    )
    return [
        Figure("a row of metadata, sealed, met one", span.stop - span.start, "bytes"),
        Figure("the metadata of 64, padded", len(sealed), "bytes"),
        Figure("opening the rows of a segment of 64 that has a hit", opened, "µs"),
        Figure("a row's key from what custodians released", first_row, "µs"),
        Figure("opening one row", second_row, "µs"),
        Figure("what a custodian derives for one row and root", released, "µs"),
    ]


def _in_turn(
    one: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Return the median µs of each, of batches run in turn so that both meet the same machine.

    It is time of this process alone, whatever else the machine does meanwhile.
    """
    at_once = 20
    taken: list[list[float]] = [[], []]
    for _ in range(max(3, rounds // at_once)):
        marks = [time.process_time()]
        for call in (one, other):
            for _ in range(at_once):
                call()
            marks.append(time.process_time())
        for found, (begin, end) in zip(taken, pairwise(marks), strict=True):
            found.append((end - begin) / at_once * 1e6)
    return float(np.median(taken[0])), float(np.median(taken[1]))


if __name__ == "__main__":
    print_figures("Both versions", run(quick="--quick" in sys.argv))
