"""What somebody at the broker, or with every disk in hand, would see; and the search through it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.config import MqttConfig
from runtime.mqtt import Delivery, Session

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it crossed the broker."""

    topic: str
    payload: bytes


class Wiretap:
    """Subscribes to everything and keeps it in memory."""

    def __init__(self, mqtt: MqttConfig) -> None:
        self._messages: list[Message] = []
        self._lock = threading.Lock()
        self._session = Session(mqtt, client_id="wiretap")
        self._session.subscribe("#", self._take)

    def start(self, timeout_s: float = 10.0) -> None:
        """Connect and listen.

        Raises:
            NotConnected: the broker did not take the connection in time.
        """
        self._session.start()
        self._session.wait_connected(timeout_s)

    def stop(self) -> None:
        """Disconnect."""
        self._session.stop()

    def messages(self, ending: str = "") -> list[Message]:
        """Return what was heard so far on topics that end in ``ending``."""
        with self._lock:
            return [message for message in self._messages if message.topic.endswith(ending)]

    def size_bytes(self) -> int:
        """Return how many bytes of payload were heard."""
        with self._lock:
            return sum(len(message.payload) for message in self._messages)

    def _take(self, delivery: Delivery) -> None:
        with self._lock:
            self._messages.append(Message(delivery.topic, delivery.payload))
        delivery.ack()


def find_in_files(needles: Sequence[bytes], files: Iterable[Path]) -> list[tuple[Path, int]]:
    """Return (file, number of the needle) for every file that holds one of ``needles``.

    Files are read in pieces that overlap, so nothing hides at a border, and one that has several
    names (a bundle's networks, linked into each role's folder) once, by the first. Files that
    vanish while processes run (journals) are passed over.
    """
    overlap = max((len(needle) for needle in needles), default=1) - 1
    found = []
    read: set[tuple[int, int]] = set()
    for path in files:
        try:
            with path.open("rb") as file:
                told = os.fstat(file.fileno())
                if (told.st_dev, told.st_ino) in read:
                    continue
                read.add((told.st_dev, told.st_ino))
                kept = b""
                seen: set[int] = set()
                while piece := file.read(_CHUNK_BYTES):
                    text = kept + piece
                    seen |= {n for n, needle in enumerate(needles) if needle in text}
                    kept = text[-overlap:] if overlap else b""
                found += [(path, number) for number in sorted(seen)]
        except FileNotFoundError:
            continue
    return found


def find_in_messages(needles: Sequence[bytes], messages: Iterable[Message]) -> list[str]:
    """Return the topics of the messages that hold one of ``needles``."""
    return [m.topic for m in messages if any(needle in m.payload for needle in needles)]
