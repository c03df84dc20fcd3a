"""Call another role's HTTP interface: no answer is longer, or takes longer, than was expected.

Bytes and seconds are counted where they come off the socket, so that also what never becomes an
answer (headers, interim answers, parts of one byte) comes to an end.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore
import httpx

from runtime.errors import OperationError

MAX_ANSWER_BYTES = 1 << 20
_AROUND_BYTES = 256 << 10  # headers, and what frames the parts
_PATIENCE = 6
_KEEPALIVE_S = 5.0
_PART = 64 << 10


class PeerUnreachable(OperationError):
    """The other side could not be reached, or did not answer in time or within bounds."""


class _Budget(threading.local):
    """What the request that this thread makes may still cost."""

    ends_s: float = float("inf")
    bytes: float = float("inf")
    began_s: float = 0.0
    received: int = 0
    least_per_s: float = 0.0
    patience_s: float = 0.0

    def take(self, count: int) -> None:
        """Count bytes that came."""
        self.bytes -= count
        self.received += count
        spent_s = time.monotonic() - self.began_s
        if self.bytes < 0:
            raise httpcore.ReadError("its answer does not end")
        if spent_s > self.patience_s and self.received < spent_s * self.least_per_s:
            raise httpcore.ReadTimeout(f"{self.received} bytes in {spent_s:.0f} s")


class BoundedClient(httpx.Client):
    """An HTTP client for one server; see `runtime.http.client`.

    Args:
        base_url: the server's.
        context: TLS; None for the machine's certificate authorities.
        timeout_s: to connect, and between parts of the answer.
        max_answer_bytes: a longer answer is none.
        within_s: a request that is not answered in whole by then is none.
    """

    def __init__(
        self,
        base_url: str,
        context: ssl.SSLContext | None,
        timeout_s: float,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        within_s: float | None = None,
    ) -> None:
        self._budget = _Budget()
        self._most = max_answer_bytes
        self._within_s = _PATIENCE * timeout_s if within_s is None else within_s
        super().__init__(
            base_url=base_url,
            transport=_Transport(context, self._budget),
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            headers={"accept-encoding": "identity"},
            trust_env=False,
            follow_redirects=False,
        )

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; return its answer, read in whole.

        Raises:
            PeerUnreachable: there is none, or it is longer, later or otherwise encoded than agreed.
        """
        options["stream"] = True
        self._budget.ends_s = time.monotonic() + self._within_s
        self._budget.bytes = 2 * self._most + _AROUND_BYTES
        try:
            response = super().send(request, **options)
            try:
                return self._whole(request, response)
            finally:
                response.close()
        except httpx.RequestError as error:
            raise _unreachable(request, _why(error)) from error

    def _whole(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise _unreachable(request, "its answer is compressed, which was not asked for")
        body = bytearray()
        for part in response.iter_raw():
            body += part
            if len(body) > self._most:
                raise _unreachable(request, f"its answer is longer than {self._most} bytes")
        whole = httpx.Response(
            response.status_code,
            headers=response.headers,
            content=bytes(body),
            request=request,
            extensions=response.extensions,
        )
        whole.encoding = "utf-8"  # of Python's codecs a peer could name, some unpack or stumble
        return whole


class StreamingClient(httpx.Client):
    """A client for answers too large for memory; its caller counts what comes of the body.

    Args:
        context: TLS; None for the machine's certificate authorities.
        timeout_s: to connect, and between parts of the answer.
        least_per_s: bytes a second; an answer that comes slower on average raises
            `httpx.ReadTimeout`, be it all headers.
        patience_s: for so long it may be slower.
        headers: of each request.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None,
        timeout_s: float,
        *,
        least_per_s: float,
        patience_s: float,
        headers: Mapping[str, str],
    ) -> None:
        self._budget = _Budget()
        self._pace = (least_per_s, patience_s)
        super().__init__(
            transport=_Transport(context, self._budget),
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 15.0)),
            headers={"accept-encoding": "identity", **headers},
            trust_env=False,
            follow_redirects=False,
        )

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request, as `httpx.Client.send` does."""
        budget = self._budget
        budget.began_s, budget.received = time.monotonic(), 0
        budget.least_per_s, budget.patience_s = self._pace
        return super().send(request, **options)


class _Transport(httpx.HTTPTransport):
    """httpx's own, over connections that keep to a budget."""

    def __init__(self, context: ssl.SSLContext | None, budget: _Budget) -> None:
        context = ssl.create_default_context() if context is None else context
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=16,
            max_keepalive_connections=8,
            keepalive_expiry=_KEEPALIVE_S,
            network_backend=_Backend(budget),
        )


class _Backend(httpcore.NetworkBackend):
    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left_s(self._budget, timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, left_s, local_address, socket_options)
        return _Stream(stream, self._budget)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, budget: _Budget) -> None:
        self._inner = inner
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left_s = _left_s(self._budget, timeout, httpcore.ReadTimeout)
        data = self._inner.read(max_bytes, left_s)
        self._budget.take(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        while view:
            left_s = _left_s(self._budget, timeout, httpcore.WriteTimeout)
            self._inner.write(bytes(view[:_PART]), left_s)
            view = view[_PART:]

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left_s(self._budget, timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._budget)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left_s(budget: _Budget, timeout: float | None, too_late: type[Exception]) -> float | None:
    """Return the timeout of the next step: the step's own, or what is left for the whole."""
    left_s = budget.ends_s - time.monotonic()
    if left_s <= 0:
        raise too_late("the whole answer takes too long")
    if left_s == float("inf"):
        return timeout
    return left_s if timeout is None else min(timeout, left_s)


def _unreachable(request: httpx.Request, why: str) -> PeerUnreachable:
    where = f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
    return PeerUnreachable(f"{where} cannot be reached: {why}")


def _why(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.DecodingError):
        return "its answer is not encoded as it says"
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"its certificate is not acceptable ({text})"
    return text
