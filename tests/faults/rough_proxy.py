"""A TCP proxy on loopback that is as bad as a network can be to what runs over TCP."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress

CHUNK = 4096


class RoughProxy:
    """Forwards one port to another; what it does to the bytes is set while it runs.

    TCP itself keeps order and repeats what is lost, so loss is a connection cut in the middle of a
    packet; what comes out of order or twice comes over two connections.

    - ``cut``: chance that a chunk is its connection's last, of which half gets through;
    - ``delay_s``: longest pause before a chunk is passed on;
    - ``late``: what a cut connection had under way arrives after the next one has begun;
    - ``stalled``: nothing is passed on at all.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.cut = 0.0
        self.delay_s = 0.0
        self.late = False
        self.stalled = False
        self.cuts = 0
        self._random = random.Random(7)
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.2)
        self.port = int(self._listener.getsockname()[1])
        self._late: list[tuple[socket.socket, bytes]] = []
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def calm(self) -> None:
        """Be a good network again."""
        self.cut, self.delay_s, self.late, self.stalled = 0.0, 0.0, False, False
        self._deliver_late()

    def cut_all(self) -> None:
        """Cut every connection now."""
        for sock in list(self._open):
            self._close(sock)

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pass, args=(source, sink, sink is server), daemon=True
                ).start()

    def _pass(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        source.settimeout(None)
        passed = 0
        with suppress(OSError):
            while data := source.recv(CHUNK):
                while self.stalled and not self._stop.wait(0.05):
                    pass
                if self.delay_s:
                    self._stop.wait(self._random.uniform(0, self.delay_s))
                passed += len(data)
                if passed > 6000 and self._random.random() < self.cut:
                    self.cuts += 1
                    if self.late and upwards:
                        # The broker sees this one only after the client has begun the next.
                        self._late.append((sink, data))
                        self._open.discard(sink)
                        self._close(source)
                        return
                    sink.sendall(data[: len(data) // 2])
                    break
                sink.sendall(data)
                if upwards and passed > 8000:
                    self._deliver_late(but=sink)
        self._close(source)
        self._close(sink)

    def _deliver_late(self, but: socket.socket | None = None) -> None:
        waiting, self._late = self._late, []
        for sink, data in waiting:
            if sink is but:
                continue
            with suppress(OSError):
                sink.sendall(data)
            self._close(sink)

    def _close(self, sock: socket.socket) -> None:
        self._open.discard(sock)
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            sock.close()
