"""The running enrolment service: HTTPS in the main thread, telling everybody in another."""

from __future__ import annotations

import structlog

from provisioning.registrar.api import make_app
from provisioning.registrar.config import EnrolmentConfig
from provisioning.registrar.publish import Publisher
from provisioning.registrar.registrar import Registrar, open_keys
from runtime.errors import OperationError
from runtime.http import HttpError, Ready, serve
from runtime.integrity import DatabaseWatch
from runtime.lifecycle import Stop, Threads, signals, wait_until_stopped

MAX_BODY_BYTES = 8 << 20
_STOP_WITHIN_S = 10.0
_log = structlog.get_logger()


def run(config: EnrolmentConfig, passphrase: bytes) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        OperationError: it cannot start as configured.
    """
    stop = Stop()
    threads, ready = Threads(stop), Ready()
    registrar = Registrar(config, open_keys(config, passphrase))

    def watch() -> None:
        while not stop.is_set():
            try:
                port = ready.wait(0.5)
            except HttpError:
                continue
            _log.info("ready", name=config.name, host=config.http.host, port=port)
            wait_until_stopped(stop, ready=f"enrolment for site {config.site} on port {port}")

    def reload() -> None:
        try:
            registrar.trust.reload()
        except OperationError as error:
            _log.error("reload_refused", reason=str(error))

    try:
        with signals(stop, on_reload=reload):
            threads.start("publish", lambda: Publisher(registrar).run(stop))
            threads.start("integrity", lambda: DatabaseWatch([config.database]).run(stop))
            threads.start("watchdog", watch)
            try:
                serve(
                    make_app(registrar),
                    config.http.host,
                    config.http.port,
                    config.tls,
                    stop,
                    ready=ready,
                    max_body_bytes=MAX_BODY_BYTES,
                    limits=config.http,
                    clients_may_be_unknown=True,
                )
            finally:
                stop.set("serving has ended")
                threads.join(_STOP_WITHIN_S)
    finally:
        registrar.close()
    _log.info("stopped", reason=stop.reason)
    return stop.exit_code
