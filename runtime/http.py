"""Serve and call the roles' HTTP interfaces: TLS 1.3, certificates on both sides, clear errors.

Errors travel as ``application/problem+json`` (RFC 9457), binary messages as ``application/cbor``
(RFC 8949). Who calls is the common name of the certificate that TLS verified, never a header.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import socket
import threading
from collections.abc import Generator
from typing import Any

import httpx
import structlog
import uvicorn
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.lifecycle import Stop
from runtime.problems import (
    CBOR,
    Problem,
    ProblemError,
    install_problem_handlers,
    problem_response,
    raise_for_problem,
)
from runtime.tls import client_context, common_name, server_context

__all__ = [
    "CBOR",
    "CborResponse",
    "HttpError",
    "PeerUnreachable",
    "Problem",
    "ProblemError",
    "Ready",
    "ServerTls",
    "cbor_body",
    "client",
    "install_problem_handlers",
    "peer_of",
    "raise_for_problem",
    "serve",
]

ServerTls = TlsConfig
"""A server's certificate and key, and the authority whose clients it lets in."""

_log = structlog.get_logger()
_GRACE_S = 5
_DRAIN_TIMES = 4


class HttpError(OperationError):
    """The server cannot be started as configured."""


class PeerUnreachable(OperationError):
    """The other side could not be reached, or did not answer in time."""


class CborResponse(Response):
    """An answer whose body is CBOR bytes."""

    media_type = CBOR


class Ready:
    """Tells other threads that the server listens, and on which port."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._port = 0

    def set(self, port: int) -> None:
        """Say that the server listens on ``port``."""
        self._port = port
        self._event.set()

    def poll(self, timeout_s: float) -> int | None:
        """Return the port if the server listens within ``timeout_s``, else None."""
        return self._port if self._event.wait(timeout_s) else None

    def wait(self, timeout_s: float) -> int:
        """Return the port once the server listens.

        Raises:
            HttpError: it does not within ``timeout_s``.
        """
        if not self._event.wait(timeout_s):
            raise HttpError(f"the HTTP server did not come up within {timeout_s} s; see the log")
        return self._port


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
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise HttpError(
            f"cannot listen on {host}:{port}: {error.strerror}; is it running already, or is the "
            "address not this machine's?"
        ) from error
    with listener:
        config = uvicorn.Config(
            _BodyLimit(app, max_body_bytes),
            http=_PeerProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_S,
            ssl_context_factory=(lambda _config, _default: context) if context else None,
        )
        server = _Server(config, stop, ready, int(listener.getsockname()[1]))
        asyncio.run(server.serve(sockets=[listener]))


def peer_of(request: Request) -> str:
    """Return who calls: the common name in the client certificate that TLS verified.

    Raises:
        Problem: 401, when the connection has no such certificate.
    """
    peer = getattr(request.state, "peer", None)
    if not isinstance(peer, str):
        raise Problem(
            401,
            "certificate-required",
            "A client certificate is required",
            "Call over TLS with a certificate of this site that has one common name.",
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


def client(base_url: str, tls: TlsConfig | None, timeout_s: float = 10.0) -> httpx.Client:
    """Return an HTTP client for one server; close it, or use it in a ``with`` block.

    It follows no redirects and no proxy settings of the environment. A request raises
    `PeerUnreachable` when there is no connection or no answer within ``timeout_s`` (to connect, to
    send, and between parts of the answer); pass responses through `raise_for_problem`.

    Raises:
        TlsError: the certificates cannot be used.
    """
    return _Client(
        base_url=base_url,
        verify=client_context(tls) if tls is not None else True,
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
        trust_env=False,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=8),
    )


class _Client(httpx.Client):
    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            return super().send(request, **options)
        except httpx.RequestError as error:
            where = f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
            raise PeerUnreachable(f"{where} cannot be reached: {_why(error)}") from error


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stop: Stop, ready: Ready | None, port: int) -> None:
        super().__init__(config)
        self._stop = stop
        self._ready = ready
        self._port = port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _log.info("http_listening", port=self._port)
        if self._ready is not None:
            self._ready.set(self._port)

    async def on_tick(self, counter: int) -> bool:
        return self._stop.is_set() or await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals are runtime.lifecycle's.
        yield


class _PeerProtocol(H11Protocol):
    """Puts the verified certificate's name into the state that each request gets a copy of."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self.app_state = {
            **self.app_state,
            "peer": common_name(tls.getpeercert()) if certificate else None,
            "peer_fingerprint": hashlib.sha256(certificate).hexdigest() if certificate else None,
        }


class _BodyLimit:
    """Refuses bodies over a size: at once if it is declared, else as soon as it is exceeded."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        detail = f"The body may have at most {self._limit} bytes."
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._limit:
            await _drain(receive, _DRAIN_TIMES * self._limit)
            problem = Problem(413, "body-too-large", "The request is too large", detail)
            response = problem_response(problem)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                # An HTTPException, because FastAPI lets only those through while it reads a body.
                raise HTTPException(413, detail, headers={"connection": "close"})
            return message

        await self._app(scope, counted, send)


async def _drain(receive: Receive, most_bytes: int) -> None:
    """Read on for a while, so that the client has sent all of it and hears why it is refused."""
    drained = 0
    while drained < most_bytes:
        message = await receive()
        drained += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.DecodingError):
        return "its answer is not encoded as it says"
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"its certificate is not acceptable ({text})"
    return text
