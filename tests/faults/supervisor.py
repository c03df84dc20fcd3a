"""Plays systemd: starts a process again that ended by itself, as the units say (on-failure)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from demo.processes import Service

RESTART_S = 1.0
NOT_AGAIN = 3
"""The exit code of a box that was put out of the site: its unit does not start it again."""


class Supervisor:
    """Watches services in a thread of its own until `stop`."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services
        self.restarts: Counter[str] = Counter()
        self.endings: dict[str, tuple[int, str]] = {}
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; nothing is started from now on."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Leave a service down inside the block, however it ends."""
        with self._lock:
            self._held.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(name)

    def _run(self) -> None:
        while not self._stop.wait(RESTART_S):
            for name, service in self._services.items():
                with self._lock:
                    process = service.process
                    if name in self._held or process is None or process.poll() is None:
                        continue
                    self.endings[name] = (int(process.returncode), service.tail())
                    if process.returncode in {0, NOT_AGAIN}:
                        continue
                    self.restarts[name] += 1
                    with suppress(OSError):
                        service.start()
