"""What the names of recordings say, in the forms of the usual recorders and in one's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.footage.names import RECORDERS, compiled, folder_camera, said_by
from edge_agent.sources import SourceError

AT = datetime(2026, 11, 28, 10, 5, 7)


@pytest.mark.parametrize(
    ("name", "form", "camera"),
    [
        ("lobby/2026-11-28/001/dav/10/10.05.07-10.10.00[M][0@0][0].dav", "Dahua", "lobby"),
        ("2026-11-28/001/dav/10/10.05.07-10.10.00[R][0@0][0].dav", "Dahua", "001"),
        ("NVR_ch1_main_20261128100507_20261128103000.dav", "Hikvision or Dahua", "ch1"),
        ("ch01_20261128100507.mp4", "Hikvision", "ch01"),
        ("D02_20261128100507_3.mp4", "Hikvision", "D02"),
        ("192.168.1.64_01_20261128100507000_1.mp4", "Hikvision", "192.168.1.64_01"),
        ("2026-11-28/192.168.1.30_D3_S10-05-07 E10-30-00.ts", "Uniview", "D3"),
        ("NVR_D1_S20261128100507_E20261128103000.mp4", "Uniview", "D1"),
        ("Gate_S20261128100507_E20261128103000.mp4", "Uniview", "Gate"),
        ("20261128_100507_CH02.avi", "Hanwha", "CH02"),
        ("CH02_20261128_100507.avi", "Hanwha", "CH02"),
        ("Gate North_2026-11-28_10h05m07s_00h10m00s.mkv", "Hanwha", "Gate North"),
        (
            "20261128_100507_ABCD_ACCC8E123456/20261128_10/20261128_100507_F00D.mkv",
            "Axis",
            "ACCC8E123456",
        ),
        ("20261128_100507_ABCD_ACCC8E123456.mkv", "Axis", "ACCC8E123456"),
        ("Gate 2026-11-28 10_05_07_000.asf", "Axis", "Gate"),
        ("Gate (10.0.0.1) 2026-11-28 10.05.07.avi", "Milestone", "Gate (10.0.0.1)"),
        ("export/2026/Gate 2026-11-28 10.05.07.mkv", "Milestone", "Gate"),
        ("Gate - 11-28-2026 10-05-07 AM.mkv", "Milestone", "Gate"),
        ("Gate (2026-11-28_10h05min07s000ms).mp4", "Genetec", "Gate"),
        ("Gate_2026-11-28_10h05min07s000ms.mp4", "Genetec", "Gate"),
        ("gate_20261128100507.mp4", "date in it", "gate"),
        ("gate-2026-11-28T10-05-07.mkv", "date in it", "gate"),
        ("정문/2026.11.28 10.05.07.mp4", "date in it", "정문"),
        ("gate/20261128/20261128T100507.mp4", "date in it", "gate"),
        ("2026-11-28_10-05-07_gate.mp4", "date in it", "gate"),
        ("2026-11-28_10-05-07.mp4", "date in it", None),
    ],
)
def test_names_of_usual_recorders_say_camera_and_start(
    name: str, form: str, camera: str | None
) -> None:
    said = said_by(PurePosixPath(name))
    assert said is not None
    assert (said.form, said.camera, said.began) == (form, camera, AT)


def test_the_afternoon_of_a_twelve_hour_clock_is_the_afternoon() -> None:
    for name, hour in {"10-05-07 PM": 22, "12-05-07 AM": 0, "12-05-07 PM": 12}.items():
        said = said_by(PurePosixPath(f"Gate - 11-28-2026 {name}.mkv"))
        assert said is not None
        assert said.began == AT.replace(hour=hour)


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        ("Z", UTC),
        ("+09:00", timezone(timedelta(hours=9))),
        ("-0530", timezone(-timedelta(hours=5.5))),
    ],
)
def test_a_zone_in_the_name_is_kept(zone: str, offset: timezone) -> None:
    said = said_by(PurePosixPath(f"gate_20261128T100507{zone}.mp4"))
    assert said is not None
    assert said.began == AT.replace(tzinfo=offset)


@pytest.mark.parametrize(
    "name", ["x.mp4", "hiv00001.mp4", "gate_20261399100507.mp4", "12345678901234567890.mp4", ".mp4"]
)
def test_what_is_no_date_says_nothing(name: str) -> None:
    assert said_by(PurePosixPath(name)) is None


@pytest.mark.parametrize(
    ("pattern", "name", "camera"),
    [
        ("{camera}~%d.%m.%y %H.%M.%S", "gate~28.11.26 10.05.07.mp4", "gate"),
        ("clip %s {camera}", f"clip {int(AT.replace(tzinfo=UTC).timestamp())} gate.mp4", "gate"),
        ("{camera}/%Y/%b/%d/%H%M%S*", "gate/2026/Nov/28/100507-1.mp4", "gate"),
        ("*_{channel}_%Y%m%d_%H%M%S", "a_ch3_20261128_100507.mp4", "ch3"),
        ("%Y%m%d%H%M%S", "store/gate/20261128100507.mp4", "gate"),
    ],
)
def test_a_pattern_of_ones_own_goes_before_all_others(pattern: str, name: str, camera: str) -> None:
    said = said_by(PurePosixPath(name), pattern)
    assert said is not None
    assert said.form == "your pattern"
    assert (said.camera, said.began.replace(tzinfo=None)) == (camera, AT)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("{camera}", "no full date"),
        ("%Y%m%d", "no full date"),
        ("{camera}{camera}%Y%m%d%H%M", "unknown or there twice"),
        ("{what}%Y%m%d%H%M", "unknown or there twice"),
        ("%Y%m%d%H%M%Q", "no part of a date"),
        ("*****%Y%m%d%H%M", "more than 4"),
        ("x" * 301, "300 characters"),
        ("", "300 characters"),
    ],
)
def test_a_pattern_that_is_none_is_refused_in_words(pattern: str, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        compiled(pattern)


def test_folders_name_a_camera_unless_they_are_dates() -> None:
    assert folder_camera(PurePosixPath("gate/2026-11-28/10/x.mp4")) == "gate"
    assert folder_camera(PurePosixPath("2026-11-28/x.mp4")) is None
    assert folder_camera(PurePosixPath("x.mp4")) is None


def test_every_pattern_of_a_recorder_is_one() -> None:
    for _, pattern in RECORDERS:
        compiled(pattern)


@given(st.text(st.sampled_from("0123456789_- .()[]{}hms/chSEAPMT:+Z가"), max_size=200))
def test_any_name_says_something_or_nothing(name: str) -> None:
    said = said_by(PurePosixPath(name or "x"))
    assert said is None or isinstance(said.began, datetime)
