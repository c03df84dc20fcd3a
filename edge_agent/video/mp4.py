"""Walks the boxes of an MP4 file (ISO/IEC 14496-12), believing no length in it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 64
"""So many boxes of one level are looked at."""
MAX_INDEX_BYTES = 1 << 20


def boxes(film: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Each box between two places: its kind, and where its content begins and ends.

    Raises:
        struct.error: the file ends within a box's head.
    """
    for _ in range(MAX_BOXES):
        if begin + 8 > end:
            return
        film.seek(begin)
        size, kind = struct.unpack(">I4s", film.read(8))
        content = begin + 8
        if size == 1:
            (size,) = struct.unpack(">Q", film.read(8))
            content += 8
        last = end if size == 0 else begin + size
        if last < content:
            return
        yield kind, content, min(last, end)
        begin = last


def index_of(path: Path) -> bytes | None:
    """Return the begin of a file's index (moov), at most 1 MiB of it; None if it has none."""
    try:
        with path.open("rb") as film:
            for kind, begin, end in boxes(film, 0, film.seek(0, 2)):
                if kind == b"moov":
                    film.seek(begin)
                    return film.read(min(end - begin, MAX_INDEX_BYTES))
    except (OSError, ValueError, OverflowError, struct.error):
        return None
    return None
