"""A broker that lets in and hangs up again and again is asked ever more rarely; no log fills."""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from runtime import logs
from runtime.config import LogConfig, MqttConfig
from runtime.mqtt import Session

CONNACK = b"\x20\x03\x00\x00\x00"
FIRST_S, MOST_S, HELD_S = 0.05, 0.4, 3.0
# Pauses double from the first to the largest and are shortened by a half at most.
MOST_CONNECTIONS = 4 + round(HELD_S / (MOST_S / 2))


class HangingUp:
    """Accepts, says ``hello``, hangs up."""

    def __init__(self, hello: bytes) -> None:
        self._hello = hello
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with line:
                if self._hello:
                    line.recv(4096)
                    line.sendall(self._hello)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(params=[b"", CONNACK], ids=["before the greeting", "after the greeting"])
def broker(request: pytest.FixtureRequest) -> Iterator[HangingUp]:
    one = HangingUp(request.param)
    yield one
    one.close()


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What this process logs, as a service does."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure(LogConfig(format="json"), role="test", stream=stream)
    yield stream
    root.handlers[:], root.level = before[0], before[1]


def test_it_is_asked_ever_more_rarely(broker: HangingUp) -> None:
    session = Session(
        MqttConfig(port=broker.port), client_id="one", backoff_s=(FIRST_S, MOST_S), fresh=True
    )
    with session:
        time.sleep(HELD_S)
        assert 4 <= broker.connections <= MOST_CONNECTIONS


def test_a_storm_fills_no_log(broker: HangingUp, written: io.StringIO) -> None:
    session = Session(MqttConfig(port=broker.port), client_id="one", backoff_s=(0.005, 0.01))
    with session:
        deadline = time.monotonic() + 30
        while broker.connections < 60:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    lines = written.getvalue().splitlines()
    assert 1 <= len(lines) <= 20, lines
