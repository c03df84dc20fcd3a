"""What OpenCV says it decoded and did not is never taken for a picture, in any camera's work."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from films import INTERLACED, all_of, by_ffmpeg, drawn, film, needs_ffmpeg, reader_of
from http_camera import HttpCamera

from edge_agent.camera import CameraWorker
from edge_agent.capture import FrameSource
from edge_agent.config import CameraConfig
from edge_agent.coverage import View
from edge_agent.seal import SealerStats
from edge_agent.sources import Image, SourceError
from edge_agent.video.complaints import _libraries, complaints
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from protocol.v2.sightings import Sighting

SIZE = (96, 160)


@pytest.fixture
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which the program is not installed."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def another_camera(tmp_path: Path) -> Callable[[], None]:
    """Call it to have watched another camera of the same size in this process, and closed it."""
    path = film(tmp_path / "another.avi", 20)

    def watch() -> None:
        for _ in range(3):
            assert len(all_of(reader_of(path))) == 20

    return watch


class Sealer:
    """Takes sightings and what was seen, as a sealer does."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self.views: Counter[View] = Counter()

    def add(
        self, sightings: list[Sighting], _now_ms: int, *, origin_ms: int | None, stills: object
    ) -> None:
        assert origin_ms is None
        self.sightings += sightings

    def cover(self, view: View, from_ms: int, until_ms: int, *, origin_ms: int | None) -> None:
        assert origin_ms is None
        self.views[view] += until_ms - from_ms

    def stats(self) -> SealerStats:
        return SealerStats(0, 0, 0, "")


def worked(path: Path, models: VisionModels) -> tuple[CameraWorker, Sealer]:
    """What a camera's whole work makes of a film, in the film's own time."""
    sealer: Any = Sealer()
    worker = CameraWorker(
        CameraConfig(
            name="cam-1",
            source=f"file:{path}",
            pace="fast",
            recorded_at=datetime(2026, 11, 1, tzinfo=UTC),
            detect_fps=20,
        ),
        vision=VisionConfig(detect_width=320, detect_height=192),
        models=models,
        sealer=sealer,
    )
    worker.run()
    return worker, sealer


@pytest.mark.usefixtures("without_ffmpeg")
def test_an_interlaced_film_gives_no_picture_where_nothing_can_decode_it(
    another_camera: Callable[[], None],
) -> None:
    another_camera()
    reader = reader_of(INTERLACED)
    with pytest.raises(SourceError, match="sudo apt install ffmpeg"):
        reader.read()
    reader.close()


@pytest.mark.models
@pytest.mark.usefixtures("without_ffmpeg")
def test_a_camera_after_another_sees_nothing_of_the_other(
    tmp_path: Path, face: Callable[[str, int], Image], models: VisionModels
) -> None:
    head = face("obama.jpg", 48)
    other = cv2.VideoWriter(
        str(tmp_path / "other.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12, SIZE[::-1]
    )
    for number in range(24):
        image = drawn(number)
        image[:, :] = 90
        rows, columns = min(SIZE[0], head.shape[0]), min(SIZE[1], head.shape[1])
        image[:rows, 20 + number : 20 + number + columns] = head[:rows, :columns]
        other.write(image)
    other.release()
    first, its_sealer = worked(tmp_path / "other.avi", models)
    assert len(its_sealer.sightings) == 1
    assert first.failure == ""

    second, sealer = worked(INTERLACED, models)
    assert (sealer.sightings, sealer.views) == ([], Counter())
    assert "interlaced" in second.failure
    assert "sudo apt install ffmpeg" in second.failure


@pytest.mark.models
@pytest.mark.usefixtures("without_ffmpeg")
def test_a_camera_whose_film_becomes_interlaced_says_where_it_stopped(
    tmp_path: Path, models: VisionModels
) -> None:
    plain = film(tmp_path / "plain.mpg", 24, fps=24, code="MPG2")
    both = tmp_path / "both.mpg"
    both.write_bytes(plain.read_bytes() + INTERLACED.read_bytes())
    worker, sealer = worked(both, models)
    assert "sudo apt install ffmpeg" in worker.failure
    assert set(sealer.views) == {View.WATCHED}
    assert 700 < sealer.views[View.WATCHED] < 1200


@needs_ffmpeg
@pytest.mark.models
def test_a_camera_reads_an_interlaced_film_through_ffmpeg(models: VisionModels) -> None:
    worker, sealer = worked(INTERLACED, models)
    assert worker.failure == ""
    assert set(sealer.views) == {View.WATCHED}
    assert sealer.views[View.WATCHED] > 1900
    assert worker.figures().read == 25


@needs_ffmpeg
def test_every_interlaced_picture_is_the_film_s_own(another_camera: Callable[[], None]) -> None:
    another_camera()
    pictures = all_of(reader_of(INTERLACED))
    assert len(pictures) == 25
    assert all(100 < picture.image.mean() < 120 for picture in pictures)
    changes = [
        np.abs(after.image.astype(int) - before.image).mean()
        for before, after in itertools.pairwise(pictures)
    ]
    assert min(changes) > 0.5
    # Deinterlaced: the rows of one field do not stand out against those of the other.
    grey = cv2.cvtColor(pictures[12].image, cv2.COLOR_BGR2GRAY).astype(int)
    between_fields = np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) // 2).mean()
    assert between_fields < 8


@needs_ffmpeg
def test_a_film_that_becomes_interlaced_goes_on_where_it_was(tmp_path: Path) -> None:
    plain = by_ffmpeg(tmp_path / "plain.mpg", "-c:v", "mpeg2video", "-r", "12", "-q:v", "12")
    both = tmp_path / "both.mpg"
    both.write_bytes(plain.read_bytes() + INTERLACED.read_bytes())
    reader = reader_of(both)
    pictures = all_of(reader)
    assert reader.facts().by_ffmpeg
    assert 49 <= len(pictures) <= 52
    times = [picture.at_s for picture in pictures]
    assert max(after - before for before, after in itertools.pairwise(times)) < 0.3
    assert all(picture.image.any() for picture in pictures)


@needs_ffmpeg
def test_a_live_interlaced_camera_is_read_through_ffmpeg() -> None:
    camera = HttpCamera(film=INTERLACED.read_bytes())
    try:
        with FrameSource(f"http://127.0.0.1:{camera.port}/film", backoff_first_s=0.05) as source:
            frames = [source.next_frame(30) for _ in range(5)]
            assert all(frame is not None and 100 < frame.image.mean() < 120 for frame in frames)
            assert source.stats.reconnects == 0
    finally:
        camera.close()


@pytest.mark.slow
@pytest.mark.usefixtures("without_ffmpeg")
def test_a_live_interlaced_camera_says_what_to_install(
    wait_until: Callable[[Callable[[], bool]], None], capfd: pytest.CaptureFixture[str]
) -> None:
    camera = HttpCamera(film=INTERLACED.read_bytes())
    url = f"http://viewer:hunter2@127.0.0.1:{camera.port}/film"
    try:
        with FrameSource(url, backoff_first_s=0.01, backoff_max_s=0.02) as source:
            wait_until(lambda: source.stats.reconnects >= 2)
            assert source.next_frame(0.01) is None
    finally:
        camera.close()
    printed = "".join(capfd.readouterr())
    assert "sudo apt install ffmpeg" in printed
    assert "hunter2" not in printed


def test_complaints_are_those_of_one_s_own_thread(tmp_path: Path) -> None:
    good = cv2.VideoCapture(str(film(tmp_path / "good.avi", 3)), cv2.CAP_FFMPEG)
    bad = cv2.VideoCapture(str(INTERLACED), cv2.CAP_FFMPEG)
    assert good.grab()
    assert bad.grab()
    with complaints() as of_good:
        good.retrieve()
    with complaints() as of_bad:
        bad.retrieve()
    assert (of_good.complaints, of_good.certain) == (0, True)
    assert (of_bad.complaints > 0, of_bad.certain) == (True, True)
    good.release()
    bad.release()


def test_what_was_heard_is_not_certain_when_another_library_listened_meanwhile() -> None:
    (ffmpeg,) = _libraries()
    bad = cv2.VideoCapture(str(INTERLACED), cv2.CAP_FFMPEG)
    assert bad.grab()
    with complaints() as unheard:
        ffmpeg.av_log_set_callback(ffmpeg.av_log_default_callback)
        bad.retrieve()
    assert (unheard.complaints, unheard.certain) == (0, False)
    with complaints() as unheard:
        ffmpeg.av_log_set_callback(ffmpeg.av_log_default_callback)
        bad.retrieve()
        with complaints_of_another_thread():
            pass
    assert (unheard.complaints, unheard.certain) == (0, False)
    with complaints() as heard, complaints_of_another_thread():
        bad.retrieve()
    assert (heard.complaints > 0, heard.certain) == (True, True)
    bad.release()


@contextmanager
def complaints_of_another_thread() -> Iterator[None]:
    """Another camera's thread begins to listen, and goes on for as long as the block."""
    begun, end = threading.Event(), threading.Event()

    def listen() -> None:
        with complaints():
            begun.set()
            end.wait(30)

    thread = threading.Thread(target=listen)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        end.set()
        thread.join(30)
