"""Databases of a role, beside a service that uses them: schema, and whether they are whole."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from runtime.database import StorageDamaged, storage_errors
from runtime.doctor.findings import Findings
from runtime.integrity import check_database
from runtime.lifecycle import Stop

READ_WITHIN_S = 5.0
"""What takes longer to read through is left to the service, which does it daily."""


@dataclass(frozen=True, slots=True)
class Known:
    """A database, and how many steps of its schema this program knows."""

    path: Path
    schema: int


def look_at_databases(found: Findings, databases: Iterable[Known], *, restored: str) -> None:
    """Look at each that is there. It is opened read-only, in a mode that makes no writer wait.

    Args:
        found: takes what is found.
        databases: which.
        restored: what to do with one that is spoilt.
    """
    for known in databases:
        with found.looking(known.path.name):
            if not known.path.exists():
                continue
            if not known.path.is_file():  # a pipe would be waited for
                found.wrong(known.path.name, f"{known.path} is not a file", restored)
                continue
            known.path.open("rb").close()  # SQLite does not say that it was not permitted
            _look_at(found, known, restored)


def _look_at(found: Findings, known: Known, restored: str) -> None:
    name, has = known.path.name, schema_of(known.path)
    if has > known.schema:
        found.wrong(
            name,
            f"{known.path} has schema {has}, and this program knows {known.schema}: a newer one"
            " wrote it",
            "install that version again, or restore the backup from before its start",
        )
        return
    try:
        whole = _read_through(known.path, None if found.deep else READ_WITHIN_S)
    except StorageDamaged as error:
        found.wrong(name, str(error), restored)
        return
    size = f"{known.path.stat().st_size / 1e6:,.1f} MB, schema {has}"
    older = (
        f" of {known.schema}, brought up to date at the next start" if has < known.schema else ""
    )
    read = "whole" if whole else "sound as far as read; the service reads it through daily (--deep)"
    found.well(name, f"{size}{older}; {read}")


def schema_of(path: Path) -> int:
    """Return how many steps of its schema a database has been through; it is only read.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(path):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=2.0)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _read_through(path: Path, within_s: float | None) -> bool:
    """Read every page, at most so long; tell whether the end was reached."""
    stop = Stop()
    timer = threading.Timer(within_s or 0, lambda: stop.set("long enough"))
    timer.daemon = True
    if within_s is not None:
        timer.start()
    try:
        check_database(path, stop)
    finally:
        timer.cancel()
    return not stop.is_set()
