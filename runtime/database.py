"""Open a role's SQLite file the one right way: durable, private, its schema up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from runtime.errors import OperationError

BUSY_TIMEOUT_MS = 10_000


class StorageError(OperationError):
    """A database cannot be opened, read or written."""


class StorageFull(StorageError):
    """The disk (or the page limit set for the file) is full; nothing of the last write was kept."""


class SchemaTooNew(StorageError):
    """The file was written by a newer version of this program, which must be used to open it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema: SQL statements, a function, or both (the SQL first).

    The step's number is its place in the list, so a released list only ever grows at its end.
    """

    name: str
    sql: str = ""
    apply: Callable[[Database], None] | None = None


def open_database(
    path: Path,
    migrations: Sequence[Migration],
    *,
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    page_size: int | None = None,
    max_pages: int | None = None,
    across_threads: bool = False,
) -> Database:
    """Open (or create, mode 0600) the database at ``path`` and run the migrations it still lacks.

    Write-ahead log, foreign keys on, a busy timeout of ``BUSY_TIMEOUT_MS``. Statements commit by
    themselves; use `write_transaction` for more than one. Several processes may open it.

    Args:
        path: the file; its folder must exist.
        migrations: the whole history of the schema, in order.
        synchronous: ``FULL`` makes each commit survive a power cut (an outbox, a key store);
            ``NORMAL`` survives a crash of the process and may lose the last commits with the power.
        page_size: bytes a page for a new file; a power of two from 512 to 65,536.
        max_pages: refuse to grow beyond this many pages (`StorageFull`).
        across_threads: allow the connection in any thread; its owner then holds a lock of its own
            around each transaction.

    Raises:
        SchemaTooNew: the file has more migrations than this program knows.
        StorageFull: no room to migrate.
        StorageError: not a database, damaged, unreadable, or a migration failed (and was undone).
    """
    _create_private(path)
    with storage_errors(path):
        connection = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=not across_threads,
        )
    try:
        with storage_errors(path):
            if page_size is not None:
                connection.execute(f"PRAGMA page_size = {int(page_size)}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA secure_delete = ON")
            if max_pages is not None:
                connection.execute(f"PRAGMA max_page_count = {int(max_pages)}")
            database = Database(connection, execute_plugins=False)
            _migrate(database, path, migrations)
    except BaseException:
        connection.close()
        raise
    return database


@contextmanager
def write_transaction(database: Database) -> Iterator[Database]:
    """Take the write lock now, commit at the end, undo everything when the block raises.

    Taking the lock at once (``BEGIN IMMEDIATE``) waits for other writers instead of failing in the
    middle when two processes both read before they write.

    Raises:
        StorageFull, StorageError: see `storage_errors`.
    """
    with storage_errors(_file_of(database)):
        database.conn.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.conn.execute("COMMIT")
        except BaseException:
            if database.conn.in_transaction:
                database.conn.execute("ROLLBACK")
            raise


@contextmanager
def storage_errors(what: Path | str) -> Iterator[None]:
    """Turn SQLite's errors inside the block into `StorageFull` or `StorageError` about ``what``.

    Constraint violations and mistakes in our own SQL pass unchanged: those are bugs, not storage.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}:
            raise StorageFull(
                f"no room left to write {what}; free space on its disk, then go on"
            ) from error
        if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise StorageError(
                f"{what} is damaged or not a database: {error}; "
                "put it aside and restore it from a backup"
            ) from error
        if primary == sqlite3.SQLITE_ERROR:
            raise
        raise StorageError(
            f"cannot use {what}: {error}; check the disk, the folder's permissions, "
            "and that no other program holds it"
        ) from error


def schema_version(database: Database) -> int:
    """Return how many migrations the file has been through."""
    return int(database.conn.execute("PRAGMA user_version").fetchone()[0])


def _create_private(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(
            f"cannot open {path}: {error.strerror}; check the folder and its permissions"
        ) from error


def _migrate(database: Database, path: Path, migrations: Sequence[Migration]) -> None:
    while (version := schema_version(database)) != len(migrations):
        if version > len(migrations):
            raise SchemaTooNew(
                f"{path} has schema {version}, this program knows schemas up to "
                f"{len(migrations)}; use the newer version that wrote it, or restore a backup"
            )
        migration = migrations[version]
        try:
            with write_transaction(database):
                # Another process may have migrated while we waited for the lock.
                if schema_version(database) != version:
                    continue
                for statement in _statements(migration.sql):
                    database.conn.execute(statement)
                if migration.apply is not None:
                    migration.apply(database)
                database.conn.execute(f"PRAGMA user_version = {version + 1}")
        except sqlite3.Error as error:
            raise StorageError(
                f"{path}: migration {version + 1} ({migration.name}) failed and was undone: {error}"
            ) from error


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements; `sqlite3.executescript` would commit before it starts."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending


def _file_of(database: Database) -> str:
    rows = database.conn.execute("PRAGMA database_list").fetchall()
    return next((str(row[2]) for row in rows if row[1] == "main" and row[2]), "the database")
