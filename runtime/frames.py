"""Messages between a process and a helper of its own, over pipes: JSON, and bytes beside it.

A message is the length of its header (4 bytes, big-endian), the header, and what it says follows.
Neither side believes the other about sizes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any

from protocol.textformats import parse_json

_LENGTH = struct.Struct(">I")
_MAX_HEADER = 1 << 16
_MAX_PARTS = 64
_SIZES = "sizes"


class FrameInvalid(ValueError):
    """What came is no message, is too large, or ends in the middle."""


def write_frame(
    stream: IO[bytes], header: Mapping[str, Any], parts: Sequence[bytes | bytearray] = ()
) -> None:
    """Write a message, and see to it that it is on its way.

    Raises:
        OSError: nobody reads any more.
    """
    body = json.dumps({**header, _SIZES: [len(part) for part in parts]}).encode()
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)
    for part in parts:
        stream.write(part)
    stream.flush()


def read_frame(
    stream: IO[bytes], *, most_bytes: int
) -> tuple[dict[str, Any], list[bytearray]] | None:
    """Read a message: its header, and the bytes beside it, which the reader may wipe.

    Args:
        stream: what it comes on.
        most_bytes: beside the header, all parts together.

    Returns:
        None where the other side has ended.

    Raises:
        FrameInvalid: it is no message, too large, or cut off.
    """
    start = stream.read(_LENGTH.size)
    if not start:
        return None
    if len(start) < _LENGTH.size:
        raise FrameInvalid("a message is cut off")
    (length,) = _LENGTH.unpack(start)
    if length > _MAX_HEADER:
        raise FrameInvalid(f"a header of {length:,} bytes is too long")
    try:
        header = parse_json(bytes(_exactly(stream, length)).decode())
    except ValueError as error:
        raise FrameInvalid(f"a header is not JSON: {error}") from error
    sizes = header.pop(_SIZES, None) if isinstance(header, dict) else None
    if (
        not isinstance(header, dict)
        or not isinstance(sizes, list)
        or len(sizes) > _MAX_PARTS
        or not all(type(size) is int and size >= 0 for size in sizes)
        or sum(sizes) > most_bytes
    ):
        raise FrameInvalid("a message says of itself what cannot be")
    return header, [_exactly(stream, size) for size in sizes]


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    part = bytearray(size)
    view, at = memoryview(part), 0
    while at < size:
        read = stream.read(min(size - at, 1 << 20))
        if not read:
            raise FrameInvalid("a message is cut off")
        view[at : at + len(read)] = read
        at += len(read)
    view.release()
    return part
