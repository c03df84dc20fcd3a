"""The medium under the writer: a block device or a file; reads come from the medium, not memory.

Reading back what was just written would ask the kernel's memory, and a bad card would pass. So
reads go past it (O_DIRECT), or, where that is not possible, after telling the kernel to forget.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from provisioning.fleet.flash.errors import FlashError, WriteFailed

CHUNK = 4 << 20
_SYNC_BYTES = 32 << 20
"""Written data is handed to the medium at least this often, so that progress is true."""
_ALIGN = 4096
_BLKRRPART, _BLKFLSBUF, _BLKDISCARD, _BLKGETSIZE64 = 0x125F, 0x1261, 0x1277, 0x80081272


class Medium:
    """An open medium; made by `opened`."""

    def __init__(self, path: Path, descriptor: int, direct: int | None, size: int) -> None:
        self.path = path
        self.size = size
        self._descriptor = descriptor
        self._direct = direct
        self._buffer = mmap.mmap(-1, CHUNK)
        self._unsynced = 0
        self._is_block = stat.S_ISBLK(os.fstat(descriptor).st_mode)

    @property
    def number(self) -> str:
        """Major and minor number of a block device, as "8:16"; empty for a file."""
        if not self._is_block:
            return ""
        device = os.fstat(self._descriptor).st_rdev
        return f"{os.major(device)}:{os.minor(device)}"

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data``.

        Raises:
            WriteFailed: the medium does not take it.
        """
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self._descriptor, view, offset)
                view, offset = view[count:], offset + count
                self._unsynced += count
            if self._unsynced >= _SYNC_BYTES:
                self._sync()
        except OSError as error:
            raise self._failed("written", offset, error) from error

    def sync(self) -> None:
        """Wait until everything is on the medium, and forget it here.

        Raises:
            WriteFailed: the medium does not take it.
        """
        try:
            self._sync()
            os.fsync(self._descriptor)
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise self._failed("written", 0, error) from error
        if self._is_block:
            with suppress(OSError):
                fcntl.ioctl(self._descriptor, _BLKFLSBUF)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` (at most `CHUNK`) bytes, read from the medium itself.

        Raises:
            WriteFailed: the medium cannot be read.
        """
        try:
            if self._direct is not None and offset % _ALIGN == 0 and length % _ALIGN == 0:
                try:
                    view = memoryview(self._buffer)[:length]
                    return bytes(view[: os.preadv(self._direct, [view], offset)])
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._close_direct()
            os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise self._failed("read", offset, error) from error

    def discard(self, start: int, stop: int) -> None:
        """Tell the card that it may forget a part; nothing is promised about what it then holds."""
        if self._is_block:
            with suppress(OSError):
                fcntl.ioctl(self._descriptor, _BLKDISCARD, struct.pack("QQ", start, stop - start))

    def reread_partitions(self) -> None:
        """Have the kernel look at the new partition table, if it will."""
        if self._is_block:
            with suppress(OSError):
                fcntl.ioctl(self._descriptor, _BLKRRPART)

    def close(self) -> None:
        """Close it."""
        self._close_direct()
        os.close(self._descriptor)

    def _sync(self) -> None:
        os.fdatasync(self._descriptor)
        self._unsynced = 0

    def _close_direct(self) -> None:
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    def _failed(self, what: str, offset: int, error: OSError) -> WriteFailed:
        return WriteFailed(
            f"{self.path} could not be {what} at {offset / 1e6:.0f} MB ({error.strerror}): it was "
            "pulled out, or it is worn out; the card is incomplete and will not boot: flash it "
            "again, or take another one"
        )


@contextmanager
def opened(path: Path, *, file_bytes: int | None = None) -> Iterator[Medium]:
    """Open a block device for this process alone, or a file.

    Args:
        file_bytes: ``path`` is to be a file of this size, made if it is missing; None: it must be a
            block device.

    Raises:
        FlashError: it is in use, may not be opened, or is something else.
    """
    flags = os.O_RDWR | os.O_CLOEXEC
    flags |= os.O_EXCL if file_bytes is None else os.O_CREAT
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise FlashError(_why_closed(path, error)) from error
    medium: Medium | None = None
    try:
        is_block = stat.S_ISBLK(os.fstat(descriptor).st_mode)
        if is_block != (file_bytes is None):
            raise FlashError(
                f"{path} is {'a device' if is_block else 'not a device'}; cards are named with "
                "--device, files with --file"
            )
        if file_bytes is not None and os.fstat(descriptor).st_size != file_bytes:
            os.ftruncate(descriptor, file_bytes)
        medium = Medium(path, descriptor, _open_direct(path), _size(descriptor, file_bytes))
        yield medium
    finally:
        if medium is None:
            os.close(descriptor)
        else:
            medium.close()


def _open_direct(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return None


def _size(descriptor: int, file_bytes: int | None) -> int:
    if file_bytes is not None:
        return file_bytes
    answer = fcntl.ioctl(descriptor, _BLKGETSIZE64, bytes(8))
    return int(struct.unpack("Q", answer)[0])


def _why_closed(path: Path, error: OSError) -> str:
    then = {
        errno.EACCES: "you may not write to it; run the command with sudo",
        errno.EPERM: "you may not write to it; run the command with sudo",
        errno.EBUSY: "something uses it; unmount it and close the programs that look at it",
        errno.EROFS: "it is write-protected; move the switch on the card, or use another",
        errno.ENOMEDIUM: "there is no card in it; put one in",
        errno.ENOENT: "it is gone; put it in again, and see `sealtrace flash --list`",
    }
    return f"cannot open {path}: {then.get(error.errno or 0, error.strerror)}"
