"""One HTTP/1.1 connection of a server: who it is, and whether it is too slow."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import h11
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from runtime._http_doors import Doors, Visit, now_s
from runtime.config import HttpConfig
from runtime.tls import common_name, from_boxes_ca

_log = structlog.get_logger()


class Connection(H11Protocol):
    """Serves requests, each of which gets the verified certificate's name in its state.

    Slow is: the head of a request not whole within ``request_s``; a body, or the taking of an
    answer, slower than ``min_bytes_per_s`` after as long; a body that goes on after its answer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        doors: Doors,
        visit: Visit,
        limits: HttpConfig,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.peer: str | None = None
        self._doors = doors
        self._visit = visit
        self._limits = limits
        self._head_since_s: float | None = None
        self._answered_s = 0.0
        self._body = _Pace(limits)
        self._body_of: object = None
        self._answer = _Pace(limits)
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self.peer = common_name(tls.getpeercert()) if certificate else None
        self.app_state = {
            **self.app_state,
            "peer": self.peer,
            "peer_is_box": certificate is not None and from_boxes_ca(tls.getpeercert()),
            "peer_fingerprint": hashlib.sha256(certificate).hexdigest() if certificate else None,
            "connection": {},  # what an application finds out of it, once for all its requests
        }
        self._head_since_s = now_s()
        self._doors.shown(self._visit, self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._doors.left(self._visit)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        if self._head_since_s is None:
            self._head_since_s = now_s()
        self._body.moved += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._answered_s = now_s()
        self._head_since_s = None
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; hang up at once where an answer has begun."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.abort()
            return
        super().send_400_response(msg)

    # ------------------------------------------------------------------ for the doors

    @property
    def connected(self) -> bool:
        """Whether the handshake is over."""
        return self.transport is not None

    @property
    def busy(self) -> bool:
        """Whether a whole request is being answered; of a peer, also one that still comes."""
        if self.cycle is None:
            return False
        whole = self.conn.their_state is not h11.SEND_BODY or self.peer is not None
        return whole and (not self.cycle.response_complete or self._buffered() > 0)

    def abort(self) -> None:
        """Hang up at once; nothing more is sent."""
        self.transport.abort()

    def overdue(self, now_s: float) -> str:
        """Return why the other side has been too slow; empty while it has not."""
        if not self.connected:
            return ""
        if self._answer_is_slow(now_s):
            return "it takes its answer too slowly"
        patience_s = self._limits.request_s
        answered = self.cycle is None or self.cycle.response_complete
        if self.conn.their_state is h11.SEND_BODY:
            if answered:
                return (
                    "it goes on after its answer" if now_s - self._answered_s > patience_s else ""
                )
            return "its body comes too slowly" if self._body_is_slow(now_s) else ""
        since_s = self._head_since_s
        if answered and since_s is not None and now_s - since_s > patience_s:
            return "its request does not come"
        return ""

    def _body_is_slow(self, now_s: float) -> bool:
        if self._body_of is not self.cycle:
            self._body_of = self.cycle
            self._body.begin(now_s)
        # While we do not read, it cannot send.
        return self._body.slow(now_s, waiting=not self.flow.read_paused)

    def _answer_is_slow(self, now_s: float) -> bool:
        before, self._unsent = self._unsent, self._buffered()
        if not self._unsent:
            self._answer.begin(now_s)
            return False
        self._answer.moved += max(0, before - self._unsent)
        return self._answer.slow(now_s, waiting=True)

    def _buffered(self) -> int:
        """Return how many bytes the other side has not taken, those under TLS included."""
        tls = getattr(self.transport, "_ssl_protocol", self.transport)
        if (
            tls is None
        ):  # closed, and closed again: asyncio's transport is empty, and answers nothing
            return 0
        below = getattr(tls, "_transport", None)
        sizes = [one.get_write_buffer_size() for one in (self.transport, below) if one is not None]
        return sum(sizes)


class _Pace:
    """Bytes in the time that was spent waiting for them."""

    def __init__(self, limits: HttpConfig) -> None:
        self._limits = limits
        self._last_s = 0.0
        self._waited_s = 0.0
        self.moved = 0

    def begin(self, now_s: float) -> None:
        """Count from here."""
        self._last_s, self._waited_s, self.moved = now_s, 0.0, 0

    def slow(self, now_s: float, *, waiting: bool) -> bool:
        """Tell whether it is too slow, after patience."""
        if waiting:
            self._waited_s += now_s - self._last_s
        self._last_s = now_s
        beyond_s = self._waited_s - self._limits.request_s
        return beyond_s > 0 and self.moved < beyond_s * self._limits.min_bytes_per_s
