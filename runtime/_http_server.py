"""Serve a role's HTTP interface; loaded where something is served (`runtime.http`)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Generator

import structlog
import uvicorn
from fastapi import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from runtime._http_bounds import Bounds
from runtime._http_connection import Connection
from runtime._http_doors import Doors, Visit, now_s, raise_descriptor_limit
from runtime.config import HttpConfig
from runtime.http import HttpError, Ready, ServerTls
from runtime.lifecycle import Stop
from runtime.problems import CBOR, Problem
from runtime.tls import server_context

_log = structlog.get_logger()
_GRACE_S = 5
_IDLE_S = 30
_MAX_HEAD_BYTES = 16 << 10
_SWEEP_TICKS = 2


class CborResponse(Response):
    """An answer whose body is CBOR bytes."""

    media_type = CBOR


def serve(
    app: ASGIApp,
    host: str,
    port: int,
    tls: ServerTls | None,
    stop: Stop,
    *,
    ready: Ready | None = None,
    max_body_bytes: int = 1 << 20,
    clients_may_be_unknown: bool = False,
    limits: HttpConfig | None = None,
    shared_port: bool = False,
) -> None:
    """Serve ``app`` until ``stop`` is set, then let requests under way finish (5 s at most).

    Runs in the calling thread. Each request's ``request.state`` has ``peer``, the common name of
    the client's verified certificate (None without TLS), and ``peer_fingerprint``, its SHA-256.

    Args:
        app: an ASGI application.
        host: address or name to listen on.
        port: 0 chooses a free one (see ``ready``).
        tls: certificates; None serves plainly, on loopback only.
        stop: ends it.
        ready: set when listening.
        max_body_bytes: larger requests get 413.
        clients_may_be_unknown: also let in clients that show no certificate; their requests have
            no peer, so that `peer_of` refuses them. For a service that certificates are got from.
        limits: on connections, their patience and their number; host and port are not looked at.
        shared_port: let other processes of this user listen at the same port (SO_REUSEPORT).

    Raises:
        HttpError: the port is taken, or plain serving was asked for beyond loopback.
        TlsError: the certificates cannot be used.
    """
    if tls is None and not _is_loopback(host):
        raise HttpError(
            f"{host} is not a loopback address: without certificates only 127.0.0.1, ::1 or "
            "localhost may be served; give a [tls] section"
        )
    context = None
    if tls is not None:
        context = server_context(tls, clients_may_be_unknown=clients_may_be_unknown)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server(
            (host, port), family=family, backlog=256, reuse_port=shared_port
        )
    except OSError as error:
        raise HttpError(
            f"cannot listen on {host}:{port}: {error.strerror}; is it running already, or is the "
            "address not this machine's?"
        ) from error
    limits = limits or HttpConfig()
    raise_descriptor_limit()
    with listener:
        config = uvicorn.Config(
            Bounds(app, max_body_bytes, limits),
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        )
        server = _Server(config, listener, context, limits, stop=stop, ready=ready)
        asyncio.run(server.serve(sockets=[listener]))


def peer_of(request: Request, *, boxes: bool = False) -> str:
    """Return who calls: the common name in the client certificate that TLS verified.

    Args:
        request: the request.
        boxes: whether a certificate of the boxes' CA counts: only where boxes alone have any
            rights, since whoever has that CA's key can put any name into one.

    Raises:
        Problem: 401, when the connection has no such certificate; 403, when it is a box's.
    """
    peer = getattr(request.state, "peer", None)
    if not isinstance(peer, str):
        raise Problem(
            401,
            "certificate-required",
            "A client certificate is required",
            "Call over TLS with a certificate of this site that has one common name.",
        )
    if request.state.peer_is_box and not boxes:
        raise Problem(
            403,
            "box-certificate",
            "A box's certificate opens nothing here",
            "Call with the certificate that `sealtrace site` made for your role.",
        )
    return peer


async def cbor_body(request: Request) -> bytes:
    """Return the request's body if it is declared to be CBOR.

    Raises:
        Problem: 415, when it is declared to be something else.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != CBOR:
        raise Problem(
            415,
            "cbor-required",
            "The body must be CBOR",
            f"Send it as {CBOR}; the request says {declared[:80] or 'nothing'}.",
        )
    return await request.body()


class _Server(uvicorn.Server):
    """Uvicorn's server behind doors of our own."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        limits: HttpConfig,
        *,
        stop: Stop,
        ready: Ready | None,
    ) -> None:
        super().__init__(config)
        self._limits = limits
        self._stop = stop
        self._ready = ready
        self._port = int(listener.getsockname()[1])
        self._doors = Doors(listener, context, limits, self._welcome)

    def _welcome(self, visit: Visit) -> asyncio.Protocol:
        return Connection(
            self.config,
            self.server_state,
            self.lifespan.state,
            doors=self._doors,
            visit=visit,
            limits=self._limits,
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise HttpError("the HTTP interface could not be started; see the log")
        self.servers = [self._doors]  # type: ignore[list-item]  # closed and waited for, no more
        self._doors.open()
        self.started = True
        _log.info("http_listening", port=self._port)
        if self._ready is not None:
            self._ready.set(self._port)

    async def on_tick(self, counter: int) -> bool:
        if counter % _SWEEP_TICKS == 0:
            self._doors.sweep(now_s())
        return self._stop.is_set() or await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals are runtime.lifecycle's.
        yield


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
