"""An application served in a thread, as `runtime.http.serve` would in a process."""

from __future__ import annotations

import threading
from typing import Any

from runtime.config import HttpConfig, TlsConfig
from runtime.http import Ready, serve
from runtime.lifecycle import Stop

DEADLINE_S = 60.0


class Serving:
    """Served from construction until `end`; use it in a ``with`` block."""

    def __init__(
        self,
        app: Any,
        tls: TlsConfig | None,
        limits: HttpConfig | None = None,
        *,
        port: int = 0,
        **options: Any,
    ) -> None:
        self.stop = Stop()
        ready = Ready()
        self._thread = threading.Thread(
            target=serve,
            args=(app, "127.0.0.1", port, tls, self.stop),
            kwargs={"ready": ready, "limits": limits, **options},
        )
        self._thread.start()
        self.port = ready.wait(DEADLINE_S)
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}"

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.stop.set("test over")
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
