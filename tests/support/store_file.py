"""The file behind a store, for tests that look into it or spoil it as nobody's program would."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aggregator.store import Store
from aggregator.store.packed.store import PackedStore
from aggregator.store.sqlite.store import SqliteStore


@contextmanager
def altering(store: Store) -> Iterator[sqlite3.Connection]:
    """Give a connection of the test's own; what it changes is committed at the end."""
    file = store.inner if isinstance(store, PackedStore) else store
    assert isinstance(file, SqliteStore)
    with closing(sqlite3.connect(file.path)) as connection, connection:
        yield connection


def rows(store: Store, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a statement finds in the file, committed."""
    with altering(store) as connection:
        return connection.execute(sql, values).fetchall()


def connections_to(path: Path) -> list[sqlite3.Connection]:
    """Return every connection to a file that this process has, whichever thread uses it."""
    gc.collect()
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, sqlite3.Connection) and getattr(one, "of", None) == path
    ]
