"""Reads a stock image, packed or not, into a sparse raw file, checking its checksum on the way."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import io
import lzma
import os
import re
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from provisioning.fleet.image.errors import BaseImageUnusable, ChecksumMismatch, ImageError
from provisioning.fleet.image.progress import Advance, unwatched
from runtime.fsio import read_file

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK = 4096
MAX_RAW_BYTES = 64 << 30
_CHUNK = 4 << 20
_MAX_XZ_BYTES = 256 << 20  # `xz -9` needs 65 MiB to be unpacked
_MAX_LIST_BYTES = 1 << 20
_ALGORITHMS = {64: "sha256", 128: "sha512"}
_GNU_LINE = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{128})(?:[ \t]+\*?(.+))?")
_BSD_LINE = re.compile(r"SHA(?:256|512) \((.+)\) = ([0-9a-fA-F]{64}|[0-9a-fA-F]{128})")
_DAMAGED = (lzma.LZMAError, zstd.ZstdError, gzip.BadGzipFile, zlib.error, EOFError)


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file must hash to: "sha256" or "sha512", and lower-case hex."""

    algorithm: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Read hexadecimal digits; their number tells the algorithm.

        Raises:
            ChecksumMismatch: it is no SHA-256 or SHA-512 sum.
        """
        digits = text.strip().lower()
        if len(digits) not in _ALGORITHMS or not re.fullmatch(r"[0-9a-f]+", digits):
            raise ChecksumMismatch(
                f"'{text.strip()[:40]}' is not a SHA-256 (64 hexadecimal digits) or SHA-512 (128); "
                "copy it from the page that the image is offered on"
            )
        return cls(_ALGORITHMS[len(digits)], digits)

    @classmethod
    def from_list(cls, path: Path, name: str) -> Checksum:
        """Find the sum of the file ``name`` in a list (GNU or BSD form, or one bare sum).

        Raises:
            ChecksumMismatch: the list does not name it.
            FileProblem: the list cannot be read.
        """
        lines = read_file(path, _MAX_LIST_BYTES).decode("utf-8", "replace").splitlines()
        for line in (line.strip() for line in lines):
            if (found := _BSD_LINE.fullmatch(line)) and _base_name(found[1]) == name:
                return cls.parse(found[2])
            if (found := _GNU_LINE.fullmatch(line)) and found[2] and _base_name(found[2]) == name:
                return cls.parse(found[1])
        bare = [line for line in lines if line.strip()]
        if len(bare) == 1 and (found := _GNU_LINE.fullmatch(bare[0].strip())) and not found[2]:
            return cls.parse(found[1])
        raise ChecksumMismatch(
            f"{path} has no checksum for {name}; get the list that goes with the image, and keep "
            "the image's own name"
        )

    @classmethod
    def beside(cls, image: Path) -> Checksum | None:
        """Return the sum in a list beside the image, None when there is none that names it."""
        lists = [image.with_name(image.name + end) for end in (".sha256", ".sha512")]
        lists += [image.with_name(name) for name in ("SHA256SUMS", "SHA512SUMS")]
        for path in lists:
            if path.is_file():
                try:
                    return cls.from_list(path, image.name)
                except ChecksumMismatch:
                    continue
        return None


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A base image as it was read: SHA-256 of the file as given, and the raw image's size."""

    sha256: str
    raw_bytes: int


def unpack(
    base: Path, target: int, checksum: Checksum | None, *, advance: Advance = unwatched
) -> Unpacked:
    """Write the raw image in ``base`` to the open file ``target``, leaving holes for zeros.

    Args:
        advance: told the bytes read of ``base``.

    Raises:
        ChecksumMismatch: it is another file than the checksum says.
        BaseImageUnusable: damaged, cut short, or not a raw image, .xz, .zst or .gz.
        ImageError: the disk is full, or the image cannot be read.
    """
    try:
        with base.open("rb") as stream:
            hashing = _Hashing(stream, checksum.algorithm if checksum else "sha256", advance)
            problem: Exception | None = None
            raw_bytes = 0
            try:
                with _opened(hashing, base) as raw:
                    raw_bytes = _copy_sparse(raw, target)
            except (*_DAMAGED, BaseImageUnusable) as error:
                problem = error
            hashing.drain()
    except OSError as error:
        raise ImageError(
            f"{base} cannot be unpacked: {error.strerror or error}; check its name, its "
            "permissions and the room on the disk"
        ) from error
    if checksum is not None and not hmac.compare_digest(hashing.wanted(), checksum.digest):
        raise ChecksumMismatch(
            f"{base} is not the file that the checksum is of ({checksum.algorithm}: expected "
            f"{checksum.digest[:16]}…, found {hashing.wanted()[:16]}…); download it again, and "
            "check that the checksum is that of this very file"
        )
    if isinstance(problem, BaseImageUnusable):
        raise problem
    if problem is not None:
        raise BaseImageUnusable(
            f"{base} is damaged or cut short ({problem}); download it again"
        ) from problem
    if raw_bytes < BLOCK or raw_bytes % 512:
        raise BaseImageUnusable(
            f"{base} unpacks to {raw_bytes} bytes, which is no disk image; download it again"
        )
    return Unpacked(hashing.sha256(), raw_bytes)


class _Hashing(io.RawIOBase):
    """Passes a file on while hashing it; `drain` hashes what nobody asked for."""

    def __init__(self, stream: BinaryIO, algorithm: str, advance: Advance) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._other = None if algorithm == "sha256" else hashlib.new(algorithm)
        self._advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type] # io's protocol: a writable buffer
        count = self._stream.readinto(view)  # type: ignore[attr-defined] # BufferedReader has it
        self._sha256.update(view[:count])
        if self._other is not None:
            self._other.update(view[:count])
        self._advance(count)
        return int(count)

    def drain(self) -> None:
        buffer = bytearray(_CHUNK)
        while self.readinto(buffer):
            pass

    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def wanted(self) -> str:
        return (self._other or self._sha256).hexdigest()


class _Xz(io.RawIOBase):
    """Unpacks .xz with a bound on memory, which `lzma.open` has none of: a header may ask 4 GiB."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type] # io's protocol: a writable buffer
        data = b""
        while not data:
            if self._unpacking.eof:  # another stream may follow, after zeros to a multiple of four
                rest = self._unpacking.unused_data.lstrip(b"\0")
                while not rest and (packed := self._packed.read(1 << 16)):
                    rest = packed.lstrip(b"\0")
                if not rest:
                    return 0
                self._unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES)
                data = self._unpacking.decompress(rest, len(view))
                continue
            packed = self._packed.read(1 << 16) if self._unpacking.needs_input else b""
            if self._unpacking.needs_input and not packed:
                raise EOFError("it ends within a stream")
            data = self._unpacking.decompress(packed, len(view))
        view[: len(data)] = data
        return len(data)


def _opened(hashing: _Hashing, base: Path) -> BinaryIO:
    buffered = io.BufferedReader(hashing, buffer_size=1 << 20)
    start = buffered.peek(8)
    if start.startswith(b"\xfd7zXZ\x00"):
        return io.BufferedReader(_Xz(buffered), buffer_size=1 << 20)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return zstd.open(buffered)  # type: ignore[return-value] # reads bytes
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(buffered)  # type: ignore[return-value] # reads bytes
    for magic, what, then in (
        (b"QFI\xfb", "a QCOW2 image", "take the .raw one from the same page"),
        (b"PK\x03\x04", "a ZIP archive", "unpack it and name the .img in it"),
        (b"BZh", "packed with bzip2", "unpack it with bunzip2"),
    ):
        if start.startswith(magic):
            raise BaseImageUnusable(f"{base} is {what}; {then}")
    return buffered


def _copy_sparse(raw: BinaryIO, target: int) -> int:
    """Write what ``raw`` gives, without blocks of zeros; return the size."""
    size = 0
    while chunk := _full_read(raw, _CHUNK):
        for start, stop in data_runs(chunk):
            _write_all(target, chunk[start:stop], size + start)
        size += len(chunk)
        if size > MAX_RAW_BYTES:
            raise BaseImageUnusable(
                f"the image is larger than {MAX_RAW_BYTES >> 30} GiB when unpacked; use one for SD "
                "cards"
            )
    os.ftruncate(target, size)
    return size


def data_runs(chunk: bytes) -> list[tuple[int, int]]:
    """Return (start, stop) of the runs of 4096-byte blocks that are not all zero."""
    padded = chunk + bytes(-len(chunk) % BLOCK)
    used = np.frombuffer(padded, dtype=np.uint8).reshape(-1, BLOCK).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], used, [False])).astype(np.int8)))
    starts, stops = edges[0::2] * BLOCK, edges[1::2] * BLOCK
    return [
        (int(start), min(int(stop), len(chunk))) for start, stop in zip(starts, stops, strict=True)
    ]


def _full_read(raw: BinaryIO, length: int) -> bytes:
    parts = []
    while length and (part := raw.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _write_all(target: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(target, view, offset)
        view, offset = view[count:], offset + count


def _base_name(listed: str) -> str:
    return listed.rsplit("/", 1)[-1]
