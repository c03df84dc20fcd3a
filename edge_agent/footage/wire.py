"""What goes through the socket between importer and agent: sightings as bytes, and messages.

A message is four bytes of length and a deterministic CBOR map.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from protocol.encoding import encode
from protocol.errors import MalformedMessage
from protocol.names import SIGHTING_ID_BYTES
from protocol.sightings import Quantised
from protocol.v2.sightings import EPISODE_BYTES, Row, Sighting

MAX_BYTES = 8 << 20
MAX_ITEMS = 1 << 16
TIMEOUT_S = 120.0


def sighting_value(sighting: Sighting) -> list[object]:
    """Return a sighting as it is handed over."""
    return [
        sighting.sighting_id,
        sighting.episode,
        sighting.row.to_bytes(),
        {
            modality: [template.row.tobytes(), float(template.scale)]
            for modality, template in sighting.templates.items()
        },
    ]


def read_sighting(value: object) -> Sighting:
    """Read what :func:`sighting_value` made.

    Raises:
        MalformedMessage: it is something else.
    """
    if not isinstance(value, list) or len(value) != 4 or not isinstance(value[3], dict):
        raise MalformedMessage("not a sighting")
    sighting_id, episode, row, templates = value
    if not (
        isinstance(sighting_id, bytes)
        and len(sighting_id) == SIGHTING_ID_BYTES
        and isinstance(episode, bytes)
        and len(episode) == EPISODE_BYTES
        and isinstance(row, bytes)
    ):
        raise MalformedMessage("not a sighting")
    found = {}
    for modality, template in templates.items():
        if (
            not isinstance(template, list)
            or [type(part) for part in template] != [bytes, float]
            or not 0 < template[1] < 1
        ):
            raise MalformedMessage("not a template")
        found[modality] = Quantised(np.frombuffer(template[0], np.int8).copy(), template[1])
    return Sighting(sighting_id, episode, Row.parse(row), found)


@contextmanager
def short_name(folder: Path) -> Iterator[str]:
    """Give a short name for a folder: a socket's may have a hundred letters and no more."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def send(peer: socket.socket, value: Mapping[str, object]) -> None:
    """Send a message.

    Raises:
        OSError: the connection broke, or the other end does not read.
    """
    data = encode(value)
    peer.settimeout(TIMEOUT_S)
    peer.sendall(struct.pack(">I", len(data)) + data)


def receive(peer: socket.socket, give_up: Callable[[], bool]) -> bytes | None:
    """Read a message; None when the other end has hung up before it began.

    Args:
        give_up: asked when nothing has come for a while: whether to wait no longer.

    Raises:
        OSError: the connection broke, or nothing came.
        MalformedMessage: longer than any message, or broken off.
    """
    head = _exactly(peer, 4, give_up)
    if head is None:
        return None
    (size,) = struct.unpack(">I", head)
    if size > MAX_BYTES:
        raise MalformedMessage(f"a message of {size} bytes; {MAX_BYTES} is the most")
    body = _exactly(peer, size, give_up)
    if body is None:
        raise MalformedMessage("a message broke off")
    return body


def _exactly(peer: socket.socket, size: int, give_up: Callable[[], bool]) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            part = peer.recv(min(1 << 20, size - len(data)))
        except TimeoutError:
            if give_up():
                raise
            continue
        if not part:
            if data:
                raise MalformedMessage("a message broke off")
            return None
        data += part
    return bytes(data)
