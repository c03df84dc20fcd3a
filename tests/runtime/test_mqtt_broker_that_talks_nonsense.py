"""A broker that sends what no client can read costs one connection, never the session."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from runtime.config import MqttConfig
from runtime.mqtt import Session

DEADLINE_S = 60.0
_CONNACK = b"\x20\x03\x00\x00\x00"
NONSENSE = {
    "a publish whose topic is longer than the packet": b"\x30\x04\xff\xff\x00\x00",
    "a publish with properties cut short": b"\x32\x06\x00\x01a\x00\x01\xff",
    "a publish with an unknown property": b"\x32\x08\x00\x01a\x00\x01\x02\x7f\x00",
    "an acknowledgement of nothing": b"\x40\x00",
    "an acknowledgement with a reason that there is none": b"\x40\x04\x00\x01\xee\x00",
    "a suback without reasons": b"\x90\x03\x00\x01\x00",
    "a suback with a reason that there is none": b"\x90\x04\x00\x01\x00\xee",
    "a disconnect with a reason that there is none": b"\xe0\x02\xee\x00",
    "a second connack, cut short": b"\x20\x01\x00",
    "an unknown packet": b"\xf0\x00",
    "a length that never ends": b"\x30\xff\xff\xff\xff\xff\xff",
    "a pubrec": b"\x50\x03\x00\x01\xee",
}


class BadBroker:
    """Lets everybody in, says its nonsense, and keeps the line open."""

    def __init__(self, nonsense: bytes) -> None:
        self._nonsense = nonsense
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self._lines: list[socket.socket] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            line.recv(4096)
            line.sendall(_CONNACK)
            line.sendall(self._nonsense)
            with self._changed:
                self._lines.append(line)
                self.connections += 1
                self._changed.notify_all()

    def wait_connections(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.connections >= count, DEADLINE_S)

    def close(self) -> None:
        self._listener.close()
        for line in self._lines:
            line.close()


@pytest.fixture(params=list(NONSENSE.values()), ids=list(NONSENSE))
def bad_broker(request: pytest.FixtureRequest) -> Iterator[BadBroker]:
    one = BadBroker(request.param)
    yield one
    one.close()


def test_the_session_leaves_it_and_comes_again(bad_broker: BadBroker) -> None:
    config = MqttConfig(port=bad_broker.port, keepalive_s=5)
    session = Session(config, client_id="one", backoff_s=(0.02, 0.05), connect_timeout_s=2)
    session.subscribe("a/#", lambda delivery: delivery.ack())
    with session:
        assert bad_broker.wait_connections(3), "the session waits on a line that nobody reads"
