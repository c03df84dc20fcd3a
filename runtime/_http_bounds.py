"""Bound what requests hold at once: so many, so large, so many bytes of all together."""

from __future__ import annotations

from collections import Counter

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.config import HttpConfig
from runtime.problems import Problem, problem_response

_DRAIN_TIMES = 4
_RETRY_S = "1"
_BUSY = "Too much is being asked at once; ask again in a second."


class Bounds:
    """Refuses bodies over a size (413) and what there is no room for now (503).

    A body is refused at once if its size is declared, else as soon as it is exceeded. One caller
    has at most half of the room, so that nobody takes all of it.

    Args:
        app: the application.
        max_body_bytes: of one request.
        limits: ``max_requests`` and ``max_bodies_mb``, of all callers together.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, limits: HttpConfig) -> None:
        self._app = app
        self._limit = max_body_bytes
        self._requests = limits.max_requests
        self._bytes = max(limits.max_bodies_mb << 20, 2 * max_body_bytes)
        self._running: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared[:20]) > self._limit:
            await _drain(receive, _DRAIN_TIMES * self._limit)
            await self._refuse(413, "body-too-large", scope, receive, send)
            return
        caller = _caller(scope)
        if (
            self._running.total() >= self._requests
            or self._running[caller] >= (self._requests + 1) // 2
        ):
            await self._refuse(503, "busy", scope, receive, send)
            return
        self._running[caller] += 1
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self._held[caller] += size
            # HTTPExceptions, because FastAPI lets only those through while it reads a body.
            if received > self._limit:
                raise HTTPException(413, self._too_large(), headers={"connection": "close"})
            if self._held.total() > self._bytes or self._held[caller] > self._bytes // 2:
                raise HTTPException(
                    503, _BUSY, headers={"connection": "close", "retry-after": _RETRY_S}
                )
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            _less(self._running, caller, 1)
            _less(self._held, caller, received)

    async def _refuse(
        self, status: int, type: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if status == 413:
            problem = Problem(413, type, "The request is too large", self._too_large())
        else:
            problem = Problem(status, type, "The service is busy", _BUSY)
        response = problem_response(problem)
        response.headers["connection"] = "close"
        if status == 503:
            response.headers["retry-after"] = _RETRY_S
        await response(scope, receive, send)

    def _too_large(self) -> str:
        return f"The body may have at most {self._limit} bytes."


async def _drain(receive: Receive, most_bytes: int) -> None:
    """Read on for a while, so that the client has sent all of it and hears why it is refused."""
    drained = 0
    while drained < most_bytes:
        message = await receive()
        drained += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def _caller(scope: Scope) -> str:
    peer = scope.get("state", {}).get("peer")
    if isinstance(peer, str):
        return f"peer {peer}"
    client = scope.get("client")
    return f"address {client[0]}" if client else "nobody"


def _less(counter: Counter[str], key: str, amount: int) -> None:
    counter[key] -= amount
    if counter[key] <= 0:
        del counter[key]
