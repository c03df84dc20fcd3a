"""Hears what FFmpeg complains of while OpenCV converts a picture: OpenCV itself does not listen.

For a frame that is marked interlaced OpenCV 5 converts nothing, says success, and hands out what
lay in its buffer: nothing, the picture before, or memory that was freed, such as the last picture
of another camera. FFmpeg does say that it failed: in a message to whoever asked for messages
(``av_log_set_callback``), in the thread that converts. So we ask, while a picture is converted.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2

from edge_agent.video.url import SourceError

_ERROR = 16  # <libavutil/log.h>: AV_LOG_ERROR; what is worse has a lower number
_MAPS = Path("/proc/self/maps")
_Heard = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)

_counting = threading.Lock()
_listening: dict[int, int] = {}
"""Complaints so far, by the thread that listens."""


@contextmanager
def complaints() -> Iterator[list[int]]:
    """Listen, in this thread, to what FFmpeg says at level "error" or worse.

    Yields:
        A list that is filled when the block has been left, with the number of complaints.

    Raises:
        SourceError: FFmpeg cannot be listened to in this build of OpenCV.
    """
    libraries = _libraries()
    thread = threading.get_ident()
    count: list[int] = []
    with _counting:
        _listening[thread] = 0
        for library in libraries:
            library.av_log_set_callback(_CALLBACK)
    try:
        yield count
    finally:
        with _counting:
            count.append(_listening.pop(thread))
            if not _listening:
                # Messages come from every thread that decodes, and each would wait for Python.
                for library in libraries:
                    library.av_log_set_callback(library.av_log_default_callback)


def _hear(_context: int | None, level: int) -> None:
    thread = threading.get_ident()
    if level <= _ERROR and thread in _listening:
        _listening[thread] += 1


_CALLBACK = _Heard(_hear)
"""Kept for as long as FFmpeg may call it."""


@cache
def _libraries() -> tuple[ctypes.PyDLL, ...]:
    """FFmpeg's library of messages, as OpenCV has loaded it."""
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        lines = []
    names = {line.split(maxsplit=5)[-1] for line in lines if "/libavutil" in line}
    if not names:
        raise SourceError(
            f"OpenCV {cv2.__version__} on this machine does not say whether it decoded a picture: "
            "none can be believed. Install the package "
            "opencv-python-headless from its wheel, as the lock file has it."
        )
    # PyDLL: these return at once, so that Python's lock is kept.
    return tuple(ctypes.PyDLL(name) for name in sorted(names))
