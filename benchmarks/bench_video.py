"""Figures on reading video: how many times faster than it plays, by OpenCV and by `ffmpeg`.

Run: `python -m benchmarks.bench_video [--quick]`, or `make bench BENCH_ARGS=video`. The film is
drawn and noisy, at a camera's 3 Mbit/s, made with the system's `ffmpeg`, which must be installed.
Counted is the processor's time, of all threads and of the process `ffmpeg`: it is that of one core.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from edge_agent.opencv import quiet_opencv
from edge_agent.sources import Reader, Shortcuts, open_reader, parse_source_url
from edge_agent.video import ffmpeg
from runtime.errors import OperationError

FPS = 25
_PATTERN = "testsrc2=s=1280x720:r=25:d={},noise=alls=4:allf=t"
_RATE = ["-b:v", "3M", "-g", "50", "-bf", "0", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
_KINDS = {
    "720p25 H.264": ("mp4", ["-c:v", "libx264", *_RATE]),
    "the same, interlaced": (
        "mkv",
        ["-vf", "interlace", "-c:v", "libx264", "-flags", "+ilme+ildct", *_RATE],
    ),
}


def run(*, quick: bool = False) -> list[Figure]:
    """Make films, read each in every way, and return the figures.

    Raises:
        OperationError: `ffmpeg` is not installed.
    """
    quiet_logs()
    program = ffmpeg.installed()
    if program is None:
        raise OperationError("reading video is measured where ffmpeg is: apt install ffmpeg")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (ending, options) in _KINDS.items():
            path = Path(folder) / f"film.{ending}"
            source = ["-f", "lavfi", "-i", _PATTERN.format(6 if quick else 20)]
            quiet = ["-nostdin", "-loglevel", "error", "-y"]
            subprocess.run([program, *quiet, *source, *options, str(path)], check=True)
            figures += of_film(path, name)
    return figures


def of_film(path: Path, name: str) -> list[Figure]:
    """Read one film in every way and return the figures."""
    unit, odd = "x real time", _is_odd(path)
    length_s, plain_s = _timed(lambda: _bare(path))
    figures = [] if odd else [Figure(f"{name}: bare OpenCV", length_s / plain_s, unit)]
    ways: dict[str, Callable[[], float]] = {
        "every frame": lambda: _read(_open(path)),
        "5 a second": lambda: _read(_open(path), gap_s=0.2),
        "key frames by ffmpeg": lambda: _read(_open(path, keyframes=True)),
    }
    for way, read in ways.items():
        length_s, took_s = _timed(read)
        baseline, ratio = ("", None) if odd else ("bare OpenCV", plain_s / took_s)
        figures.append(Figure(f"{name}: {way}", length_s / took_s, unit, baseline, ratio))
    return figures


def _open(path: Path, *, keyframes: bool = False) -> Reader:
    return open_reader(parse_source_url(f"file:{path}"), shortcuts=Shortcuts(keyframes=keyframes))


def _is_odd(path: Path) -> bool:
    reader = _open(path)
    reader.read()
    reader.close()
    return reader.facts().by_ffmpeg


def _bare(path: Path) -> float:
    """OpenCV as it is used everywhere, whatever it gives."""
    quiet_opencv()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    return frames / FPS


def _read(reader: Reader, *, gap_s: float = 0.0) -> float:
    last_s = 0.0
    while (picture := reader.read(gap_s=gap_s)) is not None:
        last_s = picture.at_s
    reader.close()
    return last_s


def _timed(read: Callable[[], float]) -> tuple[float, float]:
    """Return a film's length, and the processor's time for it with that of children, seconds."""
    begin_s = _processor_s()
    length_s = read()
    return length_s, max(1e-9, _processor_s() - begin_s)


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    print_figures("video", run(quick="--quick" in sys.argv))
