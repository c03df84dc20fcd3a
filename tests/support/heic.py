"""HEIC photographs for tests: FFmpeg makes the picture, the boxes around it are written here."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edge_agent.vision.arrays import Image


def heic_of(image: Image, folder: Path, *, stated: tuple[int, int] | None = None) -> bytes:
    """Return a picture (H, W, 3) uint8 BGR of even size as a HEIC file.

    Args:
        stated: width and height that the file claims; its own by default.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("FFmpeg is not installed here (Debian: apt install ffmpeg)")
    film, still = folder / "one.mp4", folder / "one.png"
    cv2.imwrite(str(still), image)
    done = subprocess.run(
        [
            program, "-v", "error", "-y", "-i", str(still), "-frames:v", "1",
            "-c:v", "libx265", "-x265-params", "log-level=none:lossless=1",
            "-pix_fmt", "yuv420p", "-tag:v", "hvc1", str(film),
        ],
        check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("FFmpeg has no H.265 encoder here")
    data = film.read_bytes()
    width, height = stated or (image.shape[1], image.shape[0])
    return wrapped(_found(data, b"hvcC"), _found(data, b"mdat"), width, height)


def wrapped(config: bytes, sample: bytes, width: int, height: int) -> bytes:
    """Return the boxes of a HEIC file around one coded picture."""
    head = _box(b"ftyp", b"heic\0\0\0\0mif1heic")
    handler = _full(b"hdlr", b"\0\0\0\0pict" + bytes(13))
    primary = _full(b"pitm", struct.pack(">H", 1))
    entry = _full(b"infe", struct.pack(">HH4s", 1, 0, b"hvc1") + b"\0", version=2)
    items = _full(b"iinf", struct.pack(">H", 1) + entry)
    properties = _box(b"hvcC", config) + _full(b"ispe", struct.pack(">II", width, height))
    of_item = _full(b"ipma", struct.pack(">IHBBB", 1, 1, 2, 0x81, 0x02))
    shown = _box(b"iprp", _box(b"ipco", properties) + of_item)

    def meta(offset: int) -> bytes:
        where = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(sample))
        return _full(b"meta", handler + primary + _full(b"iloc", where) + items + shown)

    offset = len(head) + len(meta(0)) + 8
    return head + meta(offset) + _box(b"mdat", sample)


def _found(data: bytes, wanted: bytes) -> bytes:
    """Return what the first box of a kind holds, wherever it stands in an MP4 file."""
    for kind, content in _boxes(data):
        if kind == wanted:
            return content
        inner = {
            b"moov": 0,
            b"trak": 0,
            b"mdia": 0,
            b"minf": 0,
            b"stbl": 0,
            b"stsd": 8,
            b"hvc1": 78,
        }
        if kind in inner and (found := _found(content[inner[kind] :], wanted)):
            return found
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _full(kind: bytes, content: bytes, *, version: int = 0) -> bytes:
    return _box(kind, bytes([version, 0, 0, 0]) + content)
