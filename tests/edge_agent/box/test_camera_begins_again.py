"""A live camera whose work failed is begun again; a recording is not, and both say why."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from edge_site import wait_until
from rtsp_camera import RtspCamera

from edge_agent.camera import CameraWorker
from edge_agent.config import CameraConfig
from edge_agent.coverage import View
from edge_agent.health import ENDED, FAILED, WORKING
from edge_agent.seal import SealerStats
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.errors import ModelError
from edge_agent.vision.models import VisionModels
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models


class Stumbling:
    """Takes sightings, as a sealer does, but for the while that a library under it fails."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.taken = 0
        self.failures = 0
        self.covered_ms: Counter[View] = Counter()

    def add(
        self, _sightings: list[Sighting], _now_ms: int, *, origin_ms: int | None, stills: object
    ) -> None:
        if self.error is not None:
            self.failures += 1
            raise self.error
        self.taken += 1

    def cover(self, view: View, from_ms: int, until_ms: int, *, origin_ms: int | None) -> None:
        assert origin_ms is not None
        self.covered_ms[view] += until_ms - from_ms

    def stats(self) -> SealerStats:
        return SealerStats(0, 0, 0, "")


@pytest.fixture
def rtsp_camera() -> Iterator[RtspCamera]:
    camera = RtspCamera()
    yield camera
    camera.close()


def begin(
    source: str,
    models: VisionModels,
    sealer: Any,
    again_s: tuple[float, float] = (0.01, 0.05),
) -> tuple[CameraWorker, threading.Thread]:
    worker = CameraWorker(
        CameraConfig(name="cam-1", source=source, detect_fps=60),
        vision=VisionConfig(),
        models=models,
        sealer=sealer,
        again_s=again_s,
    )
    thread = threading.Thread(target=worker.run, name="camera-cam-1", daemon=True)
    thread.start()
    return worker, thread


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), ModelError("out of memory")], ids=["unforeseen", "foreseen"]
)
def test_a_live_camera_is_begun_again_until_its_work_succeeds(
    rtsp_camera: RtspCamera, models: VisionModels, error: Exception
) -> None:
    sealer = Stumbling(error)
    url = f"rtsp://admin:hunter2@127.0.0.1:{rtsp_camera.port}/ch1"
    worker, thread = begin(url, models, sealer)
    wait_until(lambda: rtsp_camera.clients >= 3, "the camera to be opened again and again")
    assert str(error) in worker.failure
    assert worker.figures().state == FAILED
    assert thread.is_alive()
    sealer.error = None
    wait_until(lambda: worker.figures().state == WORKING, "the camera to work")
    taken = sealer.taken
    wait_until(lambda: sealer.taken > taken + 3, "its sightings to be handed over")
    assert (worker.failure, worker.ended) == ("", False)
    worker.stop()
    thread.join(60)
    assert worker.ended


def test_a_camera_that_is_stopped_while_it_waits_to_begin_again_ends(models: VisionModels) -> None:
    sealer = Stumbling(RuntimeError("a bug"))
    camera = RtspCamera()
    try:
        worker, thread = begin(f"rtsp://127.0.0.1:{camera.port}/ch1", models, sealer)
        wait_until(lambda: sealer.failures >= 2, "failures")
        worker.stop()
        thread.join(60)
        assert (worker.ended, thread.is_alive()) == (True, False)
    finally:
        camera.close()


def test_a_recording_whose_work_failed_is_not_begun_again(
    tmp_path: Path, models: VisionModels
) -> None:
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((96, 128, 3), 90, np.uint8))
    sealer = Stumbling(ModelError("out of memory"))
    worker, thread = begin(f"folder:{tmp_path}?fps=50", models, sealer)
    thread.join(30)
    assert (worker.ended, thread.is_alive()) == (True, False)
    assert "out of memory" in worker.failure
    assert worker.figures().state in {FAILED, ENDED}


def test_a_camera_that_cannot_be_reached_is_told_to_be_offline(models: VisionModels) -> None:
    sealer = Stumbling(RuntimeError("not called"))
    sealer.error = None
    worker, thread = begin("rtsp://127.0.0.1:1/ch1", models, sealer)
    wait_until(lambda: sealer.covered_ms[View.OFFLINE] > 0)
    worker.stop()
    thread.join(60)
    assert set(sealer.covered_ms) == {View.OFFLINE}


def test_a_camera_that_waits_to_be_begun_again_is_told_to_be_offline(
    rtsp_camera: RtspCamera, models: VisionModels
) -> None:
    sealer = Stumbling(RuntimeError("a bug"))
    url = f"rtsp://127.0.0.1:{rtsp_camera.port}/ch1"
    worker, thread = begin(url, models, sealer, again_s=(60, 60))
    wait_until(lambda: worker.failure and not worker.ended, "the failure")
    before_ms = sealer.covered_ms[View.OFFLINE]
    wait_until(lambda: sealer.covered_ms[View.OFFLINE] > before_ms)
    worker.stop()
    thread.join(60)
    assert worker.ended
