"""What a box of version 2 publishes: every slot, what was watched of it, and no sizes that tell."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import protocol_samples_v2 as v2
import pytest
from edge_site import DIMENSION, EPOCH, MODEL, NOON_MS, SLOT, Box, Opened, Site, make_sighting
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.batch import Load
from edge_agent.config import SealingConfig
from edge_agent.coverage import SPREAD_S, CoverageBook, View, spread_ms
from edge_agent.health import CameraFigures, figures
from edge_agent.version2 import ranges_of
from protocol.errors import ScopeExceeded
from protocol.keytree import COUNTS, COVER, EVIDENCE, FACE, LIVE, META
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH, CameraAddress
from protocol.sealing import LIVE_ENVELOPE, SEGMENT
from protocol.v2.blocks import Space
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Envelope
from protocol.v2.rows import SLOT_S, Coverage

NewBox = Callable[..., Box]


def segments(box: Box, *before: bytes) -> list[Opened]:
    return [one for one in box.site.open([*before, *box.payloads()]) if one.kind == "segment"]


def slots_of(opened: list[Opened]) -> list[int]:
    return [one.slot for one in opened]


# -- what an observer sees ------------------------------------------------------------------------


def test_an_empty_slot_looks_like_one_in_which_some_people_came(box: Box) -> None:
    box.watch(600)
    box.to_next_slot()
    box.watch(600)
    for seed in range(8):
        box.sealer.add(
            [make_sighting(box.clock.now_ms - 1000, seed=seed, encounters=0)], box.clock.now_ms
        )
    box.to_next_slot()
    few, some = segments(box)
    assert (few.ids, len(some.ids)) == ([], 8)
    assert few.size == some.size
    assert few.size < 6000


def test_nothing_in_the_clear_tells_whether_anybody_has_a_template(box: Box) -> None:
    box.watch(60)
    assert box.sealer.finish()
    envelope = Envelope.parse(box.payloads()[-1])
    assert [entry.label for entry in envelope.header.blocks] == [FACE, COVER, META]


def test_cameras_of_a_city_seal_their_segments_spread_over_a_minute() -> None:
    drawn = [spread_ms(CameraAddress("city", f"box-{n}", "cam-1")) for n in range(2000)]
    assert drawn == [spread_ms(CameraAddress("city", f"box-{n}", "cam-1")) for n in range(2000)]
    assert 0 <= min(drawn) <= max(drawn) < SPREAD_S * 1000
    by_second = [sum(one // 1000 == second for one in drawn) for second in range(SPREAD_S)]
    assert max(by_second) < 3 * len(drawn) / SPREAD_S


@pytest.mark.parametrize("people", [0, 3])
def test_a_segment_comes_at_its_cameras_moment_whether_or_not_somebody_came(
    new_box: NewBox, people: int
) -> None:
    box = new_box(sealing=SealingConfig(live_after_s=60, grace_s=5, day_keys_wait_s=0))
    box.watch(600)
    box.see(*range(people))
    end_ms = (box.clock.now_ms // SLOT_MS + 1) * SLOT_MS
    due_ms = end_ms + 5000 + round(1000 * box.spread_s)
    came_ms = None
    while came_ms is None:
        box.watch(1)
        if any(message.kind == "segment" for message in box.outbox.take(10)):
            came_ms = box.clock.now_ms
        assert box.clock.now_ms < due_ms + 2000
    assert due_ms <= came_ms < due_ms + 1000


# -- every slot, once -----------------------------------------------------------------------------


def test_every_slot_has_one_segment_also_when_nobody_comes(box: Box) -> None:
    for _ in range((5 * SLOT_S - 60) // 20):
        box.watch(20)
    assert box.sealer.finish()
    opened = segments(box)
    assert slots_of(opened) == list(range(SLOT, SLOT + 5))
    assert all(one.ids == [] for one in opened)
    covered = [one.coverage for one in opened]
    assert covered[1:4] == [Coverage(watched_s=SLOT_S)] * 3
    assert covered[0] == Coverage(watched_s=SLOT_S - 60), "it began a minute into the slot"
    assert sum(one.watched_s for one in covered if one) == 5 * SLOT_S - 60
    assert len({one.generation for one in opened}) == 1


def test_the_day_after_goes_on_under_its_own_keys(box: Box) -> None:
    box.clock.now_ms = (EPOCH + 1) * EPOCH_MS - 90_000
    box.watch(80)
    for _ in range(20):
        box.watch(50)
    opened = segments(box)
    assert [(one.epoch, one.slot) for one in opened] == [(EPOCH, 95), (EPOCH + 1, 0)]
    assert opened[1].coverage == Coverage(watched_s=SLOT_S)


def test_who_comes_at_the_beginning_of_a_slot_is_live_at_once(box: Box) -> None:
    """The segment of the slot before is then sealed first, ahead of its moment."""
    box.watch(SLOT_S - 60)
    box.watch(5.5)
    before = box.payloads()
    assert segments(box, *before) == []
    box.see(7)
    box.live_now()
    opened = box.site.open(before + box.payloads())
    assert [(one.kind, one.slot, one.ids) for one in opened] == [
        ("segment", SLOT, []),
        ("live", SLOT + 1, [7]),
    ]


def test_a_site_that_does_not_read_version_2_has_no_empty_segments(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("site")
    box = Box(Site(folder, version=1), folder / "box")
    for _ in range(3 * SLOT_S // 50):
        box.watch(50)
    box.see(1)
    assert box.sealer.finish()
    assert slots_of(segments(box)) == [SLOT + 3]
    assert box.sealer.stats().slots == 0
    box.outbox.close()


def test_a_box_goes_over_to_version_2_when_the_office_has_signed_that_the_site_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("site")
    site = Site(folder, version=1)
    box = Box(site, folder / "box")
    box.watch(60)
    box.see(1)
    box.live_now()
    payloads = box.payloads()
    newer = site.directory.next_version(site.directory.principals, at_ms=NOON_MS + 1)
    box.trust.accept(newer.sign(site.authority, form=2).to_bytes())
    box.see(2)
    box.to_next_slot()
    box.watch(60)
    box.see(3)
    assert box.sealer.finish()
    payloads += box.payloads()
    kinds = [(one.kind, one.ids, one.coverage is not None) for one in site.open(payloads)]
    assert kinds == [
        ("live", [1], False),
        ("segment", [1, 2], False),
        ("segment", [3], True),
    ]
    box.outbox.close()


def test_a_directory_whose_first_form_comes_first_begins_no_generation_of_version_1(
    box: Box, site: Site
) -> None:
    box.watch(60)
    newer = site.directory.next_version(site.directory.principals, at_ms=NOON_MS + 1)
    box.trust.accept(newer.sign(site.authority, form=1).to_bytes())
    assert (box.trust.directory.version, box.trust.directory.form) == (newer.version, 2)
    box.watch(60)
    box.see(1)
    box.to_next_slot()
    box.watch(60)
    assert box.sealer.finish()
    opened = segments(box)
    assert [one.coverage is not None for one in opened] == [True, True]
    assert len({one.generation for one in opened}) == 1


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.integers(0, 64), max_size=80), st.booleans())
def test_an_envelope_is_never_longer_than_was_reckoned(met: list[int], face: bool) -> None:
    seen = [
        make_sighting(NOON_MS, seed=seed, encounters=encounters, face=face)
        for seed, encounters in enumerate(met)
    ]
    load = sum((Load.of(one) for one in seen), Load())
    for kind in (SEGMENT, LIVE_ENVELOPE):
        made = v2.envelope(
            kind,
            seen=seen,
            spaces={FACE: Space(MODEL)},
            always=frozenset({FACE}),
        )
        assert len(made.to_bytes()) <= load.sealed_bytes({FACE: DIMENSION})


def test_slots_that_waited_for_day_keys_are_sealed_under_their_own(
    new_box: NewBox, site: Site
) -> None:
    box = new_box(custodians=())
    for _ in range(3 * SLOT_S // 100):
        box.watch(100)
    assert box.payloads() == []
    assert "0 of 3 custodians" in box.sealer.stats().waiting_for
    for name in ("c1", "c2", "c3"):
        box.keyring.accept(site.day_keys(name))
    assert box.sealer.finish()
    opened = segments(box)
    assert slots_of(opened) == list(range(SLOT, SLOT + 4))
    assert sum(one.coverage.watched_s for one in opened if one.coverage) == 3 * SLOT_S


def test_a_restart_within_a_slot_covers_from_its_start_and_the_two_add_up(
    new_box: NewBox, site: Site
) -> None:
    box = new_box()
    box.watch(300)
    assert box.sealer.finish()
    payloads = box.payloads()
    box.outbox.close()
    box.clock.pass_s(60)
    again = new_box(folder=box.folder, clock=box.clock)
    again.watch(200, View.DARK)
    again.to_next_slot()
    first, second = (one for one in site.open(again.payloads()) if one.kind == "segment")
    assert site.open(payloads)[-1].coverage == first.coverage == Coverage(watched_s=300)
    assert second.coverage == Coverage(dark_s=200)
    assert (first.slot, second.slot) == (SLOT, SLOT)


def test_a_slot_with_more_than_fits_tells_its_coverage_once(new_box: NewBox) -> None:
    box = new_box(max_segment_bytes=8000, sealing=SealingConfig(live_after_s=60, grace_s=0))
    for seed in range(40):
        box.watch(10)
        box.see(seed)
    box.to_next_slot()
    opened = segments(box)
    assert len(opened) > 1
    assert {one.slot for one in opened} == {SLOT}
    assert sum(one.coverage.watched_s for one in opened if one.coverage) == 400


# -- counts ---------------------------------------------------------------------------------------


def test_nobody_is_counted_where_the_policy_does_not_permit_it(box: Box) -> None:
    box.watch(60)
    box.see(1)
    box.to_next_slot()
    assert [one.counts for one in segments(box)] == [None]


def test_where_permitted_every_segment_counts_whoever_came_or_not(new_box: NewBox) -> None:
    sealing = SealingConfig(live_after_s=60, grace_s=5, day_keys_wait_s=0)
    box = new_box(counting=True, sealing=sealing)
    box.watch(120)
    box.see(1, 2)
    box.to_next_slot()
    box.watch(600)
    box.to_next_slot()
    busy, empty = segments(box)
    assert busy.counts == Counts(2, masked=2, at_once=(2, 0, 0))
    assert empty.counts == Counts()
    assert busy.size == empty.size


def test_a_live_envelope_counts_nobody(new_box: NewBox) -> None:
    box = new_box(counting=True)
    box.see(1)
    box.live_now()
    assert [one.counts for one in box.opened()] == [None]


def test_a_policy_that_comes_to_forbid_counts_stops_them_with_the_next_segment(
    new_box: NewBox,
) -> None:
    box = new_box(counting=True)
    box.watch(60)
    box.to_next_slot()
    box.counting = False
    box.watch(60)
    box.to_next_slot()
    assert [one.counts for one in segments(box)] == [Counts(), None]


def test_a_slot_of_several_segments_counts_everybody_once(new_box: NewBox) -> None:
    box = new_box(
        max_segment_bytes=8000,
        counting=True,
        custodians=(),
        sealing=SealingConfig(live_after_s=60, grace_s=0, day_keys_wait_s=0),
    )
    for seed in range(40):
        box.see(seed)
    for custodian in ("c1", "c2", "c3"):
        box.keyring.accept(box.site.day_keys(custodian))
    box.to_next_slot()
    told = [one.counts for one in segments(box)]
    assert len(told) > 1
    assert told[1:] == [Counts()] * (len(told) - 1)
    assert Counts.together(one for one in told if one).people == 40


# -- replaced live envelopes ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_segment_names_the_live_envelopes_that_headquarters_may_have(box: Box) -> None:
    payloads: list[bytes] = []
    for seed in range(3):
        box.see(seed)
        box.live_now()
        payloads += box.payloads()
    box.see(3)
    box.live_now()  # nobody is handed this one: the segment takes its number
    box.to_next_slot()
    box.see(4)
    box.live_now()
    payloads += box.payloads()
    box.to_next_slot()
    opened = box.site.open(payloads + box.payloads())
    assert [(one.kind, one.sequence, one.replaces) for one in opened] == [
        ("live", 1, ()),
        ("live", 2, ()),
        ("live", 3, ()),
        ("segment", 4, ((1, 3),)),
        ("live", 5, ()),
        ("segment", 6, ((5, 5),)),
    ]
    assert opened[3].ids == [0, 1, 2, 3]


def test_a_segment_of_another_generation_replaces_nothing_of_the_one_before(
    new_box: NewBox, site: Site
) -> None:
    box = new_box()
    box.see(1)
    box.live_now()
    payloads = box.payloads()
    box.outbox.close()
    again = new_box(folder=box.folder, clock=box.clock)
    again.see(2)
    assert again.sealer.finish()
    opened = site.open(again.payloads())
    assert opened[-1].replaces == ()
    assert site.open(payloads)[0].sequence == 1


def test_a_box_that_lost_its_numbers_replaces_none_of_an_earlier_life(box: Box) -> None:
    box.see(1)
    box.live_now()
    box.payloads()
    box.outbox.receipt("cam-1", stored_through=40, missing=(), issued_at_ms=NOON_MS)
    box.see(2)
    box.live_now()
    before = box.announced + box.payloads()
    box.to_next_slot()
    opened = box.site.open(before + box.payloads())
    assert [(one.sequence, one.replaces) for one in opened] == [(41, ()), (42, ((41, 41),))]


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_the_numbers_and_no_others(numbers: set[int]) -> None:
    ranges = ranges_of(sorted(numbers))
    assert {n for first, last in ranges for n in range(first, last + 1)} == numbers
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(ranges))


# -- keys -----------------------------------------------------------------------------------------


def test_leaves_of_every_label_go_with_their_slot(box: Box) -> None:
    box.watch(60)
    keys = box.sealer._keys.epoch_keys
    assert keys is not None
    assert keys.version == 2
    labels = (FACE, META, LIVE, COVER, EVIDENCE)
    for label in labels:
        assert len(keys.leaves(label, SLOT)) == 3
    assert set(keys.slot_keys(SLOT)) == {FACE, COVER, COUNTS, LIVE}, (
        "metadata and stills open one by one"
    )
    for _ in range(SLOT_S // 50 + 1):
        box.watch(50)
    for label in labels:
        with pytest.raises(ScopeExceeded):
            keys.leaves(label, SLOT)
        keys.leaves(label, SLOT + 1)
    with pytest.raises(ScopeExceeded):
        keys.row_keys(SLOT)


# -- coverage as it is reckoned -------------------------------------------------------------------


def test_coverage_goes_with_the_clock_when_it_is_set(box: Box) -> None:
    box.watch(100)
    box.clock.set_s(-3600)
    box.watch(100, View.DARK)
    box.clock.set_s(7200)
    box.watch(100)
    assert box.sealer.finish()
    (segment,) = segments(box)
    assert segment.slot == SLOT + 4
    assert segment.coverage == Coverage(watched_s=200, dark_s=100)


def test_what_was_seen_by_a_clock_that_has_been_set_since_is_put_where_it_belongs(
    box: Box,
) -> None:
    begin_ms, origin_ms = box.clock.now_ms, box.clock.origin_ms
    box.clock.pass_s(30)
    box.clock.set_s(3600)
    box.sealer.cover(View.WATCHED, begin_ms, begin_ms + 30_000, origin_ms=origin_ms)
    assert box.sealer.finish()
    (segment,) = segments(box)
    assert (segment.slot, segment.coverage) == (SLOT + 4, Coverage(watched_s=30))


def test_a_recording_covers_what_was_read_of_it(new_box: NewBox) -> None:
    box = new_box()
    sealer = box.new_sealer("cam-2", own_time=True)
    begin_ms = (EPOCH * SLOTS_PER_EPOCH + 10) * SLOT_MS + 600_000
    for second in range(600):
        at_ms = begin_ms + 1000 * second
        sealer.cover(View.WATCHED, at_ms, at_ms + 1000)
        sealer.tick(at_ms)
    assert sealer.finish()
    opened = segments(box)
    assert [(one.slot, one.coverage) for one in opened] == [
        (10, Coverage(watched_s=300)),
        (11, Coverage(watched_s=300)),
    ]


def test_nothing_is_covered_of_slots_that_are_sealed_or_have_not_begun(box: Box) -> None:
    box.watch(60)
    for _ in range(SLOT_S // 50 + 1):
        box.watch(50)
    box.payloads()
    box.sealer.cover(View.WATCHED, NOON_MS, NOON_MS + 1000)
    box.sealer.cover(View.WATCHED, NOON_MS + 5 * SLOT_MS, NOON_MS + 6 * SLOT_MS)
    assert set(box.sealer._coverage._slots) == {box.clock.now_ms // SLOT_MS}


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(View)), st.integers(0, 4 * SLOT_MS), st.integers(0, SLOT_MS)
        ),
        max_size=12,
    ),
    st.integers(-2 * SLOT_S, 2 * SLOT_S),
)
def test_each_second_counts_once_and_as_the_best_that_was_told_of_it(
    told: list[tuple[View, int, int]], step_s: int
) -> None:
    book = CoverageBook()
    best: dict[int, View] = {}
    base = 1000 * SLOT_MS
    for view, after_ms, for_ms in told:
        from_ms = base + after_ms
        book.tell(view, from_ms, from_ms + for_ms, floor=1001, end=1004)
        for second in range(from_ms // 1000, max(from_ms, from_ms + for_ms - 1) // 1000 + 1):
            if 1001 <= second // SLOT_S < 1004:
                best[second] = max(view, best.get(second, view))
    book.move(1000 * step_s, end=2000)
    best = {second + step_s: view for second, view in best.items()}
    for number in range(998, 1008):
        mine = [view for second, view in best.items() if second // SLOT_S == number]
        assert book.has(number) == bool(mine)
        assert book.of(number) == Coverage(
            watched_s=mine.count(View.WATCHED),
            blind_s=mine.count(View.BLIND),
            dark_s=mine.count(View.DARK),
            frozen_s=mine.count(View.FROZEN),
            offline_s=mine.count(View.OFFLINE),
            standing_in_s=mine.count(View.STANDING_IN),
        )


def test_two_days_of_slots_are_all_that_is_kept(box: Box) -> None:
    book = CoverageBook()
    for number in range(1000):
        book.tell(View.WATCHED, number * SLOT_MS, number * SLOT_MS + 1, floor=0, end=1000)
    assert len(book) == 2 * SLOTS_PER_EPOCH
    assert book.first_before(1000) == 1000 - 2 * SLOTS_PER_EPOCH


# -- what goes beside the envelopes in the clear --------------------------------------------------


def health_of(box: Box, folder: Path) -> dict[str, float]:
    """What the box reports of itself, without what is the machine's alone."""
    stats = box.sealer.stats()
    camera = CameraFigures(
        state=2,
        fps=5.0,
        read=100,
        dropped=0,
        waiting=False,
        generation=stats.generation,
    )
    told = figures(
        outbox=box.outbox.stats(),
        cameras={"cam-1": camera},
        models={FACE: MODEL},
        state_dir=folder,
        others={},
    )
    return {name: value for name, value in told.items() if not name.startswith(("disk", "temp"))}


def test_health_reports_tell_nobody_how_many_people_passed(new_box: NewBox, tmp_path: Path) -> None:
    told = []
    for people in (0, 6):
        box = new_box(sealing=SealingConfig(live_after_s=60, grace_s=5, day_keys_wait_s=0))
        box.watch(600)
        for seed in range(people):
            seen = make_sighting(box.clock.now_ms - 1000, seed=seed, encounters=0)
            box.sealer.add([seen], box.clock.now_ms)
        while_held = health_of(box, tmp_path)
        box.to_next_slot()
        late_ms = box.clock.now_ms - round(1000 * box.spread_s) - 7000
        late = [make_sighting(late_ms, seed=100 + number) for number in range(people)]
        box.sealer.add(late, box.clock.now_ms)
        told.append((while_held, health_of(box, tmp_path)))
    nobody, somebody = told
    assert nobody == somebody
