"""Starts `sealtrace` commands as processes that need not load Python and all libraries anew.

A command takes a second of a processor before it does anything, and a run of all tests starts more
than a thousand. So who is started as ``python -m sealtrace.command`` is forked from one process
that has loaded what the command loads (`warm_server`): a process of its own, with its own number,
session, folder, environment, descriptors and limits. Whatever else is started is started as always,
and so is a command whose environment has an interpreter or a library begin otherwise, or that
is started by way of another program (strace, faketime). ``SEALTRACE_COLD_STARTS=1`` has all started
as always.
"""

from __future__ import annotations

import atexit
import inspect
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warm_server import COMMAND, LIMITS, MESSAGE_BYTES

COLD = "SEALTRACE_COLD_STARTS"
_BEGINS_OTHERWISE = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "OMP_", "OPENBLAS_", "TZ")
# OpenCV sets the last in who has loaded it.
_MAKES_NO_DIFFERENCE = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")
_COERCED = {"LC_CTYPE": "C.UTF-8"}  # by an interpreter itself, where no locale is named (PEP 538)
_ENDING_WITH_US = ("--pdeathsig", "TERM", "--")
_SERVER = Path(__file__).with_name("warm_server.py")
_popen: Any = subprocess.Popen


class _Forks:
    """The server of this process, started when it is first asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asks: socket.socket | None = None
        self._process: Any = None
        self.spent_s = 0.0

    def fork(self, request: Mapping[str, object], standard: Sequence[int]) -> tuple[int, int]:
        """Have a command run.

        Returns:
            The number of its process, and the descriptor by which its end is told.
        """
        tells, told = os.pipe()
        try:
            with self._lock:
                asks = self._asks or self._start()
                socket.send_fds(asks, [json.dumps(request).encode()], [told, *standard])
                pid = int(asks.recv(MESSAGE_BYTES))
        except BaseException:
            os.close(tells)
            raise
        finally:
            os.close(told)
        return pid, tells

    def _start(self) -> socket.socket:
        self._asks, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = _popen(
                [sys.executable, str(_SERVER)],
                stdin=theirs,
                cwd=_SERVER.parents[2],
                start_new_session=True,
            )
        atexit.register(self._stop)
        return self._asks

    def _stop(self) -> None:
        if self._asks is not None:
            self._asks.close()
            self._process.wait()


_FORKS = _Forks()


def spent_s() -> float:
    """Return what commands have spent that were forked for this process and have ended."""
    return _FORKS.spent_s


class WarmPopen(_popen):  # type: ignore[misc]
    """A `subprocess.Popen` that forks where a command of ours is started plainly."""

    _tells: int | None = None

    @property
    def is_warm(self) -> bool:
        """Whether it was forked."""
        return self._tells is not None

    def _execute_child(self, *given: Any) -> None:
        asked = _SIGNATURE.bind(self, *given).arguments
        request = _request(asked)
        if request is None:
            super()._execute_child(*given)
            return
        sys.audit("subprocess.Popen", sys.executable, asked["args"], asked["cwd"], asked["env"])
        ends = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        standard = [number if end == -1 else end for number, end in enumerate(ends)]
        try:
            self.pid, self._tells = _FORKS.fork(request, standard)
        finally:
            self._close_pipe_fds(*(asked[name] for name in _PIPES))
        self._child_created = True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """Do what waitpid(2) does for a child."""
        if self._tells is None:
            return super()._try_wait(wait_flags)  # type: ignore[no-any-return]
        if wait_flags & os.WNOHANG and not select.select([self._tells], [], [], 0)[0]:
            return 0, 0
        status, spent_s = json.loads(os.read(self._tells, 256) or b"[9, 0.0]")
        os.close(self._tells)
        _FORKS.spent_s += spent_s
        return self.pid, status

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._tells is None:
            return super()._internal_poll(*given, **named)  # type: ignore[no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode  # type: ignore[no-any-return]


_SIGNATURE = inspect.signature(_popen._execute_child)
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def start_warm() -> None:
    """Have `subprocess` start our commands so from now on, where it can and nobody forbids it."""
    if sys.platform == "linux" and not os.environ.get(COLD):
        subprocess.Popen = WarmPopen  # type: ignore[misc]


def _request(asked: Mapping[str, Any]) -> dict[str, object] | None:
    """Return what the server is asked; None where this is to be started as always."""
    if isinstance(asked["args"], str | bytes | os.PathLike):
        return None
    words = [os.fsdecode(word) for word in asked["args"]]
    ends = tuple(words[1:4]) == _ENDING_WITH_US and Path(words[0]).name == "setpriv"
    words = words[4:] if ends else words
    plain = [sys.executable, "-m", COMMAND]
    special = ("executable", "preexec_fn", "pass_fds", "shell", "uid", "gid", "gids")
    environment = dict(os.environ if asked["env"] is None else asked["env"])
    if (
        words[:3] != plain
        or any(asked[name] not in (None, (), False) for name in special)
        or _beginnings(environment) != _beginnings(os.environ)
    ):
        return None
    return {
        "arguments": words[3:],
        "environment": environment,
        "folder": os.path.abspath(asked["cwd"] or "."),  # noqa: PTH100 - as it was given
        "new_session": bool(asked["start_new_session"]),
        "ends_with_us": ends,
        "limits": [resource.getrlimit(limit) for limit in LIMITS],
    }


def _beginnings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what an interpreter or a library reads of an environment when it begins."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_BEGINS_OTHERWISE)
        and name not in _MAKES_NO_DIFFERENCE
        and value not in ("", _COERCED.get(name))
    }
