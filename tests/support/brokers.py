"""The two brokers on loopback, started and stopped by tests."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import DEADLINE_S, wait_for

from demo.broker import BrokerPlace, EmbeddedBroker
from demo.ports import free_port
from demo.processes import ending_with_us


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Embedded(EmbeddedBroker):
    """The embedded broker on a free port; forgets sessions and retained messages when it stops."""

    keeps_sessions_over_a_restart = False

    def __init__(self, folder: Path) -> None:
        super().__init__(BrokerPlace(free_port(), folder / "broker"))
        self.port = self.place.port


class Mosquitto:
    """Mosquitto on a free port, with more lines of configuration if wanted."""

    keeps_sessions_over_a_restart = True

    def __init__(self, folder: Path, extra: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        # Started by root, Mosquitto becomes the user "mosquitto", who cannot read test folders.
        self._config.write_text(
            f"per_listener_settings false\nuser root\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 0\n"
            f"listener {self.port} 127.0.0.1\n{extra}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ending_with_us([str(mosquitto()), "-c", str(self._config)]),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        wait_for(lambda: listens(self.port), "Mosquitto listening", every_s=0.01)

    def reload(self) -> None:
        """Have it read its access list again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(DEADLINE_S)
        self._process = None


def mosquitto() -> str | None:
    """Return where Mosquitto is, None when it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


AnyBroker = Embedded | Mosquitto
BOTH = ["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)]
"""The ``params`` of a fixture whose tests run against both brokers."""


@contextmanager
def running(kind: str, folder: Path) -> Iterator[AnyBroker]:
    """Run one of ``BOTH`` in ``folder``; the test is skipped where Mosquitto is absent."""
    if kind == "mosquitto" and mosquitto() is None:
        pytest.skip("Mosquitto is not installed")
    one: AnyBroker = Mosquitto(folder) if kind == "mosquitto" else Embedded(folder)
    one.start()
    yield one
    one.stop()
