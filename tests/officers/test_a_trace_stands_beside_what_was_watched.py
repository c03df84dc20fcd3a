"""Stops in order of time, beside which quarter hours each camera watched, and which it did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import report_samples as r

from officers.desk.coverage_hours import BLIND, NOT_GRANTED, PARTLY, UNWATCHED, WATCHED, Spell
from officers.desk.timeline import Timeline, timeline_of
from protocol.names import SLOT_MS
from protocol.watching import Watching

REPORT = r.report()
(TRACE,) = REPORT.traces


WATCHED_SO = r.watching()


def timeline(watching: Watching | None = WATCHED_SO) -> Timeline:
    return timeline_of(REPORT.query, watching, TRACE)


def test_stops_are_the_hits_in_order_of_time() -> None:
    stops = timeline().stops
    assert [stop.number for stop in stops] == [1, 2, 3, 4, 5, 6]
    assert [stop.stay.address.camera[-1] for stop in stops] == list("124631")


def test_cameras_of_stops_come_first_and_then_who_watched_least() -> None:
    lanes = timeline().lanes
    assert [lane.camera for lane in lanes] == [f"cam-{n}" for n in (1, 2, 4, 6, 3, 5)]
    assert [stop.number for stop in lanes[0].stops] == [1, 6]
    assert lanes[-1].watched_s < lanes[0].watched_s == lanes[0].total_s


def test_quarter_hours_in_a_row_of_one_state_are_one_spell() -> None:
    by_camera = {lane.camera: lane.spells for lane in timeline().lanes}
    begin, whole = r.BEGIN_MS, r.SLOTS * SLOT_MS
    assert by_camera["cam-1"] == (Spell(begin, begin + whole, WATCHED, r.SLOTS * 900),)
    assert [one.state for one in by_camera["cam-2"]] == [WATCHED, UNWATCHED, WATCHED]
    gap = by_camera["cam-2"][1]
    assert (gap.from_ms, gap.to_ms) == (begin + 4 * SLOT_MS, begin + 8 * SLOT_MS)
    states = [one.state for one in by_camera["cam-5"]]
    assert states == [WATCHED, BLIND, WATCHED, PARTLY, WATCHED]


def test_the_share_that_nobody_watched_is_of_all_cameras() -> None:
    missed = 4 * 900 + 2 * 900 + 480
    assert timeline().unwatched == pytest.approx(missed / (6 * r.SLOTS * 900))


def test_before_anything_was_opened_nothing_is_called_watched() -> None:
    nothing = timeline(None)
    assert {spell.state for lane in nothing.lanes for spell in lane.spells} == {NOT_GRANTED}
    assert nothing.unwatched == 1
    assert not nothing.seconds_known


def test_what_has_not_ended_yet_is_told_of_no_camera() -> None:
    early = replace(
        WATCHED_SO,
        until_ms=WATCHED_SO.from_ms,
        by_slot=np.zeros((len(r.CAMERAS), 0), np.uint16),
        seconds=np.zeros_like(WATCHED_SO.seconds),
    )
    begun = timeline(early)
    assert begun.until_ms == begun.from_ms < begun.to_ms
    assert all(lane.spells == () for lane in begun.lanes)
    assert begun.unwatched is None
