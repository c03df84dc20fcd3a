"""What errors of PostgreSQL mean to the rest: `StorageFull`, `StorageDamaged`, `StorageError`."""

from __future__ import annotations

import psycopg
from psycopg import errors

from runtime.database import StorageDamaged, StorageError, StorageFull

_OURS = (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError)
"""Violated constraints and mistakes in our own SQL are bugs, not storage."""
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)
_BUSY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)
_NOT_ALLOWED = (errors.InsufficientPrivilege, errors.InvalidPassword, errors.ReadOnlySqlTransaction)


class storage_errors:  # reads as a function; every statement passes through it
    """Turn the server's errors inside the block into `StorageError` about ``what``."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise what it came to.

        Raises:
            StorageFull, StorageDamaged, StorageError: the server could not do it.
        """
        if isinstance(error, psycopg.Error):
            told = storage_error(error, self._what)
            if told is not None:
                raise told from error


def storage_error(error: psycopg.Error, what: str) -> StorageError | None:
    """Return what an error means for ``what``; None where it is a bug of our own."""
    said = first_line(error)
    if isinstance(error, errors.DiskFull):
        return StorageFull(f"no room left to write {what}; free space on its disk, then go on")
    if isinstance(error, _DAMAGED):
        return StorageDamaged.of(what, said)
    if isinstance(error, errors.CheckViolation) and "no partition" in said:
        return StorageError(f"{what} has dropped the day that was to be written; it is tried again")
    if isinstance(error, _OURS) and not isinstance(error, _NOT_ALLOWED):
        return None
    return StorageError(f"cannot use {what}: {said}; {_what_next(error)}")


def _what_next(error: psycopg.Error) -> str:
    if isinstance(error, _NOT_ALLOWED):
        return "check the user, its password file, and that the user owns the database"
    if isinstance(error, _BUSY):
        return "it is busy, and is tried again"
    return "check that the server runs, and the network to it"


def first_line(error: BaseException) -> str:
    """Return what an error says in one line; the server's hints and contexts are left out."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
