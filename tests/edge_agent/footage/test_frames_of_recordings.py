"""A recording's pictures carry the moments at which they were taken, however they are read."""

from __future__ import annotations

import itertools
from datetime import UTC
from pathlib import Path

import pytest
from films import all_of, by_ffmpeg, film, needs_ffmpeg, times_of

from edge_agent.footage.found import FoundFile, ScanOptions
from edge_agent.footage.frames import Reading, frames
from edge_agent.footage.quality import vision_for
from edge_agent.footage.scan import scan_folder
from edge_agent.sources import Image, SourceError
from edge_agent.video import ffmpeg
from edge_agent.video.files import FileReader
from edge_agent.video.reading import Shortcuts
from edge_agent.vision.config import VisionConfig

AT_MS = 1_767_225_600_000


def found(path: Path) -> FoundFile:
    (file,) = scan_folder(path, options=ScanOptions(zone=UTC, camera="gate")).files
    return file


def times_ms(file: FoundFile, **options: object) -> list[int]:
    return [
        frame.captured_at_ms - AT_MS
        for frame in frames(file, **options)  # type: ignore[arg-type]
    ]


def test_frames_have_their_moments_and_are_wiped(tmp_path: Path) -> None:
    file = found(film(tmp_path / "20260101_000000.avi", 10))
    read: list[Reading] = []
    images: list[Image] = []
    moments = []
    for frame in frames(file, tell=read.append):
        assert frame.image.any()
        assert not any(image.any() for image in images)
        images.append(frame.image)
        moments.append((frame.index, frame.captured_at_ms - AT_MS))
    assert not images[-1].any()
    assert moments == [(n, 50 * n) for n in range(10)]
    assert read == [Reading(10, 0, False, False, 0, "opencv")]


def test_a_pass_that_is_broken_off_is_closed_and_told(tmp_path: Path) -> None:
    file = found(film(tmp_path / "20260101_000000.avi", 10))
    read: list[Reading] = []
    going = frames(file, tell=read.append)
    first = next(going)
    going.close()  # type: ignore[attr-defined]
    assert not first.image.any()
    assert [one.given for one in read] == [1]


def test_a_file_without_a_start_has_no_frames(tmp_path: Path) -> None:
    file = found(film(tmp_path / "film.avi", 3))
    with pytest.raises(SourceError, match="nothing says when it began"):
        next(frames(file))


def test_nearer_pictures_are_passed_over_but_those_a_little_early_are_not(tmp_path: Path) -> None:
    file = found(film(tmp_path / "20260101_000000.avi", 41))
    assert times_ms(file, gap_s=0.2) == [200 * n for n in range(11)]
    assert times_ms(file, gap_s=0.203) == [200 * n for n in range(11)]


def test_fast_gives_the_same_pictures_of_a_film_of_which_it_can_leave_out_none(
    tmp_path: Path,
) -> None:
    file = found(film(tmp_path / "20260101_000000.avi", 40))
    assert times_ms(file, gap_s=0.2, quality="fast") == times_ms(file, gap_s=0.2)


def test_fast_seeks_faces_in_smaller_pictures_and_leaves_all_else() -> None:
    config = VisionConfig(detect_height=300)
    fast = vision_for("fast", config)
    assert (fast.detect_width, fast.detect_height) == (640, 300)
    assert fast.model_copy(update={"detect_width": config.detect_width}) == config
    assert vision_for("full", config) is config


@needs_ffmpeg
def test_sparing_reads_the_same_moments_of_what_it_decodes(tmp_path: Path) -> None:
    path = by_ffmpeg(
        tmp_path / "20260101_000000.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2",
        "-x264-params", "b-adapt=0:b-pyramid=none", "-g", "25",
    )  # fmt: skip
    file = found(path)
    read: list[Reading] = []
    times = times_ms(file, gap_s=0.2, quality="fast", tell=read.append)
    assert read[0].decoder.startswith("ffmpeg")
    assert all(200 <= b - a <= 280 for a, b in itertools.pairwise(times))
    assert {time % 40 for time in times} == {0}
    assert not read[0].truncated


@needs_ffmpeg
def test_a_gap_within_ffmpeg_loses_nothing_where_times_begin_anew(tmp_path: Path) -> None:
    part = by_ffmpeg(tmp_path / "part.ts", "-c:v", "mpeg2video").read_bytes()
    joined = tmp_path / "20260101_000000.ts"
    joined.write_bytes(part + part)
    reader = FileReader(joined, Shortcuts(sparing=True, gap_s=0.195))
    times = []
    while (picture := reader.read(gap_s=0.195)) is not None:
        times.append(picture.at_s)
    reader.close()
    assert reader.facts().by_ffmpeg
    assert len(times) == pytest.approx(20, abs=1)
    assert times[-1] == pytest.approx(3.8, abs=0.3)


@needs_ffmpeg
def test_variable_rates_keep_their_times_in_every_way(tmp_path: Path) -> None:
    path = by_ffmpeg(
        tmp_path / "20260101_000000.mp4", "-c:v", "mpeg4", "-fps_mode", "vfr",
        "-vf", "setpts='if(lt(N,20),N/25,0.8+(N-20)/5)/TB+0.5'",
    )  # fmt: skip
    wanted = [200 * n for n in range(34)]
    for quality in ("full", "fast"):
        times = times_ms(found(path), gap_s=0.2, quality=quality)
        assert times == pytest.approx(wanted, abs=45)


@needs_ffmpeg
def test_hardware_that_is_not_there_is_done_without(tmp_path: Path) -> None:
    path = by_ffmpeg(tmp_path / "20260101_000000.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    reader = FileReader(path, Shortcuts(sparing=True, hardware=True))
    pictures = 0
    while (picture := reader.read()) is not None:
        pictures += 1
        assert picture.image.mean() > 10
    reader.close()
    assert pictures > 10


@pytest.mark.processes
def test_a_program_that_gives_nothing_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film.avi", 40)
    broken = tmp_path / "bin" / "ffmpeg"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent), prepend=":")
    reader = FileReader(path, Shortcuts(sparing=True))
    assert reader.facts().by_ffmpeg
    pictures = all_of(reader)
    assert times_of(pictures) == [round(0.05 * n, 3) for n in range(40)]
    assert not reader.facts().by_ffmpeg
    assert not reader.truncated


@needs_ffmpeg
def test_a_camera_s_usual_film_needs_no_process(tmp_path: Path) -> None:
    usual = by_ffmpeg(
        tmp_path / "20260101_000000.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0"
    )
    slow = by_ffmpeg(
        tmp_path / "20260101_000000.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p",
        source="testsrc2=s=160x96:r=10:d=2",
    )  # fmt: skip
    for path in (usual, slow):
        read: list[Reading] = []
        times = times_ms(found(path), gap_s=0.2, quality="fast", tell=read.append)
        assert times == [200 * n for n in range(10)]
        assert (read[0].decoder == "opencv") != ffmpeg.has_hardware()
