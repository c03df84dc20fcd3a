"""Block maps: which parts of an image hold data, with the hash of each (bmap-tools' format 2.0).

A map spares the writer the holes and lets it check every part that it writes. Maps of other tools
are read too. XML is parsed by the standard library after any document type has been refused, so no
entity is ever expanded.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from provisioning.fleet.image.base import BLOCK, data_runs
from provisioning.fleet.image.errors import BlockMapInvalid, ImageError
from provisioning.fleet.image.progress import Advance, unwatched
from runtime.fsio import read_file

_CHUNK = 4 << 20
_MERGE_BYTES = 256 * 1024
"""Holes shorter than this cost more to skip than to write."""
_MAX_XML_BYTES = 64 << 20
_HEX = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")


@dataclass(frozen=True, slots=True)
class MappedRange:
    """Bytes ``start`` to ``stop`` (not included) of an image, and their SHA-256 if known."""

    start: int
    stop: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class BlockMap:
    """An image's size in bytes, and its parts that hold data, in order. All else reads as zeros."""

    image_bytes: int
    ranges: tuple[MappedRange, ...]

    @property
    def mapped_bytes(self) -> int:
        """How many bytes hold data."""
        return sum(part.stop - part.start for part in self.ranges)

    def to_xml(self) -> bytes:
        """Return the map as a bmap 2.0 file; the same map gives the same bytes."""
        blocks = -(-self.image_bytes // BLOCK)
        lines = [
            '<?xml version="1.0" ?>',
            '<bmap version="2.0">',
            f"    <ImageSize> {self.image_bytes} </ImageSize>",
            f"    <BlockSize> {BLOCK} </BlockSize>",
            f"    <BlocksCount> {blocks} </BlocksCount>",
            f"    <MappedBlocksCount> {-(-self.mapped_bytes // BLOCK)} </MappedBlocksCount>",
            "    <ChecksumType> sha256 </ChecksumType>",
            f"    <BmapFileChecksum> {'0' * 64} </BmapFileChecksum>",
            "    <BlockMap>",
        ]
        for part in self.ranges:
            first, last = part.start // BLOCK, (part.stop - 1) // BLOCK
            span = str(first) if first == last else f"{first}-{last}"
            lines.append(f'        <Range chksum="{part.sha256}"> {span} </Range>')
        lines += ["    </BlockMap>", "</bmap>", ""]
        text = "\n".join(lines).encode()
        return text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1)

    @classmethod
    def parse(cls, data: bytes) -> BlockMap:
        """Read a bmap file of version 2.

        Raises:
            BlockMapInvalid: it is malformed, altered, or of a version or kind not known here.
        """
        root = _root(data)
        if root.get("version", "").split(".")[0] != "2":
            raise _invalid("it is not of version 2")
        if _text(root, "ChecksumType") != "sha256":
            raise _invalid("its checksums are not SHA-256")
        stated = _text(root, "BmapFileChecksum")
        if not _HEX.fullmatch(stated) or data.count(stated.encode()) != 1:
            raise _invalid("its own checksum is missing")
        covered = data.replace(stated.encode(), b"0" * 64)
        if not hmac.compare_digest(hashlib.sha256(covered).hexdigest(), stated):
            raise _invalid("it was altered (its own checksum does not fit)")
        size, block = _number(root, "ImageSize"), _number(root, "BlockSize")
        if size < 1 or block < 512 or block & (block - 1):
            raise _invalid("its sizes are nonsense")
        ranges: list[MappedRange] = []
        here = 0
        for element in root.iterfind("BlockMap/Range"):
            found = _RANGE.fullmatch((element.text or "").strip())
            checksum = element.get("chksum", "")
            if found is None or not _HEX.fullmatch(checksum):
                raise _invalid("a range is malformed")
            start = int(found[1]) * block
            stop = min((int(found[2] or found[1]) + 1) * block, size)
            if not here <= start < stop:
                raise _invalid("its ranges overlap or leave the image")
            ranges.append(MappedRange(start, stop, checksum))
            here = stop
        return cls(size, tuple(ranges))

    @classmethod
    def read(cls, path: Path) -> BlockMap:
        """Read a bmap file.

        Raises:
            BlockMapInvalid: it cannot be used.
            FileProblem: it cannot be read.
        """
        try:
            return cls.parse(read_file(path, _MAX_XML_BYTES))
        except BlockMapInvalid as error:
            raise BlockMapInvalid(
                f"{path}: {error}; delete it (the map is then made from the image), or build the "
                "image again"
            ) from None


def map_image(image: Path, *, advance: Advance = unwatched) -> tuple[BlockMap, str]:
    """Read an image once; return its map and the SHA-256 of all of it.

    The map depends on the content alone, not on how the file lies on the disk.

    Raises:
        ImageError: it cannot be read.
    """
    whole = hashlib.sha256()
    parts = _Parts()
    size = 0
    try:
        with image.open("rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK):
                whole.update(chunk)
                for start, stop in data_runs(chunk):
                    parts.add(size + start, chunk[start:stop])
                size += len(chunk)
                advance(len(chunk))
    except OSError as error:
        raise ImageError(
            f"{image} cannot be read: {error.strerror}; check its name and permissions"
        ) from error
    return BlockMap(size, parts.end()), whole.hexdigest()


class _Parts:
    """Gathers runs of data into ranges, over short holes, hashing as they come."""

    def __init__(self) -> None:
        self._done: list[MappedRange] = []
        self._start = self._stop = 0
        self._digest = hashlib.sha256()

    def add(self, start: int, data: bytes) -> None:
        if start - self._stop >= _MERGE_BYTES or not self._stop:
            self.end()
            self._start = self._stop = start
            self._digest = hashlib.sha256()
        self._digest.update(bytes(start - self._stop))
        self._digest.update(data)
        self._stop = start + len(data)

    def end(self) -> tuple[MappedRange, ...]:
        if self._stop:
            self._done.append(MappedRange(self._start, self._stop, self._digest.hexdigest()))
            self._start = self._stop = 0
        return tuple(self._done)


def _root(data: bytes) -> ET.Element:
    if b"<!" in re.sub(rb"<!--.*?-->", b"", data, flags=re.DOTALL):
        raise _invalid("it has a document type")
    try:
        root = ET.fromstring(data)  # noqa: S314 - no document type, so no entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise _invalid(f"it is not XML ({error})") from None
    if root.tag != "bmap":
        raise _invalid("it is some other XML")
    return root


def _text(root: ET.Element, name: str) -> str:
    return (root.findtext(name) or "").strip()


def _number(root: ET.Element, name: str) -> int:
    text = _text(root, name)
    if not re.fullmatch(r"\d{1,15}", text):
        raise _invalid(f"{name} is no number")
    return int(text)


def _invalid(reason: str) -> BlockMapInvalid:
    return BlockMapInvalid(f"the block map cannot be used: {reason}")
