"""Run a role that serves: its threads by name, its HTTP interface, a sign of life, a clean end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp

from runtime.config import HttpConfig, TlsConfig
from runtime.errors import OperationError
from runtime.http import HttpError, Ready, serve
from runtime.integrity import DatabaseWatch
from runtime.lifecycle import Stop, Threads, signals, wait_until_stopped

if TYPE_CHECKING:
    from runtime.metrics import Metrics

MAX_BODY_BYTES = 8 << 20
"""A request's largest body, where a role does not say otherwise."""
_STOP_WITHIN_S = 15.0
_log = structlog.get_logger()

Work = Callable[[Stop], None]
"""The body of a thread: works until it is told to stop."""


@dataclass(frozen=True, slots=True)
class Interface:
    """What a role serves over HTTP (see `runtime.http.serve`).

    Args:
        app: answers the requests.
        http: where it listens, and its limits.
        tls: its certificates; None serves plainly, on loopback only.
        max_body_bytes: larger requests are refused unread.
        clients_may_be_unknown: also let in clients that show no certificate.
        shared_port: let other processes listen at the same port.
    """

    app: ASGIApp
    http: HttpConfig
    tls: TlsConfig | None
    max_body_bytes: int = MAX_BODY_BYTES
    clients_may_be_unknown: bool = False
    shared_port: bool = False


def serve_until_stopped(
    interface: Interface,
    *,
    site: str,
    name: str,
    what: str,
    threads: Mapping[str, Work],
    databases: Iterable[Path],
    on_reload: Callable[[], object],
    stop: Stop | None = None,
    ready: Ready | None = None,
    metrics: Metrics | None = None,
) -> int:
    """Work and serve until a signal, or until a thread dies; return the process's exit code.

    Serves in the calling thread, which must be the main one. Beside ``threads`` there are
    ``integrity`` (reads the databases through, daily), ``watchdog`` (says that the service is ready
    and gives systemd its signs of life) and ``signals``. What the threads stand on may be closed
    when this returns or raises.

    Args:
        interface: what is served.
        site: name of the site, for the log.
        name: the role's name in the site's directory, for the log.
        what: what ``systemctl status`` says to be there.
        threads: name to what it does; each is started before anything is served.
        databases: files that must be whole.
        on_reload: called at SIGHUP; an OperationError is logged and changes nothing.
        stop: ends it all; given by who has to end it from elsewhere.
        ready: tells the port once there is one; given by whose threads have to know it.
        metrics: told on loopback (the thread ``metrics``); None where nobody asks for them.

    Raises:
        HttpError, TlsError: it cannot serve as configured.
    """
    stop = stop or Stop()
    ready, running = ready or Ready(), Threads(stop)

    def watch() -> None:
        while not stop.is_set():
            try:
                port = ready.wait(0.5)
            except HttpError:
                continue
            _log.info("ready", site=site, name=name, host=interface.http.host, port=port)
            wait_until_stopped(stop, ready=f"{what} on port {port}")

    def reload() -> None:
        try:
            on_reload()
        except OperationError as error:
            _log.error("reload_refused", reason=str(error))

    works = {**threads, "integrity": DatabaseWatch(tuple(databases)).run}
    app = interface.app
    if metrics is not None:
        works["metrics"] = metrics.run
        app = metrics.counted(app)
    with signals(stop, on_reload=reload):
        try:
            for thread, work in works.items():
                running.start(thread, partial(work, stop))
            running.start("watchdog", watch)
            serve(
                app,
                interface.http.host,
                interface.http.port,
                interface.tls,
                stop,
                ready=ready,
                max_body_bytes=interface.max_body_bytes,
                limits=interface.http,
                clients_may_be_unknown=interface.clients_may_be_unknown,
                shared_port=interface.shared_port,
            )
        finally:
            stop.set("serving has ended")
            running.join(_STOP_WITHIN_S)
    _log.info("stopped", reason=stop.reason)
    return stop.exit_code
