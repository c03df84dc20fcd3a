"""Films as recorders leave them behind: each is read rightly, or refused in words."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import pytest
from films import all_of, by_ffmpeg, drawn, film, needs_ffmpeg, reader_of, times_of, turned

from edge_agent.capture import FrameSource
from edge_agent.sources import SourceError


def test_pictures_nearer_than_asked_for_are_passed_over(tmp_path: Path) -> None:
    path = film(tmp_path / "walk.avi", 40)
    assert times_of(all_of(reader_of(path), gap_s=0.2)) == [round(0.2 * n, 3) for n in range(10)]
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), drawn(number))
    assert times_of(all_of(reader_of(f"folder:{tmp_path}?fps=2"), gap_s=1.0)) == [0.0, 1.0]


def test_damage_in_the_middle_ends_no_film(tmp_path: Path) -> None:
    path = film(tmp_path / "walk.avi", 40)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    reader = reader_of(path)
    pictures = all_of(reader)
    assert 30 < len(pictures) < 40
    assert pictures[-1].at_s > 1.5


def test_a_film_that_is_still_being_written_is_read_to_where_it_is(tmp_path: Path) -> None:
    path = film(tmp_path / "walk.avi", 40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    reader = reader_of(path)
    assert reader.read() is not None
    with path.open("ab") as growing:
        growing.write(data[len(data) // 2 :])
    assert len(all_of(reader)) > 10
    assert reader.grew


def test_a_frame_rate_of_zero_in_the_header_is_no_hindrance(tmp_path: Path) -> None:
    path = film(tmp_path / "walk.avi", 20)
    data = bytearray(path.read_bytes())
    header = data.index(b"strh")
    data[header + 8 + 24 : header + 8 + 28] = bytes(4)  # dwRate
    micros = data.index(b"avih") + 8
    data[micros : micros + 4] = bytes(4)  # dwMicroSecPerFrame
    path.write_bytes(data)
    pictures = all_of(reader_of(path))
    assert len(pictures) == 20
    assert all(a.at_s < b.at_s for a, b in itertools.pairwise(pictures))


@pytest.mark.slow
def test_frames_above_4k_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    path = film(tmp_path / "large.avi", 1, size=(2880, 5120))
    with pytest.raises(SourceError, match=r"5120x2880.*4K"):
        reader_of(path)


@pytest.mark.slow
def test_4k_is_read(tmp_path: Path) -> None:
    (picture,) = all_of(reader_of(film(tmp_path / "uhd.avi", 1, size=(2160, 3840))))
    assert picture.image.shape == (2160, 3840, 3)


def test_a_list_of_other_files_is_no_video(tmp_path: Path) -> None:
    film(tmp_path / "secret.avi", 3)
    for name, text in {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.avi\n#EXT-X-ENDLIST\n",
        "b.mp4": "ffconcat version 1.0\nfile secret.avi\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(SourceError, match="not a video"):
            reader_of(tmp_path / name)


@needs_ffmpeg
def test_variable_rates_keep_their_times_to_the_agent(tmp_path: Path) -> None:
    path = by_ffmpeg(
        tmp_path / "vfr.mp4", "-c:v", "mpeg4", "-fps_mode", "vfr",
        "-vf", "setpts='if(lt(N,20),N/25,0.8+(N-20)/5)/TB+0.5'",
    )  # fmt: skip
    wanted = [n / 25 if n < 20 else 0.8 + (n - 20) / 5 for n in range(50)]
    with FrameSource(f"file:{path}", pace="fast", start_ms=0) as source:
        times = [frame.captured_at_ms for frame in source.frames()]
    assert times == pytest.approx([1000 * at_s for at_s in wanted], abs=2)


@needs_ffmpeg
def test_timestamps_that_jump_back_make_one_time(tmp_path: Path) -> None:
    part = by_ffmpeg(tmp_path / "part.ts", "-c:v", "mpeg2video").read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    reader = reader_of(tmp_path / "joined.ts")
    times = times_of(all_of(reader))
    assert len(times) == 100
    assert all(after > before for before, after in itertools.pairwise(times))
    assert times[-1] == pytest.approx(3.96, abs=0.1)
    assert reader.jumps == 1


@needs_ffmpeg
@pytest.mark.parametrize(
    ("ratio", "shape"), [("16/11", (96, 233, 3)), ("1/2", (192, 160, 3)), ("100/1", (96, 160, 3))]
)
def test_pixels_are_made_square(tmp_path: Path, ratio: str, shape: tuple[int, ...]) -> None:
    path = by_ffmpeg(tmp_path / "wide.mkv", "-vf", f"setsar={ratio}", "-c:v", "mpeg4", "-t", "0.2")
    assert {picture.image.shape for picture in all_of(reader_of(path))} == {shape}


@needs_ffmpeg
def test_a_film_that_lies_on_its_side_is_stood_up(tmp_path: Path) -> None:
    flat = by_ffmpeg(tmp_path / "flat.mp4", "-c:v", "mpeg4", "-vf", "setsar=2/1", "-t", "0.2")
    assert {picture.image.shape for picture in all_of(reader_of(turned(flat)))} == {(320, 96, 3)}


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("h265.mp4", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("raw.h264", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
        ("raw.h265", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("h264.ts", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
        ("mjpeg.avi", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
    ],
)
def test_what_recorders_write_is_read(tmp_path: Path, name: str, arguments: list[str]) -> None:
    path = by_ffmpeg(tmp_path / name, *arguments)
    times = times_of(all_of(reader_of(path)))
    assert len(times) == 50
    assert times == pytest.approx([n / 25 for n in range(50)], abs=0.002)


@needs_ffmpeg
def test_what_holds_no_film_says_so(tmp_path: Path) -> None:
    by_ffmpeg(tmp_path / "sound.m4a", "-c:a", "aac", source="sine=d=1")
    whole = by_ffmpeg(tmp_path / "whole.mp4", "-c:v", "mpeg4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("sound.m4a", "cut.mp4"):
        with pytest.raises(SourceError, match="has no picture, or is not a video"):
            reader_of(tmp_path / name)


@needs_ffmpeg
def test_key_frames_alone_are_read_when_asked_for(tmp_path: Path) -> None:
    path = by_ffmpeg(tmp_path / "walk.mp4", "-c:v", "mpeg4", "-g", "10")
    assert times_of(all_of(reader_of(path, keyframes=True))) == [0.0, 0.4, 0.8, 1.2, 1.6]
