"""Objects as they are read: the index in memory, of the other files what is asked for.

Of a folder's files a read takes just those bytes, and copies them: a file that is cut off later
ends no process. What comes from an S3 comes whole. Size and prefix of each file are checked when it
is opened, its digest before its first byte is used; of a folder's, once a process for as long as it
stays the same file. Templates that are only going to be opened do without the digest until one of
them does not open: they are sealed, each to its slot.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog

from aggregator.store.packed.columns import Columns, columns_of
from aggregator.store.packed.format import (
    INDEX,
    PARTS,
    PREFIX_BYTES,
    FileNote,
    Index,
    NotAnObject,
    check_prefix,
    read_index,
    require_digest,
)
from aggregator.store.packed.place import Objects, open_plain
from aggregator.store.packs import Pack
from runtime.database import StorageDamaged, StorageError, damaged_files, forget_damage

_log = structlog.get_logger()
_OPENED_OBJECTS = 192
"""So many objects are kept opened,"""
_OPENED_SEGMENTS = 1 << 19
"""with so many segments in their indexes: a box can make these many and small,"""
_DESCRIPTORS = 256
"""and so many of their files, in a folder."""
_FETCHED_BYTES = 256 << 20
_FETCHED_AT_ONCE = 8
_VERIFIED_FILES = 1 << 18
_CHUNK_BYTES = 1 << 18
_ENDING_OF = {label: ending for ending, labels in PARTS.items() for label in labels}
_Identity = tuple[int, int, int, int]


class File(Protocol):
    """One file of an object; ``checked``: against its digest, by whoever has it."""

    checked: bool

    def digest(self) -> bytes:
        """Return the SHA-256 of what is behind the prefix."""

    def read_into(self, into: memoryview, start: int) -> None:
        """Fill ``into`` with the bytes from ``start`` on.

        Raises:
            NotAnObject: the file ends before.
            OSError: it cannot be read.
        """


class FetchedFile:
    """A file that is in memory whole."""

    def __init__(self, data: memoryview) -> None:
        self.checked = False
        self._data = data

    def digest(self) -> bytes:
        return hashlib.sha256(self._data[PREFIX_BYTES:]).digest()

    def read_into(self, into: memoryview, start: int) -> None:
        into[:] = self._data[start : start + len(into)]


class FolderFile:
    """A file of a folder, closed when nobody has it any more: threads share it."""

    def __init__(self, path: Path) -> None:
        self.checked = False
        self._path = path
        self._descriptor = open_plain(path)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._descriptor)

    def identity(self) -> _Identity:
        """Return what changes when it is another file, or is written to."""
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def digest(self) -> bytes:
        digest, at = hashlib.sha256(), PREFIX_BYTES
        while chunk := os.pread(self._descriptor, _CHUNK_BYTES, at):
            digest.update(chunk)
            at += len(chunk)
        return digest.digest()

    def read_into(self, into: memoryview, start: int) -> None:
        while (count := os.preadv(self._descriptor, [into], start)) < len(into):
            if count == 0:
                raise NotAnObject(f"{self._path} was cut off while it was read")
            into, start = into[count:], start + count


class OpenedObject:
    """An object whose index has been read and checked.

    Its methods raise StorageDamaged, with the object's name, and StorageError.
    """

    def __init__(self, shelf: Shelf, pack: Pack, index: Index) -> None:
        self.pack = pack
        self.index = index
        self.fetched = self.descriptors = 0
        self.numbered: dict[str, npt.NDArray[np.int32]] = {}
        """By modality, the ledger's numbers of its blocks' models: kept by who reads it."""
        self._shelf = shelf
        self._files: dict[str, File] = {}
        self._vouched = False

    @cached_property
    def columns(self) -> Columns:
        """The index by columns."""
        return columns_of(self.index)

    def read(
        self, label: str, begins: int, ends: int, into: memoryview, *, checked: bool = True
    ) -> None:
        """Fill ``into`` with one block of consecutive rows, those of one file behind it as well.

        Args:
            label: the block that comes first in its file (`format.PARTS`).
            begins: the first row.
            ends: the row behind the last.
            into: as large as all of them.
            checked: False leaves the file's digest out (see `vouch`).
        """
        if len(into):
            self.fill(label, int(self.index.starts[label][begins]), into, checked=checked)

    def fill(self, label: str, start: int, into: memoryview, *, checked: bool = True) -> None:
        """Fill ``into`` with the bytes from ``start`` on of the file in which a block stands."""
        try:
            self._file(label, checked=checked).read_into(into, start)
        except NotAnObject as error:
            raise self._shelf.damaged(self.pack, str(error), _ENDING_OF[label]) from None
        except OSError as error:
            raise self._shelf.unreadable(self.pack, error) from None

    def block(self, label: str, row: int) -> bytes:
        """Return one block of one row; empty where it has none."""
        into = bytearray(int(self.index.rows[f"{label}_bytes"][row]))
        self.read(label, row, row + 1, memoryview(into))
        return bytes(into)

    def row_of(self, number: int) -> int:
        """Return which row a segment is."""
        found = np.flatnonzero(self.index.rows["number"] == number)
        if len(found) != 1:
            raise self._shelf.damaged(self.pack, f"segment {number} is not in it")
        return int(found[0])

    def vouch(self) -> None:
        """Check every file against its digest; once for as long as this is opened.

        Raises:
            StorageDamaged: one is not what was written.
            StorageError: one cannot be read.
        """
        if self._vouched:
            return
        for ending, note in self.index.files.items():
            try:
                file = self._files.get(ending) or self._shelf.open_file(self.pack, ending, note)
                self._shelf.check_file(self.pack, ending, note, file, again=True)
            except NotAnObject as error:
                raise self._shelf.damaged(self.pack, str(error), ending) from None
        self._vouched = True

    def warm(self, labels: Sequence[str]) -> None:
        """Open the files in which blocks stand, those that the object has.

        Raises:
            StorageError, NotAnObject: one cannot be opened.
        """
        for label in labels:
            if label in self.index.starts:
                self._file(label, checked=False)

    def _file(self, label: str, *, checked: bool) -> File:
        ending = _ENDING_OF[label]
        file, note = self._files.get(ending), self.index.files[ending]
        if file is None:
            file = self._shelf.open_file(self.pack, ending, note)
            self._shelf.keep(self, ending, file)
        if checked and not file.checked:
            self._shelf.check_file(self.pack, ending, note, file)
            file.checked = True
        return file

    def keep(self, ending: str, file: File) -> None:
        """Keep a file for who reads on."""
        self._files[ending] = file

    def close(self) -> None:
        """Keep no file any more: who still has this object opens what it reads."""
        self._files.clear()


class Shelf:
    """The objects that were opened last; safe to use from several threads."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._opened: OrderedDict[int, OpenedObject] = OrderedDict()
        self._verified: dict[str, _Identity] = {}
        self._fetched = self._descriptors = self._segments = 0
        self._lock = threading.Lock()

    def name_of(self, pack: Pack) -> str:
        """Return what an object is called in messages."""
        return self.objects.name_of(pack.name.path)

    def damaged(self, pack: Pack, reason: str, ending: str = INDEX) -> StorageDamaged:
        """Return the error that names a damaged file; the log tells of it, too."""
        with self._lock:
            self._forget(self._opened.pop(pack.number, None))  # it may be put back
        error = StorageDamaged.of(f"{self.name_of(pack)}.{ending}", reason)
        _log.error("object_damaged", reason=str(error))
        return error

    def unreadable(self, pack: Pack, error: OSError) -> StorageError:
        """Return the error that names an object of which a file cannot be read."""
        return StorageError(f"cannot read {self.name_of(pack)}: {error.strerror}; check the disk")

    def _note_whole(self, pack: Pack, ending: str) -> None:
        """Note that a file is what was written; it may have been put back."""
        name = f"{self.name_of(pack)}.{ending}"
        if name in damaged_files():
            forget_damage(name)

    def open(self, pack: Pack) -> OpenedObject | None:
        """Return an object; None when its index is missing.

        Raises:
            StorageDamaged: its index is not the one that was placed.
            StorageError: the place cannot be read.
        """
        with self._lock:
            found = self._opened.get(pack.number)
            if found is not None:
                self._opened.move_to_end(pack.number)
                return found
        data = self.objects.get(f"{pack.name.path}.{INDEX}", most=pack.size)
        if data is None:
            return None
        try:
            index = read_index(pack.name, data, digest=pack.digest)
        except NotAnObject as error:
            raise self.damaged(pack, str(error)) from None
        self._note_whole(pack, INDEX)
        opened = OpenedObject(self, pack, index)
        with self._lock:
            first = self._opened.setdefault(pack.number, opened)  # another thread may be
            if first is opened:
                self._segments += len(index.rows)
                self._make_room()
            opened = first
        return opened

    def open_all(self, packs: Sequence[Pack]) -> list[OpenedObject] | None:
        """Return objects that are open already, all of them; None when one is not."""
        with self._lock:
            found = [self._opened.get(pack.number) for pack in packs]
            opened = [one for one in found if one is not None]
            if len(opened) < len(packs):
                return None
            for pack in packs:
                self._opened.move_to_end(pack.number)
        return opened

    def warm(self, packs: Sequence[Pack], labels: Sequence[str]) -> None:
        """Fetch what is going to be read of an S3, some objects at a time; a folder needs none.

        What cannot be had is met again by who reads it.
        """
        if self.objects.place.folder is not None:
            return
        with self._lock:
            missing = [pack for pack in packs if pack.number not in self._opened]
        if len(missing) > 1:
            with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="objects") as pool:
                list(pool.map(lambda pack: self._warm_one(pack, labels), missing))

    def _warm_one(self, pack: Pack, labels: Sequence[str]) -> None:
        with suppress(StorageError, NotAnObject):
            opened = self.open(pack)
            if opened is not None:
                opened.warm(labels)

    def open_file(self, pack: Pack, ending: str, note: FileNote) -> File:
        """Open one file of an object whose index is ``note``'s; its digest is not checked yet.

        Raises:
            NotAnObject: it is missing, or plainly not the one that was placed.
            StorageError: the place cannot be read.
        """
        path = f"{pack.name.path}.{ending}"
        folder = self.objects.place.folder
        prefix = bytearray(PREFIX_BYTES)
        file: File
        if folder is None:
            data = self.objects.get(path, most=note.size)
            size = None if data is None else len(data)
            file = FetchedFile(data or memoryview(b""))
        else:
            try:
                file = FolderFile(folder / path)
            except FileNotFoundError:
                raise NotAnObject(_missing(ending, None)) from None
            except OSError as error:
                raise self.unreadable(pack, error) from None
            size = file.identity()[2]
        if size != note.size:
            raise NotAnObject(_missing(ending, size))
        file.read_into(memoryview(prefix), 0)
        require_digest(ending, check_prefix(ending, bytes(prefix)), note.digest)
        return file

    def check_file(
        self, pack: Pack, ending: str, note: FileNote, file: File, *, again: bool = False
    ) -> None:
        """Check a file against its digest.

        Args:
            again: also one of a folder that this process has checked.

        Raises:
            NotAnObject: it is not the one that was placed.
            StorageError: it cannot be read.
        """
        path = f"{pack.name.path}.{ending}"
        identity = file.identity() if isinstance(file, FolderFile) else None
        if again or identity is None or self._verified.get(path) != identity:
            try:
                digest = file.digest()
            except OSError as error:
                raise self.unreadable(pack, error) from None
            require_digest(ending, digest, note.digest)
            if identity is not None:
                if len(self._verified) >= _VERIFIED_FILES:
                    self._verified.clear()
                self._verified[path] = identity
        self._note_whole(pack, ending)

    def keep(self, opened: OpenedObject, ending: str, file: File) -> None:
        """Have an object keep a file, which is memory or a descriptor; others make room for it."""
        with self._lock:
            if self._opened.get(opened.pack.number) is not opened:
                return
            opened.keep(ending, file)
            if isinstance(file, FetchedFile):
                size = opened.index.files[ending].size
                opened.fetched += size
                self._fetched += size
            else:
                opened.descriptors += 1
                self._descriptors += 1
            self._make_room()

    def _make_room(self) -> None:
        while len(self._opened) > 1 and (
            len(self._opened) > _OPENED_OBJECTS
            or self._segments > _OPENED_SEGMENTS
            or self._descriptors > _DESCRIPTORS
            or self._fetched > _FETCHED_BYTES
        ):
            self._forget(self._opened.popitem(last=False)[1])

    def _forget(self, gone: OpenedObject | None) -> None:
        if gone is not None:
            self._fetched -= gone.fetched
            self._descriptors -= gone.descriptors
            self._segments -= len(gone.index.rows)
            gone.close()  # a day that was laid out still has it


def _missing(ending: str, size: int | None) -> str:
    found = "is missing" if size is None else f"has {size} bytes, which is not what was written"
    return f"its .{ending} {found}"
