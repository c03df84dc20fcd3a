"""Recognises a FAT file system by its boot sector, strictly, before any tool is let at it.

Source: Microsoft's FAT specification of 2005, sections 3.1 to 3.5. Which of FAT12, FAT16 and FAT32
it is, is decided as Linux does: FAT32 has its length of the table in the wide field only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MIN_FAT16_CLUSTERS = 4085


@dataclass(frozen=True, slots=True)
class FatInfo:
    """What the boot sector tells: "FAT12", "FAT16" or "FAT32", and sizes in bytes."""

    kind: str
    cluster_bytes: int
    total_bytes: int


def recognise_fat(sector: bytes, partition_bytes: int) -> FatInfo | None:
    """Return what FAT file system begins with ``sector`` (512 bytes), None if it is not one.

    Args:
        partition_bytes: the file system may not be larger than this.
    """
    if len(sector) < 512 or sector[510:512] != b"\x55\xaa" or sector[0] not in {0xEB, 0xE9}:
        return None
    sector_bytes, per_cluster, reserved, copies, root_entries, small, media, fat_small = (
        struct.unpack_from("<HBHBHHBH", sector, 11)
    )
    large, fat_large = struct.unpack_from("<II", sector, 32)
    total, fat_sectors = small or large, fat_small or fat_large
    if (
        sector_bytes not in {512, 1024, 2048, 4096}
        or per_cluster == 0
        or per_cluster & (per_cluster - 1)
        or reserved == 0
        or copies not in {1, 2}
        or media < 0xF0
        or fat_sectors == 0
        or total * sector_bytes > partition_bytes
    ):
        return None
    root_sectors = -(-root_entries * 32 // sector_bytes)
    data_sectors = total - reserved - copies * fat_sectors - root_sectors
    if data_sectors < per_cluster:
        return None
    clusters = data_sectors // per_cluster
    kind = "FAT32" if fat_small == 0 else "FAT12" if clusters < _MIN_FAT16_CLUSTERS else "FAT16"
    if (kind == "FAT32") != (root_entries == 0):
        return None
    return FatInfo(kind, per_cluster * sector_bytes, total * sector_bytes)
