"""Films of days past come beside what a box sees, in one series of numbers, and are true."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes_v2 import BoxOfVersion2, make_box_v2, strangers
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake_desk import Desk
from sealed_boxes import NOW_MS, TestBox
from store_file import rows

from aggregator.ingest.checks import Rejected
from aggregator.ingest.sequence import MAX_DAYS, Numbers, Place, Position
from aggregator.store.retention import purge
from aggregator.store.sqlite.schema import MIGRATIONS
from aggregator.store.sqlite.store import SqliteStore
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.names import EPOCH_MS
from runtime.database import open_database

RNG = np.random.default_rng(5)
DAY = NOW_MS // EPOCH_MS
YESTERDAY, BEFORE = DAY - 1, DAY - 2
Message = tuple[str, bytes]


@pytest.fixture
def box() -> BoxOfVersion2:
    return make_box_v2(1)


@pytest.fixture
def desk(tmp_path: Path, box: BoxOfVersion2) -> Desk:
    return desk_of(tmp_path / "a.db", box)


def desk_of(path: Path, *boxes: TestBox) -> Desk:
    """Return an intake whose boxes may both watch their cameras and import films of them."""
    desk = Desk(path, list(boxes))
    listed = dict(desk.directory.principals)
    for box in boxes:
        listed[box.name] = replace(listed[box.name], recordings=(box.camera,))
    desk.directory = replace(desk.directory, form=2, principals=listed)
    return desk


class Writing:
    """What a box writes under one of its generations, in the one series of its camera."""

    def __init__(self, box: BoxOfVersion2, generation: int, epoch: int, origin: str) -> None:
        self.box, self.generation, self.epoch, self.origin = box, generation, epoch, origin

    def _at(self) -> BoxOfVersion2:
        self.box.generation, self.box.origin = self.generation, self.origin
        return self.box

    def announcement(self, *, at_ms: int = NOW_MS) -> Message:
        return self._at().announcement(self.epoch, at_ms=at_ms)

    def segment(self, slot: int = 40, *, at_ms: int | None = None) -> Message:
        return self._at().segment(
            strangers(1, RNG), epoch=self.epoch, slot=slot, sealed_at_ms=at_ms or NOW_MS
        )


def live(box: BoxOfVersion2, generation: int = 100) -> Writing:
    return Writing(box, generation, DAY, CAMERA_NOW)


def film(box: BoxOfVersion2, generation: int, epoch: int = YESTERDAY) -> Writing:
    return Writing(box, generation, epoch, RECORDING)


def test_films_of_two_days_come_between_what_the_box_sees(desk: Desk, box: BoxOfVersion2) -> None:
    now, one, other = live(box), film(box, 101), film(box, 102, BEFORE)
    batch = desk.take(
        now.announcement(),
        now.segment(20),
        one.announcement(),
        one.segment(40),
        other.announcement(),
        now.segment(21),
        other.segment(3),
        one.segment(41),
        now.segment(22),
    )
    assert (batch.stored, desk.rejects()) == (9, {})
    assert desk.intake.position(box.address) == (8, ())


def test_a_newer_generation_of_a_days_films_ends_the_older_one_and_no_other(
    desk: Desk, box: BoxOfVersion2
) -> None:
    now, one, other = live(box), film(box, 101), film(box, 102, BEFORE)
    again = film(box, 103)
    desk.take(now.announcement(), one.announcement(), other.announcement(), again.announcement())
    assert desk.take(other.segment(), now.segment(), again.segment()).stored == 3
    assert desk.take(one.segment(41)).rejected == 1
    assert desk.rejects() == {"replay": 1}


def test_a_newer_generation_of_what_the_box_sees_ends_the_older_one_and_no_films(
    desk: Desk, box: BoxOfVersion2
) -> None:
    now, one, restarted = live(box), film(box, 101), live(box, 102)
    desk.take(now.announcement(), one.announcement(), restarted.announcement())
    assert desk.take(one.segment(), restarted.segment()).stored == 2
    assert desk.take(now.segment(41)).rejected == 1
    assert desk.rejects() == {"replay": 1}


def test_what_is_over_is_known_after_a_restart_too(desk: Desk, box: BoxOfVersion2) -> None:
    now, one, again = live(box), film(box, 101), film(box, 102)
    desk.take(now.announcement(), one.announcement(), again.announcement())
    desk.intake = desk.make_intake()
    assert desk.take(now.segment(), again.segment()).stored == 2
    assert desk.take(one.segment(41)).rejected == 1
    assert desk.rejects() == {"replay": 1}


def test_a_generation_that_is_no_higher_than_those_before_is_not_begun(
    desk: Desk, box: BoxOfVersion2
) -> None:
    desk.take(live(box).announcement(), film(box, 150).announcement())
    assert desk.take(film(box, 149, BEFORE).announcement()).rejected == 1
    assert desk.rejects() == {"replay": 1}


def test_one_generation_of_a_day_is_announced_once_whatever_it_is_of(
    desk: Desk, box: BoxOfVersion2
) -> None:
    today = Writing(box, 100, DAY, RECORDING)
    desk.take(live(box).announcement())
    assert desk.take(today.announcement()).rejected == 1
    assert desk.rejects() == {"equivocation": 1}


def test_a_missed_announcement_of_films_fills_its_gap_and_begins_no_new_run(
    desk: Desk, box: BoxOfVersion2
) -> None:
    now, one = live(box), film(box, 101)
    desk.take(now.announcement())
    missed = [one.announcement(), one.segment()]
    desk.take(now.segment(20))
    assert desk.intake.position(box.address) == (3, (1, 2))
    desk.now_ms += 60 * 60_000
    assert desk.take(*missed).stored == 2
    assert desk.intake.position(box.address) == (3, ())
    assert rows(desk.store, "SELECT run FROM streams") == [(0,)]
    assert desk.take(film(box, 100).segment(44)).rejected == 1, "it is known that 101 has begun"


def test_a_box_that_lost_its_counters_begins_a_new_run_at_a_number_that_is_missed_too(
    desk: Desk, box: BoxOfVersion2
) -> None:
    now = live(box)
    box.sequence = 3
    desk.take(now.announcement(), now.segment(20))
    desk.now_ms += 60 * 60_000
    box.sequence = 0
    anew = live(box, 500)
    batch = desk.take(anew.announcement(at_ms=desk.now_ms), anew.segment(30, at_ms=desk.now_ms))
    assert batch.stored == 2
    assert rows(desk.store, "SELECT run FROM streams") == [(1,)]
    assert desk.intake.position(box.address) == (1, ())


def test_with_a_new_run_all_that_was_open_is_over(desk: Desk, box: BoxOfVersion2) -> None:
    now, one = live(box), film(box, 101)
    desk.take(now.announcement(), one.announcement(), one.segment())
    box.sequence = 0
    anew = film(box, 500, BEFORE)
    desk.take(anew.announcement())
    box.sequence = 3  # of the old run, and late
    late = [now.segment(20), one.segment(41)]
    desk.intake = desk.make_intake()
    assert desk.take(*late).rejected == 2
    assert desk.rejects() == {"replay": 2}
    assert desk.intake.position(box.address) == (0, ())


def test_a_box_that_tells_of_days_without_end_takes_no_memory_for_them() -> None:
    position = Position(stream=1)
    for day in range(3 * MAX_DAYS):
        said = Numbers(day, day + 1, day, RECORDING, announces=True, made_ms=None)
        assert position.place(said) is Place.AHEAD
        position.highest = day
        position.begin(said)
    assert len(position.recorded) == MAX_DAYS


def test_two_boxes_of_one_camera_have_each_their_own_series(tmp_path: Path) -> None:
    watches, imports = make_box_v2(1), make_box_v2(2)
    imports.camera = watches.camera
    desk = desk_of(tmp_path / "a.db", watches, imports)
    now, films = live(watches), film(imports, 100)
    for message in (
        now.announcement(),
        films.announcement(),
        films.segment(),
        now.segment(),
        films.segment(41),
    ):
        assert desk.take(message).stored == 1
    assert desk.intake.position(watches.address) == (1, ())
    assert desk.intake.position(imports.address) == (2, ())


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    which=st.lists(st.sampled_from([0, 1, 2]), min_size=4, max_size=10),
    seed=st.integers(0, 2**16),
    restart_at=st.integers(0, 12),
)
def test_in_whatever_order_films_and_sightings_come_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, which: list[int], seed: int, restart_at: int
) -> None:
    box = make_box_v2(1)
    desk = desk_of(tmp_path_factory.mktemp("order") / "a.db", box)
    under = [live(box), film(box, 101), film(box, 102, BEFORE)]
    messages = [one.announcement() for one in under]
    messages += [under[one].segment(number) for number, one in enumerate(which)]
    # What a broker does: late, twice, but no message before one that has been acknowledged.
    order = list(range(len(messages)))
    random.Random(seed).shuffle(order)
    taken: set[int] = set()
    for step, number in enumerate([*order, *order[:3]]):
        if step == restart_at:
            desk.intake = desk.make_intake()
        batch = desk.take(messages[number])
        assert batch.stored + batch.duplicates == 1, desk.rejects()
        taken.add(number)
        through, missing = desk.intake.position(box.address) or (-1, ())
        assert set(range(through + 1)) - set(missing) == taken
    assert desk.rejects() == {}
    assert desk.stored() == len(which)
    assert rows(desk.store, "SELECT run FROM streams") == [(0,)]
    desk.store.close()


# ---------------------------------------------------------------------- retention


def test_films_of_the_last_day_kept_go_when_that_day_goes(desk: Desk, box: BoxOfVersion2) -> None:
    oldest = film(box, 101, DAY - 14)
    assert desk.take(oldest.announcement(), oldest.segment()).stored == 2
    tomorrow = NOW_MS + EPOCH_MS
    desk.now_ms = tomorrow
    assert desk.take(oldest.segment(41, at_ms=tomorrow)).rejected == 1
    assert desk.rejects() == {"retention-ended": 1}
    assert desk.intake.position(box.address) == (2, ()), "its number is accounted for"
    purge(desk.store, now_ms=NOW_MS + 2 * EPOCH_MS, retention_days=14)
    for table in ("envelopes", "sealed_rows", "announcements"):
        assert rows(desk.store, f"SELECT * FROM {table}") == []  # noqa: S608 - ours


def test_films_that_arrive_while_their_day_is_dropped_are_not_left_behind(
    desk: Desk, box: BoxOfVersion2
) -> None:
    oldest = film(box, 101, DAY - 14)
    desk.take(oldest.announcement(), *(oldest.segment(slot) for slot in range(10)))
    with desk.store.writing() as unit:
        assert unit.segments.drop_days(before_epoch=DAY - 13, most=4) == 4
    desk.take(oldest.segment(60))  # by a clock that is behind
    purge(desk.store, now_ms=NOW_MS + 2 * EPOCH_MS, retention_days=14)
    for table in ("envelopes", "sealed_rows", "announcements"):
        assert rows(desk.store, f"SELECT * FROM {table}") == []  # noqa: S608 - ours


def test_quarantined_films_are_not_let_in_when_their_day_is_gone(
    desk: Desk, box: BoxOfVersion2
) -> None:
    oldest = film(box, 101, DAY - 14)
    desk.take(oldest.announcement())
    ahead = NOW_MS + 60 * 60_000
    assert desk.take(oldest.segment(at_ms=ahead)).quarantined == 1
    (waiting,) = desk.store.ledger.quarantined()
    desk.now_ms = NOW_MS + EPOCH_MS
    with pytest.raises(Rejected, match="past the 14 days"):
        desk.intake.admit(waiting.number)
    assert desk.stored() == 0
    assert desk.store.ledger.quarantined() == [waiting]


# ---------------------------------------------------------------------- stores of before


def old_store(path: Path, fill: Callable[[sqlite3.Connection], object]) -> None:
    """Make a store as it was before films had generations of their own."""
    before = [one.name for one in MIGRATIONS].index(
        "generations of films, and what came after a query had ended"
    )
    database = open_database(path, MIGRATIONS[:before], page_size=16_384)
    with database.conn:
        fill(database.conn)
    database.conn.close()


@pytest.mark.parametrize(
    ("origin", "generation", "expected"),
    [(CAMERA_NOW, 100, 100), (RECORDING, 100, 120)],
)
def test_what_is_over_is_known_in_a_store_of_before(
    tmp_path: Path, origin: str, generation: int, expected: int
) -> None:
    def fill(made: sqlite3.Connection) -> None:
        made.execute(
            "INSERT INTO streams (id, site, box, camera, highest, generation)"
            " VALUES (1, 'demo', 'box-1', 'cam-1', 4, 120)"
        )
        made.execute(
            "INSERT INTO announcements (stream, epoch, generation, sequence, announced_ms, signed,"
            " version, origin) VALUES (1, ?, ?, 0, 0, x'00', 2, ?)",
            (DAY, generation, origin),
        )

    old_store(tmp_path / "a.db", fill)
    store = SqliteStore(tmp_path / "a.db")
    assert rows(store, "SELECT generation, live_generation FROM streams") == [(120, expected)]
    store.close()
