"""Hears what FFmpeg complains of while OpenCV converts a picture: OpenCV itself does not listen.

For a frame that is marked interlaced OpenCV 5 converts nothing, says success, and hands out what
lay in its buffer: nothing, the picture before, or memory that was freed, such as the last picture
of another camera. FFmpeg does say that it failed: in a message to whoever asked for messages
(``av_log_set_callback``), in the thread that converts. So we ask, while a picture is converted.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2

from edge_agent.video.url import SourceError

_ERROR = 16  # <libavutil/log.h>: AV_LOG_ERROR; what is worse has a lower number
_CALL = 1000
"""The level of our own call, by which we find out whether we are heard; none such is printed."""
_MAPS = Path("/proc/self/maps")
_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)


@dataclass(slots=True)
class Heard:
    """What was heard: how many `complaints`, and whether it is `certain` that none was missed."""

    complaints: int = 0
    certain: bool = False
    called: bool = False


_changing = threading.Lock()
_listening: dict[int, Heard] = {}
"""By the thread that listens."""
_asked = 0
"""How often FFmpeg was asked to tell us."""


@contextmanager
def complaints() -> Iterator[Heard]:
    """Listen, in this thread, to what FFmpeg says at level "error" or worse.

    FFmpeg tells one listener. Should another library in this process ask it meanwhile, we hear no
    more: what was heard is certain only if our own call comes back to us at the end, and no thread
    of ours had to ask anew in between.

    Yields:
        What is heard; ``certain`` is set when the block has been left.

    Raises:
        SourceError: FFmpeg cannot be listened to in this build of OpenCV.
    """
    libraries = _libraries()
    thread, heard = threading.get_ident(), Heard()
    with _changing:
        _listening[thread] = heard
        if not _are_heard(libraries, heard):
            _ask(libraries)
        asked = _asked
    try:
        yield heard
    finally:
        with _changing:
            heard.certain = _are_heard(libraries, heard) and asked == _asked
            del _listening[thread]
            if not _listening:
                # Messages come from every thread that decodes, and each would wait for Python.
                for library in libraries:
                    library.av_log_set_callback(library.av_log_default_callback)


def _ask(libraries: Sequence[ctypes.PyDLL]) -> None:
    global _asked  # noqa: PLW0603 - FFmpeg has one listener a process
    for library in libraries:
        library.av_log_set_callback(_CALLBACK)
    _asked += 1


def _are_heard(libraries: Sequence[ctypes.PyDLL], heard: Heard) -> bool:
    """Call out through each library, and tell whether all calls came back to us."""
    for library in libraries:
        heard.called = False
        library.av_log(None, _CALL, b"")
        if not heard.called:
            return False
    return True


def _hear(_context: int | None, level: int) -> None:
    heard = _listening.get(threading.get_ident())
    if heard is None:
        return
    if level == _CALL:
        heard.called = True
    elif level <= _ERROR:
        heard.complaints += 1


_CALLBACK = _Callback(_hear)
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
