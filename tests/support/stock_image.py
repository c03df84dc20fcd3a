"""Small images like those that distributions offer: partition table, FAT boot partition, ext4."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import struct
import subprocess
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backports import zstd
from throwaway_ca import ThrowawayCa

from protocol.signing import SigningKey
from provisioning.fleet.image.software import sign_list
from provisioning.formats.claimfile import ClaimFile, new_claim

AUTHORITY = SigningKey("authority", bytes(range(32)))
"""The authority of the site 'north' that claims here are of."""
SECTOR = 512
MIB = 1 << 20
ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")

RASPBERRY_FILES = {
    "config.txt": b"arm_64bit=1\n",
    "cmdline.txt": b"console=serial0,115200 console=tty1 root=PARTUUID=5e3da3da-02 rootwait\n",
    "issue.txt": b"Raspberry Pi reference 2025-11-24\n",
    "kernel8.img": bytes(range(256)) * 800,
    "user-data": b"#cloud-config\n",
    "meta-data": b"instance-id: rpios-image\n",
    "network-config": b"network:\n  version: 2\n",
}
OLD_RASPBERRY_FILES = {name: data for name, data in RASPBERRY_FILES.items() if name.find("-") < 0}
EFI_FILES = {"EFI/BOOT/BOOTX64.EFI": b"MZ" + bytes(range(256)) * 300}


@dataclass(frozen=True)
class StockImage:
    """An image made for a test."""

    path: Path
    boot_offset: int
    boot_bytes: int
    root_offset: int
    root_bytes: int


def mbr(partitions: Sequence[tuple[int, int, int]], *, extra: bytes = b"") -> bytes:
    """Return a first sector with (type, first sector, sectors) for each partition."""
    sector = bytearray(SECTOR)
    sector[: len(extra)] = extra
    for index, (kind, first, count) in enumerate(partitions):
        struct.pack_into("<B3xB3xII", sector, 446 + 16 * index, 0, kind, first, count)
    sector[510:512] = b"\x55\xaa"
    return bytes(sector)


def gpt(
    partitions: Sequence[tuple[uuid.UUID, int, int, str]], total_sectors: int
) -> tuple[bytes, bytes]:
    """Return the first 34 and the last 33 sectors of a GPT disk.

    A partition is (type, first sector, last sector, name).
    """
    entries = bytearray(128 * 128)
    for index, (kind, first, last, name) in enumerate(partitions):
        struct.pack_into(
            "<16s16sQQQ",
            entries,
            128 * index,
            kind.bytes_le,
            uuid.UUID(int=index + 1).bytes_le,
            first,
            last,
            0,
        )
        entries[128 * index + 56 : 128 * index + 128] = name.encode("utf-16-le").ljust(72, b"\0")

    def header(here: int, there: int, table: int) -> bytes:
        fields = struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x10000,
            92,
            0,
            0,
            here,
            there,
            34,
            total_sectors - 34,
            uuid.UUID(int=99).bytes_le,
            table,
            128,
            128,
            zlib.crc32(entries),
        )
        checksum = zlib.crc32(fields)
        return (fields[:16] + struct.pack("<I", checksum) + fields[20:]).ljust(SECTOR, b"\0")

    last = total_sectors - 1
    protective = mbr([(0xEE, 1, last)])
    front = protective + header(1, last, 2) + bytes(entries)
    return front, bytes(entries) + header(last, 1, last - 32)


def make_stock_image(
    path: Path,
    *,
    files: Mapping[str, bytes] = RASPBERRY_FILES,
    table: str = "mbr",
    fat32: bool = True,
    boot_mib: int = 40,
    root_mib: int = 12,
    label: str = "bootfs",
) -> StockImage:
    """Make an image at ``path``: 1 MiB for the table, the boot partition, the root, 1 MiB."""
    boot, root = boot_mib * MIB // SECTOR, root_mib * MIB // SECTOR
    first = MIB // SECTOR
    total = first + boot + root + first
    with path.open("wb") as stream:
        stream.truncate(total * SECTOR)
    _format_fat(path, first * SECTOR, boot, fat32=fat32, label=label)
    _copy_files(path, first * SECTOR, files)
    root_offset = (first + boot) * SECTOR
    _make_root(path, root_offset, root * SECTOR)
    with path.open("r+b") as stream:
        if table == "mbr":
            stream.write(mbr([(0x0C, first, boot), (0x83, first + boot, root)]))
        else:
            parts = [
                (LINUX, first + boot, first + boot + root - 1, "root"),
                (ESP, first, first + boot - 1, "EFI"),
            ]
            front, back = gpt(parts, total)
            stream.write(front)
            stream.seek(-len(back), os.SEEK_END)
            stream.write(back)
    return StockImage(path, first * SECTOR, boot * SECTOR, root_offset, root * SECTOR)


def packed(image: Path, ending: str) -> Path:
    """Return a packed copy of an image, made once: ``.xz``, ``.zst`` or ``.gz``."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".xz": lambda data: lzma.compress(data, preset=0),
        ".zst": lambda data: zstd.compress(
            data, options={zstd.CompressionParameter.checksum_flag: 1}
        ),
        ".gz": lambda data: gzip.compress(data, 1),
    }
    target = image.with_name(image.name + ending)
    if not target.exists():
        target.write_bytes(packers[ending](image.read_bytes()))
    return target


def read_fat_file(image: Path, offset: int, name: str) -> bytes:
    """Return a file of the FAT file system at ``offset``."""
    return _mtools("mcopy", "-n", "-i", f"{image}@@{offset}", f"::/{name}", "-")


def _mtools(*command: str) -> bytes:
    if shutil.which(command[0]) is None:
        pytest.skip("mtools is not installed (Debian: apt install mtools)")
    environment = {
        **os.environ,
        "MTOOLSRC": os.devnull,
        "MTOOLS_SKIP_CHECK": "1",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": "1764000000",
    }
    return subprocess.run(
        command, check=True, capture_output=True, env=environment, stdin=subprocess.DEVNULL
    ).stdout


def _format_fat(path: Path, offset: int, sectors: int, *, fat32: bool, label: str) -> None:
    kind = ["-F", "-c", "1"] if fat32 else []
    _mtools(
        "mformat",
        "-i",
        f"{path}@@{offset}",
        "-T",
        str(sectors),
        "-h",
        "16",
        "-s",
        "63",
        *kind,
        "-v",
        label,
        "-N",
        "12345678",
        "::",
    )


def _copy_files(path: Path, offset: int, files: Mapping[str, bytes]) -> None:
    image = f"{path}@@{offset}"
    folders = {
        "/".join(name.split("/")[:depth])
        for name in files
        for depth in range(1, name.count("/") + 1)
    }
    for folder in sorted(folders):
        _mtools("mmd", "-i", image, f"::/{folder}")
    for name, data in files.items():
        source = path.with_name(f"{path.name}.source")
        source.write_bytes(data)
        _mtools("mcopy", "-o", "-i", image, str(source), f"::/{name}")
        source.unlink()


def _make_root(path: Path, offset: int, size: int) -> None:
    """Make an ext4 file system, or something alike where its tool is missing."""
    tool = shutil.which("mke2fs") or shutil.which("mke2fs", path="/sbin:/usr/sbin")
    root = path.with_name(f"{path.name}.root")
    with root.open("wb") as stream:
        stream.truncate(size)
    if tool is not None:
        environment = {
            **os.environ,
            "SOURCE_DATE_EPOCH": "1764000000",
            "E2FSPROGS_FAKE_TIME": "1764000000",
        }
        subprocess.run(
            [
                tool,
                "-q",
                "-F",
                "-t",
                "ext4",
                "-U",
                "clear",
                "-E",
                "hash_seed=00000000-0000-0000-0000-000000000001",
                str(root),
            ],
            check=True,
            capture_output=True,
            env=environment,
        )
    else:
        with root.open("r+b") as stream:
            stream.seek(1024)
            stream.write(bytes(range(256)) * 64)
    with root.open("rb") as source, path.open("r+b") as target:
        target.seek(offset)
        shutil.copyfileobj(source, target, 1 << 20)
    root.unlink()


def make_claim(
    folder: Path,
    *,
    box: str = "box-7",
    hours: float = 72,
    authority: str = AUTHORITY.verify_key.raw.hex(),
) -> Path:
    """Write a claim file as `sealtrace box claim` does; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    ThrowawayCa(folder)
    claim = ClaimFile(
        site="north",
        box=box,
        url="https://registrar.example:8445",
        authority=authority,
        claim=new_claim().hex(),
        expires_at=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours),
        ca=(folder / "ca.pem").read_text(),
    )
    path = folder / f"{box}.claim"
    claim.write(path)
    return path


def unpack_fat_folder(image: Path, offset: int, name: str, target: Path) -> None:
    """Copy a folder of the FAT file system at ``offset`` to ``target/NAME``."""
    target.mkdir(parents=True, exist_ok=True)
    _mtools("mcopy", "-s", "-n", "-i", f"{image}@@{offset}", f"::/{name}", str(target))


def signature_of(text: str, *, signer: SigningKey = AUTHORITY, site: str = "north") -> str:
    """The content of a signature file for a list of software."""
    return sign_list(text, site, signer).signature.hex() + "\n"


def software_list(folder: Path, *, signer: SigningKey | None = AUTHORITY) -> Path:
    """A list of software for a card whose box has it already, and its signature, if any."""
    path = folder / "software.txt"
    path.write_text(f"sealtrace==0.1.0 --hash=sha256:{'0' * 64}\n")
    if signer is not None:
        path.with_name("software.txt.sig").write_text(signature_of(path.read_text(), signer=signer))
    return path
