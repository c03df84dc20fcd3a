"""Read a still's headers before any program that decodes pictures sees it: plain JPEGs pass alone.

A box is hostile until shown otherwise, and decoders are large. Let through is what boards write:
one frame, eight bits, grey or three components, JFIF's own header, tables, one end, nothing after
it. Comments, EXIF and thumbnails are refused: a mosaic that leaves the picture whole beside it
hides nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.v2.evidence import MAX_STILL_BYTES
from runtime.errors import OperationError

MIN_SIDE, MAX_SIDE = 16, 1024
_SOI, _EOI = b"\xff\xd8", 0xD9
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_TABLES = frozenset({0xC4, 0xDB, 0xDD})
_APP0, _SCAN = 0xE0, 0xDA
_RESTARTS = frozenset(range(0xD0, 0xD8))
_JFIF_BYTES = 14
_MAX_SCANS = 64


class NoPicture(OperationError):
    """What a box sent as a still is none that is shown."""


@dataclass(frozen=True, slots=True)
class PictureSize:
    """In pixels."""

    width: int
    height: int


def picture_size(data: bytes | bytearray) -> PictureSize:
    """Return the size of a JPEG that holds one plain picture and nothing else.

    Raises:
        NoPicture: it is another file, too large, or holds more than the picture.
    """
    if len(data) > MAX_STILL_BYTES or data[:2] != _SOI:
        raise NoPicture("it is no JPEG, or larger than a still")
    at, size, scans = 2, None, 0
    while True:
        marker, at = _marker(data, at)
        if marker == _EOI:
            break
        end = at + _length(data, at)
        if marker in _FRAMES:
            if size is not None:
                raise NoPicture("it holds two pictures")
            size = _frame(data, at, end)
        elif marker == _APP0:
            _check_jfif(data, at, end)
        elif marker == _SCAN:
            scans += 1
            if size is None or scans > _MAX_SCANS:
                raise NoPicture("its parts are not in order")
            end = _after_scan(data, end)
        elif marker not in _TABLES:
            raise NoPicture(f"it holds a part that no still has (marker {marker:02x})")
        at = end
    if size is None or not scans:
        raise NoPicture("it holds no picture")
    if at != len(data):
        raise NoPicture("something stands behind the picture")
    return size


def _marker(data: bytes | bytearray, at: int) -> tuple[int, int]:
    if at + 2 > len(data) or data[at] != 0xFF:
        raise NoPicture("it is damaged")
    return data[at + 1], at + 2


def _length(data: bytes | bytearray, at: int) -> int:
    length = int.from_bytes(data[at : at + 2], "big")
    if length < 2 or at + length > len(data):
        raise NoPicture("it is cut short")
    return length


def _frame(data: bytes | bytearray, at: int, end: int) -> PictureSize:
    head = data[at + 2 : end]
    if len(head) < 6 or head[0] != 8 or head[5] not in {1, 3} or len(head) != 6 + 3 * head[5]:
        raise NoPicture("it is not of eight bits in grey or three colours")
    height, width = int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:5], "big")
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise NoPicture(f"it is of {width} x {height} pixels; at most {MAX_SIDE} a side are shown")
    return PictureSize(width, height)


def _check_jfif(data: bytes | bytearray, at: int, end: int) -> None:
    head = data[at + 2 : end]
    if len(head) != _JFIF_BYTES or head[:5] != b"JFIF\0" or any(head[12:14]):
        raise NoPicture("it holds more than the picture: a thumbnail, or another format's header")


def _after_scan(data: bytes | bytearray, at: int) -> int:
    """Return where the next marker stands behind entropy-coded data."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise NoPicture("it is cut short")
        if data[at + 1] != 0 and data[at + 1] not in _RESTARTS:
            return at
        at += 2
