"""Goes through a folder of recordings: what is there, whose, from when to when, and what is not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from edge_agent.footage.clocks import differs, moment_of, why_wrong
from edge_agent.footage.found import (
    MAX_ENTRIES,
    MAX_FILES,
    Between,
    FoundFile,
    Scan,
    ScanOptions,
)
from edge_agent.footage.listing import Listing, Row, read_listing
from edge_agent.footage.looking import Content, Look, look_into
from edge_agent.footage.names import Said, compiled, folder_camera, said_by
from edge_agent.video.reasons import reason_of
from edge_agent.video.url import SourceError
from protocol.v2.header import STAMPED, STATED
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.zones import machine_zone

BETWEEN_S = 2.0
"""A gap or an overlap is longer than this: names tell the start to a second."""
MAX_DEPTH = 32
_NO_START = (
    "Nothing says when it began. Name file and start in a list (--list), or give its names' "
    "pattern (--pattern)."
)
_OTHER_THINGS = frozenset(
    {
        ".txt", ".csv", ".json", ".xml", ".html", ".htm", ".pdf", ".log",
        ".ini", ".cfg", ".md5", ".sha1", ".sha256", ".sig", ".jpg", ".jpeg",
        ".png", ".bmp", ".webp", ".gif", ".srt", ".vtt", ".ass", ".sub",
        ".idx", ".index", ".db", ".sqlite", ".dll", ".zip", ".lnk", ".url",
        ".nfo", ".psi",
    }
)  # fmt: skip
"""What lies beside recordings and is none: it is passed over without a word each."""


def scan_folder(
    folder: Path,
    *,
    options: ScanOptions,
    tell: Callable[[FoundFile], None] | None = None,
    look: Look = look_into,
) -> Scan:
    """Look at all files of a folder and the folders in it; links are not followed.

    Args:
        folder: where they are, or one file.
        options: how their times and cameras are told.
        tell: called with each file when it was looked at, in no order of time.
        look: looks into each; `edge_agent.footage.apart` does it in a process of its own.

    Raises:
        OperationError: the folder cannot be read, or an option does not fit.
    """
    if options.pattern is not None:
        compiled(options.pattern)
    listing = Listing() if options.list_file is None else read_listing(options.list_file)
    desk = _Desk(options, listing, look)
    walk = _Walk(folder, options.list_file)
    found: list[FoundFile] = []
    for path, within in walk.files():
        if len(found) >= MAX_FILES:
            raise SourceError(
                f"{folder} holds more than {MAX_FILES:,} files. Scan the folders in it one by one."
            )
        file = desk.look(path, within)
        found.append(file)
        if tell is not None:
            tell(file)
    found = [_still_written(file) for file in desk.with_lone_starts(found)]
    found.sort(key=_order)
    gaps, overlaps = between(found)
    return Scan(tuple(found), gaps, overlaps, walk.passed_over, desk.unused(found))


def between(files: Iterable[FoundFile]) -> tuple[tuple[Between, ...], tuple[Between, ...]]:
    """Gaps and overlaps of files that are in order by camera and time, and can be used."""
    gaps, overlaps = [], []
    last: FoundFile | None = None  # of the same camera, the one that ends last so far
    for file in files:
        if not file.usable or file.began_ms is None or file.ends_ms is None or file.camera is None:
            continue
        if last is None or last.camera != file.camera:
            last = file
            continue
        end_ms = last.ends_ms or 0
        apart_s = (file.began_ms - end_ms) / 1000
        pair = last.path, file.path
        if apart_s > BETWEEN_S:
            gaps.append(Between(file.camera, end_ms, file.began_ms, *pair))
        elif -apart_s > BETWEEN_S:
            shared_ms = min(end_ms, file.ends_ms)
            overlaps.append(Between(file.camera, file.began_ms, shared_ms, *pair))
        if file.ends_ms >= end_ms:
            last = file
    return tuple(gaps), tuple(overlaps)


def _order(file: FoundFile) -> tuple[bool, str, bool, int, str]:
    unknown = file.camera is None, file.began_ms is None
    return unknown[0], file.camera or "", unknown[1], file.began_ms or 0, str(file.path)


def _still_written(file: FoundFile) -> FoundFile:
    """Say of a file that has grown since it was looked at that it is not finished."""
    try:
        grew = file.path.lstat().st_size != file.size
    except OSError:
        return replace(file, trouble=file.trouble or "It is no longer there.")
    if not grew:
        return file
    trouble = "It is still being written. Scan again when the recorder has closed it."
    return replace(file, trouble=file.trouble or trouble)


@dataclass(slots=True)
class _Walk:
    """The regular files below a folder, a folder's by name, never through a link."""

    folder: Path
    besides: Path | None
    passed_over: int = 0
    _entries: int = 0

    def files(self) -> Iterator[tuple[Path, PurePosixPath]]:
        """Each file, and its path within the folder."""
        try:
            mode = self.folder.stat().st_mode
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.folder} cannot be read: {reason_of(error)}.") from error
        if stat.S_ISREG(mode):
            # Whoever names one file means what it is a link to.
            yield self.folder.resolve(), PurePosixPath(self.folder.name)
        elif stat.S_ISDIR(mode):
            yield from self._below(self.folder, PurePosixPath(), 0)
        else:
            raise SourceError(f"{self.folder} is neither a folder nor a file.")

    def _below(
        self, folder: Path, within: PurePosixPath, depth: int
    ) -> Iterator[tuple[Path, PurePosixPath]]:
        try:
            with os.scandir(folder) as entries:
                here = sorted(self._counted(entries), key=lambda entry: entry[0])
        except OSError as error:
            if depth == 0:
                raise SourceError(f"{folder} cannot be read: {reason_of(error)}.") from error
            self.passed_over += 1
            return
        for name, kind in here:
            path = folder / name
            if kind == "folder" and depth < MAX_DEPTH and not name.startswith("."):
                yield from self._below(path, within / name, depth + 1)
            elif kind == "file" and not self._is_other(path):
                yield path, within / name
            else:
                self.passed_over += 1

    def _counted(self, entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[str, str]]:
        for entry in entries:
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise SourceError(
                    f"{self.folder} holds more than {MAX_ENTRIES:,} entries. Scan the folders in "
                    "it one by one."
                )
            try:
                folder = entry.is_dir(follow_symlinks=False)
                file = entry.is_file(follow_symlinks=False)
            except OSError:
                folder = file = False
            yield entry.name, "folder" if folder else "file" if file else ""

    def _is_other(self, path: Path) -> bool:
        hidden = path.name.startswith(".")
        return hidden or path.suffix.lower() in _OTHER_THINGS or path == self.besides


@dataclass(slots=True)
class _Desk:
    """Tells of each file whose it is and when it began, by what the options say."""

    options: ScanOptions
    listing: Listing
    look_into: Look
    now_ms: int = field(init=False)
    _renamed: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.now_ms = system_ms() if self.options.now_ms is None else self.options.now_ms

    def look(self, path: Path, within: PurePosixPath) -> FoundFile:
        """Look at one file."""
        try:
            size = path.lstat().st_size
        except OSError as error:
            return FoundFile(path, trouble=f"It cannot be read: {reason_of(error)}.")
        content = (
            self.look_into(path, quick=self.options.quick)
            if size
            else Content(trouble="It is empty (0 bytes).")
        )
        row = self.listing.of(within)
        said = said_by(within, self.options.pattern)
        camera = self._camera(within, row, said)
        file = FoundFile(
            path,
            camera=camera,
            seconds=content.seconds,
            codec=content.codec,
            size=size,
            trouble=content.trouble,
            fps=content.fps,
            width=content.width,
            height=content.height,
            reordered=content.reordered,
            notes=content.notes,
        )
        return self._timed(file, row, said, content.stated_began)

    def with_lone_starts(self, files: list[FoundFile]) -> list[FoundFile]:
        """Put in the starts of rows that name a camera and no file, where it has one file alone."""
        of_camera: dict[str, list[int]] = {}
        for number, file in enumerate(files):
            if file.camera is not None:
                of_camera.setdefault(file.camera, []).append(number)
        for camera, numbers in of_camera.items():
            row = self.listing.of_camera(camera)
            if row is None or row.start is None:
                continue
            if len(numbers) == 1:
                files[numbers[0]] = self._began(files[numbers[0]], row.start, STATED, "list")
                continue
            for number in numbers:
                trouble = (
                    f"The list says one start for {camera} (line {row.line}), which has "
                    f"{len(numbers)} files. Name each in a column 'file'."
                )
                files[number] = replace(files[number], trouble=files[number].trouble or trouble)
        return files

    def unused(self, files: list[FoundFile]) -> tuple[str, ...]:
        """What was said of no file that is there: a slip of whoever wrote it, mostly."""
        cameras = {file.camera for file in files}
        options = self.options
        return (
            *(f"line {row.line} of the list" for row in self.listing.unused),
            *(f"--clock-offset {name}" for name in options.offsets_s if name not in cameras),
            *(f"--camera {said}" for said in options.cameras if said not in self._renamed),
        )

    def _camera(self, within: PurePosixPath, row: Row | None, said: Said | None) -> str | None:
        if row is not None and row.camera:
            return row.camera
        named = said.camera if said is not None else folder_camera(within)
        if named is not None and named in self.options.cameras:
            self._renamed.add(named)
            return self.options.cameras[named]
        return self.options.camera or named

    def _timed(
        self, file: FoundFile, row: Row | None, said: Said | None, stated: datetime | None
    ) -> FoundFile:
        """Put in when it began, by what is most to be believed."""
        if row is not None and row.start is not None:
            return self._began(file, row.start, STATED, "list")
        lone = self.listing.of_camera(file.camera) if file.camera is not None else None
        if lone is not None and lone.start is not None:
            return file  # once it is known how many files the camera has
        if said is not None:
            return self._began(file, said.began, STAMPED, f"name ({said.form})", stated)
        if stated is not None:
            return self._began(file, stated, STAMPED, "container")
        return replace(file, trouble=file.trouble or _NO_START)

    def _began(
        self,
        file: FoundFile,
        said: datetime,
        source: str,
        read_from: str,
        stated: datetime | None = None,
    ) -> FoundFile:
        zone = self.options.zone or machine_zone()
        what = f"The start by its {read_from}"
        offset_s = self.options.offsets_s.get(file.camera or "", 0.0)
        notes = file.notes
        try:
            hint = None if stated is None else moment_of(stated, zone, what="The header's start")
        except (OperationError, OverflowError):
            hint = None
        try:
            began = moment_of(said, zone, what=what, hint=hint)
        except OverflowError:
            return _beyond(file, what)
        except OperationError as error:
            trouble = f"{error}. Say which in a list (--list)."
            return replace(file, trouble=file.trouble or trouble)
        if hint is not None and (note := differs(began, hint, file.seconds)):
            notes = (*notes, note)
        try:
            began_ms = round((began + timedelta(seconds=offset_s)).timestamp() * 1000)
            local_of(began_ms, self.options)
        except (OverflowError, ValueError):
            return _beyond(file, what)
        wrong = why_wrong(began_ms, began_ms + round(file.seconds * 1000), self.now_ms)
        return replace(
            file,
            began_ms=began_ms,
            time_source=source,
            read_from=read_from,
            trouble=file.trouble or wrong,
            notes=notes,
        )


def _beyond(file: FoundFile, what: str) -> FoundFile:
    return replace(file, trouble=file.trouble or f"{what} is no moment of this calendar.")


def local_of(at_ms: int, options: ScanOptions) -> datetime:
    """Return a moment as clocks of the recorders' zone show it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(options.zone or machine_zone())
