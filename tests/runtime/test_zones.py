"""Local times are one moment, or refused with what they may mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from runtime.zones import TimeInvalid, ZoneName, ZoneUnknown, aware, machine_zone, site_zone, zone

PARIS = ZoneInfo("Europe/Paris")


def test_a_zone_is_found_by_its_name() -> None:
    assert zone("Asia/Seoul").utcoffset(datetime(2031, 5, 4)) == timedelta(hours=9)


@pytest.mark.parametrize("name", ["Asia/Soeul", "seoul", "", "../../etc/passwd", "/etc/localtime",
                                  "Asia", "Asia/Seoul\x00", "é" * 500])  # fmt: skip
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ZoneUnknown, match="there is no time zone"):
        zone(name)


def test_a_misspelt_zone_is_answered_with_the_likely_one() -> None:
    with pytest.raises(ZoneUnknown, match="did you mean 'Asia/Seoul'"):
        zone("Asia/Soeul")


def test_a_configuration_names_a_zone_or_is_refused() -> None:
    reads = TypeAdapter[str](ZoneName)
    assert reads.validate_python("Asia/Seoul") == "Asia/Seoul"
    with pytest.raises(ValidationError, match="there is no time zone"):
        reads.validate_python("Mars/Olympus")


def test_without_a_name_the_zone_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Lima")
    assert site_zone(None).key == machine_zone().key == "America/Lima"
    assert site_zone("Asia/Seoul").key == "Asia/Seoul"
    monkeypatch.setenv("TZ", "Nowhere/Atall")
    assert machine_zone().key == "UTC"
    monkeypatch.delenv("TZ")
    assert machine_zone().utcoffset(datetime(2031, 5, 4)) is not None


def test_a_time_that_was_twice_is_refused_with_both_readings() -> None:
    with pytest.raises(TimeInvalid) as refused:
        aware(datetime(2031, 10, 26, 2, 30), PARIS, what="--from")
    words = str(refused.value)
    assert "--from: 2031-10-26 02:30:00 was twice in Europe/Paris" in words
    assert "2031-10-26T02:30:00+02:00 (CEST) or 2031-10-26T02:30:00+01:00 (CET)" in words


def test_a_time_that_never_was_is_refused_with_both_readings() -> None:
    with pytest.raises(TimeInvalid) as refused:
        aware(datetime(2031, 3, 30, 2, 30), PARIS, what="--to")
    words = str(refused.value)
    assert "--to: 2031-03-30 02:30:00 was never in Europe/Paris" in words
    assert "2031-03-30T01:30:00+01:00 (CET) or 2031-03-30T03:30:00+02:00 (CEST)" in words


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["Europe/Paris", "Asia/Seoul", "Australia/Lord_Howe", "America/St_Johns"]),
)
def test_a_moment_shows_what_was_written(local: datetime, name: str) -> None:
    try:
        moment = aware(local, zone(name), what="it")
    except TimeInvalid:
        return
    assert moment.astimezone(UTC).astimezone(zone(name)).replace(tzinfo=None) == local
