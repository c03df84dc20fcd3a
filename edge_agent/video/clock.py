"""When a recording began, as its own header says: by the recorder's clock, right or wrong.

FFmpeg reads these headers too, but OpenCV does not pass on what they say. Formats: DHAV as FFmpeg's
`dhav.c` has it, ISO/IEC 14496-12 (``mvhd``), Matroska (``DateUTC``), RIFF (``IDIT``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from edge_agent.video.mp4 import MAX_BOXES, boxes

_HEAD_BYTES = 64 * 1024
_EARLIEST_YEAR = 1990
"""A recorder that says it is earlier has never been told the time."""
_MAC_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)
_MATROSKA_EPOCH = datetime(2001, 1, 1, tzinfo=UTC)
_EBML, _SEGMENT, _INFO, _DATE = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x4461


def began_at(path: Path) -> datetime | None:
    """Return when a recording began, or None where its header does not say.

    MP4 and Matroska say it in UTC, though some recorders write local time there; Dahua's files and
    AVI in the recorder's local time, so that theirs has no zone.
    """
    try:
        with path.open("rb") as film:
            head = film.read(_HEAD_BYTES)
            found = next((said for said in (way(film, head) for way in _WAYS) if said), None)
    except (OSError, ValueError, OverflowError, struct.error):
        return None
    return found if found is not None and found.year >= _EARLIEST_YEAR else None


def _of_dahua(_film: BinaryIO, head: bytes) -> datetime | None:
    """The first packet's date, packed into 32 bits."""
    if not head.startswith((b"DHAV", b"DAHUA", b"DHII")):
        return None
    at = head.find(b"DHAV")
    if at < 0 or len(head) < at + 20:
        return None
    (packed,) = struct.unpack_from("<I", head, at + 16)
    year, month, day = 2000 + (packed >> 26), packed >> 22 & 15, packed >> 17 & 31
    return datetime(year, month, day, packed >> 12 & 31, packed >> 6 & 63, packed & 63)


def _of_mp4(film: BinaryIO, head: bytes) -> datetime | None:
    if head[4:8] not in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
        return None
    for kind, begin, end in boxes(film, 0, film.seek(0, 2)):
        if kind == b"moov":
            for inner, at, _ in boxes(film, begin, end):
                if inner == b"mvhd":
                    film.seek(at)
                    version, body = film.read(1), film.read(11)
                    (seconds,) = struct.unpack_from(">Q" if version == b"\1" else ">I", body, 3)
                    return _MAC_EPOCH + timedelta(seconds=seconds)
    return None


def _of_matroska(_film: BinaryIO, head: bytes) -> datetime | None:
    if not head.startswith(_EBML.to_bytes(4, "big")):
        return None
    wanted, at, end = [_SEGMENT, _INFO, _DATE], 0, len(head)
    for _ in range(MAX_BOXES):
        name, at = _number(head, at, keep_mark=True)
        size, at = _number(head, at, keep_mark=False)
        if name == wanted[0]:
            wanted = wanted[1:]
            if not wanted:
                nanoseconds = int.from_bytes(head[at : at + size], "big", signed=True)
                return _MATROSKA_EPOCH + timedelta(microseconds=nanoseconds // 1000)
            continue
        at += size
        if at >= end:
            return None
    return None


def _number(data: bytes, at: int, *, keep_mark: bool) -> tuple[int, int]:
    """A number of variable length as EBML (RFC 8794) has it, and where it ends.

    Raises:
        ValueError: there is none.
    """
    if at >= len(data) or not data[at]:
        raise ValueError("no number")
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep_mark else value & ((1 << 7 * length) - 1)), at + length


def _of_avi(_film: BinaryIO, head: bytes) -> datetime | None:
    at = head.find(b"IDIT") if head.startswith(b"RIFF") else -1
    if at < 0:
        return None
    text = head[at + 8 : at + 8 + 26].split(b"\0")[0].decode("ascii", "replace")
    return datetime.strptime(text.strip(), "%a %b %d %H:%M:%S %Y")


_WAYS: tuple[Callable[[BinaryIO, bytes], datetime | None], ...] = (
    _of_dahua,
    _of_mp4,
    _of_matroska,
    _of_avi,
)

__all__ = ["began_at"]
