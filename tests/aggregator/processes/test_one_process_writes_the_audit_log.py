"""Of several processes one writes the audit log; the others note, and wait until it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from laid_down import new_store

from aggregator.processes.logs import LogElsewhere, NotedLog, WrittenLog
from aggregator.processes.shares import UPKEEP_NUMBER
from aggregator.records import Records
from aggregator.store import Store
from aggregator.store.leases import DUTY, Lease, LeaseLost
from protocol.auditlog import Entry, origin_of
from protocol.signing import SigningKey
from runtime.database import StorageError
from runtime.lifecycle import Stop

KEY = SigningKey.generate("aggregator")
ORIGIN = origin_of("demo", "aggregator")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = new_store(tmp_path / "aggregator.db")
    yield opened
    opened.close()


def lease_of(store: Store, holder: str, *, for_ms: int = 60_000) -> Lease:
    with store.writing() as unit:
        taken = unit.ledger.take_lease(DUTY, UPKEEP_NUMBER, holder, for_ms=for_ms)
    assert taken is not None
    return taken


def written(store: Store, path: Path, lease: Lease | None = None) -> WrittenLog:
    return WrittenLog(path, ORIGIN, KEY, {}, store=store, lease=lease)


def kinds(log: WrittenLog) -> list[str]:
    return [Entry.parse(entry).kind for entry in log.entries()]


def test_what_others_note_is_in_the_log_when_they_go_on(store: Store, tmp_path: Path) -> None:
    log = written(store, tmp_path / "audit.db", lease_of(store, "writer"))
    stop = Stop()
    writer = threading.Thread(target=Records(store, log, "aggregator").write_noted, args=(stop,))
    writer.start()
    try:
        others = Records(store, NotedLog(store, {}), "aggregator")
        others.append("started", None, {"version": "1"})
        assert kinds(log) == ["started"]
        with others.writing():
            others.note("exported", None, {})
        assert kinds(log) == ["started", "exported"]
    finally:
        stop.set("enough")
        writer.join()
    assert store.ledger.log_size() == 2
    log.close()


def test_nothing_is_done_that_no_log_tells_of(store: Store) -> None:
    nobody_writes = Records(store, NotedLog(store, {}, wait_s=0.02), "aggregator")
    with pytest.raises(StorageError, match="duty `upkeep`"):
        nobody_writes.append("started", None, {"version": "1"})
    with pytest.raises(StorageError, match="duty `upkeep`"), nobody_writes.writing():
        pytest.fail("the one before is not told yet")


def test_who_lost_the_duty_writes_nothing_more(store: Store, tmp_path: Path) -> None:
    log = written(store, tmp_path / "audit.db", lease_of(store, "first", for_ms=0))
    lease_of(store, "second")
    Records(store, NotedLog(store, {}), "aggregator").note("started", None, {"version": "1"})
    with pytest.raises(LeaseLost, match="another process"):
        Records(store, log, "aggregator").flush()
    assert kinds(log) == []
    assert len(store.ledger.pending_entries()) == 1
    log.close()


def test_what_is_told_directly_is_fenced_and_counted_too(store: Store, tmp_path: Path) -> None:
    log = written(store, tmp_path / "audit.db", lease_of(store, "first", for_ms=0))
    records = Records(store, log, "aggregator")
    records.append("started", None, {"version": "1"})
    assert store.ledger.log_size() == 1
    with pytest.raises(LogElsewhere):
        written(store, tmp_path / "another-machine.db")
    lease_of(store, "second")
    with pytest.raises(LeaseLost, match="another process"):
        records.append("result-read", None, {"query_digest": b"", "reader": "ana"})
    assert kinds(log) == ["started"]
    log.close()


def test_no_second_history_is_begun_on_another_machine(store: Store, tmp_path: Path) -> None:
    log = written(store, tmp_path / "audit.db", lease_of(store, "writer"))
    records = Records(store, log, "aggregator")
    records.note("started", None, {"version": "1"})
    records.flush()
    log.close()
    elsewhere = tmp_path / "another-machine.db"
    with pytest.raises(LogElsewhere, match="bring its file"):
        written(store, elsewhere)
    assert not elsewhere.exists()
    written(store, tmp_path / "audit.db").close()
