"""Zones and errors of recorders' clocks, and the table that names starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.footage.clocks import differs, in_words, moment_of, offset_of, why_wrong, zone_of
from edge_agent.footage.listing import read_listing
from edge_agent.sources import SourceError
from runtime.errors import OperationError
from runtime.zones import TimeInvalid

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cam=+3m20s", ("cam", 200.0)),
        ("cam=-1h", ("cam", -3600.0)),
        ("a=b=+2d1.5s", ("a=b", 172_801.5)),
    ],
)
def test_an_error_of_a_clock_is_read(text: str, wanted: tuple[str, float]) -> None:
    assert offset_of(text) == wanted


@pytest.mark.parametrize(
    "text", ["cam", "cam=3m", "=+3m", "cam=+", "cam=+3", "cam=+3m20", "cam=+99999d"]
)
def test_what_is_no_error_of_a_clock_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="--clock-offset"):
        offset_of(text)


def test_zones_are_named_or_so_far_from_utc() -> None:
    assert zone_of("Asia/Seoul") == ZoneInfo("Asia/Seoul")
    assert zone_of("+09:00") == zone_of("UTC+9") == timezone(timedelta(hours=9))
    assert zone_of("utc") == UTC
    for wrong in ("Mars/Olympus", "+15:00", ""):
        with pytest.raises(OperationError):
            zone_of(wrong)


def test_an_hour_shown_twice_is_chosen_by_what_else_is_known_or_refused() -> None:
    said = datetime(2026, 10, 25, 2, 30)
    with pytest.raises(TimeInvalid, match=r"\+02:00.*\+01:00"):
        moment_of(said, BERLIN, what="it")
    for hint in (
        datetime(2026, 10, 25, 0, 30, 5, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ):
        found = moment_of(said, BERLIN, what="it", hint=hint)
        assert abs(found - hint) < timedelta(seconds=10)
    assert moment_of(said, UTC, what="it") == said.replace(tzinfo=UTC)


def test_times_that_no_clock_can_have_shown_are_told() -> None:
    now_ms = 1_795_860_307_000
    assert why_wrong(now_ms - 3_600_000, now_ms, now_ms) == ""
    assert "never told the time" in why_wrong(0, 1000, now_ms)
    assert "2 h 30 min from now" in why_wrong(now_ms, now_ms + 9_000_000, now_ms)


def test_a_header_that_differs_from_the_name_is_told_unless_it_is_of_the_end() -> None:
    named = datetime(2026, 11, 28, 10, 5, tzinfo=UTC)
    assert differs(named, named + timedelta(seconds=30), 600) == ""
    assert differs(named, named + timedelta(minutes=10), 600) == ""
    assert "9 h 3 s later" in (said := differs(named, named + timedelta(hours=9, seconds=3), 600))
    assert "time zone" in said
    assert "export" in differs(named, named + timedelta(days=3), 600)
    assert "1 h earlier" in differs(named, named - timedelta(hours=1), 600)


def test_lengths_are_said_in_two_units() -> None:
    assert [in_words(s) for s in (0.2, 59, 61, 3600, 90_061)] == [
        "0 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h",
    ]  # fmt: skip


def test_a_table_names_files_patterns_and_cameras(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text(
        "\ufeffFile;Camera;Start\n"
        "a.mp4;gate;2026-11-28 10:05:07\n"
        "\n"
        "sub/*.mp4;door;\n"
        ";lobby;2026-11-28T10:05:07+09:00\n"
        "gone.mp4;x;\n",
        encoding="utf-8",
    )
    listing = read_listing(table)
    row = listing.of(PurePosixPath("deep/a.mp4"))
    assert row is not None
    assert (row.camera, row.start) == ("gate", datetime(2026, 11, 28, 10, 5, 7))
    door = listing.of(PurePosixPath("sub/x.mp4"))
    assert door is not None
    assert (door.camera, door.start) == ("door", None)
    lobby = listing.of_camera("lobby")
    assert lobby is not None
    assert lobby.start is not None
    assert lobby.start.tzinfo is not None
    assert listing.of(PurePosixPath("other.mp4")) is None
    assert [row.file for row in listing.unused] == ["gone.mp4"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "columns none"),
        ("name,when\n", "columns name, when"),
        ("file,file,start\n", "twice"),
        ("file,start\na.mp4,yesterday\n", "line 2.*'yesterday' is no date"),
        ("file,camera,start\n,,2026-11-28\n", "line 2 names neither"),
        ("file,start\na.mp4\n", "line 2 has 1 cells"),
        ('file,start\n"a.mp4,x\n', "line"),
        ("file,start\n" + "*.mp4,2026-11-28\n" * 1001, r"more than 1000 rows with \*"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_its_line(tmp_path: Path, text: str, why: str) -> None:
    table = tmp_path / "list.csv"
    table.write_text(text)
    with pytest.raises(SourceError, match=why):
        read_listing(table)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="UTF-8"):
        read_listing(table)
    with pytest.raises(SourceError, match="cannot be read"):
        read_listing(tmp_path / "none.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from('file,camerst;\n"*?[\0 2026-118:T/+'), max_size=120))
def test_any_table_is_read_or_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "list.csv"
    table.write_text("file,camera,start\n" + text, encoding="utf-8")
    try:
        listing = read_listing(table)
    except SourceError as error:
        assert str(error).startswith("The list ")
    else:
        listing.of(PurePosixPath("a/b.mp4"))
