"""What every way of reading a source gives: pictures with times, and what the source says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.video.url import SourceError

Image = NDArray[np.uint8]

DEFAULT_FPS = 25.0
"""Pictures a second where a source does not say."""
MAX_FPS = 240.0
MAX_FRAME_PIXELS = 4096 * 2304
"""4K with room for the rows that codecs add; larger frames are refused before they are decoded."""
MAX_PIXEL_RATIO = 4.0
"""A pixel said to be wider or higher than this is taken for square: the header is wrong."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source.

    Attributes:
        image: (H, W, 3) uint8 BGR, upright, with square pixels; the caller's to keep and wipe.
        at_s: seconds since the source's first picture by the source's own timestamps (live: by
            this machine's steady clock); always later than that of the one before.
    """

    image: Image
    at_s: float


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a source says of itself, and by whom it is read.

    Attributes:
        codec: its FourCC in lower case; "" unknown.
        width: of its frames in pixels as they are coded; 0 unknown.
        height: likewise.
        fps: frames a second, as the header says; None where it does not.
        seconds: its length, as the header says; None where it does not.
        began: when it began by the recorder's clock, as the header says; without a zone it is the
            recorder's local time; None where it does not.
        by_ffmpeg: read by the separate process `ffmpeg`: OpenCV cannot, or does not save as much.
        hardware: the decoding hardware that reads it, as `ffmpeg` calls it; "" if none does.
    """

    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float | None = None
    seconds: float | None = None
    began: datetime | None = None
    by_ffmpeg: bool = False
    hardware: str = ""


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """What need not be decoded of a file, and how: some of it by `ffmpeg`, where it is installed.

    Attributes:
        keyframes: give only pictures that stand by themselves: most of a file is not decoded then.
        sparing: leave out pictures that no other needs, and the smoothing of block edges, whose
            errors last until the next key frame.
        gap_s: pictures nearer than this to the one before will not be asked for: they are neither
            converted nor handed over.
        hardware: let the machine's decoding hardware do it, if it has any that `ffmpeg` can use.
        one_thread: decode in one thread: for a process a core.
    """

    keyframes: bool = False
    sparing: bool = False
    gap_s: float = 0.0
    hardware: bool = False
    one_thread: bool = False


WHOLE = Shortcuts()
"""All pictures, by the processor."""


class Reader(Protocol):
    """One pass over a source, from its beginning. For one thread.

    Attributes:
        fps: pictures a second that it stands for, as far as known; times are those of pictures.
        bad: what was there but could not be decoded: images of a folder, stretches of a film.
        truncated: whether it ended before the length that it states.
        grew: whether the file became longer while it was read: somebody still writes it.
        jumps: how often its timestamps were begun anew, so that times after it are less sure.
    """

    fps: float
    bad: int
    truncated: bool
    grew: bool
    jumps: int

    def read(self, *, gap_s: float = 0.0) -> Picture | None:
        """The next picture, at least ``gap_s`` seconds after the one given last.

        What is passed over is decoded only as far as the others need it, and never converted.

        Returns:
            The picture, or None at the end (live: when the connection broke).

        Raises:
            SourceError: there are pictures, but they cannot be read rightly on this machine.
        """

    def close(self) -> None:
        """Release the file or device; may be called twice."""

    def facts(self) -> StreamFacts:
        """What the source says of itself, and by whom it is read so far."""


def refuse_large(width: int, height: int, source: str) -> None:
    """Refuse frames above 4K.

    Raises:
        SourceError: they are.
    """
    if width * height > MAX_FRAME_PIXELS:
        raise SourceError(
            f"{source} has frames of {width}x{height} pixels; up to 4096x2160 (4K) are read. "
            "Set the camera to a smaller picture, or convert the recording."
        )


def retrieve(capture: cv2.VideoCapture) -> Image | None:
    """The frame that was grabbed last as (H, W, 3) uint8 BGR; None if it cannot be had."""
    try:
        good, image = capture.retrieve()
    except cv2.error:
        return None
    if not good or image is None or image.size == 0:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8)


def with_square_pixels(image: Image, ratio: float) -> Image:
    """Return an image stretched so that its pixels are square; what was given is wiped then.

    Args:
        image: (H, W, 3) uint8.
        ratio: a pixel's width by its height; what is no ratio, or beyond `MAX_PIXEL_RATIO`, is 1.
    """
    rows, columns = image.shape[:2]
    if not math.isfinite(ratio) or not 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO:
        return image
    # Enlarged along one axis; where that is too large, made smaller along the other.
    size = (round(columns * ratio), rows) if ratio > 1 else (columns, round(rows / ratio))
    if size[0] * size[1] > MAX_FRAME_PIXELS:
        size = (columns, round(rows / ratio)) if ratio > 1 else (round(columns * ratio), rows)
    if size == (columns, rows) or min(size) < 1:
        return image
    square = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    image.fill(0)
    return square
