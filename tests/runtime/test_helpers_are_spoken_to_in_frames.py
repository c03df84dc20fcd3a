"""Messages to a helper process: what was written is read, and no size is believed."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest

from runtime.frames import FrameInvalid, read_frame, write_frame


def framed(header: Any, rest: bytes = b"") -> io.BytesIO:
    body = json.dumps(header).encode()
    return io.BytesIO(struct.pack(">I", len(body)) + body + rest)


def test_what_was_written_is_read_part_by_part() -> None:
    stream = io.BytesIO()
    write_frame(stream, {"do": "look", "name": "사진"}, [b"one", bytearray(b""), b"three"])
    stream.seek(0)
    header, parts = read_frame(stream, most_bytes=8) or ({}, [])
    assert header == {"do": "look", "name": "사진"}
    assert parts == [bytearray(b"one"), bytearray(), bytearray(b"three")]
    assert read_frame(stream, most_bytes=8) is None


@pytest.mark.parametrize(
    "stream",
    [
        io.BytesIO(b"\0\0"),
        io.BytesIO(b"\xff\xff\xff\xff"),
        io.BytesIO(b"\0\0\0\x09{}"),
        io.BytesIO(b"\0\0\0\x02[]"),
        io.BytesIO(b"\0\0\0\x02{}"),
        framed({"sizes": [9]}, b"123456789"),
        framed({"sizes": [5, 4]}, b"123456789"),
        framed({"sizes": [3]}, b"12"),
        framed({"sizes": [-1]}),
        framed({"sizes": [True]}, b"1"),
        framed({"sizes": [0] * 65}),
        framed({"sizes": "8"}, b"12345678"),
        framed(["sizes"]),
    ],
)
def test_what_is_too_large_or_cut_off_or_no_message_is_refused(stream: io.BytesIO) -> None:
    with pytest.raises(FrameInvalid):
        read_frame(stream, most_bytes=8)
