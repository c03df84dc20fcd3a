"""Read what can still be read of a spoilt outbox, row by row, around the pages that cannot.

What is sealed in it cannot be sealed again, so every message that is whole goes into the new one
under its own number; what is not is for the receiver to miss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from edge_agent.outbox_store import EPOCH, LIVE, SEGMENT, Row, SlotName, Store

MAX_FAILURES = 20_000
"""A file whose every page is spoilt costs no more than so many questions."""
_LAST_ROW = 1 << 40
_ROWS = (
    "SELECT rowid, camera, sequence, kind, epoch, generation, slot, sightings, payload FROM message"
    " NOT INDEXED WHERE rowid BETWEEN ? AND ? ORDER BY rowid LIMIT 64"
)
_BATCH = 64  # as in _ROWS
_LAST = "SELECT max(rowid) FROM message"
_LAST_BY_INDEX = "SELECT max(rowid) FROM message INDEXED BY sqlite_autoindex_message_1"


def salvage(path: Path, store: Store) -> int:
    """Copy what can be read of the outbox at ``path`` into ``store``; return how many messages.

    Raises:
        StorageError: ``store`` cannot be written.
    """
    saved = 0
    try:
        file = sqlite3.connect(path, isolation_level=None)
    except sqlite3.Error:
        return saved
    with closing(file):
        cameras, counters = _numbers(file)
        for rows in _batches(file):
            saved += store.adopt(rows)
            for row in rows:
                sequence, generation = cameras.get(row.camera, (0, 0))
                cameras[row.camera] = (
                    max(sequence, row.sequence + 1),
                    max(generation, row.name.generation),
                )
        store.save(cameras=cameras, counters=counters)
    return saved


def _numbers(file: sqlite3.Connection) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    cameras: dict[str, tuple[int, int]] = {}
    counters: dict[str, int] = {}
    with suppress(sqlite3.Error):
        for name, sequence, generation in file.execute("SELECT * FROM camera"):
            if isinstance(name, str) and _whole(sequence, generation):
                cameras[name] = (sequence, generation)
    with suppress(sqlite3.Error):
        for name, value in file.execute("SELECT * FROM counter"):
            if isinstance(name, str) and _whole(value):
                counters[name] = value
    return cameras, counters


def _batches(file: sqlite3.Connection) -> Iterator[list[Row]]:
    """Yield the rows, halving the range around whatever cannot be read."""
    ranges = [(1, _last_row(file))]
    failures = 0
    while ranges and failures < MAX_FAILURES:
        first, last = ranges.pop()
        try:
            values = file.execute(_ROWS, (first, last)).fetchall()
        except sqlite3.Error:
            failures += 1
            if first < last:
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]
            continue
        if len(values) == _BATCH:
            ranges.append((values[-1][0] + 1, last))
        yield [row for value in values if (row := _row(value[1:])) is not None]


def _last_row(file: sqlite3.Connection) -> int:
    for query in (_LAST, _LAST_BY_INDEX):
        with suppress(sqlite3.Error):
            found = file.execute(query).fetchone()[0]
            return found if isinstance(found, int) else 0
    return _LAST_ROW


def _row(value: tuple[object, ...]) -> Row | None:
    camera, sequence, kind, epoch, generation, slot, sightings, payload = value
    numbers = (sequence, epoch, generation, sightings)
    if (
        not isinstance(camera, str)
        or kind not in {EPOCH, LIVE, SEGMENT}
        or not _whole(*numbers)
        or not isinstance(slot, int)
        or not isinstance(payload, bytes)
    ):
        return None
    name = SlotName(int(str(epoch)), int(str(generation)), slot)
    return Row(camera, int(str(sequence)), str(kind), name, int(str(sightings)), payload)


def _whole(*numbers: object) -> bool:
    return all(isinstance(number, int) and number >= 0 for number in numbers)
