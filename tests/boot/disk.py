"""Looks into a card that is switched off: where bytes lie, whether its file systems are clean.

Reads the raw image, so what was deleted but is still there is found as well.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from provisioning.fleet.image.bootpartition import find_boot_partition
from provisioning.fleet.image.partitions import Partition, read_partitions

_EXT4_MAGIC = 0xEF53
_EXT4_CLEAN = 1
_EXT4_NEEDS_RECOVERY = 0x4
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Found:
    """Where a text lies: what it is, the byte of the disk, the file if one has it."""

    what: str
    at: int
    file: str


def search(card: Path, texts: Mapping[str, bytes]) -> list[Found]:
    """Return every place where one of ``texts`` lies on the whole disk."""
    found = []
    with (
        card.open("rb") as stream,
        closing(mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)) as whole,
    ):
        pattern = re.compile(b"|".join(re.escape(text) for text in texts.values()))
        names = {text: what for what, text in texts.items()}
        for start, end in _data_of(stream.fileno(), len(whole)):
            for match in pattern.finditer(whole, max(0, start - 256), end):
                found.append(Found(names[match[0]], match.start(), ""))
    unique = {place.at: place for place in found}
    return [_named(card, place) for _, place in sorted(unique.items())]


def root_partition(card: Path) -> Partition:
    """Return the largest partition with an ext4 file system, the root.

    Raises:
        LookupError: there is none.
    """
    with card.open("rb") as stream:
        found = [
            part for part in _partitions(card)
            if os.pread(stream.fileno(), 2, part.offset + 1080) == struct.pack("<H", _EXT4_MAGIC)
        ]  # fmt: skip
    if not found:
        raise LookupError(f"{card} has no partition with an ext4 file system")
    return max(found, key=lambda part: part.size)


def is_clean(card: Path) -> tuple[bool, bool]:
    """Return whether the root was unmounted properly, and whether the EFI partition was."""
    root = root_partition(card)
    with card.open("rb") as stream:
        superblock = os.pread(stream.fileno(), 1024, root.offset + 1024)
        magic, state = struct.unpack_from("<HH", superblock, 56)
        (incompatible,) = struct.unpack_from("<I", superblock, 96)
        clean = magic == _EXT4_MAGIC and state & _EXT4_CLEAN != 0
        boot = find_boot_partition(card)
        sector = os.pread(stream.fileno(), 512, boot.offset)
    # Linux marks a FAT that is mounted to be written in a byte of its boot sector.
    dirty = sector[65 if boot.fat.kind == "FAT32" else 37] & 1
    return clean and not incompatible & _EXT4_NEEDS_RECOVERY, not dirty


def _partitions(card: Path) -> list[Partition]:
    with card.open("rb", buffering=0) as stream:

        def read_at(offset: int, length: int) -> bytes:
            return os.pread(stream.fileno(), length, offset)

        return read_partitions(read_at, card.stat().st_size)


def _data_of(descriptor: int, size: int) -> Iterable[tuple[int, int]]:
    """Yield the parts of a file that are no holes."""
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, at


def _named(card: Path, place: Found) -> Found:
    """Add the name of the file that has the place, as far as a file system's tool can tell."""
    for part in _partitions(card):
        if not part.offset <= place.at < part.offset + part.size:
            continue
        with card.open("rb") as stream:
            superblock = os.pread(stream.fileno(), 1024, part.offset + 1024)
        magic, (scale,) = superblock[56:58], struct.unpack_from("<I", superblock, 24)
        if magic != struct.pack("<H", _EXT4_MAGIC):
            return Found(place.what, place.at, f"partition {part.number}")
        block = (place.at - part.offset) // (1024 << scale)
        inode = _debugfs(card, part, f"icheck {block}").split()[-1]
        if not inode.isdecimal():
            return Found(place.what, place.at, f"partition {part.number}, no file")
        name = _debugfs(card, part, f"ncheck {inode}").split("\t")[-1].strip()
        return Found(place.what, place.at, name)
    return Found(place.what, place.at, "outside the partitions")


def _debugfs(card: Path, part: Partition, request: str) -> str:
    done = subprocess.run(
        ["debugfs", "-R", request, f"{card}?offset={part.offset}"],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": _PATH},
    )  # fmt: skip
    return done.stdout.strip() or "none"
