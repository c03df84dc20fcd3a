"""Photographs as telephones take them are read, by a decoder that can take no machine with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from heic import heic_of

from edge_agent.enrol import NotAnImage, read_photo
from edge_agent.heif import is_heif
from edge_agent.vision.arrays import Image

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def picture() -> Image:
    """A red rectangle, nearer to the left and the top."""
    image = np.full((240, 320, 3), 128, np.uint8)
    image[20:100, 30:150] = (20, 30, 200)
    return image


@pytest.fixture(scope="module")
def heic(picture: Image, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return heic_of(picture, tmp_path_factory.mktemp("heic"))


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "photo.heic"
    path.write_bytes(data)
    return path


def test_a_heic_photo_is_read_as_it_was_taken(heic: bytes, picture: Image, tmp_path: Path) -> None:
    read = read_photo(saved(tmp_path, heic))
    assert read.shape == picture.shape
    assert int(np.abs(read.astype(int) - picture).max()) < 12
    read.fill(0)  # it is the caller's to wipe


@pytest.mark.parametrize("stated", [(30_000, 30_000), (1 << 31, 1 << 31), (8_200, 8_200)])
def test_one_that_claims_too_many_pixels_is_refused_before_it_is_decoded(
    picture: Image, tmp_path: Path, stated: tuple[int, int]
) -> None:
    path = saved(tmp_path, heic_of(picture, tmp_path, stated=stated))
    with pytest.raises(NotAnImage, match=r"million pixels|damaged"):
        read_photo(path)


def test_one_that_holds_more_than_it_claims_is_refused(picture: Image, tmp_path: Path) -> None:
    path = saved(tmp_path, heic_of(picture, tmp_path, stated=(16, 16)))
    with pytest.raises(NotAnImage, match="is HEIC and damaged"):
        read_photo(path)


def test_a_damaged_one_is_said_to_be(heic: bytes, tmp_path: Path) -> None:
    hostile = heic[: len(heic) // 2], heic[:40], heic[:12] + bytes(200)
    for data in hostile:
        assert is_heif(data)
        with pytest.raises(NotAnImage, match=r"photo .*photo\.heic is HEIC"):
            read_photo(saved(tmp_path, data))


def test_what_is_no_heic_goes_to_no_such_decoder() -> None:
    for data in (b"", b"\xff\xd8\xff\xe0", b"\0\0\0\x18ftypisom" + bytes(12), b"\0\0\0\x18ftyp"):
        assert not is_heif(data)
