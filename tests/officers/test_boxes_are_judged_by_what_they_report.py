"""What headquarters says of boxes is judged the same everywhere: states, troubles, plots, days."""

from __future__ import annotations

import itertools
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from officers.desk.api_client import AnswerInvalid
from officers.desk.fleet import (
    HEARD_WITHIN_MS,
    BoxNow,
    Fleet,
    State,
    camera_states,
    fleet_of,
)
from officers.desk.fleet_answers import BoxSaid, HistorySaid
from officers.desk.fleet_history import HEIGHT, MOST_CAMERAS, WIDTH, Plot, history_of
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH

NOW_MS = 2_000_000_000_000
DAY_MS = 86_400_000
GIB = 1 << 30
WELL = {"camera.cam-1.state": 2, "camera.cam-1.fps": 4.9, "outbox.queued": 0}


def box(**said: Any) -> BoxNow:
    figures = {**WELL, **said.pop("figures", {})}
    about = {"box": "box-1", "cameras": ["cam-1"], "last_seen_ms": NOW_MS - 1000, "state": "online"}
    found = fleet_of([BoxSaid.model_validate(about | {"figures": figures} | said)], now_ms=NOW_MS)
    return found.boxes[0]


def test_a_box_that_reports_and_has_no_trouble_is_well() -> None:
    one = box()
    assert (one.state, one.troubles, one.fps, one.queued) == (State.WELL, (), 4.9, 0)
    assert one.cameras[0].state is State.WELL


def test_an_older_box_that_tells_less_is_well_and_what_it_does_not_tell_is_unknown() -> None:
    one = box()
    assert (one.certificate_days, one.group, one.disk_free, one.silent_ms) == (None, "", None, None)
    bare = fleet_of([BoxSaid.model_validate({"box": "box-1", "cameras": ["cam-1"]})], now_ms=NOW_MS)
    assert bare.boxes[0].troubles == ("never heard",)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"figures": {"trouble.view.cam-1": 1}}, "camera cam-1 is too dark"),
        ({"figures": {"trouble.view.cam-1": 5}}, "camera cam-1 shows another place than before"),
        ({"figures": {"trouble.view.cam-1": 99}}, "camera cam-1 shows nothing"),
        ({"figures": {"camera.cam-1.state": 1}}, "camera cam-1 gives no pictures now"),
        ({"figures": {"camera.cam-1.state": 0}}, "camera cam-1 gives no pictures"),
        ({"figures": {"trouble.camera.cam-1": 1}}, "what camera cam-1 sees cannot be sealed"),
        ({"figures": {"certificate_ends_s": NOW_MS / 1000 + 3 * 86400}}, "certificate ends in 3"),
        ({"figures": {"certificate_ends_s": NOW_MS / 1000 - 5}}, "its certificate has ended"),
        ({"figures": {"outbox.disk_full": 1}}, "its disk is full"),
        ({"figures": {"disk_free_bytes": 1, "disk_total_bytes": 100}}, "1 % of its disk is free"),
        ({"figures": {"trouble.day_keys.c2": 1}}, "the day keys of c2 cannot be used"),
        ({"clock_wrong": True, "clock_offset_ms": -90_000}, "its clock is 1 min 30 s off"),
        ({"quarantined": 2}, "2 messages wait in quarantine"),
        (
            {"gaps": [{"camera": "cam-1", "first": 3, "last": 5, "opened_ms": 1, "lost": True}]},
            "3 messages are lost",
        ),
    ],
)
def test_each_trouble_has_its_words(said: dict[str, Any], words: str) -> None:
    one = box(**said)
    assert one.state is State.TROUBLE
    assert any(words in told for told in one.troubles), one.troubles


def test_a_box_is_silent_from_two_and_a_half_minutes_on_and_at_once_when_it_hangs_up() -> None:
    assert box(last_seen_ms=NOW_MS - HEARD_WITHIN_MS).state is State.WELL
    silent = box(last_seen_ms=NOW_MS - HEARD_WITHIN_MS - 1, figures={"trouble.view.cam-1": 2})
    assert silent.state is State.DOWN
    assert silent.cameras[0].state is State.DOWN
    assert silent.fps is None, "what it said then is not said of now"
    assert len(silent.troubles) == 1
    assert box(state="offline").state is State.DOWN


def test_silence_that_goes_on_is_added_to_what_the_day_had() -> None:
    assert box(silent_day_ms=60_000).silent_ms == 60_000
    assert box(silent_day_ms=60_000, last_seen_ms=NOW_MS - 600_000).silent_ms == 660_000
    assert box(silent_day_ms=DAY_MS, last_seen_ms=NOW_MS - 600_000).silent_ms == DAY_MS


def test_a_revoked_box_is_last_and_its_cameras_are_not_counted() -> None:
    names = ("a", "b", "c", "d")
    said = [
        BoxSaid.model_validate(
            {"box": name, "cameras": [f"cam-{name}"], "last_seen_ms": NOW_MS, "state": "online"}
            | ({"revoked": True} if name == "a" else {})
            | ({"last_seen_ms": 1} if name == "d" else {})
            | ({"figures": {"trouble.view.cam-c": 3}} if name == "c" else {})
        )
        for name in names
    ]
    found = fleet_of(said, now_ms=NOW_MS)
    assert [one.name for one in found.boxes] == ["d", "c", "b", "a"]
    assert found.cameras == {State.WELL: 1, State.TROUBLE: 1, State.DOWN: 1}


def test_of_a_camera_that_moved_the_box_in_force_is_shown() -> None:
    old = box(box="old", revoked=True)
    new = box(box="new")
    for boxes in ((old, new), (new, old)):
        assert camera_states(Fleet(boxes, NOW_MS))["cam-1"].box == "new"


# ------------------------------------------------------------------------------------- history


FROM_MS = NOW_MS // SLOT_MS * SLOT_MS


def history(values: dict[int, dict[str, float]], *, slots: int = SLOTS_PER_EPOCH) -> HistorySaid:
    """Return a history of one day with these figures by number of the quarter hour."""
    return HistorySaid.model_validate(
        {
            "box": "box-1",
            "from_ms": FROM_MS,
            "to_ms": FROM_MS + slots * SLOT_MS,
            "told_ms": FROM_MS + slots * SLOT_MS,
            "slots": [
                {
                    "from_ms": FROM_MS + number * SLOT_MS,
                    "reports": 30,
                    "last_ms": FROM_MS + number * SLOT_MS,
                    "worst": worst,
                    "version": "1.0",
                }
                for number, worst in values.items()
            ],
        }
    )


def plot_of(said: HistorySaid, title: str, cameras: tuple[str, ...] = ("cam-1",)) -> Plot:
    made = history_of(said, cameras, UTC)
    return next(one for one in (*made.plots, *made.camera_plots) if one.title.startswith(title))


def test_a_line_is_drawn_where_the_figures_are() -> None:
    said = history({0: {"camera.cam-1.fps": 5.0}, 1: {"camera.cam-1.fps": 2.5}}, slots=4)
    plot = plot_of(said, "Frames")
    assert plot.lines == (
        ((0.0, 0.0), (WIDTH / 4, 0.0), (WIDTH / 4, HEIGHT / 2), (WIDTH / 2, HEIGHT / 2)),
    )
    assert plot.silences == ((WIDTH / 2, WIDTH),)
    assert [mark.words for mark in plot.heights] == ["5", "2.5", "0"]
    assert plot.worst == 2.5


def test_a_quarter_hour_without_a_report_breaks_the_line() -> None:
    said = history({n: {"outbox.queued": 3} for n in (0, 1, 3)}, slots=4)
    plot = plot_of(said, "Messages")
    assert [len(line) for line in plot.lines] == [4, 2]
    assert plot.silences == ((WIDTH / 2, WIDTH * 3 / 4),)
    assert plot.worst == 3


def test_of_several_cameras_the_slowest_and_each_by_itself_are_drawn() -> None:
    worst = {"camera.cam-1.fps": 5.0, "camera.cam-2.fps": 1.0}
    said = history({0: worst}, slots=4)
    assert plot_of(said, "Frames a second, slowest", ("cam-1", "cam-2")).worst == 1.0
    assert plot_of(said, "Frames a second, cam-1", ("cam-1", "cam-2")).worst == 5.0
    many = tuple(f"cam-{n}" for n in range(MOST_CAMERAS + 3))
    made = history_of(said, many, UTC)
    assert len(made.camera_plots) == MOST_CAMERAS
    assert made.not_drawn == many[MOST_CAMERAS:]


def test_days_are_those_of_the_sites_clocks_with_the_worst_of_each() -> None:
    values = {
        n: {"outbox.queued": n, "disk_free_bytes": (1000 - n) * GIB, "temperature_c": 40.0}
        for n in range(0, 2 * SLOTS_PER_EPOCH, 2)
    }
    said = history(values, slots=2 * SLOTS_PER_EPOCH)
    made = history_of(said, ["cam-1"], ZoneInfo("Asia/Seoul"))
    assert len(made.days) == 3
    last, whole, first = made.days
    assert (whole.from_ms + 9 * 3_600_000) % DAY_MS == 0, "it begins at midnight in Seoul"
    assert sum(day.silent_ms for day in made.days) == SLOTS_PER_EPOCH * SLOT_MS
    assert last.queued == 2 * SLOTS_PER_EPOCH - 2
    assert first.disk_free_gib is not None
    assert last.disk_free_gib is not None
    assert first.disk_free_gib > last.disk_free_gib
    assert whole.versions == ("1.0",)
    assert [mark.at for mark in made.midnights] == sorted(mark.at for mark in made.midnights)


@pytest.mark.parametrize("to_ms", [FROM_MS, FROM_MS - 1, FROM_MS + 40 * DAY_MS])
def test_a_history_of_no_sensible_stretch_is_refused(to_ms: int) -> None:
    said = history({}).model_copy(update={"to_ms": to_ms})
    with pytest.raises(AnswerInvalid):
        history_of(said, ["cam-1"], UTC)


def test_quarter_hours_outside_of_the_stretch_and_absurd_values_are_left_out() -> None:
    said = history({0: {"outbox.queued": -5.0}, 7000: {"outbox.queued": 9.0}}, slots=4)
    assert plot_of(said, "Messages").lines == ()


def test_a_day_of_25_hours_is_one_day() -> None:
    zone = ZoneInfo("Europe/Berlin")
    from_ms = 1_792_792_800_000 // SLOT_MS * SLOT_MS  # 2026-10-24, the night before the hour twice
    said = history({n: {"outbox.queued": 1} for n in range(5)}).model_copy(
        update={"from_ms": from_ms, "to_ms": from_ms + 3 * DAY_MS, "told_ms": from_ms + 3 * DAY_MS}
    )
    days = [day.from_ms for day in history_of(said, ["cam-1"], zone).days]
    assert len(set(days)) == len(days)
    assert 25 * 3_600_000 in {a - b for a, b in itertools.pairwise(days)}
