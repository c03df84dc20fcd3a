"""A process that has loaded what `sealtrace` commands load, and becomes one of them by fork(2).

Started by `warm_start`, which says on the socket behind standard input what to run. It loads what a
command needs when that command is first asked for, and runs nothing itself: who runs a command is
its child, and ends as an interpreter does that was started for it. No thread is here when it forks.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

COMMAND = "sealtrace.command"
MESSAGE_BYTES = 1 << 17
LIMITS = tuple(
    getattr(resource, f"RLIMIT_{name}") for name in ("AS", "CORE", "CPU", "FSIZE", "NOFILE")
)
"""What may differ between who asks and us: a child has the limits of who asked."""
_ALWAYS = ("typer.main", "runtime.logs", "runtime.config", "sealtrace.help_layout")
_LATER: Mapping[str, Sequence[str]] = {
    "custodian": ("custodian.service", "custodian.custodian"),
    "aggregator": ("aggregator.service",),
    "edge": ("edge_agent.agent", "edge_agent.outbox_store", "edge_agent.troubles"),
    "footage": ("edge_agent.agent",),
    "registrar": ("provisioning.registrar.registrar", "provisioning.registrar.service"),
    "desk": ("officers.pages.house",),
    "trace": ("officers.desk.still_export",),
}
"""What commands load once they run, so that `--help` need not."""
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_OWN = 3  # the first descriptor that is not a standard one
_prctl = ctypes.CDLL(None).prctl


@dataclass(frozen=True, slots=True)
class Job:
    """One command to run: what execve(2) and subprocess would be told, and its descriptors."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str | None
    new_session: bool
    ends_with_us: bool
    limits: Sequence[Sequence[int]]
    standard: Sequence[int]


class Server:
    """Forks for who asks, and tells by a pipe of each child how it ended."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._told: dict[int, int] = {}
        self._loaded: set[str] = set()
        self._wake, woken = os.pipe()
        for end in (self._wake, woken):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: who asks is told, and closes
        signal.set_wakeup_fd(woken)

    def serve(self) -> Job | None:
        """Return in a child what it has to run; None where nobody will ask any more."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._asked, selectors.EVENT_READ)
            ready.register(self._wake, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is self._asked:
                        message, handed, _, _ = socket.recv_fds(self._asked, MESSAGE_BYTES, 4)
                        if not message:
                            return None
                        job = self._forked(message, handed)
                        if job is not None:
                            return job
                    else:
                        with suppress(BlockingIOError):
                            os.read(self._wake, 4096)
                        self._tell()

    def _forked(self, message: bytes, handed: Sequence[int]) -> Job | None:
        told, *standard = handed
        job = Job(**json.loads(message), standard=standard)
        self._load(job.arguments[0] if job.arguments else "")
        gc.freeze()  # what is loaded is no garbage: not looked at, and so not copied, in children
        pid = os.fork()
        if pid == 0:
            return job
        self._told[pid] = told
        for descriptor in standard:
            os.close(descriptor)
        self._asked.sendall(str(pid).encode())
        return None

    def _load(self, command: str) -> None:
        from sealtrace.command import FORMER, commands

        name = FORMER.get(command, command)
        point = commands().get(name)
        if point is None or name in self._loaded:
            return
        self._loaded.add(name)
        for module in (*_ALWAYS, point.module, *_LATER.get(name, ())):
            with suppress(ImportError):  # the command will say so itself
                importlib.import_module(module)

    def _tell(self) -> None:
        while self._told:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            told = self._told.pop(pid)
            with suppress(OSError):  # nobody waits for it
                os.write(told, json.dumps([status, usage.ru_utime + usage.ru_stime]).encode())
            os.close(told)


def become(job: Job) -> None:
    """Make this process what an interpreter is that was started for the command, and run it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if job.new_session:
        os.setsid()
    if job.ends_with_us:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for number, descriptor in enumerate(job.standard):
        os.dup2(descriptor, number)
    for limit, pair in zip(LIMITS, job.limits, strict=True):
        resource.setrlimit(limit, tuple(pair))  # type: ignore[arg-type]
    os.closerange(_OWN, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(job.environment)
    os.chdir(job.folder or ".")
    unbuffered = bool(job.environment.get("PYTHONUNBUFFERED"))
    sys.stdin = _stream(0, "r", unbuffered=False)
    sys.stdout = _stream(1, "w", unbuffered=unbuffered)
    sys.stderr = _stream(2, "w", unbuffered=unbuffered)
    sys.path[0] = str(os.getcwd())  # noqa: PTH109 - as `python -m` has it
    sys.argv = ["-m", *job.arguments]
    del sys.modules[COMMAND]
    try:
        runpy.run_module(COMMAND, run_name="__main__", alter_sys=True)
    except SystemExit as end:  # what else is raised ends an interpreter as it always does
        _end(end.code)


def _end(code: object) -> None:
    """End as an interpreter does, without undoing all that was loaded, which would be copied."""
    threading: Any = sys.modules["threading"]
    threading._shutdown()
    atexit._run_exitfuncs()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    with suppress(OSError, ValueError):  # the command has written what it has to write
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))


def _stream(number: int, mode: str, *, unbuffered: bool) -> Any:
    """Return a standard stream as an interpreter makes it (Python/pylifecycle.c)."""
    binary: Any = open(number, f"{mode}b", buffering=0 if unbuffered else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        binary,
        errors="backslashreplace" if number == 2 else None,
        line_buffering=number == 2 or binary.isatty(),
        write_through=unbuffered,
    )


def main() -> None:
    """Serve who started us until they close the socket."""
    from runtime.process import silence_libraries

    silence_libraries()
    asked = socket.socket(fileno=os.dup(0))
    job = Server(asked).serve()
    if job is not None:
        asked.detach()
        become(job)


if __name__ == "__main__":
    main()
