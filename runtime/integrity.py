"""Notice a spoilt database before it is relied on: at the start, daily, and when SQLite says so.

A process that finds one ends with `EXIT_DAMAGED` and a word on what to do: its files stay as they
are. It does not go on with what it can still read, because what it answers would look whole.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from runtime.database import (
    StorageDamaged,
    StorageError,
    damaged_files,
    require_whole,
    storage_errors,
)
from runtime.lifecycle import Stop

EXIT_DAMAGED = 4
EVERY_S = 24 * 3600.0
_LOOK_S = 1.0
_log = structlog.get_logger()


def check_database(path: Path, stop: Stop | None = None) -> None:
    """Read every page of the database at ``path`` (SQLite's ``quick_check``), beside its users.

    Args:
        path: the file; nothing is done if it does not exist.
        stop: ends the check early, without a finding.

    Raises:
        StorageDamaged: a page is not what it should be.
        StorageError: it cannot be read.
    """
    if not path.exists() or (stop is not None and stop.is_set()):
        return
    with storage_errors(path):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(
            sqlite3.connect(uri, uri=True, timeout=10.0, check_same_thread=False)
        ) as connection:
            try:
                with _ended_by(stop, connection):
                    require_whole(connection, path)
            except StorageDamaged:
                raise
            except StorageError:
                if stop is None or not stop.is_set():
                    raise


@contextmanager
def _ended_by(stop: Stop | None, connection: sqlite3.Connection) -> Iterator[None]:
    """Have ``stop`` interrupt what ``connection`` does in the block.

    A progress handler would not do: SQLite before 3.42 calls none while it checks a table.
    """
    if stop is None:
        yield
        return
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_S / 10):
            if stop.is_set():
                connection.interrupt()

    looking = threading.Thread(target=look, name="integrity-end", daemon=True)
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()


class DatabaseWatch:
    """The body of a thread that checks databases at once and then daily, and hears of damage.

    Args:
        paths: the process's databases.
        every_s: seconds between two checks.
    """

    def __init__(self, paths: Sequence[Path], *, every_s: float = EVERY_S) -> None:
        self._paths = tuple(paths)
        self._every_s = every_s

    def run(self, stop: Stop) -> None:
        """Watch until ``stop``; damage sets it, with `EXIT_DAMAGED`."""
        waited_s = self._every_s
        while not stop.is_set():
            if waited_s >= self._every_s:
                waited_s = 0.0
                for path in self._paths:
                    self._check(path, stop)
            for name, reason in damaged_files().items():
                if Path(name) in self._paths:
                    report_damage(reason, stop)
            stop.wait(min(_LOOK_S, self._every_s))
            waited_s += min(_LOOK_S, self._every_s)

    def _check(self, path: Path, stop: Stop) -> None:
        try:
            check_database(path, stop)
        except StorageDamaged as error:
            report_damage(str(error), stop)
        except StorageError as error:
            _log.warning("database_not_checked", path=path, reason=str(error))
        else:
            _log.debug("database_checked", path=path)


def report_damage(reason: str, stop: Stop) -> None:
    """Say that a database is spoilt, and end the process."""
    if not stop.is_set():
        _log.critical("database_damaged", reason=reason, exit_code=EXIT_DAMAGED)
    stop.set(reason, exit_code=EXIT_DAMAGED)
