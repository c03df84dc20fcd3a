"""Start the site's real processes, wait until each says that it is ready, stop them in order.

They end with the process that started them, however that ends.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import OperationError

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
_TAIL_LINES = 12
_starter = ThreadPoolExecutor(1, "starter")


class ProcessFailed(OperationError):
    """A process did not come up, ended by itself, or a command failed."""


@dataclass(slots=True)
class Service:
    """One process of the site. Its output goes to ``log``, which is also where "ready" is read.

    A program that never says so (Mosquitto) is ready once it listens on ``port`` of loopback.
    Where root starts it, it runs as ``account``, if that is given and there is one.
    """

    name: str
    arguments: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str]
    port: int | None = None
    account: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _offset: int = field(default=0, init=False)

    def start(self) -> None:
        """Start it; :meth:`wait_ready` says when it can be used."""
        self._offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # By a thread that lasts: the kernel takes the end of a child's thread for its parent's.
            self.process = _starter.submit(
                subprocess.Popen,
                ending_with_us(self.arguments, self.account),
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).result()

    def wait_ready(self, timeout_s: float = READY_WITHIN_S) -> None:
        """Wait for its line "ready".

        Raises:
            ProcessFailed: it ended, or said nothing in time; the text has its last lines.
        """
        deadline = time.monotonic() + timeout_s
        while not self._says_ready():
            if not self.running:
                raise ProcessFailed(f"{self.name} ended at its start:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"{self.name} was not ready within {timeout_s:g} s:\n{self.tail()}"
                )
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout_s: float = STOP_WITHIN_S) -> int:
        """Ask it to stop (SIGTERM), kill it if it does not; return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.wait())

    def kill(self) -> None:
        """End it and its children at once (SIGKILL)."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self, timeout_s: float) -> int:
        """Wait until it ends by itself; return its exit code.

        Raises:
            ProcessFailed: it still runs after ``timeout_s``.
        """
        if self.process is None:
            raise ProcessFailed(f"{self.name} was never started")
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(
                f"{self.name} still runs after {timeout_s:g} s:\n{self.tail()}"
            ) from None

    def output(self) -> str:
        """What it has printed since it was started last."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._offset)
            return log.read().decode("utf-8", "replace")

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.output().splitlines()[-_TAIL_LINES:])

    def events(self, name: str) -> list[dict[str, object]]:
        """The log events called ``name`` since it was started last."""
        found = []
        for line in self.output().splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") == name:
                    found.append(event)
        return found

    def _says_ready(self) -> bool:
        if self.port is not None:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        return bool(self.events("ready")) or self.output().startswith("ready:")


def ending_with_us(arguments: Sequence[str], account: str = "") -> list[str]:
    """Return a command line whose process is told to stop (SIGTERM) when the calling thread ends.

    By util-linux's setpriv (prctl(2), PR_SET_PDEATHSIG), which becomes the program: the process has
    the number that it would have had. Where there is no setpriv, the command line as it is.

    Args:
        arguments: the command line.
        account: whom the program would change to by itself when root starts it: whoever changes the
            user is told of no death any more. So it is changed before.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return list(arguments)
    becomes: list[str] = []
    if account and os.geteuid() == 0:
        with suppress(KeyError):
            user = pwd.getpwnam(account)
            becomes = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [setpriv, *becomes, "--pdeathsig", "TERM", "--", *arguments]


def sealtrace(*arguments: str) -> list[str]:
    """Return the command line that runs ``sealtrace`` in this very environment."""
    return [sys.executable, "-m", "sealtrace.command", *arguments]


def run_command(
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float = 120.0,
    expect: int | None = 0,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a person would type it.

    Args:
        arguments: the command line.
        folder: where it runs.
        environment: its environment.
        timeout_s: after this it is killed.
        expect: the exit code that it must end with; None accepts any.

    Raises:
        ProcessFailed: another exit code, or it took too long.
    """
    try:
        done = subprocess.run(
            list(arguments),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"{' '.join(arguments)} took more than {timeout_s:g} s") from None
    if expect is not None and done.returncode != expect:
        said = (done.stderr or done.stdout).strip()
        raise ProcessFailed(f"{' '.join(arguments)} ended with {done.returncode}:\n{said}")
    return done
