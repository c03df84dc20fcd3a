"""Serve and call the roles' HTTP interfaces: TLS 1.3, certificates on both sides, clear errors.

Errors travel as ``application/problem+json`` (RFC 9457), binary messages as ``application/cbor``
(RFC 8949). Who calls is the common name of the certificate that TLS verified, never a header.
Who only calls does not load what serves: FastAPI takes a third of a second of an officer's command.
"""

from __future__ import annotations

import importlib
import ssl
import threading
from typing import TYPE_CHECKING, Any

import httpx

from runtime._http_client import (
    MAX_ANSWER_BYTES,
    BoundedClient,
    PeerUnreachable,
    StreamingClient,
)
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.problems import (
    CBOR,
    Problem,
    ProblemError,
    install_problem_handlers,
    json_of,
    raise_for_problem,
)
from runtime.tls import client_context

if TYPE_CHECKING:
    from runtime._http_server import CborResponse, cbor_body, peer_of, serve

__all__ = [
    "CBOR",
    "CborResponse",
    "HttpError",
    "PeerUnreachable",
    "Problem",
    "ProblemError",
    "Ready",
    "ServerTls",
    "StreamingClient",
    "cbor_body",
    "client",
    "install_problem_handlers",
    "json_of",
    "peer_of",
    "raise_for_problem",
    "serve",
]

ServerTls = TlsConfig
"""A server's certificate and key, and the authority whose clients it lets in."""

_SERVES = frozenset({"CborResponse", "cbor_body", "peer_of", "serve"})


def __getattr__(name: str) -> Any:
    if name not in _SERVES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("runtime._http_server"), name)


class HttpError(OperationError):
    """The server cannot be started as configured."""


class Ready:
    """Tells other threads that the server listens, and on which port."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._port = 0

    def set(self, port: int) -> None:
        """Say that the server listens on ``port``."""
        self._port = port
        self._event.set()

    def wait(self, timeout_s: float) -> int:
        """Return the port once the server listens.

        Raises:
            HttpError: it does not within ``timeout_s``.
        """
        if not self._event.wait(timeout_s):
            raise HttpError(f"the HTTP server did not come up within {timeout_s} s; see the log")
        return self._port


def client(
    base_url: str,
    tls: TlsConfig | ssl.SSLContext | None,
    timeout_s: float = 10.0,
    *,
    max_answer_bytes: int = MAX_ANSWER_BYTES,
    within_s: float | None = None,
) -> httpx.Client:
    """Return an HTTP client for one server; close it, or use it in a ``with`` block.

    It follows no redirects, no proxy settings of the environment, and takes no compressed answers.
    A request raises `PeerUnreachable` when there is no connection, when nothing comes within
    ``timeout_s`` (to connect, to send, and between parts of the answer), when the whole takes
    longer than ``within_s`` (six times as long), and when the answer has more than
    ``max_answer_bytes``. Pass responses through `raise_for_problem`.

    Raises:
        TlsError: the certificates cannot be used.
    """
    context = client_context(tls) if isinstance(tls, TlsConfig) else tls
    return BoundedClient(
        base_url, context, timeout_s, max_answer_bytes=max_answer_bytes, within_s=within_s
    )
