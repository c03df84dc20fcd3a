"""Hands what an importer saw to the agent that runs on the same box, through a socket.

The agent numbers, seals and publishes; the importer alone looks at films. What goes through is
plain sightings, in memory, between processes of one user: the socket lies in the agent's private
state folder, and whoever is at its other end must be that user (or root). One importer at a time.

Each message is four bytes of length and a deterministic CBOR map; an answer is ``{"ok": ...}`` or
``{"error": text}``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import structlog

from edge_agent.batch import wipe
from edge_agent.footage.desk import ImportDesk, ImportRefused, Quarter, Standing
from edge_agent.footage.ledger import Known
from edge_agent.footage.seconds import from_bytes, to_bytes
from edge_agent.footage.wire import (
    MAX_BYTES,
    MAX_ITEMS,
    TIMEOUT_S,
    read_sighting,
    receive,
    send,
    short_name,
    sighting_value,
)
from protocol.encoding import Fields, decode
from protocol.errors import MalformedMessage, ProtocolError
from protocol.v2.rows import SLOT_S
from protocol.v2.sightings import Sighting
from runtime.errors import OperationError
from runtime.lifecycle import Stop

_log = structlog.get_logger()

SOCKET_FILE = "import.sock"
AT_ONCE = 256
"""Sightings a message: a slot with more is handed over in several."""
MAX_HELD = 1 << 18
MAX_DAYS = 4096
_POLL_S = 0.5


class Desk(Protocol):
    """What an importer asks, of a desk in its own process or of the agent's."""

    def standing(self, days: Sequence[int]) -> Standing:
        """See `ImportDesk.standing`."""

    def known(self, camera: str, content: bytes) -> Known | None:
        """See `ImportDesk.known`."""

    def told(self, camera: str, first: int, last: int) -> tuple[dict[int, int], dict[int, int]]:
        """See `ImportDesk.told`."""

    def elsewhere(self, camera: str, first: int, last: int) -> frozenset[int] | None:
        """See `ImportDesk.elsewhere`."""

    def seal(self, quarter: Quarter, *, floor: int) -> int:
        """See `ImportDesk.seal`."""

    def note_film(self, camera: str, content: bytes, *, began_ms: int) -> None:
        """See `ImportDesk.note_film`."""


class NoAgent(OperationError):
    """No agent answers at the socket."""


# ---------------------------------------------------------------------- the agent's side


class ImportDoor:
    """Lets one importer at a time ask the agent's desk; the target of the thread ``imports``.

    Args:
        desk: the agent's.
        folder: the agent's private state folder.
        stop: ends the thread.
    """

    def __init__(self, desk: ImportDesk, folder: Path, stop: Stop) -> None:
        self._desk = desk
        self._folder = folder
        self._stop = stop
        self._busy = threading.Lock()

    def run(self) -> None:
        """Answer until the process stops."""
        path = self._folder / SOCKET_FILE
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a process that was killed: the folder's lock says that none runs
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            with short_name(self._folder) as name:
                listening.bind(f"{name}/{SOCKET_FILE}")
            path.chmod(0o600)
            listening.listen(4)
            listening.settimeout(_POLL_S)
            try:
                while not self._stop.is_set():
                    try:
                        caller, _ = listening.accept()
                    except TimeoutError:
                        continue
                    except OSError as error:  # no descriptor is free: some will be again
                        _log.warning("importer_not_let_in", reason=str(error))
                        self._stop.wait(_POLL_S)
                        continue
                    self._let_in(caller)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _let_in(self, caller: socket.socket) -> None:
        try:
            threading.Thread(
                target=self._receive_caller, args=(caller,), name="importer", daemon=True
            ).start()
        except RuntimeError as error:  # no thread can be started now
            _log.warning("importer_not_let_in", reason=str(error))
            caller.close()

    def _receive_caller(self, caller: socket.socket) -> None:
        with caller:
            if self._busy.acquire(blocking=False):
                try:
                    self._serve(caller)
                finally:
                    self._busy.release()
                return
            caller.settimeout(_POLL_S)
            with contextlib.suppress(OSError, ProtocolError):
                receive(caller, lambda: True)
                send(caller, {"error": "another import runs on this box: wait for its end"})

    def _serve(self, caller: socket.socket) -> None:
        peer = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, user, _ = struct.unpack("3i", peer)
        if user not in {0, os.geteuid()}:
            _log.error("importer_refused", user=user)
            return
        caller.settimeout(_POLL_S)
        held: list[Sighting] = []
        _log.info("importer_came")
        try:
            while (asked := receive(caller, self._stop.is_set)) is not None:
                try:
                    answer: dict[str, Any] = {"ok": self._answer(asked, held)}
                except (OperationError, ProtocolError) as error:
                    answer = {"error": str(error)}
                send(caller, answer)
        except (OSError, ProtocolError) as error:
            _log.warning("importer_broke_off", reason=str(error))
        except Exception:  # whatever one importer does, the next one is answered
            _log.exception("importer_failed")
        finally:
            wipe(held)
            self._desk.end()
            _log.info("importer_gone")

    def _answer(self, asked: bytes, held: list[Sighting]) -> object:
        fields = Fields(
            decode(asked, what="request", max_bytes=MAX_BYTES, max_items=MAX_ITEMS), what="request"
        )
        answers: dict[str, Callable[[Fields], object]] = {
            "standing": self._standing,
            "known": self._known,
            "told": self._told,
            "elsewhere": self._elsewhere,
            "film": self._film,
            "hold": lambda read: self._hold(read, held),
            "seal": lambda read: self._seal(read, held),
        }
        ask = fields.text("ask")
        if ask not in answers:
            raise MalformedMessage(f"this agent cannot be asked '{ask}': update it")
        return answers[ask](fields)

    def _standing(self, read: Fields) -> object:
        days = [one for one in read.array("days", max_items=MAX_DAYS) if isinstance(one, int)]
        standing = self._desk.standing(days)
        return {
            "site": standing.site,
            "box": standing.box,
            "recordings": list(standing.recordings),
            "days": sorted(standing.days),
            "models": dict(standing.models),
            "heard": standing.heard,
            "trouble": standing.trouble,
        }

    def _known(self, read: Fields) -> object:
        known = self._desk.known(read.name("camera"), read.raw("content", size=32))
        return None if known is None else [known.began_ms, known.imported_ms]

    def _told(self, read: Fields) -> object:
        slots = read.integer("first"), read.integer("last")
        return [
            [[slot, to_bytes(bits)] for slot, bits in sorted(one.items())]
            for one in self._desk.told(read.name("camera"), *slots)
        ]

    def _elsewhere(self, read: Fields) -> object:
        slots = read.integer("first"), read.integer("last")
        found = self._desk.elsewhere(read.name("camera"), *slots)
        return None if found is None else sorted(found)

    def _film(self, read: Fields) -> object:
        content = read.raw("content", size=32)
        self._desk.note_film(read.name("camera"), content, began_ms=read.integer("began_ms"))
        return None

    @staticmethod
    def _hold(read: Fields, held: list[Sighting]) -> object:
        held += [read_sighting(one) for one in read.array("sightings", max_items=AT_ONCE)]
        if len(held) > MAX_HELD:
            raise MalformedMessage(f"more than {MAX_HELD} sightings of one quarter hour")
        return None

    def _seal(self, read: Fields, held: list[Sighting]) -> object:
        quarter = Quarter(
            read.name("camera"),
            read.integer("number"),
            read.text("time_source"),
            list(held),
            read.raw("views", size=SLOT_S),
        )
        held.clear()
        return self._desk.seal(quarter, floor=read.integer("floor"))


# ---------------------------------------------------------------------- the importer's side


class AgentDesk:
    """The desk of the agent that runs in a state folder.

    Raises:
        NoAgent: none answers there.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(TIMEOUT_S)
        try:
            with short_name(folder) as name:
                self._socket.connect(f"{name}/{SOCKET_FILE}")
        except OSError as error:
            self._socket.close()
            raise NoAgent(
                f"another process works with {folder} and takes no imports ({error.strerror}). If "
                "it is an import, wait for its end. If it is the agent, run this as the user that "
                "it runs as, once it is ready and of this version"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the agent forgets the keys of what was imported."""
        self._socket.close()

    def standing(self, days: Sequence[int]) -> Standing:
        """See `ImportDesk.standing`."""
        told = self._ask({"ask": "standing", "days": sorted(days)})
        return Standing(
            site=told["site"],
            box=told["box"],
            recordings=tuple(told["recordings"]),
            days=frozenset(told["days"]),
            models=told["models"],
            heard=told["heard"],
            trouble=told["trouble"],
        )

    def known(self, camera: str, content: bytes) -> Known | None:
        """See `ImportDesk.known`."""
        found = self._ask({"ask": "known", "camera": camera, "content": content})
        return None if found is None else Known(*found)

    def told(self, camera: str, first: int, last: int) -> tuple[dict[int, int], dict[int, int]]:
        """See `ImportDesk.told`."""
        live, recorded = self._ask({"ask": "told", "camera": camera, "first": first, "last": last})
        return (
            {slot: from_bytes(bits) for slot, bits in live},
            {slot: from_bytes(bits) for slot, bits in recorded},
        )

    def elsewhere(self, camera: str, first: int, last: int) -> frozenset[int] | None:
        """See `ImportDesk.elsewhere`."""
        found = self._ask({"ask": "elsewhere", "camera": camera, "first": first, "last": last})
        return None if found is None else frozenset(found)

    def seal(self, quarter: Quarter, *, floor: int) -> int:
        """See `ImportDesk.seal`."""
        try:
            for first in range(0, len(quarter.sightings), AT_ONCE):
                some = quarter.sightings[first : first + AT_ONCE]
                self._ask(
                    {
                        "ask": "hold",
                        "sightings": [sighting_value(one) for one in some],
                    }
                )
            sealed = self._ask(
                {
                    "ask": "seal",
                    "camera": quarter.camera,
                    "number": quarter.number,
                    "time_source": quarter.time_source,
                    "views": bytes(quarter.views),
                    "floor": floor,
                }
            )
        finally:
            wipe(quarter.sightings)
        return int(sealed)

    def note_film(self, camera: str, content: bytes, *, began_ms: int) -> None:
        """See `ImportDesk.note_film`."""
        self._ask({"ask": "film", "camera": camera, "content": content, "began_ms": began_ms})

    def _ask(self, request: Mapping[str, object]) -> Any:
        try:
            send(self._socket, request)
            answer = receive(self._socket, lambda: True)
        except (OSError, ProtocolError) as error:
            raise NoAgent(
                f"the agent broke off ({error}); run the same command again, which goes on from "
                "what was sealed"
            ) from error
        if answer is None:
            raise NoAgent(
                "the agent has ended; run the same command again, which goes on from what was "
                "sealed"
            )
        fields = decode(answer, what="answer", max_bytes=MAX_BYTES, max_items=MAX_ITEMS)
        if "error" in fields:
            raise ImportRefused(str(fields["error"]))
        return fields["ok"]
