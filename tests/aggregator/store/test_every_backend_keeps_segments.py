"""Any backend gives sealed segments back as they came, by scope and behind a cursor."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sealed_boxes import DAY, TestBox, make_box, sighting, unit_vector
from store_backends import DROP_DAYS_WHOLE, Backend, announce, keep, stream_of

from aggregator.store import Store, open_reader
from aggregator.store.interface import SegmentReader
from aggregator.store.retention import purge
from aggregator.store.rows import GapRow, StreamRow
from protocol.grant import Scope
from protocol.names import EPOCH_MS
from protocol.sealing import Envelope
from protocol.sightings import Sighting
from runtime.database import StorageError

RNG = np.random.default_rng(11)
FACE = ("face",)


def seen(count: int = 1) -> list[Sighting]:
    return [sighting(unit_vector(RNG)) for _ in range(count)]


def numbers(reader: SegmentReader, scope: Scope, after: int = 0) -> list[int]:
    """Return the numbers of a scan, sorted: it may give them in any order."""
    found = sorted(row.number for row in reader.scan(scope, modalities=FACE, after=after))
    assert len(found) == reader.count(scope, after=after)
    return found


def scope_of(box: TestBox, first: int = 0, last: int = 95) -> Scope:
    return Scope(box.address, DAY, box.generation, first, last)


def test_an_envelope_comes_back_byte_for_byte(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        kept = keep(unit, box, box.segment(seen(3)), box.live(seen(2)))
    for number, envelope in enumerate(kept, 1):
        assert store.segments.envelope(number).to_bytes() == envelope.to_bytes()
    with pytest.raises(KeyError):
        store.segments.envelope(3)


def test_a_scan_gives_what_is_in_scope_in_every_part_and_nothing_else(store: Store) -> None:
    box, other = make_box(1), make_box(2)
    with store.writing() as unit:
        keep(unit, box, *(box.segment(seen(), slot=slot) for slot in (3, 4, 5, 6)))
        keep(unit, other, other.segment(seen(), slot=4))
    reader = store.segments
    assert numbers(reader, scope_of(box)) == [1, 2, 3, 4]
    assert numbers(reader, scope_of(box, 4, 5)) == [2, 3]
    assert numbers(reader, scope_of(other)) == [5]
    for elsewhere in (
        replace(scope_of(box), epoch=DAY + 1),
        replace(scope_of(box), generation=box.generation + 1),
        scope_of(make_box(3)),
    ):
        assert numbers(reader, elsewhere) == []


def test_a_scan_behind_a_cursor_gives_what_came_since(store: Store) -> None:
    box = make_box(1)
    cursors = [store.segments.newest()]
    for slot in (9, 2, 7):  # in the order of coming, not of slots
        with store.writing() as unit:
            keep(unit, box, box.segment(seen(), slot=slot))
        cursors.append(store.segments.newest())
    assert cursors == sorted(set(cursors))
    for number, cursor in enumerate(cursors):
        assert len(numbers(store.segments, scope_of(box), after=cursor)) == 3 - number
    assert store.ledger.newest_envelope() == cursors[-1]
    name = (box.name, box.camera, DAY, box.generation)
    assert store.ledger.arrived_since(cursors[1]) == {name}
    assert store.ledger.arrived_since(cursors[-1]) == frozenset()


def test_a_row_says_what_the_header_says_and_brings_the_blocks_asked_for(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        (segment, live) = keep(unit, box, box.segment(seen(3), slot=4), box.live(seen(2), slot=5))
    assert isinstance(segment, Envelope)
    assert isinstance(live, Envelope)
    first, second = sorted(store.segments.scan(scope_of(box), modalities=FACE))
    assert (first.slot, first.segment, first.sequence, first.sightings) == (4, 1, 0, 3)
    assert (first.header, first.salt) == (segment.header_bytes, segment.header.salt)
    assert first.blocks == (segment.blocks().templates["face"],)
    assert store.segments.meta(first.number) == segment.blocks().meta
    assert store.segments.models()[first.models[0] or 0] == segment.header.models["face"]
    assert (second.slot, second.segment, second.live) == (5, 0, live.ciphertext)
    first, second = sorted(store.segments.scan(scope_of(box), modalities=("appearance",)))
    assert (first.blocks, first.live, second.live) == ((None,), None, live.ciphertext)
    with pytest.raises(KeyError):
        store.segments.meta(99)


def test_a_reader_is_opened_again_from_what_can_be_pickled(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        keep(unit, box, box.segment(seen()))
    again = pickle.loads(pickle.dumps(store.segments.source)).open()  # noqa: S301 - our own
    assert numbers(again, scope_of(box)) == [1]
    with store.writing() as unit:
        keep(unit, box, box.segment(seen()))
    assert numbers(again, scope_of(box)) == [1, 2], "it sees what is committed later"


def test_whoever_reads_alone_opens_it_by_its_place_and_makes_nothing(
    backend: Backend, store: Store, tmp_path: Path
) -> None:
    box = make_box(1)
    with store.writing() as unit:
        keep(unit, box, box.segment(seen()))
    reader = open_reader(backend.place)
    assert numbers(reader, scope_of(box)) == [1]
    with pytest.raises(StorageError):
        open_reader(tmp_path / "elsewhere" / "aggregator.db").newest()
    assert not (tmp_path / "elsewhere").exists()


def test_live_envelopes_go_when_segments_hold_as_many_sightings(store: Store) -> None:
    box = make_box(1)
    slot = (DAY, box.generation, 4)
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        keep(unit, box, box.live(seen(2), slot=4), box.live(seen(3), slot=4))
        keep(unit, box, box.live(seen(), slot=5), box.segment(seen(4), slot=4))
        assert unit.segments.drop_replaced_live(stream, *slot) == 0, "one sighting would be lost"
        keep(unit, box, box.segment(seen(1), slot=4))
        assert unit.segments.drop_replaced_live(stream, *slot) == 2
        assert unit.segments.drop_replaced_live(stream, *slot) == 0
    assert numbers(store.segments, scope_of(box)) == [3, 4, 5]


def test_a_cursor_never_falls_when_the_newest_envelope_is_dropped(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        keep(unit, box, box.segment(seen()))
    with store.writing() as unit:
        assert unit.segments.drop_days(before_epoch=DAY + 1, most=10) == 1
        keep(unit, box, box.segment(seen()))
    assert numbers(store.segments, scope_of(box), after=1) == [2]


def test_a_day_past_its_retention_is_dropped_whole_and_no_other(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        for day in (DAY, DAY + 1):
            announce(unit, box, box.announcement(epoch=day))
            keep(unit, box, *(box.segment(seen(), slot=slot, epoch=day) for slot in (1, 2)))
        unit.ledger.quarantine(
            stream=None, topic="t", payload=b"p", reason="r", detail="", received_ms=DAY * EPOCH_MS
        )
    now_ms = (DAY + 16) * EPOCH_MS
    gone = purge(store, now_ms=now_ms, retention_days=14)
    assert (gone.envelopes, gone.announcements, gone.quarantined) == (2, 1, 1)
    assert numbers(store.segments, scope_of(box)) == []
    assert len(numbers(store.segments, replace(scope_of(box), epoch=DAY + 1))) == 2
    again = purge(store, now_ms=now_ms, retention_days=14)
    assert (again.envelopes, again.announcements, again.quarantined) == (0, 0, 0)


def test_dropping_goes_in_portions_where_a_day_does_not_go_at_once(
    store: Store, backend: Backend
) -> None:
    box = make_box(1)
    with store.writing() as unit:
        keep(unit, box, *(box.segment(seen(), slot=slot) for slot in range(5)))
    with store.writing() as unit:
        gone = unit.segments.drop_days(before_epoch=DAY + 1, most=3)
    if backend.name in DROP_DAYS_WHOLE:
        assert gone == 5
    else:
        assert 3 <= gone < 5, "packed ones go by the hour, of which there are two"
    assert len(numbers(store.segments, scope_of(box))) == 5 - gone


def test_a_day_that_was_dropped_can_be_written_again(store: Store) -> None:
    box = make_box(1)
    for _ in range(2):
        with store.writing() as unit:
            announce(unit, box, box.announcement())
            keep(unit, box, box.segment(seen()))
        with store.writing() as unit:
            assert unit.segments.drop_days(before_epoch=DAY + 1, most=9) == 1
            assert unit.ledger.drop_announcements(before_epoch=DAY + 1, most=9) == 1
    assert numbers(store.segments, scope_of(box)) == []


def test_what_came_is_known_by_its_content_for_two_days_and_then_by_its_number(
    store: Store,
) -> None:
    box = make_box(1)
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        for day in (DAY, DAY + 1, DAY + 3):
            unit.ledger.remember(
                stream, 0, sequence=day, epoch=DAY, outcome=1, digest=b"d" * 16,
                now_ms=day * EPOCH_MS,
            )  # fmt: skip
        unit.ledger.move_streams([(StreamRow(stream, 0, DAY + 3, 100), DAY * EPOCH_MS)])
    purge(store, now_ms=(DAY + 3) * EPOCH_MS + 5, retention_days=14)
    known = [store.ledger.digests(stream, day) for day in (DAY, DAY + 1, DAY + 3)]
    assert known == [[], [b"d" * 16], [b"d" * 16]]
    assert not store.ledger.came(stream, DAY), "that run goes on: the stream itself tells"
    with store.writing() as unit:
        unit.ledger.add_gap(stream, 0, GapRow(0, 7, 9, 1, None, False))
        unit.ledger.lose_gaps(stream)
        unit.ledger.move_streams([(StreamRow(stream, 1, 2, 101), (DAY + 3) * EPOCH_MS)])
        unit.ledger.move_streams([(StreamRow(stream, 1, 3, 101), (DAY + 4) * EPOCH_MS)])
    came = [store.ledger.came(stream, number) for number in (0, 6, 7, 9, 10, DAY + 3, DAY + 4)]
    assert came == [True, True, False, False, True, True, False]
    assert not store.ledger.came(stream + 1, 0)
    purge(store, now_ms=(DAY + 19) * EPOCH_MS, retention_days=14)
    assert not store.ledger.came(stream, 0), "past the retention nothing is known of it"


def test_a_scope_is_counted_by_kind_and_model(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        kept = keep(unit, box, box.segment(seen(3), slot=4), box.live(seen(2), slot=4))
        keep(unit, box, box.segment(seen(9), slot=6))
    held = store.ledger.count_scope(
        [box.camera, "nowhere"],
        from_ms=DAY * EPOCH_MS + 4 * 900_000,
        to_ms=DAY * EPOCH_MS + 5 * 900_000,
    )
    assert (held.segments, held.live_envelopes, held.sightings) == (1, 1, 5)
    assert isinstance(kept[0], Envelope)
    assert held.by_model == {kept[0].header.models["face"]: 5}
    assert not held.at_most
