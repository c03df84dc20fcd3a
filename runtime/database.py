"""Open a role's SQLite file the one right way: durable, private, its schema up to date."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from sqlite_utils import Database

from runtime.errors import OperationError

BUSY_TIMEOUT_MS = 10_000
CHECKED_AT_ONCE_BYTES = 32 << 20
"""Larger files are not read through while everybody waits (see `runtime.integrity`)."""
_MAX_NOTED = 100
_damaged: dict[str, str] = {}
_noting = threading.Lock()


class StorageError(OperationError):
    """A database cannot be opened, read or written."""


class StorageFull(StorageError):
    """The disk (or the page limit set for the file) is full; nothing of the last write was kept."""


class StorageDamaged(StorageError):
    """The file holds pages that are not what was written, or is no database."""

    exit_code = 4

    @classmethod
    def of(cls, what: Path | str, reason: str) -> StorageDamaged:
        """Say that ``what`` is damaged, and what to do; note it for `damaged_files`."""
        reason = " ".join(reason.replace("*** in database main ***", "").split())
        error = cls(
            f"{what} is damaged or not a database: {reason}; "
            "put it aside and restore it from a backup"
        )
        with _noting:
            if len(_damaged) < _MAX_NOTED:
                _damaged.setdefault(str(what), str(error))
        return error


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
        StorageDamaged: not a database, or damaged; each page is looked at if there are few.
        StorageError: unreadable, or a migration failed (and was undone).
    """
    _create_private(path)
    with storage_errors(path):
        connection = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=not across_threads,
            factory=connection_to(path),
        )
    try:
        with storage_errors(path):
            if path.stat().st_size <= CHECKED_AT_ONCE_BYTES:
                require_whole(connection, path)
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


class storage_errors:  # reads as a function; every statement passes through it
    """Turn SQLite's errors inside the block into `StorageFull` or `StorageError` about ``what``.

    Constraint violations and mistakes in our own SQL pass unchanged: those are bugs, not storage.
    """

    __slots__ = ("_what",)

    def __init__(self, what: Path | str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise what it came to.

        Raises:
            StorageFull, StorageDamaged, StorageError: SQLite could not do it.
        """
        if not isinstance(error, sqlite3.DatabaseError):
            return
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            return
        what = self._what
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}:
            raise StorageFull(
                f"no room left to write {what}; free space on its disk, then go on"
            ) from error
        if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise StorageDamaged.of(what, str(error)) from error
        if primary != sqlite3.SQLITE_ERROR:
            raise StorageError(
                f"cannot use {what}: {error}; check the disk, the folder's permissions, "
                "and that no other program holds it"
            ) from error


class _Connection(sqlite3.Connection):
    """Statements raise `storage_errors` about the file that it is of."""

    of: Path

    def cursor(self, *_: Any) -> sqlite3.Cursor:  # type: ignore[override]  # always ours
        return super().cursor(_Cursor)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        return self.cursor().executemany(*arguments)

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:
        with storage_errors(self.of):
            return super().executescript(*arguments)


class _Cursor(sqlite3.Cursor):
    connection: _Connection

    def execute(self, *arguments: Any) -> Self:
        with storage_errors(self.connection.of):
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> Self:
        with storage_errors(self.connection.of):
            return super().executemany(*arguments)

    def fetchone(self) -> Any:
        with storage_errors(self.connection.of):
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with storage_errors(self.connection.of):
            return super().fetchall()

    def fetchmany(self, *arguments: Any) -> list[Any]:
        with storage_errors(self.connection.of):
            return super().fetchmany(*arguments)

    def __next__(self) -> Any:
        with storage_errors(self.connection.of):
            return super().__next__()


def connection_to(path: Path) -> type[sqlite3.Connection]:
    """Return a class of connections whose statements raise `storage_errors` about ``path``.

    So that nobody who reads a row has to think of it, and none is met by an error of SQLite's own.
    """

    class Connection(_Connection):
        of = path

    return Connection


def require_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page (SQLite's ``quick_check``).

    Raises:
        StorageDamaged: one is not what it should be.
    """
    with storage_errors(path):
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise StorageDamaged.of(path, str(found[0]) if found else "nothing can be read")


def damaged_files() -> dict[str, str]:
    """Return the files that this process has met as damaged, each with what was said of it."""
    with _noting:
        return dict(_damaged)


def forget_damage(path: Path | str) -> None:
    """Take ``path`` for whole again: another file is there now."""
    with _noting:
        _damaged.pop(str(path), None)


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


def _file_of(database: Database) -> Path | str:
    connection = database.conn
    return connection.of if isinstance(connection, _Connection) else "the database"
