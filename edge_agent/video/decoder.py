"""OpenCV's FFmpeg, with what it takes to believe it: sizes, times, and that it decoded at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2

from edge_agent.video.complaints import complaints
from edge_agent.video.reading import (
    DEFAULT_FPS,
    MAX_FPS,
    Image,
    StreamFacts,
    refuse_large,
    retrieve,
    with_square_pixels,
)
from edge_agent.video.url import SourceError
from runtime.errors import OperationError

_MAX_LENGTH_S = 366 * 86_400.0
_QUARTER_TURNS = {90, 270}
_TRIES = 50
"""So often a picture is converted anew when FFmpeg may have complained to somebody else."""


class NotDecodedError(OperationError):
    """OpenCV said success and wrote no picture: interlaced, mostly."""


class Decoder:
    """One opened source, a frame at a time: `grab`, then `stamp_s`, then `picture` if it is wanted.

    Args:
        target: a path or an address.
        name: what to call it in errors, without a password.
        options: further parameters of `cv2.VideoCapture`.

    Raises:
        SourceError: its frames are too large, or its name is none that OpenCV takes.
    """

    def __init__(self, target: str, name: str, options: Sequence[int] = ()) -> None:
        self._name = name
        _refuse_odd(target, name)
        self._capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, list(options))
        self._first = True
        self.facts = facts_of(self._capture)
        """What the source says of itself, as read when it was opened."""
        self.ratio = _pixel_ratio(self._capture)
        """A pixel's width by its height in an upright picture."""
        self.turned_deg = _turned_deg(self._capture)
        """By how much its pictures are turned to stand upright."""
        try:
            refuse_large(self.facts.width, self.facts.height, name)
        except OperationError:
            self.close()
            raise

    @property
    def opened(self) -> bool:
        """Whether anything can be read."""
        return self._capture.isOpened()

    @property
    def fps(self) -> float:
        """Frames a second, by the header or by default."""
        return self.facts.fps or DEFAULT_FPS

    def grab(self) -> bool:
        """Go to the next frame; False at the end, at damage, and when nothing came in time."""
        try:
            return self._capture.grab()
        except cv2.error:
            return False

    def stamp_s(self) -> float | None:
        """The frame's own timestamp in seconds from some beginning; None if it has none."""
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        first, self._first = self._first, False
        # OpenCV says 0 for "none".
        return stamp_s if first or stamp_s != 0 else None

    def picture(self) -> Image | None:
        """The frame as (H, W, 3) uint8 BGR, upright, with square pixels; None if it is damaged.

        Raises:
            NotDecodedError: it was not decoded, whatever OpenCV says.
            SourceError: it is too large.
        """
        for _ in range(_TRIES):
            with complaints() as heard:
                image = retrieve(self._capture)
            if heard.certain or image is None:
                break
        if image is None:
            return None
        if heard.complaints or not heard.certain:
            image.fill(0)
            raise NotDecodedError(self._name)
        refuse_large(image.shape[1], image.shape[0], self._name)
        return with_square_pixels(image, self.ratio)

    def close(self) -> None:
        """Release it; may be called twice."""
        self._capture.release()


def target_of(path: Path) -> str:
    """Return how OpenCV is to be told of a file.

    FFmpeg takes what stands before a colon for a protocol: of a bare name such as
    ``rtsp:example.org`` it would open the address, and of ``concat:a|b`` other files. No protocol
    begins with a slash.
    """
    return str(path.absolute())


def _refuse_odd(target: str, name: str) -> None:
    """Refuse a name that is not UTF-8, over which OpenCV ends the whole process."""
    try:
        target.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{name} has a name that is not UTF-8. Rename it.") from error


def facts_of(capture: cv2.VideoCapture) -> StreamFacts:
    """What an opened source says of itself."""
    number = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = bytes(number >> shift & 0xFF for shift in (0, 8, 16, 24))
    fps = capture.get(cv2.CAP_PROP_FPS)
    known = fps if math.isfinite(fps) and 0 < fps <= MAX_FPS else None
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    seconds = count / known if known is not None and math.isfinite(count) else 0.0
    return StreamFacts(
        codec=letters.decode("ascii", "replace").strip("\0 ").lower() if number > 0 else "",
        width=max(0, int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))),
        height=max(0, int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))),
        fps=known,
        seconds=seconds if 0 < seconds < _MAX_LENGTH_S else None,
    )


def _pixel_ratio(capture: cv2.VideoCapture) -> float:
    """A pixel's width by its height in the picture as it is given, which stands upright."""
    wide, high = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if not (math.isfinite(wide) and math.isfinite(high) and wide > 0 and high > 0):
        return 1.0
    turned = _turned_deg(capture) in _QUARTER_TURNS
    return high / wide if turned else wide / high


def _turned_deg(capture: cv2.VideoCapture) -> int:
    angle = capture.get(cv2.CAP_PROP_ORIENTATION_META)
    return round(angle) % 360 if math.isfinite(angle) else 0
