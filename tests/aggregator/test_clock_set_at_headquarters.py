"""Headquarters' clock, or a box's, is set: nothing is deleted, given up or shut out by that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from intake_desk import Desk
from sealed_boxes import NOW_MS, TestBox, make_box, sighting
from store_file import rows

from aggregator.upkeep import Upkeep

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def boxes() -> list[TestBox]:
    return [make_box(1), make_box(2)]


@pytest.fixture
def desk(tmp_path: Path, boxes: list[TestBox]) -> Desk:
    return Desk(tmp_path / "a.db", boxes)


@pytest.fixture
def upkeep(desk: Desk) -> Upkeep:
    unused: Any = None
    return Upkeep(
        store=desk.store,
        intake=desk.intake,
        receipts=unused,
        session=unused,
        retention_days=lambda: 14,
        receipt_interval_s=1,
        now_ms=lambda: desk.now_ms + desk.set_ms,
        boot_ms=lambda: desk.now_ms,
    )


def stored(desk: Desk) -> int:
    (row,) = rows(desk.store, "SELECT count(*) FROM envelopes")
    return int(row[0])


def report(desk: Desk, *boxes: TestBox) -> None:
    desk.take(*(box.health(reported_at_ms=desk.now_ms) for box in boxes))


def test_a_clock_set_ahead_deletes_nothing_that_is_not_past_retention(
    desk: Desk, boxes: list[TestBox], upkeep: Upkeep
) -> None:
    desk.take(boxes[0].announcement(), boxes[0].segment([sighting(None)]))
    report(desk, *boxes)
    for days in (20, 400, 40_000):
        desk.set_ms = days * DAY_MS
        upkeep.purge()
        report(desk, *boxes)
        upkeep.purge()
        assert stored(desk) == 1
    desk.set_ms = 0
    desk.now_ms += 17 * DAY_MS
    upkeep.purge()
    assert stored(desk) == 0, "real time ends retention, whether boxes report or not"


def test_one_box_that_follows_the_wrong_clock_does_not_bear_it_out(
    desk: Desk, boxes: list[TestBox], upkeep: Upkeep
) -> None:
    desk.take(boxes[0].announcement(), boxes[0].segment([sighting(None)]))
    report(desk, *boxes)
    desk.set_ms = 400 * DAY_MS
    desk.take(boxes[1].health(reported_at_ms=NOW_MS + 400 * DAY_MS))
    upkeep.purge()
    assert stored(desk) == 1


def test_after_a_restart_with_a_wrong_clock_nothing_is_deleted(
    desk: Desk, boxes: list[TestBox], upkeep: Upkeep
) -> None:
    desk.take(boxes[0].announcement(), boxes[0].segment([sighting(None)]))
    report(desk, *boxes)
    desk.set_ms = 400 * DAY_MS  # before the first look at the clock
    upkeep.purge()
    assert stored(desk) == 1


def test_no_gap_is_given_up_because_the_clock_was_set_ahead(
    desk: Desk, boxes: list[TestBox]
) -> None:
    """What is given up a receipt covers, and the box deletes it."""
    box = boxes[0]
    desk.take(box.announcement())
    desk.take(box.live([sighting(None)], sequence=40_000))
    desk.intake.review_gaps()
    desk.set_ms = HOUR_MS
    assert desk.intake.review_gaps() == set()
    desk.now_ms += 60_000
    assert desk.intake.review_gaps() == set()
    desk.now_ms += HOUR_MS
    assert desk.intake.review_gaps() == {box.address}, "in real time it is"


def test_a_box_whose_clock_was_ahead_is_heard_again_at_once(
    desk: Desk, boxes: list[TestBox]
) -> None:
    desk.take(boxes[0].health(reported_at_ms=desk.now_ms + HOUR_MS, held=1))
    assert desk.status().clock_wrong
    desk.take(boxes[0].health(reported_at_ms=desk.now_ms, held=2))
    assert not desk.status().clock_wrong
    assert desk.status().figures["held"] == 2
