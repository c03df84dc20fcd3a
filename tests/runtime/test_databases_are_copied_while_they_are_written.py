"""A backup's copy of a database is one moment's, however much is written meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.backup.databases import copy_database, figures, is_whole
from runtime.database import Migration, StorageDamaged, StorageError, open_database

_ROWS = 300
_SCHEMA = [
    Migration(
        "two tables that always agree",
        """
        CREATE TABLE a (n INTEGER PRIMARY KEY, text BLOB);
        CREATE TABLE b (n INTEGER PRIMARY KEY);
        """,
    )
]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database of more pages than are copied in one step, open for writing."""
    with closing(open_database(tmp_path / "source.db", _SCHEMA, page_size=512)) as database:
        for _ in range(_ROWS):
            write(database.conn)
        yield database.conn


def write(connection: sqlite3.Connection) -> None:
    """Add to both tables, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO a (text) VALUES (zeroblob(10000))")
    connection.execute("INSERT INTO b DEFAULT VALUES")
    connection.execute("COMMIT")


def test_a_writer_neither_waits_nor_is_in_it_nor_has_it_begin_anew(
    source: sqlite3.Connection, tmp_path: Path
) -> None:
    steps: list[str] = []

    def tell(text: str) -> None:
        steps.append(text)
        assert len(steps) < 20, "it begins anew with each thing that is written"
        write(source)

    copy_database(tmp_path / "source.db", tmp_path / "copy.db", tell)
    assert len(steps) > 1
    assert figures(tmp_path / "copy.db") == (1, {"a": _ROWS, "b": _ROWS})
    assert source.execute("SELECT count(*) FROM a").fetchone() == (_ROWS + len(steps),)
    assert is_whole(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("copy.db-*"))


def test_a_damaged_database_is_not_copied_as_if_it_were_whole(
    source: sqlite3.Connection, tmp_path: Path
) -> None:
    source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    source.close()
    path = tmp_path / "source.db"
    data = bytearray(path.read_bytes())
    data[512 * 50 : 512 * 400] = b"\xff" * 512 * 350
    path.write_bytes(data)
    with pytest.raises(StorageDamaged, match=r"source\.db is damaged"):
        copy_database(path, tmp_path / "copy.db", lambda _: None)
    assert not is_whole(path)


def test_what_is_not_there_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="has the service ever run here"):
        copy_database(tmp_path / "none.db", tmp_path / "copy.db", lambda _: None)
    assert not is_whole(tmp_path / "none.db")
