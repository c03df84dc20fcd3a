"""Nothing that boxes send reaches a decoder but one plain picture of a sane size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from still_site import picture

from officers.desk.jpeg_headers import NoPicture, PictureSize, picture_size

PICTURE = picture()
HEAD = 20  # behind the start and JFIF's header


def within(part: bytes, at: int = HEAD) -> bytes:
    return PICTURE[:at] + part + PICTURE[at:]


def test_a_boards_picture_passes_with_its_size() -> None:
    assert picture_size(PICTURE) == PictureSize(240, 320)
    assert picture_size(bytearray(picture(320, 64))) == PictureSize(320, 64)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x89PNG\r\n\x1a\n", "no JPEG"),
        (PICTURE + bytes(300 << 10), "larger than a still"),
        (PICTURE + b"more", "behind the picture"),
        (PICTURE + PICTURE, "behind the picture"),
        (PICTURE[:-2], "cut short"),
        (PICTURE[:HEAD] + b"\xff\xd9", "no picture"),
        (within(b"\xff\xe1\x00\x08Exif\0\0"), "marker e1"),
        (within(b"\xff\xfe\x00\x04hi"), "marker fe"),
        (within(b"\xff\xe0\x00\x08JFXX\0\x10"), "thumbnail"),
        (PICTURE[:18] + b"\x01\x01" + PICTURE[20:], "thumbnail"),
        (within(b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00"), "not in order"),
        (picture(1100, 64), "1100 x 64"),
        (picture(8, 64), "8 x 64"),
        (within(PICTURE[PICTURE.index(b"\xff\xc0") :][:19]), "two pictures"),
        (PICTURE.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "eight bits"),
    ],
)
def test_whatever_else_is_refused_and_why(data: bytes, why: str) -> None:
    with pytest.raises(NoPicture, match=why):
        picture_size(data)


@given(st.data())
def test_no_altered_picture_fails_in_another_way(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(PICTURE) - 1))
    altered = bytearray(PICTURE)
    altered[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        size = picture_size(altered)
    except NoPicture:
        return
    assert max(size.width, size.height) <= 1024
