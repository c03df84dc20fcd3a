"""Reads a table that says of recordings whose they are and when they began (CSV).

Columns, in any order: `file` (a name, a path within the folder, or a pattern such as *.mp4),
`camera`, `start`. Without `file` a row is of the one file of its camera.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from edge_agent.video.reasons import reason_of
from edge_agent.video.url import SourceError

MAX_BYTES = 64 << 20
MAX_ROWS = 1_000_000
MAX_PATTERNS = 1000
_COLUMNS = frozenset({"file", "camera", "start"})
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `line` in the file, and what it says; "" and None where it says nothing."""

    line: int
    file: str
    camera: str
    start: datetime | None


class Listing:
    """What a table says of each file; the last row that fits a file is the one that counts."""

    def __init__(self, rows: tuple[Row, ...] = ()) -> None:
        self._by_name = {row.file: row for row in rows if row.file and not _WILD & set(row.file)}
        self._patterns = tuple(row for row in rows if row.file and _WILD & set(row.file))
        self._by_camera = {row.camera: row for row in rows if not row.file}
        self._used: set[int] = set()
        self._rows = rows

    def of(self, path: PurePosixPath) -> Row | None:
        """The row of a file, by its path within the folder."""
        text = str(path)
        row = self._by_name.get(text) or self._by_name.get(path.name)
        if row is None:
            fitting = [
                row
                for row in self._patterns
                if fnmatchcase(text if "/" in row.file else path.name, row.file)
            ]
            row = fitting[-1] if fitting else None
        if row is not None:
            self._used.add(row.line)
        return row

    def of_camera(self, camera: str) -> Row | None:
        """The row that names a camera and no file."""
        row = self._by_camera.get(camera)
        if row is not None:
            self._used.add(row.line)
        return row

    @property
    def unused(self) -> tuple[Row, ...]:
        """Rows that fitted no file."""
        return tuple(row for row in self._rows if row.line not in self._used)


def read_listing(path: Path) -> Listing:
    """Read a table.

    Raises:
        SourceError: it cannot be read, or a line is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"The list {path} is not UTF-8 text. Save it as CSV UTF-8.") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"The list {path} cannot be read: {reason_of(error)}.") from error
    if len(data) > MAX_BYTES:
        raise SourceError(f"The list {path} is larger than {MAX_BYTES >> 20} MiB.")
    first = text.partition("\n")[0]
    mark = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        return Listing(tuple(_rows(reader, path)))
    except csv.Error as error:
        raise SourceError(f"The list {path}, line {reader.line_num}: {error}.") from error


def _rows(reader: csv._reader, path: Path) -> list[Row]:  # type: ignore[name-defined]
    columns = [name.strip().lower() for name in next(reader, [])]
    if not {"start", "camera"} & set(columns) or set(columns) - _COLUMNS or not columns:
        raise SourceError(
            f"The list {path} has the columns {', '.join(columns) or 'none'}. Its first line "
            "names them: file, camera and start, of which camera or start may be left out."
        )
    if len(set(columns)) != len(columns):
        raise SourceError(f"The list {path} names a column twice.")
    rows: list[Row] = []
    patterns = 0
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        said = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        where = f"The list {path}, line {reader.line_num}"
        if len(cells) != len(columns):
            raise SourceError(f"{where} has {len(cells)} cells, not {len(columns)}.")
        file = said.get("file", "").replace("\\", "/").removeprefix("./")
        camera = said.get("camera", "")
        start = _start(said.get("start", ""), where)
        if not file and not camera:
            raise SourceError(f"{where} names neither file nor camera.")
        if len(rows) >= MAX_ROWS:
            raise SourceError(f"The list {path} has more than {MAX_ROWS:,} rows.")
        patterns += bool(_WILD & set(file))
        if patterns > MAX_PATTERNS:
            raise SourceError(f"The list {path} has more than {MAX_PATTERNS} rows with * or ?.")
        rows.append(Row(reader.line_num, file, camera, start))
    return rows


def _start(text: str, where: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise SourceError(
            f"{where}: the start {text[:40]!r} is no date. Write 2026-11-28 10:05:07, or with its "
            "zone 2026-11-28T10:05:07+09:00."
        ) from None
