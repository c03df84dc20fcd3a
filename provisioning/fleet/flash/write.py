"""Writes an image to a medium so that a card is either whole and verified, or does not boot.

The first MiB, where partition tables are, is wiped first and written last, after all else has been
read back and found right. Whatever ends the work in between (Ctrl-C, a pulled card, a power cut)
leaves a card without partitions. Holes of the image are read, and only what is not zero there is
written, so the card equals the image byte for byte.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioning.fleet.flash.errors import ImageUnfit, VerificationFailed
from provisioning.fleet.flash.medium import CHUNK, Medium
from provisioning.fleet.image.base import data_runs
from provisioning.fleet.image.blockmap import BlockMap, MappedRange, map_image
from provisioning.fleet.image.build import companions
from provisioning.fleet.image.errors import PartitionTableInvalid
from provisioning.fleet.image.partitions import read_partitions
from provisioning.fleet.image.progress import Advance, Bars, bars, unwatched
from runtime.fsio import FileProblem, read_file

HEAD_BYTES = 1 << 20
_TAIL_BYTES = 33 * 512
"""The second partition table of GPT, which a device may still have from before."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that can be flashed."""

    path: Path
    descriptor: int
    block_map: BlockMap

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.block_map.image_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes.

        Raises:
            ImageUnfit: the file became shorter.
        """
        data = os.pread(self.descriptor, length, offset)
        if len(data) != length:
            raise ImageUnfit(f"{self.path} became shorter while it was read; build it again")
        return data


@dataclass(slots=True)
class Flashing:
    """How far the work is: whether the card was touched, and whether it is whole again."""

    touched: bool = False
    complete: bool = False
    written_bytes: int = 0
    zeroed: list[tuple[int, int]] = field(default_factory=list)


@contextmanager
def opened_image(
    path: Path, show: Callable[[], AbstractContextManager[Bars]] = bars
) -> Iterator[SourceImage]:
    """Open an image, with the block map beside it or one made from it.

    Args:
        show: makes the progress bars, should a map have to be made.

    Raises:
        ImageUnfit: it is not the raw image of a whole card, or not the file that was built.
        BlockMapInvalid: the map beside it is malformed or altered.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageUnfit(
            f"cannot read {path}: {error.strerror}; check the name and the permissions"
        ) from error
    try:
        size = os.fstat(descriptor).st_size
        try:
            read_partitions(lambda offset, length: os.pread(descriptor, length, offset), size)
        except (PartitionTableInvalid, OSError) as error:
            raise ImageUnfit(f"{path} is not the raw image of a card: {error}") from None
        yield SourceImage(path, descriptor, _block_map(path, size, show))
    finally:
        os.close(descriptor)


def flash(image: SourceImage, medium: Medium, state: Flashing, progress: Bars) -> None:
    """Write ``image`` to ``medium`` and verify it.

    ``state`` tells the caller, whatever happens, in what state the card is.

    Raises:
        ImageUnfit: the image file is not what its map says.
        WriteFailed: the medium fails.
        VerificationFailed: the medium does not hold what was written.
    """
    head = image.read(0, min(HEAD_BYTES, image.size))
    state.touched = True
    _invalidate(medium, len(head))
    medium.discard(len(head), medium.size)
    _write_body(image, medium, state, len(head), progress.stage("writing", image.size))
    medium.sync()
    parts = image.block_map.ranges
    zeroed = [part for part in state.zeroed if part[1] > len(head)]
    total = sum(part.stop - part.start for part in parts)
    total += sum(stop - start for start, stop in zeroed)
    advance = progress.stage("reading back", total)
    for part in parts:
        _verify(medium, part, head, advance)
    for start, stop in zeroed:
        _require_zeros(medium, max(start, len(head)), stop, advance)
    medium.write(head, 0)
    medium.sync()
    if medium.read(0, len(head)) != head:
        _invalidate(medium, len(head))
        raise _wrong(0)
    state.written_bytes += len(head)
    state.complete = True
    medium.reread_partitions()


def holds_already(image: SourceImage, medium: Medium, progress: Bars) -> bool:
    """Tell whether ``medium`` begins with the whole of ``image``; stops at the first difference."""
    advance = progress.stage("comparing", image.size)
    for offset in range(0, image.size, CHUNK):
        length = min(CHUNK, image.size - offset)
        if medium.read(offset, length) != image.read(offset, length):
            return False
        advance(length)
    return True


def _block_map(path: Path, size: int, show: Callable[[], AbstractContextManager[Bars]]) -> BlockMap:
    sums, bmap = companions(path)
    if bmap.exists():
        found = BlockMap.read(bmap)
        if found.image_bytes != size:
            raise ImageUnfit(
                f"{path} has {size} bytes, and {bmap.name} is of one with {found.image_bytes}; "
                "build the image again"
            )
        return found
    with show() as progress:
        found, digest = map_image(path, advance=progress.stage("mapping the image", size))
    try:
        stated = read_file(sums, 4096).decode("utf-8", "replace").split() if sums.exists() else []
    except FileProblem:
        stated = []
    if stated and not hmac.compare_digest(stated[0].lower().encode(), digest.encode()):
        raise ImageUnfit(
            f"{path} is not the image that {sums.name} is of: it was changed or damaged; build it "
            "again"
        )
    return found


def _invalidate(medium: Medium, head_bytes: int) -> None:
    """Wipe the partition tables, so that the card does not boot until it is whole."""
    medium.write(bytes(head_bytes), 0)
    if medium.size >= head_bytes + _TAIL_BYTES:
        medium.write(bytes(_TAIL_BYTES), medium.size - _TAIL_BYTES)
    medium.sync()


def _write_body(
    image: SourceImage, medium: Medium, state: Flashing, head_bytes: int, advance: Advance
) -> None:
    here = 0
    for part in image.block_map.ranges:
        _clear(medium, max(here, head_bytes), part.start, state, advance)
        digest = hashlib.sha256()
        for offset in range(part.start, part.stop, CHUNK):
            data = image.read(offset, min(CHUNK, part.stop - offset))
            digest.update(data)
            skipped = max(0, head_bytes - offset)
            if skipped < len(data):
                medium.write(memoryview(data)[skipped:], offset + skipped)
                state.written_bytes += len(data) - skipped
            advance(len(data))
        if not hmac.compare_digest(digest.hexdigest(), part.sha256):
            raise ImageUnfit(
                f"{image.path} is not what its block map says, at {part.start / 1e6:.0f} MB: it "
                "was changed or damaged; build it again. The card is incomplete and will not boot"
            )
        here = part.stop
    _clear(medium, max(here, head_bytes), image.size, state, advance)


def _clear(medium: Medium, start: int, stop: int, state: Flashing, advance: Advance) -> None:
    """Write zeros where a hole of the image is not zero on the medium."""
    for offset in range(start, stop, CHUNK):
        length = min(CHUNK, stop - offset)
        data = medium.read(offset, length)
        for first, last in data_runs(data):
            medium.write(bytes(last - first), offset + first)
            state.zeroed.append((offset + first, offset + last))
            state.written_bytes += last - first
        advance(length)


def _verify(medium: Medium, part: MappedRange, head: bytes, advance: Advance = unwatched) -> None:
    """Check a part on the medium; what is below ``len(head)`` is not there yet."""
    digest = hashlib.sha256(head[part.start : part.stop])
    for offset in range(max(part.start, len(head)), part.stop, CHUNK):
        digest.update(medium.read(offset, min(CHUNK, part.stop - offset)))
        advance(min(CHUNK, part.stop - offset))
    if not hmac.compare_digest(digest.hexdigest(), part.sha256):
        raise _wrong(part.start)


def _require_zeros(medium: Medium, start: int, stop: int, advance: Advance) -> None:
    for offset in range(start, stop, CHUNK):
        length = min(CHUNK, stop - offset)
        if medium.read(offset, length) != bytes(length):
            raise _wrong(offset)
        advance(length)


def _wrong(offset: int) -> VerificationFailed:
    return VerificationFailed(
        f"the card does not give back what was written to it, at {offset / 1e6:.0f} MB: it is worn "
        "out or not of the size that it claims. It will not boot: take another one"
    )
