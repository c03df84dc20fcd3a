"""Open the store's file for reading, beside whoever writes it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from runtime.database import connection_to, storage_errors

_CACHE_KIB = 8 * 1024


def open_for_reading(path: Path) -> Database:
    """Open an existing store that this connection will never write.

    Raises:
        StorageError: it is missing or unreadable.
    """
    with storage_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=10.0,
            isolation_level=None,
            check_same_thread=False,
            factory=connection_to(path),
        )
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return Database(connection, execute_plugins=False)
