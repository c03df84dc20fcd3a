"""Partition tables are read exactly, and nothing hostile gets past the reader."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stock_image import ESP, LINUX, SECTOR, gpt, mbr

from provisioning.fleet.image.errors import PartitionTableInvalid
from provisioning.fleet.image.fatinfo import recognise_fat
from provisioning.fleet.image.partitions import Partition, read_partitions


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]


def read(data: bytes, sectors: int) -> list[Partition]:
    return read_partitions(reader(data), sectors * SECTOR)


def gpt_disk(parts: list[tuple[uuid.UUID, int, int, str]], sectors: int = 4096) -> bytes:
    front, back = gpt(parts, sectors)
    return front + bytes(sectors * SECTOR - len(front) - len(back)) + back


def test_primary_partitions_are_found_where_they_are() -> None:
    found = read(mbr([(0x0C, 8192, 1000), (0x83, 9192, 5000)]), 20_000)
    assert [(p.number, p.offset, p.size, p.type_id) for p in found] == [
        (1, 8192 * SECTOR, 1000 * SECTOR, 0x0C),
        (2, 9192 * SECTOR, 5000 * SECTOR, 0x83),
    ]
    assert [p.may_hold_fat for p in found] == [True, False]


def test_logical_partitions_are_found_along_their_chain() -> None:
    disk = bytearray(3000 * SECTOR)
    disk[:SECTOR] = mbr([(0x0C, 10, 20), (0x05, 100, 1000)])
    disk[100 * SECTOR : 101 * SECTOR] = mbr([(0x83, 2, 50), (0x05, 200, 100)])
    disk[300 * SECTOR : 301 * SECTOR] = mbr([(0x83, 1, 70)])
    found = read(bytes(disk), 3000)
    assert [(p.number, p.offset // SECTOR, p.size // SECTOR) for p in found] == [
        (1, 10, 20),
        (5, 102, 50),
        (6, 301, 70),
    ]


def test_a_chain_that_runs_in_a_circle_is_refused() -> None:
    disk = bytearray(3000 * SECTOR)
    disk[:SECTOR] = mbr([(0x05, 100, 1000)])
    disk[100 * SECTOR : 101 * SECTOR] = mbr([(0x83, 2, 50), (0x05, 200, 100)])
    disk[300 * SECTOR : 301 * SECTOR] = mbr([(0x83, 1, 70), (0x05, 0, 100)])
    with pytest.raises(PartitionTableInvalid, match="circle"):
        read(bytes(disk), 3000)


def test_gpt_partitions_are_found_with_their_names() -> None:
    found = read(gpt_disk([(LINUX, 2048, 3000, "root"), (ESP, 40, 2047, "EFI")]), 4096)
    assert [(p.number, p.name, p.offset // SECTOR, p.size // SECTOR) for p in found] == [
        (2, "EFI", 40, 2008),
        (1, "root", 2048, 953),
    ]
    assert found[0].may_hold_fat
    assert not found[1].may_hold_fat


@pytest.mark.parametrize("place", [512 + 24, 512 + 72, 512 + 80, 1024 + 32, 1024 + 128 + 40])
def test_a_gpt_with_one_changed_byte_is_refused(place: int) -> None:
    disk = bytearray(gpt_disk([(ESP, 40, 100, "EFI"), (LINUX, 200, 300, "root")]))
    disk[place] ^= 0x40
    with pytest.raises(PartitionTableInvalid, match="damaged"):
        read(bytes(disk), 4096)


def test_a_gpt_whose_checksums_fit_but_whose_numbers_do_not_is_refused() -> None:
    disk = bytearray(gpt_disk([(ESP, 40, 100, "EFI")]))
    struct.pack_into("<I", disk, 512 + 84, 24)  # entries of 24 bytes
    struct.pack_into("<I", disk, 512 + 16, 0)
    struct.pack_into("<I", disk, 512 + 16, zlib.crc32(disk[512 : 512 + 92]))
    with pytest.raises(PartitionTableInvalid, match="contradicts"):
        read(bytes(disk), 4096)


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ([(0x0C, 100, 200), (0x83, 250, 100)], "overlap"),
        ([(0x0C, 100, 100_000)], "beyond"),
        ([(0x0C, 0, 100)], "beyond"),
        ([(0x05, 100, 100), (0x0F, 300, 100)], "two extended"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(
    parts: list[tuple[int, int, int]], word: str
) -> None:
    with pytest.raises(PartitionTableInvalid, match=word):
        read(mbr(parts), 1000)


def test_what_is_no_disk_image_is_told_so() -> None:
    with pytest.raises(PartitionTableInvalid, match="no partition table"):
        read(bytes(SECTOR), 100)
    with pytest.raises(PartitionTableInvalid, match="cut short"):
        read(b"short", 100)


@given(st.binary(max_size=600), st.integers(0, 1 << 40))
def test_any_bytes_are_read_or_refused(data: bytes, size: int) -> None:
    disk = data[:510].ljust(510, b"\0") + b"\x55\xaa" + data[510:]
    try:
        found = read_partitions(reader(disk), size)
    except PartitionTableInvalid:
        return
    here = 0
    for part in found:
        assert part.offset >= here
        assert part.size > 0
        here = part.offset + part.size
    assert here <= size


@given(st.data())
def test_tables_that_were_written_are_read_back(data: st.DataObject) -> None:
    edges = sorted(data.draw(st.sets(st.integers(34, 4000), min_size=2, max_size=8)))
    pairs = list(zip(edges[0::2], edges[1::2], strict=False))
    names = data.draw(st.lists(st.text("abcxyz-", max_size=30), min_size=4, max_size=4))
    parts = [
        (ESP, first, last - 1, name) for (first, last), name in zip(pairs, names, strict=False)
    ]
    found = read(gpt_disk(parts), 4096)
    assert [
        (ESP, p.offset // SECTOR, (p.offset + p.size) // SECTOR - 1, p.name) for p in found
    ] == (parts)
    short = [(0x0C, first, last - first) for first, last in pairs]
    again = read(mbr(short), 4096)
    assert [(0x0C, p.offset // SECTOR, p.size // SECTOR) for p in again] == short


@given(st.binary(min_size=512, max_size=512), st.integers(0, 1 << 40))
def test_a_fat_file_system_is_never_larger_than_its_partition(sector: bytes, size: int) -> None:
    made = b"\xeb" + sector[1:510] + b"\x55\xaa"
    found = recognise_fat(made, size)
    if found is not None:
        assert 0 < found.cluster_bytes <= found.total_bytes <= size
