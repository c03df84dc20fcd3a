"""The one way in to sources of pictures: what a `url` may be, and a reader of each kind."""

from __future__ import annotations

from pathlib import Path

from edge_agent.opencv import quiet_opencv
from edge_agent.video.files import FileReader
from edge_agent.video.images import FolderReader, decode_image, read_image
from edge_agent.video.live import DeviceReader, NetworkReader
from edge_agent.video.reading import (
    DEFAULT_FPS,
    WHOLE,
    Image,
    Picture,
    Reader,
    Shortcuts,
    StreamFacts,
)
from edge_agent.video.url import SourceError, SourceKind, SourceUrl, parse_source_url

DEFAULT_FOLDER_FPS = 5.0


def open_reader(source: SourceUrl, *, shortcuts: Shortcuts = WHOLE) -> Reader:
    """Open a source for one pass from its beginning.

    Args:
        source: what to read.
        shortcuts: what need not be decoded of a file.

    Raises:
        SourceError: nothing can be read there; for a live source that may change later.
    """
    quiet_opencv()
    path = Path(source.target)
    match source.kind:
        case SourceKind.FOLDER:
            return FolderReader(path, source.fps or DEFAULT_FOLDER_FPS)
        case SourceKind.FILE:
            return FileReader(path, shortcuts)
        case SourceKind.V4L2:
            return DeviceReader(path)
        case SourceKind.RTSP | SourceKind.HTTP:
            return NetworkReader(source)


__all__ = [
    "DEFAULT_FPS",
    "WHOLE",
    "Image",
    "Picture",
    "Reader",
    "Shortcuts",
    "SourceError",
    "SourceKind",
    "SourceUrl",
    "StreamFacts",
    "decode_image",
    "open_reader",
    "parse_source_url",
    "read_image",
]
