"""Run a process from READY to a clean stop: signals, systemd, threads whose crash is noticed."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import structlog

from runtime.errors import OperationError

_log = structlog.get_logger()


class Stop:
    """The one event that ends a process: set by a signal, a crashed thread or the work's end."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._reason = ""
        self._exit_code = 0

    def set(self, reason: str, *, exit_code: int = 0) -> None:
        """Ask everybody to stop; the first reason stays, the highest exit code wins."""
        with self._lock:
            if not self._event.is_set():
                self._reason = reason
            self._exit_code = max(self._exit_code, exit_code)
        self._event.set()

    def is_set(self) -> bool:
        """Tell whether the process is to stop."""
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the process is to stop, at most ``timeout_s``; tell whether it is."""
        return self._event.wait(timeout_s)

    @property
    def reason(self) -> str:
        """Why the process stops; empty while it runs."""
        return self._reason

    @property
    def exit_code(self) -> int:
        """What the process should exit with: 0, or 1 after a crash."""
        return self._exit_code


EXIT_THREAD_DIED = 1
"""What a process exits with after one of its threads has died; its unit starts it again."""


@contextmanager
def no_thread_dies_unseen(stop: Stop) -> Iterator[None]:
    """Have an exception that ends any thread in the block, a library's too, stop the process.

    Python only prints it, and the process would live on without what that thread did.
    """

    def died(what: threading.ExceptHookArgs) -> None:
        if what.exc_type is SystemExit:
            return
        name = what.thread.name if what.thread is not None else "unknown"
        _log.critical("thread_crashed", thread=name, exc_info=what.exc_value or True)
        stop.set(f"thread {name} crashed: {what.exc_type.__name__}", exit_code=EXIT_THREAD_DIED)

    before = threading.excepthook
    threading.excepthook = died
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def signals(stop: Stop, *, on_reload: Callable[[], None] | None = None) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into ``stop``, and SIGHUP into a call of ``on_reload``, in the block.

    A second SIGINT ends the process at once (exit code 130). The callback runs in the thread
    ``signals``, never inside a signal handler, so it may take locks. Only the main thread may
    enter the block. The earlier handlers come back at its end. In the block no thread dies unseen
    (`no_thread_dies_unseen`).
    """
    # A Python handler waits until the main thread runs bytecode, then interrupts it while it may
    # hold the very lock that Event.set needs. The wakeup descriptor has neither fault: the kernel's
    # handler writes the signal's number to it at once, and a thread does the rest.
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def react() -> None:
        interrupts = 0
        while received := reader.recv(64):
            for number in received:
                if number == 0:
                    return
                if number == signal.SIGINT and (interrupts := interrupts + 1) > 1:
                    os._exit(130)
                _react_to(number, stop, on_reload)

    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    thread = threading.Thread(target=react, name="signals", daemon=True)
    thread.start()
    old_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, _noted) for number in numbers}
    try:
        with no_thread_dies_unseen(stop):
            yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        signal.set_wakeup_fd(old_descriptor)
        writer.send(b"\0")
        thread.join(timeout=5)
        reader.close()
        writer.close()


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Stand in for the default action; the thread ``signals`` acts."""


def _react_to(number: int, stop: Stop, on_reload: Callable[[], None] | None) -> None:
    if number in {signal.SIGTERM, signal.SIGINT}:
        name = signal.Signals(number).name
        _log.info("stop_requested", signal=name)
        stop.set(name)
    elif number == signal.SIGHUP and on_reload is not None:
        _log.info("reload_requested")
        try:
            on_reload()
        except Exception:
            _log.exception("reload_failed")


class FolderInUse(OperationError):
    """Another process works in the folder already."""


class FolderLock:
    """Keeps a second process out of a state folder, until closed or until the process ends."""

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        """Take the lock.

        Args:
            folder: the state folder.
            shared: let others in that share it as well, and nobody that wants it alone.

        Raises:
            FolderInUse: another process has it.
        """
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise FolderInUse(
                f"another process already uses {folder}; stop it, or give this one its own "
                "state_dir"
            ) from error

    def close(self) -> None:
        """Let others in."""
        os.close(self._descriptor)


class Systemd:
    """Speak systemd's notification protocol (sd_notify(3)); silent when not run by systemd."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        interval = os.environ.get("WATCHDOG_USEC", "")
        meant_for = os.environ.get("WATCHDOG_PID", "")
        ours = meant_for in {"", str(os.getpid())}
        self.watchdog_s = int(interval) / 1e6 if interval.isdigit() and ours else None
        """Seconds within which systemd wants a sign of life; None when it wants none."""

    def notify(self, message: str) -> None:
        """Send lines such as ``READY=1``; a lost message is logged, never raised."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # Linux abstract namespace
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.connect(address)
                sock.sendall(message.encode())
        except OSError as error:
            _log.warning("systemd_notify_failed", reason=str(error))

    def ready(self, status: str = "") -> None:
        """Say that the service has started."""
        self.notify("READY=1" + (f"\nSTATUS={status}" if status else ""))

    def stopping(self) -> None:
        """Say that the service is on its way down."""
        self.notify("STOPPING=1")

    def alive(self) -> None:
        """Give the sign of life that the watchdog waits for."""
        self.notify("WATCHDOG=1")


class Threads:
    """The named threads of a process; one that dies stops the whole process with exit code 1.

    To die is to raise, or to return before the process was asked to stop: a process that lives on
    without one of its duties looks well from outside, and its unit would not start it again.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._threads: list[threading.Thread] = []

    def start(
        self, name: str, target: Callable[[], None], *, may_end: bool = False
    ) -> threading.Thread:
        """Run ``target`` in a thread called ``name``; if it dies, log it and stop the process.

        Args:
            name: stands in the log.
            target: what it does, until the process is to stop.
            may_end: its work may be done before that (a recording that has been watched).
        """

        def run() -> None:
            try:
                target()
            except BaseException as error:
                _log.critical("thread_crashed", thread=name, exc_info=True)
                why = f"thread {name} crashed: {type(error).__name__}"
                self._stop.set(why, exit_code=EXIT_THREAD_DIED)
                return
            if not may_end and not self._stop.is_set():
                _log.critical("thread_ended", thread=name)
                self._stop.set(f"thread {name} ended", exit_code=EXIT_THREAD_DIED)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def alive(self) -> list[str]:
        """Return the names of the threads that still run."""
        return [thread.name for thread in self._threads if thread.is_alive()]

    def join(self, timeout_s: float) -> None:
        """Wait for every thread, ``timeout_s`` seconds in all; name those that do not come back.

        They are daemon threads: the process ends without them, and its exit code is then 1.
        """
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if left := self.alive():
            _log.error("threads_did_not_stop", threads=left, waited_s=timeout_s)
            self._stop.set(f"threads did not stop: {', '.join(left)}", exit_code=1)


def wait_until_stopped(
    stop: Stop, *, ready: str = "", healthy: Callable[[], bool] = lambda: True
) -> None:
    """Tell systemd that the service is ready, keep its watchdog fed, return when ``stop`` is set.

    Args:
        stop: what ends the wait.
        ready: one line of status for ``systemctl status``.
        healthy: asked before each sign of life; while it says no, none is given and systemd
            restarts the service.
    """
    systemd = Systemd()
    systemd.ready(ready)
    interval_s = systemd.watchdog_s / 3 if systemd.watchdog_s else None
    while not stop.wait(interval_s):
        if healthy():
            systemd.alive()
        else:
            _log.error("watchdog_withheld")
    systemd.stopping()
