"""Films that tests make themselves: good ones with OpenCV, odd ones with `ffmpeg` where it is."""

from __future__ import annotations

import shutil
import struct
import subprocess
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.sources import Image, Picture, Reader, Shortcuts, open_reader, parse_source_url

INTERLACED = Path(__file__).parent.parent / "data" / "video" / "interlaced.mpg"
"""25 interlaced frames of 160x96 at 12 frames a second: a moving pattern of mean brightness 110."""
DAHUA_BEGAN = datetime(2026, 11, 28, 10, 5, 7)
"""What the header of a `dahua` film says, by the recorder's clock."""
FFMPEG = shutil.which("ffmpeg")


def needs_ffmpeg(test: object) -> object:
    """Mark a test that starts `ffmpeg`."""
    skipped = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
    return pytest.mark.ffmpeg(skipped(test))


def drawn(number: int, size: tuple[int, int] = (96, 160)) -> Image:
    """A picture (H, W, 3) uint8 with a noisy ground, and a bright square that moves with number."""
    image = np.random.default_rng(number % 8).integers(60, 120, (*size, 3), np.uint8)
    left = 5 * number % (size[1] - 24)
    image[30:54, left : left + 24] = 240
    return image


def film(
    path: Path,
    frames: int,
    *,
    fps: float = 20.0,
    code: str = "MJPG",
    size: tuple[int, int] = (96, 160),
) -> Path:
    """Write a film of `drawn` pictures with OpenCV."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, size[::-1])
    assert writer.isOpened()
    for number in range(frames):
        writer.write(drawn(number, size))
    writer.release()
    return path


def by_ffmpeg(
    path: Path, *arguments: str, source: Path | str = "testsrc2=s=160x96:r=25:d=2"
) -> Path:
    """Make a film with `ffmpeg`, of its moving test pattern or of another film."""
    given = ["-i", str(source)] if isinstance(source, Path) else ["-f", "lavfi", "-i", source]
    quiet = ["-nostdin", "-loglevel", "error", "-y"]
    subprocess.run([str(FFMPEG), *quiet, *given, *arguments, str(path)], check=True)
    return path


def dahua(path: Path) -> Path:
    """Make a film of two seconds with `ffmpeg`, as Dahua's recorders write it (DHAV, H.264)."""
    plain = by_ffmpeg(
        path.with_suffix(".h264"), "-c:v", "libx264", "-bf", "0", "-threads", "1",
        "-x264opts", "sliced-threads=0", "-pix_fmt", "yuv420p",
    )  # fmt: skip
    film = plain.read_bytes()
    plain.unlink()
    starts = [at for at in range(len(film) - 4) if film[at : at + 3] == b"\0\0\1"]
    units, begin, pictured = [], 0, False
    for at in starts:
        kind, first = film[at + 3] & 31, film[at + 4] & 128
        begins = (kind in {1, 5} and first) or kind in {6, 7, 8, 9}
        if pictured and begins:
            units.append(film[begin:at])
            begin, pictured = at, False
        pictured = pictured or kind in {1, 5}
    units.append(film[begin:])
    packed = 26 << 26 | 11 << 22 | 28 << 17 | 10 << 12 | 5 << 6 | 7
    told = bytes([0x81, 0, 8, 25, 0x82, 0, 0, 0]) + struct.pack("<HH", 160, 96)
    whole = b""
    for number, unit in enumerate(units):
        size = 24 + len(told) + len(unit) + 8
        whole += b"DHAV" + bytes([0xFC if number % 25 else 0xFD, 0, 0, 0])
        whole += struct.pack("<IIIH", number, size, packed + number // 25, number * 40)
        whole += bytes([len(told), 0]) + told + unit + b"dhav" + struct.pack("<I", size)
    path.write_bytes(whole)
    return path


def turned(film: Path) -> Path:
    """Have the header of an MP4 or MOV say that it is to be turned by a quarter."""
    data = bytearray(film.read_bytes())
    matrix = data.index(b"tkhd") + 44
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16) & 0xFFFFFFFF).to_bytes(4, "big")
    assert data[matrix : matrix + 4] == one
    data[matrix : matrix + 20] = bytes(4) + one + bytes(4) + minus + bytes(4)
    film.write_bytes(data)
    return film


def reader_of(source: Path | str, *, keyframes: bool = False) -> Reader:
    """Open a film, or a source by its url."""
    url = f"file:{source}" if isinstance(source, Path) else source
    return open_reader(parse_source_url(url), shortcuts=Shortcuts(keyframes=keyframes))


def all_of(reader: Reader, *, gap_s: float = 0.0) -> list[Picture]:
    """Read to the end, and close."""
    pictures = []
    try:
        while (picture := reader.read(gap_s=gap_s)) is not None:
            pictures.append(picture)
    finally:
        reader.close()
    return pictures


def times_of(pictures: list[Picture]) -> list[float]:
    """Their times, in seconds, to the millisecond."""
    return [round(picture.at_s, 3) for picture in pictures]
