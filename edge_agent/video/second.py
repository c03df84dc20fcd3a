"""The second way to read a source, by the process `ffmpeg`, when OpenCV decodes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import structlog

from edge_agent.video import ffmpeg
from edge_agent.video.reading import WHOLE, Shortcuts
from edge_agent.video.url import SourceError

_log = structlog.get_logger()
_DEBUG, _INFO = logging.DEBUG, logging.INFO


def begin(
    name: str,
    *,
    path: Path | None = None,
    address: str | None = None,
    shortcuts: Shortcuts = WHOLE,
) -> ffmpeg.FfmpegProcess:
    """Begin reading a file or an address from its beginning.

    Args:
        name: the source, as it may be logged.
        path: the file, or
        address: the address.
        shortcuts: what need not be decoded.

    Raises:
        SourceError: the program is not installed: the message says how to install it.
    """
    program = ffmpeg.installed()
    if program is None:
        raise SourceError(
            f"{name} sends pictures that are not decoded here: it is interlaced, or of another odd "
            f"form. Install Debian's package '{ffmpeg.PACKAGE}' on this machine (`sudo apt install "
            f"{ffmpeg.PACKAGE}`), which reads it, or set the camera to progressive video."
        )
    saves = shortcuts.sparing or shortcuts.keyframes
    _log.log(_DEBUG if saves else _INFO, "video.read_by_ffmpeg", source=name)
    return ffmpeg.FfmpegProcess(program, name, path=path, address=address, shortcuts=shortcuts)
