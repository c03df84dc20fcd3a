"""How a box was over the last days: by quarter hours, bounded, and nothing of who passed."""

from __future__ import annotations

from pathlib import Path

import pytest
from intake_desk import Desk
from sealed_boxes import NOW_MS, TestBox, make_box, sighting

from aggregator.ingest.health_history import HEARD_WITHIN_MS
from aggregator.store.retention import HEALTH_DAYS, purge
from aggregator.store.rows import HealthRow
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH
from protocol.telemetry import OFFLINE, ONLINE

SLOT = NOW_MS // SLOT_MS
BEGIN_MS = SLOT * SLOT_MS


@pytest.fixture
def box() -> TestBox:
    return make_box(1)


@pytest.fixture
def desk(tmp_path: Path, box: TestBox) -> Desk:
    return Desk(tmp_path / "a.db", [box, make_box(2)])


def report(desk: Desk, box: TestBox, at_ms: int, /, **figures: float) -> None:
    desk.now_ms = at_ms
    desk.take(box.health(reported_at_ms=at_ms, state=ONLINE, **figures))


def history(desk: Desk, box: str = "box-1") -> list[HealthRow]:
    return desk.store.ledger.health_history(box, from_slot=0, to_slot=2 * SLOT)


def test_of_each_figure_the_worst_of_a_quarter_hour_is_kept(desk: Desk, box: TestBox) -> None:
    one = {"outbox.queued": 4, "camera.cam-1.fps": 5.0, "disk_free_bytes": 900}
    two = {"outbox.queued": 9, "camera.cam-1.fps": 4.1, "disk_free_bytes": 800}
    three = {"outbox.queued": 1, "camera.cam-1.fps": 4.9, "trouble.view.cam-1": 2}
    for number, figures in enumerate((one, two, three)):
        report(desk, box, BEGIN_MS + 30_000 * number, **figures)
    (row,) = history(desk)
    assert (row.slot, row.reports, row.silent_ms, row.version) == (SLOT, 3, 0, "1.0")
    assert row.worst == {
        "outbox.queued": 9,
        "camera.cam-1.fps": 4.1,
        "disk_free_bytes": 800,
        "trouble.view.cam-1": 2,
    }


def test_what_is_not_of_the_machine_or_of_its_cameras_is_not_kept(desk: Desk, box: TestBox) -> None:
    invented = {f"camera.other-{n}.fps": 1.0 for n in range(400)}
    more = {"count.sealed": 7, "camera.cam-1.read": 99, "outbox.bytes": 1e300}
    report(desk, box, BEGIN_MS, **{**invented, **more, "camera.cam-1.fps": 5})
    assert history(desk)[0].worst == {"camera.cam-1.fps": 5}


def test_silence_is_told_where_it_ended_and_one_lost_report_is_none(
    desk: Desk, box: TestBox
) -> None:
    report(desk, box, BEGIN_MS)
    report(desk, box, BEGIN_MS + HEARD_WITHIN_MS)
    assert [row.silent_ms for row in history(desk)] == [0]
    heard_ms = BEGIN_MS + HEARD_WITHIN_MS + 2 * SLOT_MS
    report(desk, box, heard_ms)
    assert [(row.slot, row.silent_ms) for row in history(desk)] == [
        (SLOT, 0),
        (SLOT + 2, 2 * SLOT_MS),
    ]
    assert desk.status().silent_day_ms == 2 * SLOT_MS
    assert desk.status("box-2").silent_day_ms == 0
    desk.now_ms = heard_ms + SLOT_MS * SLOTS_PER_EPOCH
    assert desk.status().silent_day_ms == 0, "it was more than a day ago"


def test_wills_and_what_a_broker_had_kept_are_no_reports_of_now(desk: Desk, box: TestBox) -> None:
    desk.take(box.health(reported_at_ms=NOW_MS), retained=True)
    desk.take(box.health(reported_at_ms=NOW_MS, state=OFFLINE))
    assert history(desk) == []


def test_sightings_leave_no_trace_in_the_history(desk: Desk, box: TestBox) -> None:
    report(desk, box, NOW_MS, **{"camera.cam-1.fps": 5})
    before = history(desk)
    desk.take(box.announcement(), box.segment([sighting(None)] * 9))
    assert history(desk) == before


def test_history_ends_after_two_weeks(desk: Desk, box: TestBox) -> None:
    days = HEALTH_DAYS + 3
    for day in range(days):
        report(desk, box, BEGIN_MS + day * SLOT_MS * SLOTS_PER_EPOCH)
    purge(desk.store, now_ms=desk.now_ms, retention_days=100)
    kept = [row.slot for row in history(desk)]
    assert len(kept) == HEALTH_DAYS + 1
    assert kept[0] == desk.now_ms // SLOT_MS - HEALTH_DAYS * SLOTS_PER_EPOCH


def test_a_clock_that_was_ahead_leaves_no_row_that_later_reports_end_in(
    desk: Desk, box: TestBox
) -> None:
    report(desk, box, BEGIN_MS + 1000 * SLOT_MS)
    report(desk, box, BEGIN_MS)
    assert {row.slot for row in history(desk)} == {SLOT, SLOT + 1000}
    assert history(desk)[0].silent_ms == 0
