"""A box that sends far too much is noticed, once a minute, and only that box."""

from __future__ import annotations

from aggregator.ingest.floods import Floods

MIB = 1 << 20


def test_more_than_the_limit_within_a_minute_is_told_once() -> None:
    floods = Floods(4 * MIB)
    told = [floods.note("box-1", MIB, now_ms=1000 * n) for n in range(10)]
    assert [bool(text) for text in told] == [False] * 4 + [True] + [False] * 5
    assert "sealtrace box revoke DIR box-1" in told[4]


def test_a_flood_that_goes_on_is_told_again_the_next_minute() -> None:
    floods = Floods(4 * MIB)
    told = [floods.note("box-1", MIB, now_ms=5000 * n) for n in range(36)]
    assert [n * 5 // 60 for n, text in enumerate(told) if text] == [0, 1, 2]


def test_what_is_spread_over_minutes_or_boxes_is_no_flood() -> None:
    floods = Floods(4 * MIB)
    assert not any(floods.note("box-1", MIB, now_ms=20_000 * n) for n in range(50))
    assert not any(floods.note(f"box-{n}", 4 * MIB, now_ms=0) for n in range(50))


def test_a_clock_that_is_set_back_begins_a_new_minute() -> None:
    floods = Floods(4 * MIB)
    assert floods.note("box-1", 5 * MIB, now_ms=3_600_000)
    assert floods.note("box-1", 5 * MIB, now_ms=0)
