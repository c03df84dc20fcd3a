"""Looks at a camera for a few seconds and measures what the agent will have to work with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge_agent.camera_setup import http, rtsp
from edge_agent.camera_setup.errors import CameraProblem, NoVideo
from edge_agent.camera_setup.faces import FaceFinder, FaceSurvey
from edge_agent.sources import (
    DEFAULT_FPS,
    Image,
    Reader,
    SourceError,
    SourceKind,
    SourceUrl,
    StreamFacts,
    open_reader,
    parse_source_url,
)

SAMPLES = 8
"""Most pictures held in memory to be looked at when the reading is over."""
_GAP = 1.8  # an interval so many times the usual one had a frame missing in it
_SMALL = 640  # px of the longer side at which light and sharpness are measured


@dataclass(frozen=True, slots=True)
class Light:
    """How well a camera can be seen by.

    Mean `brightness` 0..255, `clipped` part of pixels that are pure white or black, `sharpness`
    (variance of the Laplacian at 640 px), `moving` whether pictures differ at all.
    """

    brightness: float
    clipped: float
    sharpness: float
    moving: bool


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a few seconds of one source were like; times in seconds.

    `address` holds no password. `fps` is the rate at which frames arrived (live) or could be
    decoded (recorded); `missed` frames by the gaps between arrivals, `bad` what could not be
    decoded; `longest_gap_s` between two frames; `broke_off` a live source ended by itself.
    `login` is how a network camera let us in ("none", "Basic", "Digest"; "" not known).
    """

    address: str
    live: bool
    facts: StreamFacts
    width: int
    height: int
    frames: int
    lasted_s: float
    opened_s: float
    first_frame_s: float
    fps: float
    longest_gap_s: float
    missed: int
    bad: int
    truncated: bool
    broke_off: bool
    login: str
    light: Light
    faces: FaceSurvey | None


@dataclass(slots=True)
class Probe:
    """A result, and the pictures looked at, for the caller to use and then `wipe`.

    Of the `pictures` (each (H, W, 3) uint8 BGR), number `best` shows the most faces.
    """

    result: ProbeResult
    pictures: list[Image]
    best: int

    @property
    def picture(self) -> Image:
        """The picture with the most faces."""
        return self.pictures[self.best]

    def wipe(self) -> None:
        """Overwrite the pictures."""
        for picture in self.pictures:
            picture.fill(0)


@dataclass(slots=True)
class _Reading:
    """Arrival times (monotonic) and a few pictures of one pass."""

    arrivals: list[float] = field(default_factory=list)
    samples: list[Image] = field(default_factory=list)
    ended: bool = False


def probe(
    url: str,
    *,
    seconds: float = 5.0,
    finder: FaceFinder | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Probe:
    """Read a source for some seconds, recorded ones as fast as they decode, and measure.

    Args:
        url: what `edge_agent.sources.parse_source_url` takes.
        seconds: how long to look, or how much of a recording.
        finder: looks for faces; None leaves them out.
        on_progress: told the seconds read so far.

    Raises:
        SourceError: nothing can be read there, mostly a `CameraProblem` that says why.
        ModelError: the face detector failed.
    """
    source = parse_source_url(url)
    begin = time.monotonic()
    login = knock(source)
    reader = open_reader(source)
    reading = _Reading()
    try:
        opened = time.monotonic()
        _read(reader, source, seconds, reading, on_progress)
        _require_pictures(source, reader, reading)
        faces = None if finder is None else finder.survey(reading.samples)
        best = _best(reading.samples, finder)
        picture = reading.samples[best]
        result = ProbeResult(
            address=str(source),
            live=source.live,
            facts=reader.facts(),
            width=picture.shape[1],
            height=picture.shape[0],
            frames=len(reading.arrivals),
            lasted_s=reading.arrivals[-1] - reading.arrivals[0],
            opened_s=opened - begin,
            first_frame_s=reading.arrivals[0] - begin,
            fps=_rate(reading.arrivals),
            longest_gap_s=float(np.diff(reading.arrivals).max(initial=0.0)),
            missed=_missed(reading.arrivals) if source.live else 0,
            bad=reader.bad,
            truncated=reader.truncated,
            broke_off=source.live and reading.ended,
            login=login,
            light=measure_light(reading.samples),
            faces=faces,
        )
        return Probe(result, reading.samples, best)
    except BaseException:
        for sample in reading.samples:
            sample.fill(0)
        raise
    finally:
        reader.close()


def knock(source: SourceUrl) -> str:
    """Find out what is wrong while it can still be told apart; how the camera lets us in."""
    if source.kind is SourceKind.RTSP:
        offer = rtsp.ask(source.target)
        return "" if offer is None else offer.login
    if source.kind is SourceKind.HTTP:
        return http.ask(source.target)
    if source.kind is SourceKind.V4L2:
        device = Path(source.target)
        if device.exists() and not os.access(device, os.R_OK | os.W_OK):
            raise CameraProblem(
                f"This user may not use the video device {device}. Add the user to the group "
                "'video' (`sudo usermod -aG video USER`) and log in again."
            )
    return ""


def _read(
    reader: Reader,
    source: SourceUrl,
    seconds: float,
    reading: _Reading,
    on_progress: Callable[[float], None],
) -> None:
    """Note when frames arrive and keep a few, evenly spread; looking at them has to wait."""
    spacing_s = seconds / SAMPLES
    while (read := reader.read()) is not None:
        image = read.image
        reading.arrivals.append(time.monotonic())
        passed_s = reading.arrivals[-1] - reading.arrivals[0] if source.live else read.at_s
        # The first frames of a stream are often smeared, so each sample takes its turn later.
        if len(reading.samples) < SAMPLES and passed_s >= len(reading.samples) * spacing_s:
            reading.samples.append(image)
        else:
            image.fill(0)
        on_progress(min(seconds, passed_s))
        if passed_s >= seconds:
            return
    reading.ended = True


def _require_pictures(source: SourceUrl, reader: Reader, reading: _Reading) -> None:
    if reading.samples:
        return
    if source.live:
        raise NoVideo(
            f"{source} opens, but no picture came. Restart the camera, try its second stream, or "
            "set its codec to H.264."
        )
    tried = f" ({reader.bad} files were tried)" if reader.bad else ""
    raise NoVideo(f"{source} holds no image that can be decoded{tried}.")


def _best(samples: Sequence[Image], finder: FaceFinder | None) -> int:
    """The picture with the most faces; without a finder the last, which is the least smeared."""
    if finder is None:
        return len(samples) - 1
    counts = [len(finder.find(sample)) for sample in samples]
    return len(counts) - 1 - int(np.argmax(counts[::-1]))


def _rate(arrivals: Sequence[float]) -> float:
    lasted_s = arrivals[-1] - arrivals[0]
    return (len(arrivals) - 1) / lasted_s if lasted_s > 0 else 0.0


def _missed(arrivals: Sequence[float]) -> int:
    """Frames that should have come in the gaps, judged by the usual interval."""
    intervals = np.diff(arrivals)
    if len(intervals) < 5:
        return 0
    usual = max(float(np.median(intervals)), 1 / (4 * DEFAULT_FPS))
    wide = intervals[intervals > _GAP * usual]
    return int(np.round(wide / usual - 1).sum())


def measure_light(samples: Sequence[Image]) -> Light:
    """Measure light, sharpness and motion over pictures (H, W, 3) uint8 BGR; at least one."""
    brightness, clipped, sharpness = [], [], []
    previous: Image | None = None
    moving = len(samples) < 2
    for sample in samples:
        rows, columns = sample.shape[:2]
        scale = min(1.0, _SMALL / max(rows, columns))
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        small = cv2.resize(sample, size, interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        small.fill(0)
        brightness.append(float(grey.mean()))
        clipped.append(float(((grey >= 250) | (grey <= 5)).mean()))
        _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
        sharpness.append(float(deviation[0, 0]) ** 2)
        if previous is not None:
            moving = moving or previous.shape != grey.shape or bool((previous != grey).any())
            previous.fill(0)
        previous = grey
    if previous is not None:
        previous.fill(0)
    return Light(
        brightness=float(np.mean(brightness)),
        clipped=float(np.mean(clipped)),
        sharpness=float(np.median(sharpness)),
        moving=moving,
    )


__all__ = ["Light", "Probe", "ProbeResult", "SourceError", "measure_light", "probe"]
