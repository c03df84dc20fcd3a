"""Any backend gives segments of version 2 by columns, and by rows whatever has no place in them."""

from __future__ import annotations

import numpy as np
from boxes_v2 import make_box_v2, person, strangers
from sealed_boxes import DAY, DIMENSION, MODEL, make_box, sighting, unit_vector
from store_backends import keep

from aggregator.store import SegmentReader, SegmentRun, Store
from aggregator.store.rows import SealedRow
from aggregator.store.runs import NO_MODEL, runs_from_scan
from protocol.grant import Scope
from protocol.keytree import APPEARANCE, FACE
from protocol.sealing import SALT_BYTES, SEAL_OVERHEAD
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.sightings import quantise_template
from protocol.v2.blocks import Space

RNG = np.random.default_rng(29)
CLOTHES = Space(f"clothes-{DIMENSION}@00000007")
BOTH = {FACE: Space(MODEL), APPEARANCE: CLOTHES}
ASKED = (APPEARANCE, FACE)


def told(reader: SegmentReader, scope: Scope, after: int = 0) -> tuple[set[object], set[int]]:
    """Return what the runs of a scope say, segment by segment, and the numbers of its rows."""
    of_runs: set[object] = set()
    of_rows: set[int] = set()
    for part in reader.runs(scope, modalities=ASKED, after=after):
        if isinstance(part, SegmentRun):
            of_runs.update(segments_of(part))
        else:
            of_rows.add(part.number)
    return of_runs, of_rows


def segments_of(run: SegmentRun) -> list[object]:
    found: list[object] = []
    for at in range(len(run)):
        blocks = []
        for of in run.blocks:
            begins, ends = of.offsets[at : at + 2].tolist()
            model = of.models[at].item()
            blocks.append((None if model == NO_MODEL else model, bytes(of.sealed[begins:ends])))
        number, slot, sequence = (
            column[at].item() for column in (run.numbers, run.slots, run.sequences)
        )
        salt = run.salts[at * SALT_BYTES : (at + 1) * SALT_BYTES]
        found.append((number, slot, sequence, salt, *blocks))
    return found


def as_told(row: SealedRow) -> object:
    """Return of a row what a run says of it."""
    blocks = [
        (model, b"" if model is None or block is None else block)
        for model, block in zip(row.models, row.blocks, strict=True)
    ]
    return (row.number, row.slot, row.sequence, row.salt, *blocks)


def test_runs_hold_what_rows_do_and_leave_the_rest_to_them(store: Store) -> None:
    box = make_box_v2(1)
    dressed = person(None, templates={APPEARANCE: quantise_template(unit_vector(RNG))})
    with store.writing() as unit:
        keep(
            unit,
            box,
            box.segment([*strangers(9, RNG), dressed], slot=3, spaces=BOTH),
            box.segment([dressed], slot=5, spaces=BOTH),
            box.segment([], slot=4),
            box.segment(strangers(3, RNG), slot=4),
            box.live(strangers(2, RNG), slot=5),
            box.segment(strangers(3, RNG), slot=90),
        )
    scope = Scope(box.address, DAY, box.generation, 0, 50)
    rows = list(store.segments.scan(scope, modalities=ASKED))
    of_runs, of_rows = told(store.segments, scope)
    assert of_runs == {as_told(row) for row in rows if row.segment}
    assert of_rows == {row.number for row in rows if not row.segment}
    assert len(of_runs) == 4
    assert of_rows == {5}
    assert {row[0] for row in told(store.segments, scope, after=2)[0]} == {3, 4}  # type: ignore[index]


def test_headers_are_fetched_by_number(store: Store) -> None:
    box = make_box_v2(1)
    with store.writing() as unit:
        kept = keep(unit, box, box.segment([]), box.segment(strangers(2, RNG)))
    assert [store.segments.header(number) for number in (1, 2)] == [
        envelope.header_bytes for envelope in kept
    ]


def test_envelopes_of_version_1_come_as_rows(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        (kept,) = keep(unit, box, box.segment([sighting(unit_vector(RNG))]))
    assert isinstance(kept, EnvelopeOfVersion1)
    scope = Scope(box.address, kept.header.epoch, kept.header.generation, 0, 95)
    assert told(store.segments, scope) == (set(), {1})


def row(**other: object) -> SealedRow:
    sound = SealedRow(
        7, 2, 3, 1, 12, 5, bytes(SALT_BYTES), b"", None, (1, None), (bytes(SEAL_OVERHEAD), None)
    )
    return sound._replace(**other)  # type: ignore[arg-type]


def test_rows_that_have_no_place_in_a_column_stay_rows() -> None:
    misfits = [
        row(version=1),
        row(version=3),
        row(segment=0),
        row(segment=2),
        row(salt=bytes(SALT_BYTES - 1)),
        row(sequence=-1),
        row(slot=96),
        row(models=(1 << 40, None)),
        row(models=(-3, None)),
        row(blocks=(None, None)),
        row(blocks=(bytes(SEAL_OVERHEAD - 1), None)),
    ]
    mixed = [row(number=1), *misfits, row(number=2)]
    parts = list(runs_from_scan(mixed, modalities=2))
    assert parts[:-1] == misfits
    run = parts[-1]
    assert isinstance(run, SegmentRun)
    assert run.numbers.tolist() == [1, 2]
    assert run.blocks[1].offsets.tolist() == [0, 0, 0]
    assert run.blocks[0].models.tolist() == [1, 1]


def test_a_run_made_of_rows_holds_no_more_than_a_few_megabytes() -> None:
    block = bytes(1 << 20)
    rows = (row(number=number, blocks=(block, None)) for number in range(1, 8))
    sizes = [len(part) for part in runs_from_scan(rows, modalities=2) if len(part)]
    assert sizes == [4, 3]
