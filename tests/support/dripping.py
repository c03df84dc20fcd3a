"""A server that says one byte after the other, and never all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

EVERY_S = 0.05


@contextlib.contextmanager
def dripping(begin: bytes) -> Iterator[int]:
    """Serve ``begin`` and then drip, to every caller; yield the port of loopback."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(begin)
            while not over.wait(EVERY_S):
                connection.sendall(b"y")

    def serve() -> None:
        while not over.is_set():
            connection, _ = listener.accept()
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join(30)
        listener.close()
