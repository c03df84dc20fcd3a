"""Gives each caller ports of loopback that nobody else takes until it uses them.

A port that the system hands out (bind to 0, close, remember the number) may be the source of
anybody's connection a moment later, and a process told to listen there fails. These lie below the
range that systems hand out, and each is held for as long as the process lives that asked for it, by
a lock on one byte of a file that all processes of a user share.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import stat
import tempfile
import threading
from pathlib import Path

from runtime.errors import OperationError

FIRST, LAST = 20_000, 29_999
"""Below 32768, where Linux begins to hand ports out, and above what services are known by."""
_LOOPBACK = "127.0.0.1"
_MEMORY = Path("/dev/shm")  # noqa: S108 - the same whatever TMPDIR says; its owner is checked


class NoPortFree(OperationError):
    """No port of loopback is free, or none can be held."""


class _Held:
    """The ports that this process holds; a child begins anew.

    Args:
        folder: where the file lies that is locked.
    """

    def __init__(self, folder: Path) -> None:
        self._process = os.getpid()
        self._file = _open_own(folder / f"sealtrace-ports-{os.getuid()}")
        first = FIRST + secrets.randbelow(LAST - FIRST + 1)
        self._left = [*range(first, LAST + 1), *range(FIRST, first)][::-1]

    @property
    def mine(self) -> bool:
        """Whether the locks are this process's: those of a parent are not."""
        return self._process == os.getpid()

    def take(self) -> int:
        """Hold a port that nobody holds or listens on.

        Raises:
            NoPortFree: there is none that it did not have before.
        """
        while self._left:
            port: int = self._left.pop()
            if self._lock(port) and _is_free(port):
                return port
        raise NoPortFree(
            f"no port of {_LOOPBACK} from {FIRST} to {LAST} is free: end what listens there"
        )

    def _lock(self, port: int) -> bool:
        """Lock a port's byte; False where another process has."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True


_lock = threading.Lock()
_held: _Held | None = None


def free_ports(count: int) -> list[int]:
    """Return ports of loopback, held for this process until it ends.

    Whatever it starts may listen there, also again after a stop.

    Raises:
        NoPortFree: there are no more.
    """
    global _held  # noqa: PLW0603 - one a process, as its locks are
    with _lock:
        if _held is None or not _held.mine:
            _held = _Held(_MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
        return [_held.take() for _ in range(count)]


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]


def _open_own(path: Path) -> int:
    """Open the file that is locked, if it is this user's own."""
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoPortFree(f"cannot open {path}, by which ports are held: {error}") from error
    found = os.fstat(opened)
    if found.st_uid != os.getuid() or not stat.S_ISREG(found.st_mode):
        os.close(opened)
        raise NoPortFree(f"{path} is not a file of yours: remove it")
    return opened


def _is_free(port: int) -> bool:
    """Tell whether a process could listen there; one that was used moments ago counts as taken."""
    with socket.socket() as probe:
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True
