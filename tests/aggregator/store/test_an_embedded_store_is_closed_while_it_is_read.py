"""Who closes the embedded store takes no connection from beneath a thread that reads by it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from aggregator.store.sqlite.store import SqliteStore
from runtime.database import StorageError

COUNT_TO_1000 = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n"
)


def test_who_reads_when_a_store_is_closed_reads_on_and_nobody_begins_anew(tmp_path: Path) -> None:
    store, in_the_middle, closed = SqliteStore(tmp_path / "store.db"), *two_events()
    read: list[int] = []
    refused: list[str] = []

    def reading() -> None:
        rows = store.segments._run(COUNT_TO_1000)
        read.append(rows.fetchone()[0])
        in_the_middle.set()
        assert closed.wait(30)
        read.extend(row[0] for row in rows)
        with pytest.raises(StorageError) as error:
            store.ledger.pending_numbers()
        refused.append(str(error.value))

    other = threading.Thread(target=reading)
    other.start()
    assert in_the_middle.wait(30)
    store.close()
    closed.set()
    other.join(30)
    assert read == list(range(1, 1001))
    assert refused == [f"{tmp_path / 'store.db'} is closed"]


def two_events() -> tuple[threading.Event, threading.Event]:
    return threading.Event(), threading.Event()
