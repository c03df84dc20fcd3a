"""One rising time of whatever timestamps a recording has."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.video.timeline import MAX_LEAP_S, Timeline


def placed(
    stamps: list[float | None], fps: float = 10.0, length_s: float | None = None
) -> list[float]:
    line = Timeline(fps, length_s)
    return [round(line.place(stamp), 3) for stamp in stamps]


def test_times_are_those_of_the_timestamps_from_the_first_on() -> None:
    assert placed([7.0, 7.1, 7.15, 9.0, 60.0]) == [0.0, 0.1, 0.15, 2.0, 53.0]


def test_without_timestamps_pictures_are_as_far_apart_as_the_rate_says() -> None:
    assert placed([None, None, None, None]) == [0.0, 0.1, 0.2, 0.3]
    assert placed([0.0, None, None, 0.4]) == [0.0, 0.1, 0.2, 0.4]


def test_timestamps_that_begin_anew_go_on_from_there() -> None:
    line = Timeline(10.0)
    stamps = [5.0, 5.1, 5.2, 0.0, 0.1, 0.2]
    assert [round(line.place(stamp), 3) for stamp in stamps] == [0.0, 0.1, 0.2, 0.201, 0.4, 0.5]
    assert line.jumps == 1


def test_one_timestamp_that_does_not_fit_moves_no_other() -> None:
    line = Timeline(10.0)
    stamps = [0.0, 0.1, 0.2, 0.05, 0.3, 99_999.0, 0.5]
    assert [round(line.place(stamp), 3) for stamp in stamps] == [
        0.0,
        0.1,
        0.2,
        0.201,
        0.3,
        0.301,
        0.5,
    ]
    assert line.jumps == 0


def test_a_long_pause_is_believed_if_the_file_is_that_long() -> None:
    pause_s = MAX_LEAP_S + 100
    stamps: list[float | None] = [0.0, 0.1, pause_s, pause_s + 0.1]
    assert placed(stamps, length_s=pause_s + 1) == [0.0, 0.1, pause_s, pause_s + 0.1]
    assert placed(stamps, length_s=10.0) == [0.0, 0.1, 0.101, 0.3]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_no_timestamp(bad: float) -> None:
    assert placed([bad, 3.0, bad, 3.2]) == [0.0, 0.1, 0.2, 0.3]


@given(st.lists(st.none() | st.floats() | st.floats(0, 10), max_size=60))
def test_time_rises_whatever_the_timestamps(stamps: list[float | None]) -> None:
    line = Timeline(25.0)
    times = [line.place(stamp) for stamp in stamps]
    assert all(after > before for before, after in itertools.pairwise(times))
