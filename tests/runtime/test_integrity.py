"""A spoilt database is noticed at the start, daily and when it is met, and ends the process."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database
from waiting import wait_for

from runtime.database import (
    CHECKED_AT_ONCE_BYTES,
    Migration,
    StorageDamaged,
    StorageError,
    damaged_files,
    forget_damage,
    open_database,
)
from runtime.integrity import EXIT_DAMAGED, DatabaseWatch, check_database
from runtime.lifecycle import Stop, Threads

ROWS = [Migration("rows", "CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT NOT NULL);")]

PAGEFUL = 3900


def filled(path: Path, rows: int = 2000, *, width: int = 200) -> Database:
    database = open_database(path, ROWS, across_threads=True)
    database.conn.execute(
        "INSERT INTO row (text) WITH RECURSIVE count(n) AS"
        " (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < ?) SELECT ? FROM count",
        [rows, "x" * width],
    )
    database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


def spoil(path: Path, content: bytes = bytes(1), *, page: int = 20) -> None:
    with path.open("r+b") as raw:
        raw.seek(page * 4096)
        raw.write((content * 8192)[:8192])


@pytest.mark.parametrize("content", [bytes(1), b"\x5a\xa5garbage"], ids=["zeros", "garbage"])
def test_a_spoilt_page_is_told_when_the_file_is_opened(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    filled(path).close()
    spoil(path, content)
    before = path.read_bytes()
    with pytest.raises(StorageDamaged, match=r"x\.db is damaged.*restore it from a backup"):
        open_database(path, ROWS)
    assert path.read_bytes() == before


def test_a_row_on_a_spoilt_page_is_told_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(filled(path)) as database:
        spoil(path)
        with closing(open_unchecked(path)) as other:
            for read in (
                lambda: list(other.conn.execute("SELECT text FROM row")),
                lambda: other.conn.execute("SELECT text FROM row").fetchall(),
                lambda: list(other["row"].rows),
                lambda: other.conn.executemany("UPDATE row SET text = ?", [("y",)]),
            ):
                with pytest.raises(StorageDamaged):
                    read()
        assert database.conn.execute("SELECT 1").fetchone() == (1,)
    forget_damage(path)


def open_unchecked(path: Path) -> Database:
    from runtime.database import connection_to

    connection = sqlite3.connect(path, isolation_level=None, factory=connection_to(path))
    return Database(connection, execute_plugins=False)


def watching(path: Path, stop: Stop, every_s: float) -> Threads:
    threads = Threads(stop)
    threads.start("integrity", lambda: DatabaseWatch([path], every_s=every_s).run(stop))
    return threads


@pytest.mark.slow
def test_a_page_that_spoils_while_running_ends_the_process_at_the_next_check(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.db"
    stop = Stop()
    with closing(filled(path)):
        threads = watching(path, stop, every_s=0.1)
        assert not stop.wait(0.5)
        spoil(path)
        assert stop.wait(30)
        threads.join(60)
    assert stop.exit_code == EXIT_DAMAGED
    assert "restore it from a backup" in stop.reason


@pytest.mark.slow
def test_damage_that_somebody_meets_ends_the_process_before_the_next_check(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.db"
    stop = Stop()
    with closing(filled(path)):
        threads = watching(path, stop, every_s=3600)
        assert not stop.wait(1.5)
        spoil(path)
        with closing(open_unchecked(path)) as other, pytest.raises(StorageDamaged):
            other.conn.execute("SELECT text FROM row").fetchall()
        assert stop.wait(30)
        threads.join(60)
    assert stop.exit_code == EXIT_DAMAGED
    forget_damage(path)


def test_a_large_file_is_opened_unread_and_its_check_ends_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path, 4 * CHECKED_AT_ONCE_BYTES // PAGEFUL // 3, width=PAGEFUL).close()
    assert path.stat().st_size > CHECKED_AT_ONCE_BYTES
    spoil(path, page=path.stat().st_size // 4096 - 20)
    open_database(path, ROWS).close()
    with pytest.raises(StorageDamaged):
        check_database(path)
    stopped = Stop()
    stopped.set("over")
    check_database(path, stopped)
    forget_damage(path)


@pytest.mark.slow
def test_a_check_that_the_process_does_not_wait_for_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path, 2 * CHECKED_AT_ONCE_BYTES // 200).close()
    stop = Stop()
    timer = threading.Timer(0.01, lambda: stop.set("over"))
    timer.start()
    check_database(path, stop)
    timer.join()
    assert str(path) not in damaged_files()
    check_database(path)


@pytest.mark.slow
def test_a_file_that_cannot_be_read_now_ends_nothing(tmp_path: Path) -> None:
    stop = Stop()
    folder = tmp_path / "folder.db"
    folder.mkdir()
    with pytest.raises(StorageError):
        check_database(folder)
    threads = watching(folder, stop, every_s=0.1)
    assert not stop.wait(0.5)
    stop.set("over")
    threads.join(60)
    assert (stop.exit_code, threading.active_count() > 0) == (0, True)
    wait_for(lambda: not threads.alive(), "the watch to end")
