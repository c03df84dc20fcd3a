"""Any backend keeps envelopes of version 2 block by block, and drops what their segments list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from boxes_v2 import BoxOfVersion2, make_box_v2, person, strangers
from sealed_boxes import DAY, DIMENSION, MODEL, NOW_MS, make_box, sighting, unit_vector
from store_backends import announce, keep, stream_of

from aggregator.store import Store
from aggregator.store.envelopes import lay_out
from aggregator.store.retention import purge
from aggregator.store.rows import AnnouncedVersions, Generation, ToldSlot
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.errors import MalformedMessage
from protocol.grant import Scope
from protocol.keytree import APPEARANCE, COUNTS, COVER, FACE, LIVE, META
from protocol.names import EPOCH_MS, SLOT_MS
from protocol.sightings import quantise_template
from protocol.v2.blocks import Space
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Envelope

RNG = np.random.default_rng(23)
CLOTHES = Space(f"clothes-{DIMENSION}@00000007")


def scope_of(box: BoxOfVersion2, first: int = 0, last: int = 95) -> Scope:
    return Scope(box.address, DAY, box.generation, first, last)


def numbers(store: Store, box: BoxOfVersion2) -> list[int]:
    return sorted(row.number for row in store.segments.scan(scope_of(box), modalities=(FACE,)))


def sequences(store: Store, box: BoxOfVersion2) -> list[int]:
    return sorted(row.sequence for row in store.segments.scan(scope_of(box), modalities=(FACE,)))


def test_envelopes_of_version_2_come_back_byte_for_byte(store: Store) -> None:
    box = make_box_v2(1)
    both = {FACE: Space(MODEL), APPEARANCE: CLOTHES}
    dressed = person(None, templates={APPEARANCE: quantise_template(unit_vector(RNG))})
    with store.writing() as unit:
        kept = keep(
            unit,
            box,
            box.segment([*strangers(9, RNG), dressed], spaces=both),
            box.segment([dressed], spaces=both),
            box.segment([]),
            box.segment([], padded=False),
            box.live(strangers(2, RNG)),
        )
        box.generation += 1
        kept += keep(unit, box, box.segment(strangers(1, RNG), replaces=((0, 2), (4, 4))))
    for number, envelope in enumerate(kept, 1):
        again = store.segments.envelope(number)
        assert again.to_bytes() == envelope.to_bytes()
        again.verify(lambda _name: box.key.verify_key)


def test_quarter_hours_with_segments_are_told_by_box_and_origin_each_once(store: Store) -> None:
    box, station, early = make_box_v2(1), make_box_v2(2), make_box_v2(3)
    station.camera = early.camera = box.camera
    station.origin = RECORDING
    some = strangers(1, RNG)
    with store.writing() as unit:
        announce(unit, box, box.announcement())
        keep(unit, box, box.segment(some, slot=4), box.segment(some, slot=4), box.live(some))
        announce(unit, station, station.announcement(DAY - 1))
        keep(unit, early, early.segment(some, slot=9))  # nobody has announced it yet
    cursor = store.ledger.newest_envelope()
    with store.writing() as unit:
        keep(unit, station, station.segment(some, slot=5, epoch=DAY - 1))
        keep(unit, make_box_v2(8), make_box_v2(8).segment(some, slot=5))
    of_box = ToldSlot(box.name, box.camera, DAY, 4, CAMERA_NOW)
    of_station = ToldSlot(station.name, box.camera, DAY - 1, 5, RECORDING)
    asked = [box.camera]
    assert sorted(store.ledger.told_slots(asked, first_epoch=DAY - 1)) == [of_box, of_station]
    assert store.ledger.told_slots(asked, first_epoch=DAY) == [of_box]
    since = store.ledger.told_slots(asked, first_epoch=DAY - 1, after=cursor)
    assert since == [of_station]
    assert store.ledger.told_slots(["cam-8"], first_epoch=DAY - 1) == []


def test_what_segments_tell_of_their_slots_comes_without_templates_or_metadata(
    store: Store,
) -> None:
    box, old = make_box_v2(1), make_box(2)
    counts = Counts(3, masked=1, at_once=(1, 0, 0))
    with store.writing() as unit:
        kept = keep(
            unit,
            box,
            box.segment(strangers(3, RNG), slot=4, counts=counts),
            box.segment([], slot=5),
            box.live(strangers(2, RNG), slot=6),
            box.segment([], slot=90),
        )
        keep(unit, old, old.segment([sighting(unit_vector(RNG))]))
    first, second = store.segments.told(scope_of(box, 0, 10), through=99)
    for row, envelope in zip((first, second), kept, strict=False):
        assert isinstance(envelope, Envelope)
        header = envelope.header
        named = (row.slot, row.sequence, row.salt)
        assert named == (header.name.slot, header.sequence, header.salt)
        assert row.cover == envelope.block(COVER)[1]
        assert row.counts == (envelope.block(COUNTS)[1] if envelope.has(COUNTS) else None)
    assert first.counts is not None
    assert list(store.segments.told(scope_of(box), after=first.number, through=1)) == []
    later = store.segments.told(scope_of(box), after=first.number, through=99)
    assert [row.slot for row in later] == [5, 90]
    assert [row.slot for row in store.segments.told(scope_of(box), through=2)] == [4, 5]


def test_a_scan_of_version_2_brings_the_block_asked_for_and_the_others_come_one_by_one(
    store: Store,
) -> None:
    box = make_box_v2(1)
    both = {FACE: Space(MODEL), APPEARANCE: CLOTHES}
    clothes = {APPEARANCE: quantise_template(unit_vector(RNG))}
    with store.writing() as unit:
        segment, plain, live = keep(
            unit,
            box,
            box.segment([*strangers(3, RNG), person(None, templates=clothes)], spaces=both, slot=4),
            box.segment(strangers(1, RNG), slot=5),
            box.live(strangers(1, RNG), slot=6),
        )
    assert isinstance(segment, Envelope)
    assert isinstance(live, Envelope)
    first, second, third = sorted(store.segments.scan(scope_of(box), modalities=(APPEARANCE,)))
    assert (first.version, first.slot, first.segment, first.sequence) == (2, 4, 1, 0)
    assert (first.header, first.salt) == (segment.header_bytes, segment.header.salt)
    assert (first.blocks, first.live) == ((segment.block(APPEARANCE)[1],), None)
    assert store.segments.models()[first.models[0] or 0] == CLOTHES.name
    assert (second.models, second.blocks) == ((None,), (None,))
    assert (third.segment, third.live, third.models) == (0, live.block(LIVE)[1], (None,))
    assert store.segments.cover(first.number) == segment.block(COVER)[1]
    assert store.segments.meta(first.number) == segment.block(META)[1]
    assert store.segments.cover(second.number) == plain.block(COVER)[1]  # type: ignore[union-attr]
    with pytest.raises(KeyError):
        store.segments.cover(99)


def test_templates_of_an_encoding_to_come_are_kept_and_compare_with_nothing(store: Store) -> None:
    box = make_box_v2(1)
    with store.writing() as unit:
        (envelope,) = keep(unit, box, box.segment(strangers(1, RNG)))
        assert isinstance(envelope, Envelope)
    masked = Space(MODEL, "masked-16")
    later = [entry.space for entry in envelope.header.blocks]
    assert Space(MODEL) in later
    assert lay_out(envelope).models == {FACE: MODEL}
    entries = tuple(
        replace(entry, space=masked if entry.space else None) for entry in envelope.header.blocks
    )
    unknown = replace(envelope, header=replace(envelope.header, blocks=entries))
    assert lay_out(unknown).models == {FACE: f"{MODEL} (masked-16)"}


def test_blocks_that_are_not_what_the_header_says_are_refused() -> None:
    envelope = make_box_v2(1).sealed(strangers(2, RNG))
    face = [entry.label for entry in envelope.header.blocks].index(FACE)
    for spoilt in (envelope.blocks[face][:-1], envelope.blocks[face] + b"\0", b"", bytes(47)):
        blocks = list(envelope.blocks)
        blocks[face] = spoilt
        with pytest.raises(MalformedMessage):
            lay_out(replace(envelope, blocks=tuple(blocks)))
    entries = list(envelope.header.blocks)
    entries[face] = replace(entries[face], label="match", space=None)
    with pytest.raises(MalformedMessage, match="match"):
        lay_out(replace(envelope, header=replace(envelope.header, blocks=tuple(entries))))


def test_a_segment_of_version_2_drops_exactly_the_live_envelopes_that_it_lists(
    store: Store,
) -> None:
    box, other = make_box_v2(1), make_box_v2(2)
    with store.writing() as unit:
        # Eight rows is the smallest class: by count one segment would cover them all.
        keep(unit, box, *(box.live([person(unit_vector(RNG))], slot=4) for _ in range(5)))
        keep(unit, box, box.live([person(unit_vector(RNG))], slot=5))
        keep(unit, other, *(other.live([person(unit_vector(RNG))], slot=4) for _ in range(3)))
        segment = lay_out(box.sealed(strangers(3, RNG), slot=4, replaces=((0, 1), (3, 3), (5, 5))))
        unit.segments.append(stream_of(unit, box.address), segment, received_ms=1)
        assert unit.segments.replaced() == 3
        assert unit.segments.replaced() == 0, "it has been told"
    assert sequences(store, box) == [2, 4, 5, 6], "nor what is of another slot, though listed"
    assert sequences(store, other) == [0, 1, 2]


def test_a_live_envelope_that_comes_after_the_segment_that_lists_it_is_not_kept(
    store: Store,
) -> None:
    box = make_box_v2(1)
    first, second = (lay_out(box.sealed([person(None)], kind=LIVE, slot=4)) for _ in range(2))
    third = lay_out(box.sealed([person(None)], kind=LIVE, slot=5))
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        segment = lay_out(box.sealed(strangers(2, RNG), slot=4, replaces=((0, 0), (2, 2))))
        unit.segments.append(stream, segment, received_ms=1)
        assert unit.segments.replaced() == 0
        for late in (first, second, third):
            unit.segments.append(stream, late, received_ms=1)
        assert unit.segments.replaced() == 1
    assert len(numbers(store, box)) == 3


def test_another_generation_is_not_replaced(store: Store) -> None:
    box = make_box_v2(1)
    with store.writing() as unit:
        keep(unit, box, box.live([person(None)], slot=4))
        box.generation += 1
        keep(unit, box, box.segment([], slot=4, replaces=((0, 0),)))
    assert store.segments.newest() == 2
    assert store.segments.envelope(1).header.sequence == 0


def test_a_scope_of_version_2_is_counted_by_the_room_that_there_is(store: Store) -> None:
    box = make_box_v2(1)
    window = {"from_ms": DAY * EPOCH_MS, "to_ms": DAY * EPOCH_MS + 10 * SLOT_MS}
    turned_away = [person(None) for _ in range(4)]
    with store.writing() as unit:
        keep(unit, box, box.segment([*strangers(9, RNG), *turned_away], slot=4))
        keep(unit, box, box.segment(strangers(3, RNG), slot=5), box.segment([], slot=6))
        keep(unit, box, box.live(strangers(1, RNG), slot=7), box.segment([], slot=20))
    held = store.ledger.count_scope([box.camera], **window)
    assert (held.segments, held.live_envelopes, held.at_most) == (3, 0, True)
    assert held.by_model == {MODEL: 16 + 8}, "rows by size class"
    assert 13 + 3 <= held.sightings < 200
    assert held.exact == 0
    first = make_box(2)
    with store.writing() as unit:
        keep(unit, first, first.segment([sighting(unit_vector(RNG))], slot=4))
    held = store.ledger.count_scope([first.camera], **window)
    assert (held.sightings, held.at_most) == (1, False)
    both = store.ledger.count_scope([box.camera, first.camera], **window)
    assert (both.exact, both.exact_by_model[MODEL], both.at_most) == (1, 1, True)


def test_that_somebody_has_just_come_is_no_part_of_what_a_scope_holds(store: Store) -> None:
    box = make_box_v2(1)
    window = {"from_ms": DAY * EPOCH_MS, "to_ms": DAY * EPOCH_MS + 10 * SLOT_MS}
    nobody = store.ledger.count_scope([box.camera], **window)
    with store.writing() as unit:
        keep(unit, box, box.live(strangers(3, RNG), slot=7))
    assert store.ledger.count_scope([box.camera], **window) == nobody


def test_quarter_hours_that_were_watched_and_imported_are_counted_as_told_twice(
    store: Store,
) -> None:
    box, station = make_box_v2(1), make_box_v2(2)
    station.camera, station.origin = box.camera, RECORDING
    window = {"from_ms": DAY * EPOCH_MS, "to_ms": DAY * EPOCH_MS + 10 * SLOT_MS}

    def twice(*cameras: str, **changes: int) -> int:
        return store.ledger.count_scope(list(cameras), **(window | changes)).told_twice

    with store.writing() as unit:
        announce(unit, box, box.announcement())
        keep(unit, box, *(box.segment([], slot=slot) for slot in (4, 5, 5, 6, 20)))
    assert twice(box.camera) == 0
    with store.writing() as unit:
        announce(unit, station, station.announcement())
        keep(unit, station, *(station.segment([], slot=slot) for slot in (5, 6, 7, 20)))
    assert twice(box.camera) == 2
    assert twice(box.camera, to_ms=DAY * EPOCH_MS + 6 * SLOT_MS) == 1
    assert twice("cam-9") == 0
    box.generation, box.origin = box.generation + 1, RECORDING
    with store.writing() as unit:
        announce(unit, box, box.announcement())
        keep(unit, box, box.segment([], slot=4))
    assert twice(box.camera) == 3, "a box and its own film"


def test_the_announcement_says_of_which_version_and_origin_its_generation_is(store: Store) -> None:
    old, box = make_box(1), make_box_v2(2)
    box.origin = RECORDING
    with store.writing() as unit:
        assert announce(unit, old, old.announcement())
        assert announce(unit, box, box.announcement())
        first, second = (stream_of(unit, one.address) for one in (old, box))
        assert unit.ledger.generation(first, DAY, old.generation) == Generation(1, "live")
        assert unit.ledger.generation(second, DAY, box.generation) == Generation(2, RECORDING)
        assert unit.ledger.generation(second, DAY, box.generation + 1) is None


def test_a_day_of_version_2_is_dropped_with_all_that_is_kept_of_its_numbers(store: Store) -> None:
    box = make_box_v2(1)
    with store.writing() as unit:
        announce(unit, box, box.announcement())
        keep(unit, box, box.live([person(None)], slot=4), box.live([person(None)], slot=5))
        keep(unit, box, box.segment([], slot=4, replaces=((0, 0),)))
    gone = purge(store, now_ms=(DAY + 16) * EPOCH_MS, retention_days=14)
    assert (gone.envelopes, gone.announcements) == (3, 1)
    with store.writing() as unit:
        assert unit.segments.drop_days(before_epoch=DAY + 1, most=10) == 0
        late = lay_out(box.sealed([person(None)], kind=LIVE, slot=4, sequence=0))
        unit.segments.append(stream_of(unit, box.address), late, received_ms=1)
        assert unit.segments.replaced() == 0


def test_in_which_version_each_camera_has_announced_is_known_until_the_day_is_dropped(
    store: Store,
) -> None:
    old, new = make_box(2), make_box_v2(1)
    assert store.ledger.announced_versions() == {}
    with store.writing() as unit:
        announce(unit, old, old.announcement(at_ms=NOW_MS - 7))
        announce(unit, new, new.announcement())
    assert store.ledger.announced_versions() == {
        (old.name, old.camera): AnnouncedVersions(1, NOW_MS - 7),
        (new.name, new.camera): AnnouncedVersions(2, None),
    }
    purge(store, now_ms=(DAY + 16) * EPOCH_MS, retention_days=14)
    assert store.ledger.announced_versions() == {}
