"""Block maps say where an image's data is, in bmap-tools' format, and cannot be altered unseen."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.fleet.image.blockmap import BlockMap, MappedRange, map_image
from provisioning.fleet.image.errors import BlockMapInvalid

MIB = 1 << 20


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data at 0, at 5 MiB (over a chunk's edge 3 MiB long), and 512 bytes at the end."""
    path = tmp_path_factory.mktemp("map") / "card.img"
    data = bytearray(12 * MIB + 512)
    data[:8192] = secrets.token_bytes(8192)
    data[5 * MIB : 9 * MIB] = secrets.token_bytes(4 * MIB)
    data[-512:] = b"\x07" * 512
    path.write_bytes(data)
    return path


def test_a_map_covers_all_data_and_spares_long_holes(image: Path) -> None:
    found, digest = map_image(image)
    data = image.read_bytes()
    assert digest == hashlib.sha256(data).hexdigest()
    assert [(part.start, part.stop) for part in found.ranges] == [
        (0, 8192),
        (5 * MIB, 9 * MIB),
        (12 * MIB, 12 * MIB + 512),
    ]
    for part in found.ranges:
        assert part.sha256 == hashlib.sha256(data[part.start : part.stop]).hexdigest()
    beside = bytearray(data)
    for part in found.ranges:
        beside[part.start : part.stop] = bytes(part.stop - part.start)
    assert not any(beside)
    assert found.mapped_bytes == 8192 + 4 * MIB + 512


def test_a_map_depends_on_content_not_on_how_the_file_lies(image: Path, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.img"
    found, _ = map_image(image)
    with sparse.open("wb") as stream:
        stream.truncate(image.stat().st_size)
        for part in found.ranges:
            stream.seek(part.start)
            stream.write(image.read_bytes()[part.start : part.stop])
    assert map_image(sparse) == map_image(image)


def test_the_file_follows_the_format_of_bmap_tools(image: Path) -> None:
    found, _ = map_image(image)
    text = found.to_xml()
    root = ET.fromstring(text)  # noqa: S314 - made here
    assert root.attrib["version"] == "2.0"
    assert int(root.findtext("ImageSize", "")) == image.stat().st_size
    assert int(root.findtext("BlocksCount", "")) == -(-image.stat().st_size // 4096)
    stated = root.findtext("BmapFileChecksum", "").strip()
    zeroed = text.replace(stated.encode(), b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == stated
    assert [element.text.strip() for element in root.iter("Range") if element.text] == [
        "0-1",
        "1280-2303",
        "3072",
    ]
    assert BlockMap.parse(text) == found


@given(st.data())
def test_maps_come_back_as_they_went(data: st.DataObject) -> None:
    edges = sorted(data.draw(st.sets(st.integers(0, 5000), min_size=2, max_size=12)))
    ranges = tuple(
        MappedRange(a * 4096, b * 4096, secrets.token_hex(32))
        for a, b in zip(edges[0::2], edges[1::2], strict=False)
    )
    size = ranges[-1].stop + data.draw(st.integers(0, 40)) * 512
    made = BlockMap(size, ranges)
    assert BlockMap.parse(made.to_xml()) == made


@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_changed_map_is_refused(place: int, flip: int) -> None:
    text = bytearray(BlockMap(40960, (MappedRange(0, 8192, "ab" * 32),)).to_xml())
    text[place % len(text)] ^= flip
    try:
        BlockMap.parse(bytes(text))
    except BlockMapInvalid:
        return
    pytest.fail("an altered map was accepted")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BlockMapInvalid):
        BlockMap.parse(data)


def test_document_types_are_refused_before_parsing() -> None:
    bomb = b'<!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY c "&a;&a;">]><bmap version="2.0">&c;</bmap>'
    with pytest.raises(BlockMapInvalid, match="document type"):
        BlockMap.parse(bomb)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (b"> 0-1 <", b"> 4-1 <", "overlap"),
        (b"> 0-1 <", b"> x <", "malformed"),
        (b"> sha256 <", b"> sha1 <", "not SHA-256"),
        (b'version="2.0"', b'version="1.3"', "version 2"),
        (b"> 4096 <", b"> 1000 <", "nonsense"),
    ],
)
def test_maps_that_make_no_sense_are_refused(before: bytes, after: bytes, word: str) -> None:
    text = BlockMap(40960, (MappedRange(0, 8192, "ab" * 32),)).to_xml()
    root = ET.fromstring(text)  # noqa: S314 - made here
    stated = root.findtext("BmapFileChecksum", "").strip().encode()
    changed = text.replace(stated, b"0" * 64).replace(before, after)
    whole = changed.replace(b"0" * 64, hashlib.sha256(changed).hexdigest().encode(), 1)
    with pytest.raises(BlockMapInvalid, match=word):
        BlockMap.parse(whole)
