"""Figures of a whole box: four cameras of 1280x720 watched at once, in one process as an agent has.

Run: `python -m benchmarks cameras [--quick]` after `make setup`; the system's `ffmpeg` must be
installed. Four films of two people who walk (`bench_footage`), played at their own rate and over
and over, each decoded in its thread and looked at in another, as by `sealtrace edge run`: five
detections of faces and 2.5 of people a second. Sealing and delivery are left out. What is looked
at is by the clock, so that whatever else runs on the machine counts; where others take it, what
one camera took, as many times over, says better what four need.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bench_edge import STATE, load
from benchmarks.bench_footage import SIZE, _film
from benchmarks.bench_people import _images
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from edge_agent.capture import FrameSource
from edge_agent.coverage import View
from edge_agent.video import ffmpeg
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from edge_agent.vision.view import Watch
from runtime.errors import OperationError

CAMERAS = 4
_WARM_S = 3.0
_WAIT_S = 0.25
_FILM_S = 20.0


@dataclass
class _Camera:
    """One camera, watched by a thread of its own until it is told to stop."""

    film: Path
    models: VisionModels
    stop: threading.Event
    sightings: int = 0
    pipeline: CameraPipeline = field(init=False)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = CameraPipeline(VisionConfig(), self.models)
        self.thread = threading.Thread(target=self._watch, name=f"camera-{self.film.stem}")
        self.thread.start()

    def _watch(self) -> None:
        watch = Watch(_nobody)
        with FrameSource(f"file:{self.film}", loop=True) as source:
            while not self.stop.is_set():
                frame = source.next_frame(_WAIT_S)
                if frame is not None:
                    watch.frame(frame.image, frame.captured_at_ms)
                    self.sightings += len(self.pipeline.process(frame))
        self.sightings += len(self.pipeline.flush())


def run(state: Path = STATE, *, quick: bool = False) -> list[Figure]:
    """Watch one camera, then four, and return the figures.

    Raises:
        OperationError: `ffmpeg` is not installed, or `make setup` has not been run.
    """
    quiet_logs()
    if ffmpeg.installed() is None:
        raise OperationError("cameras are measured where ffmpeg is: apt install ffmpeg")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        models = load(state)
        with tempfile.TemporaryDirectory() as folder:
            return _measured(models, Path(folder), 10.0 if quick else 40.0)
    finally:
        cv2.setNumThreads(threads)


def _measured(models: VisionModels, folder: Path, seconds: float) -> list[Figure]:
    walking = [
        np.asarray(cv2.resize(image, SIZE), np.uint8) for _, image in _images("face-walking")
    ]
    films = [folder / f"cam-{number}.mp4" for number in range(CAMERAS)]
    for number, film in enumerate(films):
        first = number * len(walking) // CAMERAS  # so that not all look the same at once
        _film(film, walking[first:] + walking[:first], _FILM_S)
    figures: list[Figure] = []
    for count in (1, CAMERAS):
        figures += _together(models, films[:count], seconds)
    needed = CAMERAS * figures[0].value
    name = f"{CAMERAS} cameras: as many times what one took"
    return [*figures, Figure(name, needed, "cores")]


def _together(models: VisionModels, films: list[Path], seconds: float) -> list[Figure]:
    """Watch these films at once for so long, once they are under way."""
    stop = threading.Event()
    cameras = [_Camera(film, models, stop) for film in films]
    try:
        time.sleep(_WARM_S)
        before = [_looked(camera) for camera in cameras]
        busy_s, begin_s = _processor_s(), time.monotonic()
        time.sleep(seconds)
        busy_s, took_s = _processor_s() - busy_s, time.monotonic() - begin_s
        rates = [
            (_looked(camera) - was) / took_s for camera, was in zip(cameras, before, strict=True)
        ]
    finally:
        stop.set()
        for camera in cameras:
            camera.thread.join()
    what = f"{len(films)} cameras" if len(films) > 1 else "1 camera"
    asked = VisionConfig().detect_fps
    load_1 = os.getloadavg()[0]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Figure(f"{what}: processor used", busy_s / took_s, "cores"),
        Figure(
            f"{what}: faces looked for, the slowest camera", min(rates), "a second",
            "asked for", min(rates) / asked,
        ),
        Figure(f"{what}: memory at its highest", peak_mb, "MB"),
        Figure(f"{what}: load of the machine, this included", load_1, ""),
    ]  # fmt: skip


def _looked(camera: _Camera) -> int:
    return camera.pipeline.stats.processed


def _nobody(_view: View, _from_ms: int, _until_ms: int) -> None:
    """Coverage is worked out, and told nobody."""


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    print_figures("cameras", run(quick="--quick" in sys.argv))
