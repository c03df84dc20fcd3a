"""When a recording began by its own header, in the forms that recorders write."""

from __future__ import annotations

import struct
from datetime import UTC
from pathlib import Path

import pytest
from films import DAHUA_BEGAN as BEGAN
from films import all_of, by_ffmpeg, dahua, film, needs_ffmpeg, reader_of, times_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.video.clock import began_at


@needs_ffmpeg
def test_a_recorder_s_own_file_is_read_with_its_date(tmp_path: Path) -> None:
    path = dahua(tmp_path / "a.dav")
    assert began_at(path) == BEGAN
    reader = reader_of(path)
    assert reader.facts().began == BEGAN
    assert times_of(all_of(reader)) == pytest.approx([n / 25 for n in range(50)], abs=0.002)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_containers_with_a_creation_time(tmp_path: Path, name: str) -> None:
    dated = by_ffmpeg(
        tmp_path / name, "-c:v", "mpeg4", "-metadata", "creation_time=2026-11-28T10:05:07Z"
    )
    undated = by_ffmpeg(tmp_path / f"un{name}", "-c:v", "mpeg4")
    assert began_at(dated) == BEGAN.replace(tzinfo=UTC)
    assert began_at(undated) is None


def test_an_avi_with_a_date(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", 3)
    assert began_at(path) is None
    data = path.read_bytes()
    at = data.index(b"LIST", 12)
    date = b"IDIT" + struct.pack("<I", 26) + b"Sat Nov 28 10:05:07 2026\n\0"
    path.write_bytes(data[:at] + date + data[at:])
    assert began_at(path) == BEGAN


def test_a_recorder_that_was_never_told_the_time_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    movie = b"\0\0\0\x14mvhd" + bytes(12)
    path.write_bytes(b"\0\0\0\x08ftyp" + struct.pack(">I", 8 + len(movie)) + b"moov" + movie)
    assert began_at(path) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"DHAV", b"\x1aE\xdf\xa3", b"RIFF....IDIT", b"\0\0\0\x08ftyp\0\0\0\0moov"]),
    st.binary(max_size=80),
)
def test_any_bytes_say_a_date_or_nothing(tmp_path: Path, begin: bytes, rest: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(begin + rest)
    found = began_at(path)
    assert found is None or found.year >= 1990
