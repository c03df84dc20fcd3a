"""What a camera's `url` may be, and how frames are read from each kind, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.opencv import quiet_opencv
from runtime.errors import OperationError
from runtime.redaction import redact

Image = NDArray[np.uint8]

DEFAULT_FILE_FPS = 25.0
DEFAULT_FOLDER_FPS = 5.0
MAX_IMAGE_BYTES = 64 * 1024 * 1024
OPEN_TIMEOUT_MS = 5_000
READ_TIMEOUT_MS = 5_000


class SourceError(OperationError):
    """A frame source that cannot work as configured: the message says what to change."""


class SourceKind(StrEnum):
    """The kinds of source; `rtsp` and `v4l2` are live and are reconnected for ever."""

    FILE = "file"
    FOLDER = "folder"
    RTSP = "rtsp"
    V4L2 = "v4l2"


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A parsed `url`: where to read, and (a folder) how many images a second it stands for."""

    kind: SourceKind
    target: str
    fps: float | None = None

    @property
    def live(self) -> bool:
        """Whether the source goes on for ever, so that its end means a fault."""
        return self.kind in {SourceKind.RTSP, SourceKind.V4L2}

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}" if self.kind is not SourceKind.RTSP else self.redacted

    def __repr__(self) -> str:
        return f"SourceUrl({self!s})"

    @property
    def redacted(self) -> str:
        """The address without user, password and query: what may be logged."""
        return redact(self.target)


def parse_source_url(url: str) -> SourceUrl:
    """Parse `PATH`, `file:PATH`, `folder:PATH?fps=5`, `rtsp://...` or `v4l2:/dev/video0`.

    Raises:
        SourceError: the address is of none of these forms.
    """
    if not url.strip() or "\0" in url:
        raise SourceError("The camera's url is empty. Give a file, a folder, rtsp:// or v4l2:.")
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme in {"rtsp", "rtsps"}:
        try:
            host = urlsplit(url).hostname
            _ = urlsplit(url).port
        except ValueError:
            host = None
        if not host:
            raise SourceError(f"{redact(url)} names no host. Write rtsp://HOST[:PORT]/PATH.")
        return SourceUrl(SourceKind.RTSP, url)
    if scheme == "v4l2":
        if not rest.startswith("/dev/"):
            raise SourceError(f"v4l2:{rest} is not a device. Write v4l2:/dev/video0.")
        return SourceUrl(SourceKind.V4L2, rest)
    if scheme == "folder":
        path, _, query = rest.partition("?")
        return SourceUrl(SourceKind.FOLDER, path, _folder_fps(query))
    if scheme == "file":
        return SourceUrl(SourceKind.FILE, rest)
    if colon and rest.startswith("//"):
        raise SourceError(
            f"{redact(url)}: sources of kind {scheme!r} are not supported. "
            "Use a file, folder:PATH, rtsp://... or v4l2:/dev/video0."
        )
    return SourceUrl(SourceKind.FOLDER if Path(url).is_dir() else SourceKind.FILE, url)


def _folder_fps(query: str) -> float | None:
    options = parse_qs(query)
    unknown = sorted(set(options) - {"fps"})
    if unknown:
        raise SourceError(f"A folder takes the option fps only, not {', '.join(unknown)}.")
    if "fps" not in options:
        return None
    try:
        fps = float(options["fps"][-1])
    except ValueError:
        fps = math.nan
    if not 0 < fps <= 240:
        raise SourceError(f"fps={options['fps'][-1]} is not a number above 0 and up to 240.")
    return fps


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a source says of itself: `codec` (FourCC, lower case; "" unknown), frame size, rate.

    `width` and `height` are 0 and `fps` is None where it does not say.
    """

    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float | None = None


class Reader(Protocol):
    """One pass over a source. `bad` counts what was there but could not be decoded."""

    fps: float
    bad: int
    truncated: bool

    def read(self) -> Image | None:
        """The next image (H, W, 3) uint8 BGR, or None at the end (live: at a fault)."""

    def close(self) -> None:
        """Release the file or device; may be called twice."""

    def facts(self) -> StreamFacts:
        """What the source says of itself, while it is open."""


def open_reader(source: SourceUrl) -> Reader:
    """Open a source for one pass from its beginning.

    Raises:
        SourceError: nothing can be read there; for a live source that may change later.
    """
    quiet_opencv()
    if source.kind is SourceKind.FOLDER:
        return FolderReader(Path(source.target), source.fps or DEFAULT_FOLDER_FPS)
    if source.kind is SourceKind.FILE:
        return FileReader(Path(source.target))
    return LiveReader(source)


class FileReader:
    """Decodes a video file; a file that breaks off ends there and says that it is truncated."""

    def __init__(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise SourceError(f"Video file {path} cannot be read: {_reason(error)}.") from error
        if not path.is_file():
            raise SourceError(f"{path} is not a file. For a folder of images write folder:{path}.")
        if size == 0:
            raise SourceError(f"Video file {path} is empty (0 bytes).")
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(
                f"Video file {path} cannot be decoded: it is damaged or not a video. "
                "Try to play it, or convert it to MP4 (H.264)."
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= 240 else DEFAULT_FILE_FPS
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Containers often give the count from the duration, a little too high.
        self._expected = int(declared * 0.98) - 2 if 0 < declared < 1e9 else 0
        self._read = 0
        self.bad = 0
        self.truncated = False

    def read(self) -> Image | None:
        """The next image, or None at the end of what can be decoded."""
        image = _grab(self._capture)
        if image is None:
            self.truncated = self._read < self._expected
            return None
        self._read += 1
        return image

    def close(self) -> None:
        """Release the decoder."""
        self._capture.release()

    def facts(self) -> StreamFacts:
        """What the container says."""
        return _facts(self._capture)


class FolderReader:
    """Decodes the files of a folder in the order of their names; what is no image is skipped."""

    def __init__(self, path: Path, fps: float) -> None:
        try:
            entries = sorted(path.iterdir())
        except (OSError, ValueError) as error:
            raise SourceError(f"Image folder {path} cannot be read: {_reason(error)}.") from error
        self._files: Iterator[Path] = iter(
            [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
        )
        self.fps = fps
        self.bad = 0
        self.truncated = False

    def read(self) -> Image | None:
        """The next file that is an image, or None after the last."""
        for path in self._files:
            image = read_image(path)
            if image is not None:
                return image
            self.bad += 1
        return None

    def close(self) -> None:
        """Nothing stays open between two images."""
        self._files = iter(())

    def facts(self) -> StreamFacts:
        """The rate that the folder stands for; each image has a size of its own."""
        return StreamFacts(codec="images", fps=self.fps)


class LiveReader:
    """Reads a network camera or a device; None means the connection broke."""

    def __init__(self, source: SourceUrl) -> None:
        if source.kind is SourceKind.V4L2:
            if not Path(source.target).exists():
                raise SourceError(f"Video device {source.target} is not there. Is it plugged in?")
            self._capture = cv2.VideoCapture(source.target, cv2.CAP_V4L2)
        else:
            timeouts = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                OPEN_TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                READ_TIMEOUT_MS,
            ]
            self._capture = cv2.VideoCapture(source.target, cv2.CAP_FFMPEG, timeouts)
        if not self._capture.isOpened():
            raise SourceError(
                f"Camera {source} cannot be opened: no answer, wrong user or password, "
                "or no video there."
            )
        self.fps = DEFAULT_FILE_FPS
        self.bad = 0
        self.truncated = False

    def read(self) -> Image | None:
        """The next image, or None when the stream broke or timed out."""
        return _grab(self._capture)

    def close(self) -> None:
        """Hang up."""
        self._capture.release()

    def facts(self) -> StreamFacts:
        """What the camera announces."""
        return _facts(self._capture)


def read_image(path: Path) -> Image | None:
    """Decode one image file to (H, W, 3) uint8 BGR; None when it is not an image we can decode."""
    try:
        if not 0 < path.stat().st_size <= MAX_IMAGE_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    return decode_image(data)


def decode_image(data: bytes) -> Image | None:
    """Decode an image file's bytes to (H, W, 3) uint8 BGR, upright by its EXIF orientation.

    None when it is no image, or one of more than `runtime.process.MAX_PIXELS`.
    """
    if not data or len(data) > MAX_IMAGE_BYTES:
        return None
    quiet_opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _facts(capture: cv2.VideoCapture) -> StreamFacts:
    number = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = bytes(number >> shift & 0xFF for shift in (0, 8, 16, 24))
    fps = capture.get(cv2.CAP_PROP_FPS)
    return StreamFacts(
        codec=letters.decode("ascii", "replace").strip("\0 ").lower() if number > 0 else "",
        width=max(0, int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))),
        height=max(0, int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))),
        fps=fps if math.isfinite(fps) and 0 < fps <= 240 else None,
    )


def _grab(capture: cv2.VideoCapture) -> Image | None:
    try:
        done, image = capture.read()
    except cv2.error:
        return None
    if not done or image is None or image.size == 0:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    if isinstance(error, PermissionError):
        return "this user may not read it"
    if isinstance(error, NotADirectoryError):
        return "it is not a folder"
    return str(getattr(error, "strerror", None) or error)
