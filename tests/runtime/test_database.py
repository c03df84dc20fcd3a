"""A database file is private, migrates forward only, and says clearly when it cannot go on."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from sqlite_utils import Database

from runtime.database import (
    Migration,
    SchemaTooNew,
    StorageError,
    StorageFull,
    open_database,
    schema_version,
    storage_errors,
    write_transaction,
)

FIRST = Migration(
    "boxes",
    """
    -- a comment; with a semicolon
    CREATE TABLE box (name TEXT PRIMARY KEY, note TEXT);
    CREATE TABLE camera (name TEXT PRIMARY KEY, box TEXT NOT NULL REFERENCES box(name));
    CREATE TRIGGER stamp AFTER INSERT ON box BEGIN
        UPDATE box SET note = 'new;' WHERE name = NEW.name;
    END;
    """,
)


def fill(database: Database) -> None:
    database.table("box").insert({"name": "seed"})


SECOND = Migration("seed", apply=fill)


def pragma(database: Database, name: str) -> object:
    return database.conn.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_new_file_is_private_durable_and_at_the_newest_schema(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    database = open_database(path, [FIRST, SECOND], synchronous="FULL", page_size=8192)
    assert schema_version(database) == 2
    assert list(database["box"].rows) == [{"name": "seed", "note": "new;"}]
    assert pragma(database, "journal_mode") == "wal"
    assert pragma(database, "synchronous") == 2
    assert pragma(database, "page_size") == 8192
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    database.close()


def test_foreign_keys_hold(tmp_path: Path) -> None:
    database = open_database(tmp_path / "x.db", [FIRST])
    with pytest.raises(sqlite3.IntegrityError):
        database.conn.execute("INSERT INTO camera VALUES ('north', 'nowhere')")


def test_an_older_file_gets_only_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_database(path, [FIRST]).close()
    database = open_database(path, [FIRST, SECOND])
    assert schema_version(database) == 2
    database.close()
    again = open_database(path, [FIRST, SECOND])
    assert again["box"].count == 1


def test_a_newer_file_is_refused_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_database(path, [FIRST, SECOND]).close()
    with pytest.raises(SchemaTooNew, match=r"schema 2.*up to 1"):
        open_database(path, [FIRST])
    assert schema_version(open_database(path, [FIRST, SECOND])) == 2


def test_a_failing_migration_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    broken = Migration("broken", "CREATE TABLE half (a); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(StorageError, match=r"migration 2 \(broken\) failed and was undone"):
        open_database(path, [FIRST, broken])
    database = open_database(path, [FIRST])
    assert schema_version(database) == 1
    assert "half" not in database.table_names()


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path / "x.db", [FIRST])
    with pytest.raises(RuntimeError), write_transaction(database):
        database.table("box").insert({"name": "a"})
        raise RuntimeError
    assert database["box"].count == 0
    with write_transaction(database):
        database.table("box").insert({"name": "a"})
        database.table("box").insert_all([{"name": "b"}, {"name": "c"}])
    other = open_database(tmp_path / "x.db", [FIRST])
    assert other["box"].count == 3


def test_two_openers_at_once_migrate_once(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    versions: list[int] = []

    def opener() -> None:
        database = open_database(path, [FIRST, SECOND])
        versions.append(schema_version(database))
        database.close()

    threads = [threading.Thread(target=opener) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert versions == [2] * 6
    assert open_database(path, [FIRST, SECOND])["box"].count == 1


def test_a_full_disk_is_storage_full_and_keeps_what_was_there(tmp_path: Path) -> None:
    database = open_database(tmp_path / "x.db", [FIRST], page_size=512, max_pages=32)
    database.table("box").insert({"name": "kept"})
    full = pytest.raises(StorageFull, match=r"no room left to write .*x\.db")
    with full, write_transaction(database):
        for number in range(1000):
            database.table("box").insert({"name": f"{number}" * 50})
    assert [row["name"] for row in database["box"].rows] == ["kept"]


def test_garbage_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match="damaged or not a database"):
        open_database(path, [FIRST])
    with pytest.raises(StorageError, match="cannot open"):
        open_database(tmp_path / "absent" / "x.db", [FIRST])


def test_our_own_mistakes_are_not_dressed_up_as_storage(tmp_path: Path) -> None:
    database = open_database(tmp_path / "x.db", [FIRST])
    with pytest.raises(sqlite3.OperationalError), storage_errors("x"):
        database.conn.execute("SELECT nonsense FROM box")
    database.table("box").insert({"name": "a"})
    with pytest.raises(sqlite3.IntegrityError), write_transaction(database):
        database.table("box").insert({"name": "a"})


def test_a_connection_stays_in_its_thread_unless_told(tmp_path: Path) -> None:
    outcome: list[object] = []

    def use(database: Database) -> None:
        try:
            outcome.append(database["box"].count)
        except sqlite3.ProgrammingError as error:
            outcome.append(type(error))

    for across in (False, True):
        database = open_database(tmp_path / "x.db", [FIRST], across_threads=across)
        thread = threading.Thread(target=use, args=(database,))
        thread.start()
        thread.join(60)
    assert outcome == [sqlite3.ProgrammingError, 0]
