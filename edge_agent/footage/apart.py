"""Looks into files in a process of its own, which a file that harms its decoder ends, not ours.

Recordings come from anywhere. The process may write no file, takes so much memory and no more, and
is ended when a file takes too long; the next file has a new one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from edge_agent.footage.looking import Content, Look, look_into

MAX_MEMORY_BYTES = 4 << 30
"""Address space of the process; the libraries alone take 1.5 GiB of it."""
LEAST_S = 60.0
BYTES_A_SECOND = 2 << 20
"""A file may take a minute, and so much longer as it is large: slow sticks read faster."""
_STOP_S = 5.0


class Apart:
    """A process that looks into files, begun when it is first needed; for one thread.

    Args:
        look: what it does with each; a function of a module.
        least_s: how long a small file may take.
    """

    def __init__(self, look: Look = look_into, *, least_s: float = LEAST_S) -> None:
        self._look = look
        self._least_s = least_s
        self._context = multiprocessing.get_context("spawn")
        self._process: BaseProcess | None = None
        self._line: Connection | None = None

    def look(self, path: Path, *, quick: bool = False) -> Content:
        """Look into a file as `look_into` does; what ends the process is told as its trouble."""
        try:
            size = path.stat().st_size
        except OSError:
            size = 0
        line = self._ready()
        try:
            line.send((path, quick))
            if line.poll(self._least_s + size / BYTES_A_SECOND):
                content = line.recv()
                if isinstance(content, Content):
                    return content
            else:
                self.close()
                return Content(trouble="It takes too long to read: it is damaged. Export it again.")
        except (OSError, EOFError):
            pass
        self.close()
        return Content(
            trouble="Its decoder ended over it, or it asks for too much memory: it is damaged, or "
            "made to do that. Export it again, or leave it."
        )

    def close(self) -> None:
        """End the process; may be called twice, and `look` begins a new one."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(_STOP_S)
        self._line = self._process = None

    def _ready(self) -> Connection:
        if self._line is None:
            ours, theirs = self._context.Pipe()
            self._process = self._context.Process(
                target=_serve, args=(theirs, self._look), name="footage-look", daemon=True
            )
            self._process.start()
            theirs.close()
            self._line = ours
        return self._line


@contextmanager
def looking_apart() -> Iterator[Look]:
    """Give what looks into files in a process of its own, and end that process."""
    apart = Apart()
    try:
        yield apart.look
    finally:
        apart.close()


def _serve(line: Connection, look: Look) -> None:
    """Look into what is asked for until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ours is asked to stop, and ends this
    for limit, most in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
    ):
        with contextlib.suppress(ValueError, OSError):  # lower already
            resource.setrlimit(limit, (most, most))
    while True:
        try:
            path, quick = line.recv()
            line.send(look(path, quick=quick))
        except (EOFError, OSError, MemoryError):  # nobody asks any more, or it took too much
            return
