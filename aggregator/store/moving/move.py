"""Move a ledger: what never changes while the service runs, the rest in one step once it stopped.

Whatever is interrupted goes on where it was: each portion is one transaction of the new database,
which notes how far it has come; the last step is one transaction altogether. The file is not
changed. Packed objects stay where they are; what the ledger knows of them moves.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aggregator.store.moving.source import NUMBERED, RENAMED, Source
from aggregator.store.moving.target import Target, in_order
from aggregator.store.place import StorePlace, moved_note
from runtime.database import StorageError
from runtime.fsio import FileProblem, atomic_write, read_file

_PORTION = 500
_MARK_BYTES = 16


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a move has come.

    Args:
        copied: rows that this run has copied, by table.
        finished: all is there, and has been compared.
    """

    copied: dict[str, int]
    finished: bool


def move(database: Path, place: StorePlace, *, stopped: bool, tell: Callable[[str], None]) -> Moved:
    """Move the ledger in a file to the database at ``place``, or a part of it.

    Args:
        database: the file.
        place: has the new database's URL.
        stopped: nobody writes the file: finish. Else it is copied as far as it has come.
        tell: is told what is being done.

    Raises:
        NotTheSame: something came out otherwise than it went in; nothing of that portion is kept.
        StorageError: one of them cannot be used, or the new one holds another ledger.
    """
    if not place.url:
        raise StorageError("a ledger is moved to a server: name it as postgresql://user@host/name")
    with (
        closing(Source(database)) as source,
        closing(Target(place, _mark(database), str(database))) as target,
    ):
        if target.is_finished():
            _leave_note(database, place)
            return Moved({}, finished=True)
        _check_tables(source, target)
        copied = {table: _copy_on(source, target, table, tell) for table in NUMBERED}
        if not stopped:
            return Moved(copied, finished=False)
        copied |= _copy_rest(source, target, tell)
    _leave_note(database, place)
    return Moved(copied, finished=True)


def _copy_on(source: Source, target: Target, table: str, tell: Callable[[str], None]) -> int:
    """Copy a numbered table from where the last run ended; return how many rows."""
    columns, up_to, copied = source.columns(table), target.moved_up_to(table), 0
    at = columns.index("id")
    while rows := source.rows_after(table, up_to, most=_PORTION):
        target.add(table, columns, rows)
        up_to, copied = rows[-1][at], copied + len(rows)
        tell(f"{table}: {copied} copied, up to number {up_to}")
    return copied


def _copy_rest(source: Source, target: Target, tell: Callable[[str], None]) -> dict[str, int]:
    """Make the new ledger what the old one is, in one transaction."""
    copied: dict[str, int] = {}
    named = {RENAMED.get(table, table): table for table in source.whole_tables()}
    with target.writing() as unit:
        for table in NUMBERED:
            target.keep_only(table, source.numbers(table), unit)
        target.empty(named, unit)
        for table in in_order(named):
            tell(f"{table}: copied whole")
            rows = source.rows(named[table])
            copied[table] = target.write_whole(table, source.columns(named[table]), rows, unit)
            if copied[table] != source.count(named[table]):
                raise StorageError(
                    f"somebody writes {source.path}: stop the service, then move again"
                )
        last = source.last_numbers()
        target.count_on({RENAMED.get(table, table): last[table] for table in last}, unit)
        target.finish(unit)
    return copied


def _check_tables(source: Source, target: Target) -> None:
    """Refuse what the other backend has no place for, before anything is copied.

    Raises:
        StorageError: there is something of that kind.
    """
    for table in (*NUMBERED, *source.whole_tables()):
        there = target.types(RENAMED.get(table, table))
        missing = [name for name in source.columns(table) if name not in there]
        if missing:
            raise StorageError(
                f"the new database has no place for {', '.join(missing)} of {table}: this program"
                " cannot move this ledger; report it"
            )


def _mark(database: Path) -> str:
    """Return the mark under which this ledger is moved; the first time, make one.

    Raises:
        StorageError: it can be neither read nor written.
    """
    path = database.with_name(f"{database.name}.moving")
    try:
        if path.exists():
            return read_file(path, 4096).decode("ascii").strip()
        mark = secrets.token_hex(_MARK_BYTES)
        atomic_write(path, f"{mark}\n".encode(), 0o600)
    except (FileProblem, UnicodeDecodeError) as error:
        raise StorageError(f"cannot use {path}: {error}") from error
    return mark


def _leave_note(database: Path, place: StorePlace) -> None:
    """Say beside the file where its ledger went, so that nobody goes on with the old one."""
    try:
        atomic_write(moved_note(database), f"{place.url}\n".encode(), 0o600)
    except FileProblem as error:
        raise StorageError(str(error)) from error
