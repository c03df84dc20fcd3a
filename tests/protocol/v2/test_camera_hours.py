"""A box that imports films reads which hours of a camera are told of, and believes no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import protocol_samples as s
import pytest

from protocol.encoding import decode, encode
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.names import EPOCH_MS, SLOT_MS, CameraAddress
from protocol.signing import sign
from protocol.v2.hours import HOURS_KIND, CameraHours, DayHours, open_hours

DAY = DayHours(frozenset({0, 40, 41, 95}), frozenset({42}), frozenset({40}))
HOURS = CameraHours(s.ADDRESS, s.NOW_MS, {s.EPOCH: DAY})


def signed(hours: CameraHours = HOURS, by: str = "aggregator") -> bytes:
    return hours.sign(s.signing_key(by)).to_bytes()


def test_what_the_aggregator_tells_comes_as_it_was_told() -> None:
    assert open_hours(signed(), s.directory(), address=s.ADDRESS) == HOURS


def test_quarter_hours_are_told_that_a_film_meets_even_for_a_moment() -> None:
    day_ms = s.EPOCH * EPOCH_MS
    begins = [day_ms + slot * SLOT_MS for slot in (40, 41)]
    assert HOURS.live_between(begins[0] + 1, begins[1] + 1) == tuple(begins)
    assert HOURS.live_between(begins[0], begins[1]) == (begins[0],)
    assert HOURS.live_between(begins[1] + SLOT_MS, begins[1] + 2 * SLOT_MS) == ()
    assert HOURS.elsewhere_between(day_ms, day_ms + EPOCH_MS) == (day_ms + 42 * SLOT_MS,)


def test_films_that_pass_midnight_meet_both_days() -> None:
    hours = CameraHours(
        s.ADDRESS, 1, {s.EPOCH: DayHours(frozenset({95})), s.EPOCH + 1: DayHours(frozenset({0}))}
    )
    midnight = (s.EPOCH + 1) * EPOCH_MS
    assert hours.live_between(midnight - 1, midnight + 1) == (midnight - SLOT_MS, midnight)
    assert hours.live_between(midnight - 1, midnight) == (midnight - SLOT_MS,)


@pytest.mark.parametrize("signer", ["box-1", "c1", "ana"])
def test_nobody_else_tells_hours(signer: str) -> None:
    with pytest.raises(SignatureInvalid):
        open_hours(signed(by=signer), s.directory(), address=s.ADDRESS)


@pytest.mark.parametrize(
    "address",
    [
        CameraAddress(s.SITE, s.ADDRESS.box, "cam-2"),
        CameraAddress(s.SITE, "box-2", s.ADDRESS.camera),
        CameraAddress("elsewhere", s.ADDRESS.box, s.ADDRESS.camera),
    ],
)
def test_hours_told_to_another_box_or_of_another_camera_are_refused(address: CameraAddress) -> None:
    with pytest.raises(MalformedMessage, match="told to"):
        open_hours(signed(), s.directory(), address=address)


def _no_day(days: list[Any]) -> None:
    days.append([s.EPOCH + 1, bytes(12), bytes(12), bytes(12)])


def _twice(days: list[Any]) -> None:
    days.append(days[0])


def _too_long(days: list[Any]) -> None:
    days[0][1] = bytes(13)


def _a_word(days: list[Any]) -> None:
    days[0][0] = "today"


def _before_all_days(days: list[Any]) -> None:
    days[0][0] = -1


def _short(days: list[Any]) -> None:
    days[0] = days[0][:3]


@pytest.mark.parametrize("spoil", [_no_day, _twice, _too_long, _a_word, _before_all_days, _short])
def test_days_that_are_none_are_refused(spoil: Callable[[list[Any]], None]) -> None:
    value = decode(HOURS.sign(s.signing_key("aggregator")).payload, what="hours")
    assert isinstance(value, dict)
    spoil(value["days"])
    data = sign(HOURS_KIND, encode(value), s.signing_key("aggregator")).to_bytes()
    with pytest.raises(MalformedMessage, match="camera hours"):
        open_hours(data, s.directory(), address=s.ADDRESS)


def test_two_weeks_of_every_quarter_hour_are_small() -> None:
    every = DayHours(*[frozenset(range(96))] * 3)
    whole = CameraHours(s.ADDRESS, s.NOW_MS, {s.EPOCH + day: every for day in range(15)})
    assert len(signed(whole)) < 1024
