"""Lets in programs of the officer's own account alone: loopback is open to everybody on a machine.

A browser sends its cookies to every port of localhost, and hands its start address to the program
that opens it where all accounts may read it. So neither is enough: on Linux the kernel is asked
whose the connection's other end is. Other systems tell nobody that easily; there the session stands
alone (docs/threat-model.md).
"""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

import structlog
from anyio import to_thread
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from runtime.errors import OperationError

_log = structlog.get_logger()
TABLES = Path("/proc/net")
_ROOT = 0
_OWN = "own account"
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9
"""Columns of ``/proc/net/tcp`` (proc_pid_net(5))."""


class NotTheOfficers(OperationError):
    """A connection is of no program of the officer's account."""


class OwnAccount:
    """Stands before an application; what another account's program asks for is refused.

    Args:
        app: the application.
        tables: where the kernel tells whose connections are.
    """

    def __init__(self, app: ASGIApp, tables: Path = TABLES) -> None:
        self._app = app
        self._tables = tables

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http":
            known = scope.get("state", {}).get("connection", {})
            try:
                if not known.get(_OWN):
                    ends = scope["client"], scope["server"]
                    await to_thread.run_sync(check_account, *ends, self._tables)
                    known[_OWN] = True
            except NotTheOfficers as error:
                _log.warning("desk_refused_account", reason=str(error))
                refusal = PlainTextResponse(str(error), 403, {"connection": "close"})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def check_account(client: tuple[str, int], server: tuple[str, int], tables: Path = TABLES) -> None:
    """Check that the other end of a connection is of this process's account, or the system's own.

    Args:
        client: address and port of the other end.
        server: address and port of this end.
        tables: where the kernel tells.

    Raises:
        NotTheOfficers: it is another account's, or nobody's any more, or the kernel does not tell.
    """
    if sys.platform != "linux":
        return
    owner = _owner(client, server, tables)
    if owner not in {os.geteuid(), _ROOT}:
        raise NotTheOfficers(
            "This desk serves programs of the account that started it, and no others of this "
            "machine. Open it in a browser of that account."
        )


def _owner(client: tuple[str, int], server: tuple[str, int], tables: Path) -> int | None:
    """Return whose a connection's other end is; None where the kernel knows of none that is open.

    What its program has closed already has no file any more, and would be told of as root's.
    """
    for table, mapped in (("tcp", False), ("tcp6", False), ("tcp6", True)):
        ends = [_written(one, mapped=mapped) for one in (client, server)]
        try:
            lines = (tables / table).read_text("ascii").splitlines()[1:]
        except OSError:  # no such table: no such protocol
            continue
        for line in lines:
            parts = line.split()
            if [parts[_LOCAL], parts[_REMOTE]] == ends and parts[_INODE] != "0":
                return int(parts[_UID])
    return None


def _written(end: tuple[str, int], *, mapped: bool) -> str:
    """Return an address and port as the kernel writes them: words of the machine's own order."""
    address = ipaddress.ip_address(end[0])
    packed = address.packed
    if mapped and address.version == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return "".join(f"{word:08X}" for word in words) + f":{end[1]:04X}"
