"""A small file that unpacks to a huge picture is refused before there is room made for it."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from runtime.process import MAX_PIXELS

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
READING = """
import resource, sys
from {module} import {name} as read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read({argument})
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(None if image is None else image.shape, grown)
"""


def png(width: int, height: int, rows: int) -> bytes:
    """Return a black picture, one bit a pixel, of which there are so many rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    pixels = zlib.compress(bytes(1 + (width + 7) // 8) * rows, 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def bmp(width: int, height: int) -> bytes:
    """Return a picture in another format, that says to be so large and holds nothing."""
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, *[0] * 6)


@pytest.mark.parametrize(
    ("module", "name", "argument"),
    [
        ("edge_agent.sources", "decode_image", "open(sys.argv[1], 'rb').read()"),
        ("edge_agent.sources", "read_image", "__import__('pathlib').Path(sys.argv[1])"),
    ],
)
@pytest.mark.parametrize(
    "picture", [png(12_000, 12_000, 12_000), png(30_000, 30_000, 1), bmp(20_000, 20_000)]
)
def test_a_picture_of_more_pixels_than_a_box_has_room_for_is_no_picture(
    module: str, name: str, argument: str, picture: bytes, tmp_path: Path
) -> None:
    assert len(picture) < 1 << 17
    path = tmp_path / "picture"
    path.write_bytes(picture)
    program = READING.format(module=module, name=name, argument=argument)
    told = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True, check=True, text=True, timeout=60, cwd=ROOT, env={},
    ).stdout.split()  # fmt: skip
    assert told[0] == "None"
    assert int(told[1]) < 64 << 10  # KiB


def test_a_photograph_of_fifty_million_pixels_is_still_read(tmp_path: Path) -> None:
    assert MAX_PIXELS > 8688 * 5792
    path = tmp_path / "picture"
    path.write_bytes(png(8688, 5792, 5792))
    program = READING.format(
        module="edge_agent.sources", name="decode_image", argument="open(sys.argv[1], 'rb').read()"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True, check=True, text=True, timeout=60, cwd=ROOT, env={},
    ).stdout  # fmt: skip
    assert told.startswith("(5792, 8688, 3)")
