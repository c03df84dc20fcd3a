"""The aggregator's programs outside its store know of no database, and one that did is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.sql_in_store import STORE, faults, main


@pytest.mark.slow
def test_nothing_outside_the_store_touches_a_database() -> None:
    assert main() == 0


@pytest.mark.parametrize(
    "line",
    [
        "import sqlite3",
        "from sqlite_utils import Database",
        "from aggregator.store.sqlite.store import SqliteStore",
        "from aggregator.store.postgresql.store import PostgresqlStore",
        "store.writer.conn",
        "database.execute(text)",
        "connection.executemany(text, rows)",
        "text = 'SELECT id FROM streams WHERE camera = ?'",
        "text = f'DELETE FROM {table}'",
        "text = 'INSERT OR IGNORE INTO models (model) VALUES (?)'",
        "text = '''\n    UPDATE queries SET state = ?'''",
        "text = 'PRAGMA page_count'",
    ],
)
def test_each_way_to_a_database_is_named(line: str) -> None:
    assert list(faults(line))


def test_words_that_only_sound_like_it_are_not() -> None:
    plain = (
        '"""Select what came from a box, and update it."""\nwith store.writing() as unit:\n    pass'
    )
    assert list(faults(plain)) == []


def test_the_store_itself_is_full_of_it() -> None:
    found = [fault for path in STORE.rglob("*.py") for fault in faults(Path(path).read_text())]
    assert len(found) > 50
