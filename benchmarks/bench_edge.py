"""Edge figures on one core: frames a second of a whole camera, and the milliseconds of each stage.

Times are CPU time of this process, held to one core; those of a pipeline's stages are the wall
clock's.

The clip is composed here from the free photographs: 1280x720, faces of several sizes walking over
a noisy street-grey background. Run: `python -m benchmarks.bench_edge` after `make setup`.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console  # noqa: TID251 - prints our own words
from rich.table import Table

from benchmarks.figures import Figure
from edge_agent.capture import Frame, FrameSource
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels, load_models
from edge_agent.vision.pipeline import CameraPipeline
from edge_agent.vision.quality import face_signs, quality, sharpness, upper_bounds
from edge_agent.vision.yunet import of_any_size
from protocol.sightings import quantise_template
from protocol.v2.sightings import Sighting
from runtime.bundle import load_bundle
from runtime.errors import OperationError
from runtime.onnx import cpu_session

STATE = Path(".sealtrace")
SIZE = (720, 1280)
CLIP_FPS = 25.0
DETECTION_SIZES = ((320, 180), (480, 270), (640, 360), (960, 540))
BASE_SIZE = (640, 360)
_PEOPLE = (  # photo, face height px, first seen (s), walks from the left
    ("obama.jpg", 90, 0.0, True),
    ("biden.jpg", 60, 0.5, False),
    ("astronaut.png", 45, 1.0, True),
    ("obama3.jpg", 36, 1.5, False),
)


class BenchError(OperationError):
    """The benchmark's models or photographs are not there."""


def load(state: Path = STATE) -> VisionModels:
    """The models of the bundle that `make setup` built, one thread each."""
    public = state / "keys" / "model-signer.pub"
    if not public.is_file() or not (state / "photos").is_dir():
        raise BenchError(f"{state} holds no models and photographs; run `make setup` first")
    key = bytes.fromhex(public.read_text(encoding="ascii").strip())
    return load_models(load_bundle(state / "models", [key]), num_threads=1)


def compose_clip(models: VisionModels, photos: Path, seconds: float) -> list[Frame]:
    """Frames of four people who walk through a 1280x720 picture."""
    rng = np.random.default_rng(11)
    grain = rng.integers(40, 200, (*SIZE, 3), np.uint8)
    street = cv2.addWeighted(cv2.GaussianBlur(grain, (0, 0), 12), 0.94, grain, 0.06, 0)
    heads = [_head(models, photos / name, height) for name, height, _, _ in _PEOPLE]
    frames = []
    for index in range(round(seconds * CLIP_FPS)):
        image, now_s = np.asarray(street.copy(), np.uint8), index / CLIP_FPS
        for row, (head, (_, height, start_s, rightwards)) in enumerate(
            zip(heads, _PEOPLE, strict=True)
        ):
            way = 3.5 * height * (now_s - start_s)
            x = round(way - head.shape[1] if rightwards else SIZE[1] - way)
            _paste(image, head, x, 20 + 150 * row)
        frames.append(Frame(image, 1_700_000_000_000 + round(now_s * 1000), index))
    return frames


def run(state: Path = STATE, *, seconds: float = 8.0, repeats: int = 40) -> list[Figure]:
    """Measure and return the figures; uses one core.

    Raises:
        BenchError: `make setup` has not been run.
    """
    with _one_core():
        models = load(state)
        frames = compose_clip(models, state / "photos", seconds)
        return [
            *_detection(models, frames, repeats),
            *_stages(models, frames, repeats),
            *_whole_camera(models, frames),
        ]


@contextmanager
def _one_core() -> Iterator[None]:
    """Hold this process, the threads it starts and OpenCV to one core."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


def _detection(models: VisionModels, frames: Sequence[Frame], repeats: int) -> list[Figure]:
    times = {}
    for width, height in DETECTION_SIZES:
        detector = models.detector(width, height)
        images = [frame.image for frame in frames[:: max(1, len(frames) // repeats)]]
        times[width, height] = statistics.median(
            _milliseconds(partial(detector.detect, image)) for image in images
        )
    base = times[BASE_SIZE]
    return [
        *(
            Figure(f"face detection at {w}x{h}", ms, "ms", "detection at 640x360", ms / base)
            for (w, h), ms in times.items()
        ),
        *_against_peers(models, frames[0].image, repeats),
    ]


def _against_peers(models: VisionModels, image: Image, repeats: int) -> list[Figure]:
    """The same network by onnxruntime alone and by OpenCV, in turn; and heads looked at closer."""
    width, height = BASE_SIZE
    small = np.asarray(cv2.resize(image, BASE_SIZE, interpolation=cv2.INTER_AREA), np.uint8)
    peer = cv2.FaceDetectorYN.create(
        "onnx", np.frombuffer(models.detector_file, np.uint8), np.zeros(0, np.uint8), BASE_SIZE, 0.3
    )
    detector = models.detector(width, height)
    heads = np.array([[300 * n, 200, 40, 48] for n in range(4)], np.float32)
    session = cpu_session(of_any_size(models.detector_file))
    blob = np.asarray(cv2.dnn.blobFromImage(small), np.float32)
    blob = np.pad(blob, ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)))
    feed = {session.get_inputs()[0].name: blob}
    runs: dict[str, Callable[[], object]] = {
        "ours": partial(detector.detect, small),
        "onnxruntime": partial(session.run, None, feed),
        "opencv": partial(peer.detect, small),
        "heads": partial(detector.detect_in, image, heads),
    }
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(max(1, repeats // 8)):
        for name, one in runs.items():  # some runs of each, in turn
            least[name] = min(least[name], *(_milliseconds(one) for _ in range(8)))
    ours = f"detection at {width}x{height} without shrinking"
    return [
        Figure(ours, least["ours"], "ms", "cv2.FaceDetectorYN", least["ours"] / least["opencv"]),
        Figure("the same by cv2.FaceDetectorYN", least["opencv"], "ms"),
        Figure("its network alone by onnxruntime", least["onnxruntime"], "ms", ours,
               least["onnxruntime"] / least["ours"]),
        Figure("four heads looked at closer", least["heads"], "ms", ours,
               least["heads"] / least["ours"]),
    ]  # fmt: skip


def _stages(models: VisionModels, frames: Sequence[Frame], repeats: int) -> list[Figure]:
    """The stages of one face, each alone, against detection of one frame."""
    detector = models.detector(*BASE_SIZE)
    frame = max(frames, key=lambda f: len(detector.detect(f.image)))
    found = detector.detect(frame.image)
    crops = align(frame.image, found.landmarks)
    six = np.concatenate([crops] * 6)[:6]
    vector = models.embedder.embed(six[:1])[0]

    def grade() -> None:
        quality(upper_bounds(face_signs(found, SIZE), found.scores), sharpness(crops))

    base = _median(lambda: detector.detect(frame.image), repeats)
    stages: list[tuple[str, Callable[[], object], int]] = [
        ("align, a face", lambda: align(frame.image, found.landmarks), len(found)),
        ("judge quality, a face", grade, len(found)),
        ("embed, a face", lambda: models.embedder.embed(six), len(six)),
        ("mask status, a face", lambda: models.mask.probabilities(six), len(six)),
        ("quantise, a template", lambda: quantise_template(vector), 1),
    ]
    figures = []
    for name, stage, count in stages:
        ms = _median(stage, repeats) / count
        figures.append(Figure(name, ms, "ms", "detection at 640x360", ms / base))
    return figures


def _whole_camera(models: VisionModels, frames: Sequence[Frame]) -> list[Figure]:
    """Every frame through the whole pipeline, and at the default rate of detections."""
    figures, detect_fps = [], {}
    for width, height in (BASE_SIZE, (VisionConfig().detect_width, VisionConfig().detect_height)):
        config = VisionConfig(detect_width=width, detect_height=height, detect_fps=CLIP_FPS)
        every, busy_s, found = _through(models, frames, config)
        fps = len(frames) / busy_s
        detect_fps[width] = 1000 * len(frames) / every.stats.stages["detect"].total_ms
        ratio = fps / detect_fps[BASE_SIZE[0]]
        name = f"1280x720 frames, detection at {width}x{height}"
        alone = f"detection alone at {BASE_SIZE[0]}x{BASE_SIZE[1]}"
        figures += [
            Figure(
                f"{name}, alone",
                detect_fps[width],
                "frames/s",
                alone,
                detect_fps[width] / detect_fps[BASE_SIZE[0]],
            ),
            Figure(f"{name}, whole pipeline", fps, "frames/s", alone, ratio),
        ]
    for name, stage in every.stats.stages.items():
        share = stage.total_ms / len(frames)
        figures.append(
            Figure(f"of which {name}, a frame", share, "ms", "whole pipeline", share * fps / 1000)
        )
    decoded_fps = _from_file(models, frames)
    figures.append(
        Figure(
            "pipeline fed from an MP4 file, decoding included",
            decoded_fps,
            "frames/s",
            "whole pipeline, frames in memory",
            decoded_fps / fps,
        )
    )
    _, default_s, _ = _through(models, frames, VisionConfig())
    cameras = len(frames) / CLIP_FPS / default_s
    every_frame = len(frames) / CLIP_FPS / busy_s
    figures.append(
        Figure(
            "cameras a core, 5 detections/s, decoding aside",
            cameras,
            "cameras",
            "every frame of 25/s detected",
            cameras / every_frame,
        )
    )
    figures.append(Figure("sightings of the clip's four people", len(found), "sightings"))
    return figures


def _through(
    models: VisionModels, frames: Sequence[Frame], config: VisionConfig
) -> tuple[CameraPipeline, float, list[Sighting]]:
    pipeline = CameraPipeline(config, models)
    found: list[Sighting] = []
    begin = time.process_time()
    for frame in frames:
        found += pipeline.process(frame)
    found += pipeline.flush()
    return pipeline, time.process_time() - begin, found


def _from_file(models: VisionModels, frames: Sequence[Frame]) -> float:
    """Frames a second from an encoded file to sightings, capture thread and all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), code, CLIP_FPS, SIZE[::-1])
        for frame in frames:
            writer.write(frame.image)
        writer.release()
        pipeline = CameraPipeline(VisionConfig(detect_fps=CLIP_FPS), models)
        begin = time.process_time()
        with FrameSource(f"file:{path}", pace="fast") as source:
            for frame in source.frames():
                pipeline.process(frame)
        pipeline.flush()
        return source.stats.read / (time.process_time() - begin)


def _head(models: VisionModels, photo: Path, height: int) -> Image:
    image = cv2.imread(str(photo))
    if image is None:
        raise BenchError(f"photo {photo} is not there; run `make setup` first")
    found = models.detector(640, 640).detect(np.asarray(image, np.uint8))
    x, y, w, h = found.boxes[int(np.argmax(found.boxes[:, 3]))].tolist()
    head = image[round(max(0, y - 0.5 * h)) : round(y + 1.5 * h),
                 round(max(0, x - 0.5 * w)) : round(x + 1.5 * w)]  # fmt: skip
    size = (round(head.shape[1] * height / h), round(head.shape[0] * height / h))
    return np.asarray(cv2.resize(head, size, interpolation=cv2.INTER_AREA), np.uint8)


def _paste(image: Image, patch: Image, left: int, top: int) -> None:
    low, high = max(0, left), min(image.shape[1], left + patch.shape[1])
    bottom = min(image.shape[0], top + patch.shape[0])
    if high > low:
        image[top:bottom, low:high] = patch[: bottom - top, low - left : high - left]


def _median(action: Callable[[], object], repeats: int) -> float:
    action()
    return statistics.median(_milliseconds(action) for _ in range(repeats))


def _milliseconds(action: Callable[[], object]) -> float:
    begin = time.process_time()
    action()
    return (time.process_time() - begin) * 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as a table; exit code 1 when the models are not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--state", type=Path, default=STATE, help="folder that make setup filled")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the clip")
    options = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        figures = run(options.state, seconds=options.seconds)
    except OperationError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        return 1
    table = Table("figure", "value", "unit", "ratio", "to")
    table.columns[0].no_wrap = True
    for column in (1, 3):
        table.columns[column].justify = "right"
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3f}"
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, ratio, figure.baseline)
    table.title = f"Edge vision on one core ({platform.machine()}, OpenCV {cv2.__version__})"
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
