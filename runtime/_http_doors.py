"""Let connections in at a listening socket, so few and so long that nobody keeps others out.

Whoever has shown no certificate is a *stranger*, counted by address; whoever has is a *peer*,
counted by the certificate's name, so that a proxy or one address for a whole site locks nobody out.
When there is no room, the stranger that has waited longest makes way, at the address that holds the
most; then the peer that idles longest. A request that is being answered is never cut for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from runtime.config import HttpConfig

_log = structlog.get_logger()
_AT_ONCE = 64
_PAUSE_S = 0.2
_SHUTDOWN_S = 5.0
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_FEWEST = 8
SELECT_LIMIT = 1024
"""The MQTT client waits with select(2), which knows no descriptor from this number on."""


class Guest(Protocol):
    """A connection's protocol, as far as its doors must know it."""

    peer: str | None

    @property
    def connected(self) -> bool:
        """Whether the handshake is over."""

    @property
    def busy(self) -> bool:
        """Whether a whole request is being answered."""

    def overdue(self, now_s: float) -> str:
        """Return why the other side has been too slow; empty while it has not."""

    def abort(self) -> None:
        """Hang up at once."""


@dataclass(slots=True, eq=False)
class Visit:
    """One connection, from accept() until it is lost."""

    address: str
    connection: socket.socket
    guest: Guest | None = None
    task: asyncio.Task[None] | None = None
    greeted: bool = False

    @property
    def peer(self) -> str | None:
        """The common name of the certificate that was shown."""
        return self.guest.peer if self.guest is not None else None

    @property
    def can_go(self) -> bool:
        """Whether nothing that is being answered is lost with it."""
        return self.guest is None or not self.guest.busy

    def end(self) -> None:
        """Hang up."""
        if self.guest is not None and self.guest.connected:
            self.guest.abort()
            return
        if self.greeted:  # the transport has it, and closes it
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.connection.close()
        if self.task is not None:
            self.task.cancel()


class Doors:
    """The connections of one server.

    Args:
        listener: bound and listening; stays the caller's.
        context: TLS; None serves plainly.
        limits: see `HttpConfig`.
        welcome: makes the protocol of a visit, an `asyncio.Protocol`; it calls `shown` when it is
            connected and `left` when it is lost.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        limits: HttpConfig,
        welcome: Callable[[Visit], asyncio.Protocol],
    ) -> None:
        self._listener = listener
        self._context = context
        self._limits = limits
        self._welcome = welcome
        self._visits: dict[Visit, None] = {}  # in the order in which they came
        self._limit = self._most = most_connections(limits.max_connections)
        self._open = False

    def open(self) -> None:
        """Begin to let in, in the running loop."""
        self._listener.setblocking(False)
        self._open = True
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Let nobody in any more; who is in stays, who is at the handshake is turned away."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._listener)
        for visit in [visit for visit in self._visits if visit.guest is None]:
            self._send_off(visit)

    async def wait_closed(self) -> None:
        """Do nothing: who is in is the server's to wait for."""

    def shown(self, visit: Visit, guest: Guest) -> None:
        """Note that the handshake of ``visit`` is over, and who it is."""
        peer = guest.peer
        same = [one for one in self._visits if one.peer == peer] if peer is not None else []
        visit.guest = guest
        if visit not in self._visits:  # made way in this very moment
            guest.abort()
        elif len(same) >= self._limits.max_connections_per_peer and not self._drop_first(same):
            _log.warning("connection_refused", peer=peer, reason="it has too many at once")
            self._send_off(visit)

    def left(self, visit: Visit) -> None:
        """Note that the connection of ``visit`` is lost."""
        self._visits.pop(visit, None)

    def sweep(self, now_s: float) -> None:
        """Hang up on whoever is too slow; let in more again after descriptors had run out."""
        self._most = min(self._limit, self._most + 1)
        for visit in list(self._visits):
            if visit.guest is not None and (reason := visit.guest.overdue(now_s)):
                _log.info("connection_cut", peer=visit.peer, address=visit.address, reason=reason)
                self._send_off(visit)

    # ------------------------------------------------------------------ inside

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                self._pause(error)
                return
            try:
                connection.setblocking(False)
                # asyncio sets it only where the socket names its protocol, and these do not: each
                # answer would wait for the caller's delayed acknowledgement of the headers.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._let_in(connection, _block_of(str(address[0])))
            except OSError:
                connection.close()

    def _pause(self, error: OSError) -> None:
        """Wait a moment: the listener stays readable, and asking on would be all that we do."""
        _log.error("connection_not_accepted", reason=error.strerror)
        if error.errno in _NO_DESCRIPTOR:
            # Fewer from now on, so that the rest of the process gets what it needs.
            self._most = max(_FEWEST, len(self._visits) * 3 // 4)
            while len(self._visits) > self._most and self._drop_first(list(self._visits)):
                pass
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._open:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _let_in(self, connection: socket.socket, address: str) -> None:
        if not self._make_room(address):
            _log.warning("connection_refused", address=address, reason="too many are being served")
            connection.close()
            return
        visit = Visit(address, connection)
        self._visits[visit] = None
        visit.task = asyncio.get_running_loop().create_task(self._shake_hands(visit))

    def _make_room(self, address: str) -> bool:
        strangers = [visit for visit in self._visits if visit.peer is None]
        here = [visit for visit in strangers if visit.address == address]
        if len(here) >= self._limits.max_strangers_per_address:
            return self._drop_first(here)
        if len(self._visits) < self._most:
            return True
        most = _largest(Counter(visit.address for visit in strangers))
        if self._drop_first([visit for visit in strangers if visit.address == most]):
            return True
        peers = [visit for visit in self._visits if visit.peer is not None and visit.can_go]
        name = _largest(Counter(str(visit.peer) for visit in peers))
        return self._drop_first([visit for visit in peers if visit.peer == name])

    def _drop_first(self, visits: list[Visit]) -> bool:
        """Hang up on the first that can go; tell whether there was one."""
        for visit in visits:
            if visit.can_go:
                _log.warning("connection_made_way", peer=visit.peer, address=visit.address)
                self._send_off(visit)
                return True
        return False

    def _send_off(self, visit: Visit) -> None:
        self._visits.pop(visit, None)
        visit.end()

    async def _shake_hands(self, visit: Visit) -> None:
        visit.greeted = True
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._welcome(visit),
                visit.connection,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_s if self._context else None,
                ssl_shutdown_timeout=_SHUTDOWN_S if self._context else None,
            )
        except OSError as error:
            _log.debug("handshake_failed", address=visit.address, reason=str(error))
        finally:
            visit.task = None
            if visit.guest is None:
                self._visits.pop(visit, None)


def most_connections(configured: int) -> int:
    """Return how many connections there may be: half of this process's descriptors at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return configured
    return max(_FEWEST, min(configured, soft // 2))


def raise_descriptor_limit() -> None:
    """Raise this process's limit of descriptors to the 1,024 that everything here can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SELECT_LIMIT if hard == resource.RLIM_INFINITY else min(SELECT_LIMIT, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def now_s() -> float:
    """Return the time that `Doors.sweep` counts in."""
    return time.monotonic()


def _block_of(address: str) -> str:
    """Return what one subscriber holds: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address


def _largest(counts: Counter[str]) -> str | None:
    return counts.most_common(1)[0][0] if counts else None
