"""What boxes tell of their watching and counting is added up for a query's officers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import protocol_samples as s
import pytest
import query_samples_v2 as q2
from boxes_v2 import BoxOfVersion2, make_box_v2, strangers
from intake_desk import Desk
from sealed_boxes import DAY, NOON_SLOT, make_box
from store_file import altering

from aggregator.matching.coverage import Portion, tell_portions
from aggregator.standing import Run
from aggregator.store.rows import EpochName
from aggregator.watch_keeping import closed_in
from aggregator.watching import (
    ARRIVAL_MS,
    KEEP_S,
    SHARE,
    SLOTS_A_STEP,
    Closed,
    Watch,
    ended_until_ms,
    settled_until_ms,
)
from protocol.encoding import decode, encode
from protocol.epoch import RECORDING
from protocol.errors import AuthenticationFailed, MalformedMessage, UnsupportedVersion
from protocol.keytree import COUNTS, COVER, FACE
from protocol.names import SLOT_MS, slot_start_ms
from protocol.query import Asked, Query
from protocol.small_cells import Small
from protocol.v2.counts import Counts
from protocol.v2.rows import SLOT_S, Coverage
from protocol.watching import (
    MAX_BY_SLOT,
    MAX_COUNTS,
    NOT_GRANTED,
    OPENED,
    REFUSED,
    CameraWatch,
    PlaceCounts,
    Watching,
)

FEW, WITHHELD = Small.FEW, Small.WITHHELD

RNG = np.random.default_rng(5)
FIRST, END = NOON_SLOT - 12, NOON_SLOT - 4
BEGIN_MS, END_MS = slot_start_ms(DAY, FIRST), slot_start_ms(DAY, END)
NUMBER = BEGIN_MS // SLOT_MS
HALF = Coverage(watched_s=400, dark_s=50)


class Site(Desk):
    """A store and its intake, boxes of either version, and what one query knows of them."""

    def __init__(self, folder: Path) -> None:
        self.box, self.other, self.old = make_box_v2(1), make_box_v2(2), make_box(3)
        super().__init__(folder / "a.db", [self.box, self.other, self.old])
        self.watch = Watch()
        self.seen = 0

    def keep(self, *messages: tuple[str, bytes]) -> None:
        assert self.take(*messages).stored == len(messages), self.rejects()

    def fresh(self, *boxes: BoxOfVersion2, labels: Sequence[str] = (COVER, COUNTS)) -> None:
        """Let the keys of boxes have come."""
        self.seen = self.store.segments.newest()
        keys = [box.keys(FIRST, END - 1, labels=labels) for box in boxes]
        self.watch.note(keys, [], after=0, through=self.seen)
        self.look()

    def arrived(self, *boxes: BoxOfVersion2) -> None:
        """Look at what has come since under keys at hand."""
        keys = [box.keys(FIRST, END - 1, labels=(COVER, COUNTS)) for box in boxes]
        before, self.seen = self.seen, self.store.segments.newest()
        self.watch.note([], keys, after=before, through=self.seen)
        self.look()

    def look(self) -> None:
        while portions := self.watch.next_portions():
            self.watch.take(portions, tell_portions(self.store.segments, portions))

    def told(self, *cameras: str, asks: Asked | None = None) -> Watching:
        return self.watch.told(query(cameras or ("cam-1",), asks), until_ms=END_MS)

    def of(self, camera: str = "cam-1") -> CameraWatch:
        (found,) = self.told(camera).watches()
        return found


def query(cameras: Sequence[str] = ("cam-1",), asks: Asked | None = None) -> Query:
    return q2.query(
        cameras=tuple(cameras),
        window_from_ms=BEGIN_MS,
        window_to_ms=END_MS,
        asks=asks or Asked(same_place_counts=True),
    )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# -- coverage -------------------------------------------------------------------------------------


def test_an_empty_slot_differs_from_one_that_nobody_watched_and_from_one_of_which_nothing_came(
    site: Site,
) -> None:
    box = site.box
    site.keep(
        box.segment([], slot=FIRST),
        box.segment(strangers(3, RNG), slot=FIRST + 1, coverage=HALF),
        box.segment([], slot=FIRST + 1, coverage=Coverage(blind_s=50, watched_s=20)),
        box.segment([], slot=FIRST + 2, coverage=None),
        box.live(strangers(1, RNG), slot=FIRST + 4),
    )
    site.fresh(box)
    told = site.of()
    assert told.by_slot == (SLOT_S, 420, 0, *[None] * 5)
    assert (told.watched_s, told.dark_s, told.blind_s) == (SLOT_S + 420, 50, 50)
    assert told.missing_s == 5 * SLOT_S
    assert told.total_s == 8 * SLOT_S
    assert told.untold_s == (SLOT_S - 420 - 100) + SLOT_S
    assert not told.watched_wholly


def test_a_segment_that_does_not_open_tells_nothing(site: Site) -> None:
    box = site.box
    site.keep(box.segment([], slot=FIRST), box.segment([], slot=FIRST + 1))
    with altering(site.store) as connection:
        connection.execute("UPDATE sealed_rows SET cover = zeroblob(length(cover)) WHERE id = 2")
    site.fresh(box)
    assert site.of().by_slot[:2] == (SLOT_S, None)
    site.watch = Watch()
    site.fresh(box, labels=(FACE,))
    assert site.of().missing_s == 8 * SLOT_S, "what was not granted cannot be told"


def test_a_box_that_tells_more_seconds_than_there_are_has_watched_none(site: Site) -> None:
    site.keep(site.box.segment([], slot=FIRST), site.box.segment([], slot=FIRST, coverage=HALF))
    site.fresh(site.box)
    assert site.of().by_slot[0] == 0


def test_what_arrives_is_added_and_what_is_granted_anew_is_told_anew(site: Site) -> None:
    box = site.box
    site.keep(box.segment([], slot=FIRST, coverage=HALF))
    site.fresh(box)
    site.keep(box.segment([], slot=FIRST, coverage=HALF), box.segment([], slot=FIRST + 1))
    assert site.of().watched_s == 400
    site.arrived(box)
    assert site.of().watched_s == 800 + SLOT_S
    site.arrived(box)
    site.fresh(box)
    assert site.of().watched_s == 800 + SLOT_S, "each segment once"


def test_generations_of_a_camera_add_up_and_of_two_boxes_the_better_counts(site: Site) -> None:
    site.keep(site.box.segment([], slot=FIRST, coverage=HALF))
    site.fresh(site.box)
    site.box.generation += 1
    site.keep(site.box.segment([], slot=FIRST, coverage=HALF))
    site.fresh(site.box)
    assert site.of().by_slot[0] == 800
    another = replace(site.other, camera="cam-1")
    site.directory = replace(
        site.directory,
        principals={
            **site.directory.principals,
            "box-2": replace(site.directory.principals["box-2"], cameras=("cam-1",)),
        },
    )
    site.keep(another.segment([], slot=FIRST), another.segment([], slot=FIRST + 1, coverage=HALF))
    site.fresh(another)
    assert site.of().by_slot[:2] == (SLOT_S, 400), "not both"


def importing(site: Site, box: BoxOfVersion2, *cameras: str) -> None:
    """Let a box import films of its own camera, or be a station of others'."""
    listed = dict(site.directory.principals)
    films = cameras or (box.camera,)
    listed[box.name] = replace(listed[box.name], recordings=films)
    site.directory = replace(site.directory, form=2, principals=listed)


def film_of(site: Site, box: BoxOfVersion2, *told: tuple[int, Coverage], **counts: Counts) -> None:
    """Let a box import a film, of which it tells so much of each slot, under a new generation."""
    box.generation, box.origin = box.generation + 1, RECORDING
    site.keep(*(box.segment([], slot=slot, coverage=cover, **counts) for slot, cover in told))
    site.fresh(box)


def test_what_a_box_missed_and_its_film_has_was_watched(site: Site) -> None:
    box = site.box
    importing(site, box)
    link_down = Coverage(watched_s=300, offline_s=500, dark_s=100)
    site.keep(box.segment([], slot=FIRST, coverage=link_down), box.segment([], slot=FIRST + 1))
    site.fresh(box)
    film_of(site, box, (FIRST, Coverage(watched_s=450, blind_s=40)), (FIRST + 3, HALF))
    told = site.of()
    assert told.by_slot[:4] == (750, SLOT_S, None, 400)
    assert (told.offline_s, told.blind_s, told.dark_s) == (10, 40, 150)


def test_an_hour_watched_and_imported_all_the_same_is_told_once(site: Site) -> None:
    box = site.box
    importing(site, box)
    site.keep(
        box.segment([], slot=FIRST, coverage=Coverage(watched_s=700)),
        box.segment([], slot=FIRST + 1, coverage=Coverage(watched_s=500)),
    )
    site.fresh(box)
    film_of(
        site,
        box,
        (FIRST, Coverage(watched_s=600, blind_s=300)),
        (FIRST + 1, Coverage(watched_s=800)),
    )
    told = site.of()
    assert told.by_slot[:2] == (700, 800)
    assert told.blind_s == 0


def test_films_of_one_slot_that_were_imported_in_parts_add_up(site: Site) -> None:
    importing(site, site.box)
    film_of(site, site.box, (FIRST, Coverage(watched_s=420)))
    film_of(site, site.box, (FIRST, Coverage(watched_s=480)))
    assert site.of().by_slot[0] == SLOT_S


def test_of_a_box_that_watched_and_a_station_that_imported_the_longer_counts(site: Site) -> None:
    station = site.other
    importing(site, station, site.box.camera)
    station.camera = site.box.camera
    site.keep(
        site.box.segment([], slot=FIRST),
        site.box.segment([], slot=FIRST + 1, coverage=Coverage(watched_s=100, offline_s=800)),
    )
    site.fresh(site.box)
    film_of(site, station, (FIRST, HALF), (FIRST + 1, HALF))
    assert site.of().by_slot[:2] == (SLOT_S, 400), "never both"


def test_people_whom_a_box_and_its_film_counted_in_other_seconds_add_up(site: Site) -> None:
    box = site.box
    importing(site, box)
    part = Coverage(watched_s=400)
    seen, filmed = Counts(40, 10, 10, 5, 5, (5, 6, 7)), Counts(40, 5, 6, 5, 7, (8, 5, 9))
    site.keep(
        box.segment([], slot=FIRST, coverage=part, counts=seen),
        box.segment([], slot=FIRST + 1, counts=Counts(60, 11, 12, 10, 13, (5, 5, 5))),
    )
    site.fresh(box)
    film_of(site, box, (FIRST, part), (FIRST + 1, part), counts=filmed)
    first, second = site.told().places()
    assert (first.people, first.masked, first.unmasked) == (53, 15, 16)
    assert (first.changed, first.unknown, first.at_once) == (10, 12, (8, 6, 9))
    assert (second.people, second.masked) == (46, 11), "who was counted as it happened, once"


def test_a_box_of_version_1_is_said_to_tell_nothing_of_it(site: Site) -> None:
    old = site.old.keys(FIRST, END - 1)
    site.watch.note([old], [], after=0, through=0)
    site.look()
    told = site.of("cam-3")
    assert (told.version_1_s, told.missing_s, told.untold_s) == (8 * SLOT_S, 0, 0)


def test_a_camera_that_never_spoke_was_not_watched(site: Site) -> None:
    (told,) = site.told("cam-9").watches()
    assert (told.missing_s, told.watched_s) == (8 * SLOT_S, 0)


# -- counts ---------------------------------------------------------------------------------------


def test_counts_are_told_by_place_and_quarter_hour_where_somebody_came(site: Site) -> None:
    one = Counts(24, masked=10, unmasked=7, at_once=(2, 0, 10))
    more = Counts(20, changed=10, unknown=9, at_once=(10, 2, 0))
    few = Counts(20, masked=2, unmasked=2, at_once=(4, 4, 4))
    site.keep(
        site.box.segment([], slot=FIRST, counts=one),
        site.box.segment([], slot=FIRST, counts=more, coverage=Coverage()),
        site.box.segment([], slot=FIRST + 1, counts=Counts()),
        site.box.segment([], slot=FIRST + 2),
        site.other.segment([], slot=FIRST + 3, counts=more),
        site.other.segment([], slot=FIRST + 4, counts=few),
    )
    site.fresh(site.box, site.other)
    told = site.told("cam-1", "cam-2")
    assert told.counted is not None
    assert told.counted.tolist() == [2, 2]
    assert told.counted_by_slot is not None
    assert told.counted_by_slot.tolist() == [[1, 1, *[0] * 6], [0, 0, 0, 1, 1, 0, 0, 0]]
    assert list(told.places()) == [
        PlaceCounts("cam-1", BEGIN_MS, 36, 10, 7, 10, 9, at_once=(10, FEW, 10)),
        PlaceCounts(
            "cam-2", BEGIN_MS + 3 * SLOT_MS, WITHHELD, FEW, FEW, 10, 9, at_once=(10, FEW, FEW)
        ),
    ]


def test_what_is_sealed_holds_no_number_of_people_below_five(site: Site) -> None:
    for slot in range(8):
        counts = Counts(40, masked=slot, unmasked=2, unknown=9, at_once=(slot, 0, 0))
        site.keep(site.box.segment([], slot=FIRST + slot, counts=counts))
    site.fresh(site.box)
    told = site.told().counts
    assert told is not None
    assert len(told) == 8
    assert told[:, 2:].min() >= 5


def test_who_did_not_ask_for_counts_is_told_none(site: Site) -> None:
    site.keep(site.box.segment([], slot=FIRST, counts=Counts(4, masked=1)))
    site.fresh(site.box, labels=(COVER,))
    told = site.told(asks=Asked())
    assert (told.counts, told.counted, list(told.places())) == (None, None, [])
    assert site.told().counts is not None
    assert list(site.told().places()) == [], "and no custodian released their key"


def test_counts_that_no_slot_can_have_are_left_out(site: Site) -> None:
    most = Counts(1 << 20, masked=1 << 20, at_once=(9, 9, 9))
    site.keep(*(site.box.segment([], slot=FIRST, counts=most, coverage=None) for _ in range(2)))
    site.fresh(site.box)
    assert list(site.told().places()) == []


# -- bounds ---------------------------------------------------------------------------------------


def test_a_large_scope_is_told_by_camera_and_the_busiest_quarter_hours(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slot, people in enumerate((30, 10, 20, 4)):
        site.keep(site.box.segment([], slot=FIRST + slot, counts=Counts(people, masked=people)))
    site.fresh(site.box)
    monkeypatch.setattr("aggregator.watching.MAX_BY_SLOT", 15)
    monkeypatch.setattr("aggregator.watching.MAX_COUNTS", 2)
    assert site.told().by_slot is not None
    told = site.told("cam-1", "cam-2")
    assert told.by_slot is None
    assert told.counts_left_out == 1
    assert [one.people_at_least for one in told.places()] == [30, 20]
    monkeypatch.setattr("aggregator.watching.MAX_CAMERAS", 1)
    assert site.told("cam-1", "cam-2").cameras_left_out == 1
    assert MAX_BY_SLOT < 300_000
    assert MAX_COUNTS <= 10_000


def test_a_large_scope_is_looked_at_in_steps(site: Site) -> None:
    keys = [site.box.keys(labels=(COVER,)) for _ in range(30)]
    site.watch.note(keys, [], after=0, through=1)
    portions = site.watch.next_portions()
    assert 96 * len(portions) <= SLOTS_A_STEP < 96 * (len(portions) + 1)
    assert site.watch.is_due(0.0)
    site.watch.take(portions, [])
    assert len(site.watch.portions) == 30 - len(portions)


# -- what officers read ---------------------------------------------------------------------------


def told_of_much(site: Site) -> Watching:
    site.keep(
        site.box.segment([], slot=FIRST, counts=Counts(40, masked=31, at_once=(11, 0, 0))),
        site.box.segment([], slot=FIRST + 2, coverage=HALF),
    )
    site.fresh(site.box)
    return site.told("cam-1", "cam-2")


def test_officers_read_what_was_sealed_to_them_and_nobody_else_does(site: Site) -> None:
    told, digest = told_of_much(site), bytes(32)
    ana = s.sealing_key("ana")
    sealed = told.seal(ana.public, query_digest=digest)
    read = Watching.open(sealed, ana, query_digest=digest)
    assert list(read.watches()) == list(told.watches())
    assert list(read.places()) == list(told.places())
    with pytest.raises(AuthenticationFailed):
        Watching.open(sealed, s.sealing_key("bo"), query_digest=digest)
    with pytest.raises(AuthenticationFailed):
        Watching.open(sealed, ana, query_digest=b"q" * 32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"until_ms": END_MS - 1}, "whole quarter hours"),
        ({"until_ms": END_MS + 10**9 * SLOT_MS}, "more quarter hours"),
        ({"until_ms": BEGIN_MS, "by_slot": None, "counted_by_slot": None}, "more seconds than"),
        ({"seconds": np.zeros((1, 8), np.uint32)}, "not one a camera"),
        ({"cameras": ("cam-1", "cam-1")}, "distinct"),
        ({"cameras": ("cam-1", "Cam 2")}, "not a name"),
        ({"seconds": np.full((2, 8), 1 << 31, np.uint32)}, "more seconds than"),
        ({"by_slot": np.full((2, 8), 901, np.uint16)}, "more seconds than it has"),
        ({"by_slot": np.zeros((2, 7), np.uint16)}, "byte string"),
        ({"counted": np.full(2, 9, np.uint32)}, "more quarter hours are counted"),
        ({"counts": np.array([[2, FIRST, *[20] * 8]])}, "not told of"),
        ({"counts": np.array([[0, FIRST, *[20] * 8]])}, "not told of"),
        ({"counts": np.array([[0, NUMBER, 9, 9, 9, 9, 9, 9, 9, 9]])}, "contradict"),
        ({"counts": np.array([[0, NUMBER, 9, 4, 5, 5, 5, 5, 5, 5]])}, "below five"),
        ({"counts": np.array([[0, NUMBER, 20, 5, 5, 5, 5, 9, 9, 9]] * 2)}, "counted twice"),
        (
            {"counted_by_slot": np.full((2, 8), 2, np.uint8)},
            "counted_by_slot holds a number that means nothing",
        ),
        ({"counted_by_slot": np.zeros((2, 7), np.uint8)}, "byte string"),
        ({"counts": np.zeros((1, 9))}, "cut short"),
    ],
)
def test_what_cannot_be_is_not_believed(site: Site, change: dict[str, object], reason: str) -> None:
    told = replace(told_of_much(site), **change)  # type: ignore[arg-type]
    ana = s.sealing_key("ana")
    sealed = told.seal(ana.public, query_digest=bytes(32))
    with pytest.raises(MalformedMessage, match=reason):
        Watching.open(sealed, ana, query_digest=bytes(32))


def test_what_an_earlier_aggregator_told_exactly_is_read_without_small_numbers(site: Site) -> None:
    told = told_of_much(site)
    exact = np.array([[0, NUMBER, 30, 10, 2, 9, 0, 9, 3, 0], [1, NUMBER, 4, 3, 0, 0, 0, 1, 1, 1]])
    value = decode(told.to_bytes(), what="watching")
    del value["counted_by_slot"]
    value |= {"v": 2, "counts": exact.astype("<u4").tobytes()}
    (read,) = Watching.parse(encode(value)).places()
    assert (read.people_at_least, read.masked, read.unmasked) == (19, 10, FEW)
    with pytest.raises(UnsupportedVersion, match="form 4"):
        Watching.parse(encode(value | {"v": 4}))


# -- when -----------------------------------------------------------------------------------------


def test_officers_are_told_at_once_and_then_now_and_again() -> None:
    watch = Watch()
    watch.changed(100.0)
    assert watch.is_due(100.0)
    watch.kept(END_MS)
    assert not watch.is_due(10_000.0)
    watch.changed(200.0)
    watch.changed(210.0)
    assert not watch.is_due(200.0 + KEEP_S - 1)
    assert watch.is_due(200.0 + KEEP_S)


def test_what_takes_long_to_put_together_is_told_the_more_seldom() -> None:
    watch = Watch()
    watch.kept(1, took_s=4.0)
    watch.changed(100.0)
    assert not watch.is_due(100.0 + SHARE * 4.0 - 1)
    assert watch.is_due(100.0 + SHARE * 4.0)
    watch.kept(1, took_s=0.01)
    watch.changed(500.0)
    assert watch.is_due(500.0 + KEEP_S)


def test_a_quarter_hour_is_told_of_once_its_segments_can_be_there() -> None:
    asked = query()
    assert settled_until_ms(asked, BEGIN_MS - 1) == BEGIN_MS
    assert settled_until_ms(asked, BEGIN_MS + SLOT_MS + ARRIVAL_MS - 1) == BEGIN_MS
    assert settled_until_ms(asked, BEGIN_MS + SLOT_MS + ARRIVAL_MS) == BEGIN_MS + SLOT_MS
    assert ended_until_ms(asked, BEGIN_MS + SLOT_MS) == BEGIN_MS + SLOT_MS
    assert ended_until_ms(asked, END_MS + 1) == settled_until_ms(asked, END_MS * 2) == END_MS


def test_nothing_is_held_of_a_query_that_has_ended(site: Site) -> None:
    told_of_much(site)
    site.watch.note([site.box.keys(labels=(COVER,))], [], after=0, through=1)
    site.watch.forget()
    assert not site.watch.is_due(1e9)
    assert site.of().missing_s == 8 * SLOT_S


def test_a_portion_of_version_1_tells_nothing(site: Site) -> None:
    assert tell_portions(site.store.segments, [Portion(site.old.keys(), 0, 1, anew=True)]) == []


# -- what stays closed ----------------------------------------------------------------------------


def closed_of(site: Site, *closed: Closed, camera: str = "cam-1") -> tuple[int, ...]:
    told = site.watch.told(query((camera,)), until_ms=END_MS, closed=closed)
    sealed = told.seal(s.sealing_key("ana").public, query_digest=bytes(32))
    read = Watching.open(sealed, s.sealing_key("ana"), query_digest=bytes(32))
    (one,) = read.watches()
    return one.closed


def name_of(box: BoxOfVersion2, generation: int = 0) -> EpochName:
    return (box.address.box, box.address.camera, DAY, generation)


def test_what_was_refused_or_not_granted_is_told_by_the_quarter_hour(site: Site) -> None:
    site.keep(site.box.segment([], slot=FIRST, coverage=HALF))
    site.fresh(site.box)
    assert closed_of(site) == ()
    waits = Closed(name_of(site.box, 7), range(FIRST, FIRST + 3), NOT_GRANTED)
    refused = Closed(name_of(site.box, 8), range(FIRST + 2, FIRST + 4), REFUSED)
    told = closed_of(site, waits, refused)
    assert told[:5] == (OPENED, NOT_GRANTED, REFUSED, REFUSED, OPENED), (
        "something came of the first"
    )
    assert closed_of(site, refused, waits) == told
    elsewhere = Closed(("box-9", "cam-9", DAY, 0), range(FIRST, FIRST + 3), REFUSED)
    assert closed_of(site, elsewhere) == ()
    beyond = Closed(name_of(site.box, 9), range(96), NOT_GRANTED)
    assert set(closed_of(site, beyond)[1:]) == {NOT_GRANTED}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"closed": np.full((2, END - FIRST), 4, np.uint8)}, "means nothing"),
        ({"closed": np.zeros((2, END - FIRST - 1), np.uint8)}, "byte string"),
        ({"closed": np.full((2, END - FIRST), REFUSED, np.uint8)}, "something came"),
        ({"closed": np.zeros((2, END - FIRST), np.uint8), "by_slot": None}, "something came"),
    ],
)
def test_closed_quarter_hours_that_cannot_be_are_not_believed(
    site: Site, change: dict[str, object], reason: str
) -> None:
    told = replace(told_of_much(site), **change)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage, match=reason):
        Watching.parse(told.to_bytes())


def test_a_run_tells_what_it_asked_for_and_did_not_get(site: Site) -> None:
    run = Run()
    box, other, late = name_of(site.box), name_of(site.other), name_of(site.box, 3)
    run.asked = {box: range(4, 12), other: range(4, 8), late: range(4, 8)}
    run.refused = {other: range(4, 8)}
    run.keys = {box: site.box.keys(6, 9, labels=(COVER,))}
    found = [(one.name, one.slots, one.why) for one in closed_in(run) if one.slots]
    assert found == [
        (box, range(4, 6), NOT_GRANTED),
        (box, range(10, 12), NOT_GRANTED),
        (other, range(4, 8), REFUSED),
        (late, range(4, 8), NOT_GRANTED),
    ]


def test_workers_are_given_what_is_fresh_and_up_to_one_cursor(site: Site) -> None:
    watch, keys = site.watch, site.box.keys()
    watch.note([keys, keys, keys], [keys], after=3, through=7)
    watch.note([keys], [], after=0, through=9)
    assert len(watch.next_fresh(range(1, 1000))) == 3, "what has arrived since is no fresh scope"
    assert len(watch.next_fresh(range(1, 2 * 96))) == 2
    assert watch.next_fresh(range(4 * 96, 1000)) == [], "so few are looked at here"
    assert watch.next_fresh(range(0)) == [], "there are no workers"
    watch.take(watch.portions[:4], [])
    assert len(watch.next_fresh(range(1, 1000))) == 1
