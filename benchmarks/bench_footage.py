"""Figures on recordings: how many times faster than it plays a film becomes sightings, a core.

Run: `python -m benchmarks footage [--quick]` after `make setup`; the system's `ffmpeg` must be
installed. The film is 720p25 H.264 at a camera's 3 Mbit/s: two people who walk, from the footage
that is kept for tests, with noise. A film of 640x360 comes at 3 Mbit/s too, and at 1 Mbit/s, as
cameras' second streams do: decoding costs by the bit as well. Counted is the processor's time of
all threads and of the process `ffmpeg`: it is that of one core. It differs by a tenth from minute
to minute on a machine that others share: the rows of faces and people are medians of three. Only
the rows of several processes are by the clock, which also tells how busy the machine is; what each
of them takes of the processor is beside them.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from benchmarks.bench_edge import STATE, load
from benchmarks.bench_people import _images
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from edge_agent.coverage import View
from edge_agent.footage.found import FoundFile, ScanOptions
from edge_agent.footage.frames import frames
from edge_agent.footage.quality import Quality, vision_for
from edge_agent.footage.scan import scan_folder
from edge_agent.video import ffmpeg
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from edge_agent.vision.view import Watch
from runtime.errors import OperationError

FPS = 25
PEOPLE = 2
"""Who walks in the film, counted by eye: from its first picture to its last."""
SIZE = (1280, 720)
GAP_S = 0.2
_PAUSE = 3  # pictures
_TIMES = 3
_FORM = ["-g", "50", "-bf", "0", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
_SMALL = (640, 360)
QUALITIES: tuple[Quality, ...] = ("full", "fast")
_UNIT = "x real time"
_T = TypeVar("_T")


def run(state: Path = STATE, *, quick: bool = False) -> list[Figure]:
    """Make films, read each in every way, and return the figures.

    Raises:
        OperationError: `ffmpeg` is not installed, or `make setup` has not been run.
    """
    quiet_logs()
    if ffmpeg.installed() is None:
        raise OperationError("recordings are measured where ffmpeg is: apt install ffmpeg")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        models = load(state)
        with tempfile.TemporaryDirectory() as folder:
            return _measured(models, Path(folder), state, 10.0 if quick else 40.0)
    finally:
        cv2.setNumThreads(threads)


def _measured(models: VisionModels, folder: Path, state: Path, seconds: float) -> list[Figure]:
    walking = [
        np.asarray(cv2.resize(image, SIZE), np.uint8) for _, image in _images("face-walking")
    ]
    _film(folder / "gate_20260101_000000.mp4", walking, seconds)
    _film(folder / "small_20260101_000000.mp4", walking, seconds, size=_SMALL)
    _film(folder / "second_20260101_000000.mp4", walking, seconds, size=_SMALL, megabits=1)
    _film(folder / "door_20260101_000000.mp4", walking[:1], seconds)
    scan_s, found = _timed(lambda: scan_folder(folder, options=ScanOptions(zone=UTC)))
    by_camera = {file.camera: file for file in found.files}
    gate = by_camera["gate"]
    figures = [Figure("scan of a folder", len(by_camera) * seconds / scan_s, _UNIT)]
    whole: dict[Quality, tuple[float, int]] = {}
    for quality in QUALITIES:
        whole[quality] = _whole(models, gate, quality)
        rate, sightings = whole[quality]
        base = "" if quality == "full" else "full"
        ratio = rate / whole["full"][0] if base else None
        name = f"720p25 H.264, two people, faces and people: {quality}"
        figures.append(Figure(name, rate, _UNIT, base, ratio))
        figures.append(
            Figure("  sightings of it", sightings, "", "counted by eye", sightings / PEOPLE)
        )
    always, _ = _whole(models, gate, "full", whole_s=0)
    figures.append(
        Figure(
            "  full, all of each picture searched", always, _UNIT, "full", always / whole["full"][0]
        )
    )
    for quality in QUALITIES:
        rate, _ = _whole(models, by_camera["door"], quality, people=0)
        figures.append(Figure(f"720p25 H.264, nobody and nothing moves: {quality}", rate, _UNIT))
    for name, file in _films(by_camera).items():
        for quality in QUALITIES:
            alone = _decoded(file, quality)
            figures.append(Figure(f"{name}, decoding 5/s alone: {quality}", alone, _UNIT))
        rate = _faces(models, file)
        figures.append(Figure(f"{name}, decoding and faces at 640x360, 5/s", rate, _UNIT))
    return [*figures, *_processes(gate, state)]


def _films(by_camera: dict[str | None, FoundFile]) -> dict[str, FoundFile]:
    return {
        "720p25 H.264": by_camera["gate"],
        "640x360 H.264": by_camera["small"],
        "640x360 H.264 of 1 Mbit/s": by_camera["second"],
    }


def _film(
    path: Path,
    images: Sequence[Image],
    seconds: float,
    size: tuple[int, int] = SIZE,
    megabits: int = 3,
) -> None:
    """Write a film: pictures there and back, five a second, each with noise of its own.

    Nobody turns about at once: at both ends people stand for a moment.
    """
    last = len(images) - 1
    back = [*_PAUSE * [0], *range(last), *_PAUSE * [last], *range(last, 0, -1)]
    made = subprocess.Popen(
        [
            str(ffmpeg.installed()), "-nostdin", "-loglevel", "error", "-y",
            "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(FPS),
            "-i", "pipe:0", "-vf", f"scale={size[0]}:{size[1]},noise=alls=4:allf=t",
            "-c:v", "libx264", "-b:v", f"{megabits}M", *_FORM, str(path),
        ],
        stdin=subprocess.PIPE,
    )  # fmt: skip
    if made.stdin is None:
        raise RuntimeError("it is a pipe")
    for index in range(round(seconds * FPS)):
        made.stdin.write(np.ascontiguousarray(images[back[index // 5 % len(back)]]).tobytes())
    made.stdin.close()
    if made.wait():
        raise OperationError("ffmpeg could not write the film")


def _whole(
    models: VisionModels,
    file: FoundFile,
    quality: Quality,
    *,
    people: int = PEOPLE,
    whole_s: float = VisionConfig().search_whole_s,
) -> tuple[float, int]:
    """How much faster than it plays a film becomes sightings, and how many.

    Raises:
        OperationError: these are not the people who are in it.
    """
    took = []
    for _ in range(_TIMES):
        took_s, sightings = _timed(lambda: _sightings(models, file, quality, whole_s))
        if sightings != people:
            raise OperationError(
                f"of {people} people in a film {quality} made {sightings} sightings: its speed is "
                "that of something else"
            )
        took.append(took_s)
    return file.seconds / statistics.median(took), people


def _sightings(
    models: VisionModels,
    file: FoundFile,
    quality: Quality,
    whole_s: float = VisionConfig().search_whole_s,
) -> int:
    """Go through a film as an import does: coverage, faces, people, templates."""
    config = vision_for(quality, VisionConfig(search_whole_s=whole_s))
    pipeline = CameraPipeline(config, models)
    watch = Watch(_nobody, own_time=True)
    found = 0
    for frame in frames(file, quality=quality, gap_s=GAP_S):
        watch.frame(frame.image, frame.captured_at_ms)
        found += len(pipeline.process(frame))
    return found + len(pipeline.flush())


def _nobody(_view: View, _from_ms: int, _until_ms: int) -> None:
    """Coverage is worked out, and told nobody."""


def _decoded(file: FoundFile, quality: Quality) -> float:
    took_s, _ = _timed(lambda: sum(1 for _ in frames(file, quality=quality, gap_s=GAP_S)))
    return file.seconds / took_s


def _faces(models: VisionModels, file: FoundFile) -> float:
    detector = models.detector(640, 360)

    def look() -> int:
        given = frames(file, quality="full", gap_s=GAP_S)
        return sum(len(detector.detect(frame.image)) for frame in given)

    took_s, _ = _timed(look)
    return file.seconds / took_s


def _processes(file: FoundFile, state: Path) -> list[Figure]:
    """By the clock: one process, and as many as there are cores, each over the film."""
    cores = min(len(os.sched_getaffinity(0)), 8)
    one_s, alone_s = _together(file, state, 1)
    all_s, each_s = _together(file, state, cores)
    one, many = file.seconds / one_s, cores * file.seconds / all_s
    return [
        Figure("two people, full: one process, by the clock", one, _UNIT),
        Figure("  processor's time of it", alone_s, "s"),
        Figure(f"two people, full: {cores} processes", many, _UNIT, "one process", many / one),
        Figure("  processor's time of each", each_s, "s", "one process", each_s / alone_s),
    ]


def _together(file: FoundFile, state: Path, count: int) -> tuple[float, float]:
    """Seconds until all processes are through, from when all were ready; of one's processor.

    The first are by the clock, the others the mean of the processes.
    """
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(count + 1)
    took: SimpleQueue[float] = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(file, state, ready, took)) for _ in range(count)]
    for worker in workers:
        worker.start()
    ready.wait()
    begin = time.monotonic()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise OperationError("a process of the benchmark failed")
    return time.monotonic() - begin, sum(took.get() for _ in workers) / count


def _work(file: FoundFile, state: Path, ready: Barrier, took: SimpleQueue[float]) -> None:
    quiet_logs()
    cv2.setNumThreads(1)
    models = load(state)
    CameraPipeline(VisionConfig(), models)
    ready.wait()
    took.put(_timed(lambda: _sightings(models, file, "full"))[0])


def _timed(work: Callable[[], _T]) -> tuple[float, _T]:
    """Return the processor's time for it with that of children, seconds, and what it gave."""
    begin_s = _processor_s()
    given = work()
    return max(1e-9, _processor_s() - begin_s), given


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    print_figures("footage", run(quick="--quick" in sys.argv))
