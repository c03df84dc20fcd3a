"""Frames from files and folders: order, times, drops, damaged and missing sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.capture import Frame, FrameSource, SourceError
from edge_agent.sources import decode_image

Wait = Callable[[Callable[[], bool]], None]
FPS = 20


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames of 160x120 at 20 fps; frame i is grey of brightness 5 i."""
    path = tmp_path_factory.mktemp("video") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (160, 120))
    assert writer.isOpened()
    for index in range(30):
        writer.write(np.full((120, 160, 3), 5 * index, np.uint8))
    writer.release()
    return path


def brightness(frame: Frame) -> int:
    return round(float(frame.image.mean()) / 5)


def test_fast_gives_every_frame_once_in_order_with_its_time(video: Path) -> None:
    with FrameSource(f"file:{video}", pace="fast", start_ms=1000) as source:
        frames = [(brightness(f), f.index, f.captured_at_ms) for f in source.frames()]
    assert frames == [(i, i, 1000 + i * 1000 // FPS) for i in range(30)]
    assert source.ended
    assert source.stats.read == 30
    assert source.stats.dropped == source.stats.bad == source.stats.truncated == 0


@pytest.mark.slow
def test_realtime_drops_what_is_not_fetched_and_keeps_the_newest(
    video: Path, wait_until: Wait
) -> None:
    with FrameSource(str(video)) as source:
        wait_until(lambda: source.stats.read == 30)
        newest = source.next_frame(10)
        assert newest is not None
        assert brightness(newest) == 29
        assert source.stats.dropped == 29
        assert source.next_frame(10) is None
        assert source.ended


@pytest.mark.slow
def test_realtime_stamps_frames_with_rising_times(video: Path) -> None:
    with FrameSource(str(video)) as source:
        times = [frame.captured_at_ms for frame in source.frames()]
    assert times == sorted(times)
    assert times[-1] > times[0]


def test_loop_starts_again_and_time_goes_on(video: Path) -> None:
    with FrameSource(str(video), pace="fast", loop=True, start_ms=0) as source:
        frames = [source.next_frame(10) for _ in range(65)]
    shown = [(brightness(f), f.captured_at_ms) for f in frames if f is not None]
    assert shown == [(i % 30, i * 1000 // FPS) for i in range(65)]


def test_frames_are_wiped_when_done_with(video: Path) -> None:
    with FrameSource(str(video), pace="fast") as source:
        kept = [frame.image for frame in source.frames()]
    assert not any(image.any() for image in kept)


def test_stop_ends_a_waiting_reader(video: Path) -> None:
    source = FrameSource(str(video), pace="fast", loop=True)
    source.start()
    assert source.next_frame(10) is not None
    source.stop()
    assert source.ended
    assert source.next_frame(10) is None


def test_a_truncated_video_ends_cleanly_and_is_counted(video: Path, tmp_path: Path) -> None:
    data = video.read_bytes()
    broken = tmp_path / "broken.avi"
    broken.write_bytes(data[: len(data) // 2])
    with FrameSource(str(broken), pace="fast") as source:
        count = sum(1 for _ in source.frames())
    assert 5 < count < 25
    assert source.stats.truncated == 1


def test_a_source_that_cannot_work_says_why_at_the_start(video: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:600])
    (tmp_path / "nothing").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image")
    reasons = {
        "missing.mp4": "no such file",
        "empty.mp4": "0 bytes",
        "text.mp4": "not a video",
        "cut.mp4": "cut.mp4",
        "folder:missing": "no such file",
        "folder:nothing": "no image",
        "folder:texts": "1 files were tried",
        "folder:empty.mp4": "not a folder",
    }
    for url, reason in reasons.items():
        kind, _, name = url.rpartition(":")
        source = FrameSource(f"{kind or 'file'}:{tmp_path / name}")
        with pytest.raises(SourceError, match=reason):
            source.start()


def test_a_folder_plays_in_order_of_names_and_skips_what_is_no_image(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((40, 60, 3), 5 * index, np.uint8))
    (tmp_path / "0a.txt").write_text("no image")
    (tmp_path / "1a.jpg").touch()
    (tmp_path / "2a.png").write_bytes((tmp_path / "2.png").read_bytes()[:30])
    (tmp_path / ".hidden.png").write_bytes((tmp_path / "2.png").read_bytes())
    (tmp_path / "sub").mkdir()
    with FrameSource(f"folder:{tmp_path}?fps=4", pace="fast", start_ms=0) as source:
        frames = [(brightness(f), f.captured_at_ms) for f in source.frames()]
    assert frames == [(0, 0), (1, 250), (2, 500)]
    assert source.stats.bad == 3


def test_pictures_of_a_folder_may_differ_in_size_and_be_grey(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60), 50, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((20, 30, 3), 50, np.uint8))
    with FrameSource(f"folder:{tmp_path}", pace="fast") as source:
        assert [frame.image.shape for frame in source.frames()] == [(40, 60, 3), (20, 30, 3)]


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM"]),
)
def test_any_bytes_are_an_image_or_none(data: bytes, start: bytes) -> None:
    image = decode_image(start + data)
    assert image is None or (image.ndim == 3 and image.dtype == np.uint8)


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=400), st.sampled_from([b"", b"RIFF", b"\0\0\0\x18ftypmp42"]))
def test_any_bytes_as_a_video_are_refused_in_words(
    tmp_path: Path, data: bytes, start: bytes
) -> None:
    (tmp_path / "any.mp4").write_bytes(start + data)
    source = FrameSource(f"file:{tmp_path / 'any.mp4'}", pace="fast")
    try:
        source.start()
    except SourceError as error:
        assert "any.mp4" in str(error)
    else:
        assert all(frame.image.ndim == 3 for frame in source.frames())
    source.stop()
