"""Finds an image's boot partition and tells what kind of system it boots.

Three kinds can be prepared, because their cloud-init looks at a FAT partition: Raspberry Pi OS
since late 2025 and Ubuntu for Raspberry Pi (documents at the root of the boot partition), and
Debian's `generic` cloud images (on the EFI system partition, found by the label CIDATA).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from provisioning.fleet.image.errors import BaseImageUnusable, BootPartitionMissing
from provisioning.fleet.image.fat import FatVolume
from provisioning.fleet.image.fatinfo import FatInfo, recognise_fat
from provisioning.fleet.image.partitions import SECTOR, Partition, read_partitions

CIDATA = "CIDATA"


class SystemKind(Enum):
    """What an image boots."""

    RASPBERRY = "Raspberry Pi OS (or Ubuntu for Raspberry Pi)"
    EFI = "Debian or Ubuntu for UEFI machines"


@dataclass(frozen=True, slots=True)
class BootPartition:
    """The FAT partition that a box is set up through."""

    partition: Partition
    fat: FatInfo

    @property
    def offset(self) -> int:
        """Where it begins, in bytes."""
        return self.partition.offset


def find_boot_partition(image: Path) -> BootPartition:
    """Return the FAT partition that the machine boots from.

    Raises:
        PartitionTableInvalid: the partition table is missing or nonsense.
        BootPartitionMissing: no partition holds FAT.
    """
    size = image.stat().st_size
    with image.open("rb", buffering=0) as stream:

        def read_at(offset: int, length: int) -> bytes:
            return os.pread(stream.fileno(), length, offset)

        partitions = read_partitions(read_at, size)
        found = []
        for partition in partitions:
            fat = recognise_fat(read_at(partition.offset, SECTOR), partition.size)
            if fat is not None and partition.may_hold_fat:
                found.append(BootPartition(partition, fat))
    if not found:
        raise BootPartitionMissing(
            f"none of the image's {len(partitions)} partitions is a FAT boot partition; use "
            "Raspberry Pi OS (2025-11 or newer), or Debian's `generic` cloud image in raw form"
        )
    return found[0]


def recognise_system(names: Sequence[str]) -> SystemKind:
    """Return what kind of system boots, by the names at the root of its boot partition.

    Raises:
        BaseImageUnusable: it has no cloud-init that looks here, or is not known.
    """
    folded = {name.casefold() for name in names}
    if {"config.txt", "cmdline.txt"} <= folded:
        if {"user-data", "meta-data"} <= folded:
            return SystemKind.RASPBERRY
        raise BaseImageUnusable(
            "the image is for a Raspberry Pi, but without cloud-init (there is no user-data on its "
            "boot partition), so it would not set itself up; use Raspberry Pi OS Lite of 2025-11 "
            "or newer"
        )
    if "efi/" in folded:
        return SystemKind.EFI
    raise BaseImageUnusable(
        "the image's boot partition is neither a Raspberry Pi's nor an EFI one; use Raspberry Pi "
        "OS Lite (2025-11 or newer), or Debian's `generic` cloud image in raw form"
    )


def open_volume(image: Path, boot: BootPartition, *, written_at_s: int = 0) -> FatVolume:
    """Return the boot partition's file system, to read and write."""
    return FatVolume(image, boot.offset, written_at_s=written_at_s)
