"""Reads partition tables (MBR with logical partitions, GPT) of disk images, strictly.

What is read may be damaged or hostile: every number is checked against the image's size, chains are
bounded, and anything doubtful is refused rather than guessed. Sectors are 512 bytes, as on SD
cards, USB sticks and in every image made for them. Sources: UEFI 2.10, chapter 5 (GPT);
the MBR and its extended partitions as Linux reads them.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from provisioning.fleet.image.errors import PartitionTableInvalid

SECTOR = 512
ReadAt = Callable[[int, int], bytes]
"""(offset, length) -> that many bytes of the image, fewer at its end."""

ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BASIC_DATA = uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
FAT_TYPES = frozenset({0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF})
_EXTENDED_TYPES = frozenset({0x05, 0x0F, 0x85})
_PROTECTIVE = 0xEE
_MAX_LOGICAL = 60
_MAX_GPT_ENTRIES = 1024
_MAX_ENTRY_BYTES = 1024
_UNUSED = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: number as Linux counts it, place and length in bytes, type.

    ``type_id`` is the MBR type byte or the GPT type GUID; ``name`` the GPT name, else empty.
    """

    number: int
    offset: int
    size: int
    type_id: int | uuid.UUID
    name: str = ""

    @property
    def may_hold_fat(self) -> bool:
        """Whether its type is one that firmware looks for a FAT file system in."""
        if isinstance(self.type_id, int):
            return self.type_id in FAT_TYPES
        return self.type_id in {ESP, BASIC_DATA}


def read_partitions(read_at: ReadAt, size: int) -> list[Partition]:
    """Return the partitions of an image of ``size`` bytes, by their place.

    Raises:
        PartitionTableInvalid: there is no table, or it contradicts itself or the image's size.
    """
    first = _exactly(read_at, 0, SECTOR)
    if first[510:512] != b"\x55\xaa":
        raise PartitionTableInvalid(
            "the image has no partition table (no 55 AA at the end of its first sector); use the "
            "image of a whole card or disk, not of one partition or an archive"
        )
    entries = _mbr_entries(first)
    if any(kind == _PROTECTIVE for _, kind, _, _ in entries):
        found = _gpt(read_at, size)
    else:
        found = _mbr(read_at, size, entries)
    found.sort(key=lambda part: part.offset)
    for before, after in pairwise(found):
        if before.offset + before.size > after.offset:
            raise PartitionTableInvalid(
                f"partitions {before.number} and {after.number} overlap; the image is damaged: "
                "get it again"
            )
    return found


def _exactly(read_at: ReadAt, offset: int, length: int) -> bytes:
    data = read_at(offset, length)
    if len(data) != length:
        raise PartitionTableInvalid(
            "the image ends inside its partition table; it is cut short: get it again"
        )
    return data


def _mbr_entries(sector: bytes) -> list[tuple[int, int, int, int]]:
    """Return (slot 1 to 4, type, first sector, sectors) of the used slots."""
    found = []
    for slot in range(4):
        status, kind, first, count = struct.unpack_from("<B3xB3xII", sector, 446 + 16 * slot)
        if kind == 0 or count == 0:
            continue
        if status not in {0x00, 0x80}:
            raise PartitionTableInvalid(
                f"entry {slot + 1} of the partition table is nonsense (status {status:#04x}); use "
                "the image of a whole card or disk"
            )
        found.append((slot + 1, kind, first, count))
    return found


def _mbr(read_at: ReadAt, size: int, entries: list[tuple[int, int, int, int]]) -> list[Partition]:
    found: list[Partition] = []
    extended: tuple[int, int] | None = None
    for number, kind, first, count in entries:
        if kind in _EXTENDED_TYPES:
            if extended is not None:
                raise PartitionTableInvalid(
                    "the partition table has two extended partitions; the image is damaged: get "
                    "it again"
                )
            extended = (first, count)
        else:
            found.append(_within(number, first, count, kind, size))
    if extended is not None:
        found += _logical(read_at, size, *extended)
    return found


def _logical(read_at: ReadAt, size: int, base: int, total: int) -> list[Partition]:
    """Walk the chain of extended boot records; each must lie behind the one before."""
    found: list[Partition] = []
    here, last = base, base - 1
    while len(found) < _MAX_LOGICAL:
        if not last < here < base + total:
            raise PartitionTableInvalid(
                "the chain of logical partitions leaves its place or runs in a circle; the image "
                "is damaged: get it again"
            )
        sector = _exactly(read_at, here * SECTOR, SECTOR)
        if sector[510:512] != b"\x55\xaa":
            raise PartitionTableInvalid(
                "a logical partition's table is missing; the image is damaged: get it again"
            )
        onward: int | None = None
        for _, kind, first, count in _mbr_entries(sector)[:2]:
            if kind in _EXTENDED_TYPES:
                onward = base + first
            elif here + first + count > base + total:
                raise PartitionTableInvalid(
                    "a logical partition reaches out of the extended one; the image is damaged: "
                    "get it again"
                )
            else:
                found.append(_within(5 + len(found), here + first, count, kind, size))
        if onward is None:
            return found
        last, here = here, onward
    raise PartitionTableInvalid(f"the image has more than {_MAX_LOGICAL} logical partitions")


def _gpt(read_at: ReadAt, size: int) -> list[Partition]:
    header = _exactly(read_at, SECTOR, SECTOR)
    (signature, revision, length, checksum) = struct.unpack_from("<8sIII", header)
    if signature != b"EFI PART" or revision >> 16 != 1 or not 92 <= length <= SECTOR:
        raise PartitionTableInvalid(
            "the image says that it has a GUID partition table, but there is none; it is damaged, "
            "or its sectors are not 512 bytes: get an image for SD cards or USB"
        )
    covered = header[:16] + bytes(4) + header[20:length]
    if zlib.crc32(covered) != checksum:
        raise PartitionTableInvalid(
            "the GUID partition table's header is damaged (checksum); get the image again"
        )
    here, first_usable, last_usable = struct.unpack_from("<Q8xQQ", header, 24)
    table, count, entry_bytes, table_checksum = struct.unpack_from("<QIII", header, 72)
    if (
        here != 1
        or not 1 <= count <= _MAX_GPT_ENTRIES
        or not 128 <= entry_bytes <= _MAX_ENTRY_BYTES
        or entry_bytes % 8
        or not 2 <= table <= size // SECTOR
        or first_usable > last_usable + 1
    ):
        raise PartitionTableInvalid(
            "the GUID partition table's header contradicts itself; get the image again"
        )
    data = _exactly(read_at, table * SECTOR, count * entry_bytes)
    if zlib.crc32(data) != table_checksum:
        raise PartitionTableInvalid(
            "the GUID partition table's entries are damaged (checksum); get the image again"
        )
    found = []
    for index in range(count):
        entry = data[index * entry_bytes :][:128]
        kind = uuid.UUID(bytes_le=entry[:16])
        if kind == _UNUSED:
            continue
        first, last = struct.unpack_from("<QQ", entry, 32)
        if not first_usable <= first <= last <= last_usable:
            raise PartitionTableInvalid(
                f"partition {index + 1} lies outside the usable part of the image; get it again"
            )
        name = entry[56:128].decode("utf-16-le", "replace").partition("\0")[0]
        found.append(_within(index + 1, first, last - first + 1, kind, size, name=name))
    return found


def _within(
    number: int, first: int, count: int, kind: int | uuid.UUID, size: int, *, name: str = ""
) -> Partition:
    if first == 0 or (first + count) * SECTOR > size:
        raise PartitionTableInvalid(
            f"partition {number} reaches beyond the image's end; the image is cut short: get it "
            "again"
        )
    return Partition(number, first * SECTOR, count * SECTOR, kind, name)
