"""Copy a role's SQLite file while the role writes it, as it was at one moment."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from runtime.database import (
    StorageDamaged,
    StorageError,
    StorageFull,
    connection_to,
    forget_damage,
    require_whole,
    storage_errors,
)
from runtime.fsio import fsync_folder
from runtime.merkletable import MerkleTable

_PAGES = 4096
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, by ending."""


def copy_database(source: Path, target: Path, tell: Callable[[str], None]) -> None:
    """Copy the database ``source`` to the new file ``target``, mode 0600, durable and checked.

    It is one moment's: our own transaction holds that moment while others write on.

    Raises:
        StorageDamaged: the source has a page that is not what was written.
        StorageFull: no room at the target.
        StorageError: either cannot be used.
    """
    _require_room(source, target.parent)
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def copied(_status: int, left: int, total: int) -> None:
        if total > _PAGES:
            tell(f"{source.name}: {100 * (total - left) // total} % copied")

    with (
        storage_errors(source),
        closing(_reading(source)) as reader,
        closing(sqlite3.connect(target, isolation_level=None)) as writer,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the moment begins
        with storage_errors(target):
            reader.backup(writer, pages=_PAGES, progress=copied)
            writer.execute("PRAGMA journal_mode = DELETE")  # one file, and nothing beside it
        reader.execute("COMMIT")
    with closing(_reading(target)) as copy:
        require_whole(copy, source)
    make_durable(target)


def figures(path: Path) -> tuple[int, dict[str, int]]:
    """Return the number of a database's schema, and how many rows each of its tables has.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(path), closing(_reading(path)) as reader:
        schema = int(reader.execute("PRAGMA user_version").fetchone()[0])
        names = reader.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        ).fetchall()
        rows = {
            str(name): int(reader.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608 - names of tables that are there
            for (name,) in names
        }
    return schema, rows


def is_whole(path: Path) -> bool:
    """Tell whether there is a database at ``path`` of which every page is what was written."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    try:
        with storage_errors(path), closing(_reading(path)) as reader:
            require_whole(reader, path)
    except StorageDamaged:
        forget_damage(path)
        return False
    return True


def make_durable(path: Path) -> None:
    """Have a file survive a power cut, and its name."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fsync_folder(path.parent)


def _reading(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=10.0,
        isolation_level=None,
        factory=connection_to(path),
    )
    with storage_errors(path):
        connection.execute("PRAGMA query_only = ON")
    return connection


def _require_room(source: Path, folder: Path) -> None:
    try:
        needed = source.stat().st_size
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise StorageError(
            f"cannot read {source}: {error.strerror}; has the service ever run here?"
        ) from error
    if needed > free:
        raise StorageFull(
            f"{source} has {needed >> 20:,} MB and in {folder} there is room for {free >> 20:,} MB:"
            " give the backup a place with more room"
        )


def log_figures(path: Path) -> tuple[int, bytes]:
    """Return how many entries a copy of an audit log has, and the root over them.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(path), closing(_reading(path)) as reader:
        tree = MerkleTable(Database(reader, execute_plugins=False))
        return tree.size, tree.recomputed_root(tree.size)  # of any schema
