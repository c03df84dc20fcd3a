"""One running desk of an officer: where it listens, and how a second start finds the first."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from officers.desk import Officer
from officers.desk.phrases import phrase
from officers.pages.app import largest_body
from officers.pages.callers import OwnAccount
from officers.pages.house import House
from protocol.passkeys import Passkey
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file
from runtime.http import PeerUnreachable, Ready, client, serve
from runtime.lifecycle import FolderInUse, FolderLock, Stop, Threads

FIRST_PORT, PORTS = 8700, 250
"""Ports of desks that none was chosen for: each officer's is always the same of these."""
_RECORD = "door.json"
_MAX_RECORD_BYTES = 1024
_LOCAL = "http://localhost:"
_TRIES = 20
_STOP_WITHIN_S, _READY_S = 10.0, 30.0
_TICK_S = 0.5


class DeskUnreachable(OperationError):
    """A desk of this officer is running, and does not say where."""


class PortTaken(OperationError):
    """Another program listens where the desk has to."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where a running desk listens, and the secret with which its officer asks for a new start."""

    port: int
    secret: str


class Claim:
    """The right to be the officer's one desk, until closed or until the process ends.

    Args:
        officer: whose desk.

    Raises:
        FolderInUse: a desk of this officer is running.
        FileProblem: the state folder cannot be used.
    """

    def __init__(self, officer: Officer) -> None:
        self._folder = private_folder(_folder(officer))
        self._lock = FolderLock(self._folder)

    def record(self, house: House) -> None:
        """Leave word of where the desk listens, for this officer alone to read."""
        said = {"port": house.port, "secret": house.door.own_secret}
        atomic_write(self._folder / _RECORD, json.dumps(said).encode(), 0o600)

    def close(self) -> None:
        """Give it up."""
        (self._folder / _RECORD).unlink(missing_ok=True)
        self._lock.close()


def claim(officer: Officer) -> Claim | None:
    """Return the right to be the officer's desk; None if one is running.

    Raises:
        FileProblem: the state folder cannot be used.
    """
    try:
        return Claim(officer)
    except FolderInUse:
        return None


def start_of_running(officer: Officer) -> str:
    """Ask the officer's running desk for a new start; return its address.

    Raises:
        DeskUnreachable: it does not answer.
    """
    try:
        said = parse_json(read_file(_folder(officer) / _RECORD, _MAX_RECORD_BYTES))
        record = Record(int(said["port"]), str(said["secret"]))
        with client(f"{_LOCAL}{record.port}", None, 5.0) as http:
            answer = http.post("/door", headers={"authorization": f"Bearer {record.secret}"})
    except (FileProblem, PeerUnreachable, ValueError, KeyError, TypeError) as error:
        raise DeskUnreachable(
            phrase(
                "a desk of '{name}' is running on this machine, and does not answer; end it "
                "(Ctrl-C in its terminal) and start it again",
                name=officer.name,
            )
        ) from error
    if answer.status_code != 200:
        raise DeskUnreachable(
            phrase(
                "the desk of '{name}' that is running gives no new start; end it (Ctrl-C in its "
                "terminal) and start it again",
                name=officer.name,
            )
        )
    return f"{_LOCAL}{record.port}{answer.text}"


def choose_port(officer: Officer, wanted: int | None) -> int:
    """Return where the officer's desk listens.

    That is the port that is wanted; else the one that a passkey of the officer is for, since it
    signs for no other; else the configuration's; else the officer's own of `PORTS`, or a free one
    near it.

    Raises:
        PortTaken: another program listens there.
    """
    listed = officer.directory.principals.get(officer.name)
    of_passkeys = [] if listed is None else _ports(listed.passkeys)
    fixed = wanted or next(iter(of_passkeys), None) or officer.config.desk_port
    if fixed:
        if not _is_free(fixed):
            raise PortTaken(
                phrase(
                    "port {port} of this machine is taken by another program, and the desk has to "
                    "be there; end that program, or give another port with --port (passkeys sign "
                    "for their own port only)",
                    port=fixed,
                )
            )
        return fixed
    own = hashlib.sha256(f"{officer.config.site}/{officer.name}".encode()).digest()
    first = int.from_bytes(own[:4], "big")
    for step in range(_TRIES):
        port = FIRST_PORT + (first + step) % PORTS
        if _is_free(port):
            return port
    raise PortTaken(phrase("no port near {port} is free; give one with --port", port=port))


def serve_desk(app: ASGIApp, house: House, stop: Stop, ready: Ready) -> None:
    """Serve a desk on loopback until ``stop``: 127.0.0.1, and ::1 where the machine has it.

    Programs of other accounts of the machine are refused (`callers`).

    Args:
        app: the desk.
        house: whose.
        stop: ends it.
        ready: set when it listens.

    Raises:
        HttpError: it cannot listen.
    """
    threads = Threads(stop)
    threads.start("watcher", lambda: house.live.watch(stop))
    threads.start("locker", lambda: _lock_in_time(house, stop))
    most, app = largest_body(app), OwnAccount(app)
    if has_ipv6():
        threads.start(
            "ipv6", lambda: serve(app, "::1", house.port, None, stop, max_body_bytes=most)
        )
    try:
        serve(app, "127.0.0.1", house.port, None, stop, ready=ready, max_body_bytes=most)
    finally:
        stop.set("serving has ended")
        threads.join(_STOP_WITHIN_S)


def _lock_in_time(house: House, stop: Stop) -> None:
    """Lock the desk when its officer is away, also while headquarters keep the watcher waiting."""
    while not stop.wait(_TICK_S):
        house.lock_if_idle()


def when_ready(ready: Ready, call: Callable[[], None]) -> None:
    """Have something done once the desk listens, in a thread of its own."""

    def wait() -> None:
        try:
            ready.wait(_READY_S)
        except OperationError:
            return
        call()

    threading.Thread(target=wait, name="when-ready", daemon=True).start()


def open_browser(address: str) -> None:
    """Open the officer's browser, where there is a screen."""
    if has_screen():
        webbrowser.open(address)


def has_screen() -> bool:
    """Tell whether a browser would have a window (a browser in the terminal is none)."""
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def has_ipv6() -> bool:
    """Tell whether this machine has ::1: who took it there could pass for the desk."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def _folder(officer: Officer) -> Path:
    return officer.config.state_dir / "desk"


def _ports(passkeys: tuple[Passkey, ...]) -> list[int]:
    ports = [one.origin.removeprefix(_LOCAL) for one in passkeys if one.origin.startswith(_LOCAL)]
    return [int(port) for port in ports if port.isdigit() and 0 < int(port) < 65536]


def _is_free(port: int) -> bool:
    places = [("127.0.0.1", socket.AF_INET)]
    if has_ipv6():
        places.append(("::1", socket.AF_INET6))
    for host, family in places:
        try:
            with socket.create_server((host, port), family=family):
                pass
        except OSError:
            return False
    return True
