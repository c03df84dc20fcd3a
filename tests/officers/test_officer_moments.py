"""Times as officers type them: with a zone, or relative, or refused with the forms that work."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from officers.desk.moments import (
    MomentInvalid,
    duration_text,
    iso_utc,
    local_text,
    parse_moment,
    span_text,
    to_milliseconds,
    whole_slots,
)
from protocol.names import SLOT_MS

NOW = datetime(2031, 5, 4, 10, 7, 30, tzinfo=UTC)


@pytest.fixture
def vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Vienna, which is two hours ahead of UTC in summer."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        (" NOW ", NOW),
        ("-2h", NOW - timedelta(hours=2)),
        ("+30m", NOW + timedelta(minutes=30)),
        ("-1d12h", NOW - timedelta(hours=36)),
        ("-90s", NOW - timedelta(seconds=90)),
        ("2031-05-04T10:00Z", datetime(2031, 5, 4, 10, tzinfo=UTC)),
        ("2031-05-04 10:00:30+02:00", datetime(2031, 5, 4, 8, 0, 30, tzinfo=UTC)),
    ],
)
def test_what_is_understood(text: str, expected: datetime) -> None:
    assert parse_moment(text, now=NOW) == expected


@pytest.mark.usefixtures("vienna")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today 10:00", datetime(2031, 5, 4, 8, tzinfo=UTC)),
        ("Yesterday 22:15", datetime(2031, 5, 3, 20, 15, tzinfo=UTC)),
        ("tomorrow 9:30", datetime(2031, 5, 5, 7, 30, tzinfo=UTC)),
        ("today", datetime(2031, 5, 3, 22, tzinfo=UTC)),
    ],
)
def test_days_are_local(text: str, expected: datetime) -> None:
    assert parse_moment(text, now=NOW) == expected


@pytest.mark.usefixtures("vienna")
def test_today_is_the_local_day_just_after_local_midnight() -> None:
    just_after = datetime(2031, 5, 3, 22, 30, tzinfo=UTC)
    assert parse_moment("today 0:15", now=just_after) == datetime(2031, 5, 3, 22, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["2031-05-04", "20310504", "2031-05", "10:00", "noon", "", "2h", "-2", "-2x", "today 25:00",
     "2031-13-01T00:00Z", "now!"],
)  # fmt: skip
def test_what_leaves_open_which_moment_is_meant_is_refused(text: str) -> None:
    with pytest.raises(MomentInvalid, match="time zone"):
        parse_moment(text, now=NOW)


@given(st.text(max_size=30))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(MomentInvalid):
        assert parse_moment(text, now=NOW).tzinfo is not None


ZONES = [UTC, timezone(timedelta(hours=5, minutes=45))]
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from(ZONES))


@given(MOMENTS, MOMENTS)
def test_windows_grow_to_whole_quarter_hours(one: datetime, other: datetime) -> None:
    start, end = min(one, other), max(one, other)
    if to_milliseconds(start) == to_milliseconds(end):
        with pytest.raises(MomentInvalid):
            whole_slots(start, end)
        return
    from_ms, to_ms = whole_slots(start, end)
    assert from_ms % SLOT_MS == to_ms % SLOT_MS == 0
    assert 0 <= to_milliseconds(start) - from_ms < SLOT_MS
    assert 0 <= to_ms - to_milliseconds(end) < SLOT_MS


def test_a_window_that_ends_first_is_refused() -> None:
    with pytest.raises(MomentInvalid, match="--to"):
        whole_slots(NOW, NOW - timedelta(seconds=1))


@pytest.mark.usefixtures("vienna")
def test_times_are_shown_as_the_clock_on_the_wall() -> None:
    at = to_milliseconds(NOW)
    assert local_text(at) == "Sun 2031-05-04 12:07:30 CEST"
    assert span_text(at, at + 60_000) == "2031-05-04 12:07:30-12:08:30"
    assert "2031-05-05" in span_text(at, at + 86_400_000)
    assert iso_utc(at + 7) == "2031-05-04T10:07:30.007Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (54.4, "54 s"), (60, "1 min"), (185, "3 min 05 s"), (7200, "2 h"),
     (8100, "2 h 15 min"), (4 * 86_400, "4 d"), (4 * 86_400 + 3600, "4 d 1 h")],
)  # fmt: skip
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
