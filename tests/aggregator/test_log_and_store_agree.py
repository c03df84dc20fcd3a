"""No crash, full disk or refused row parts the aggregator's store from its log."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest
from answered_query import Site
from store_file import altering, rows

import aggregator.runner
from aggregator.records import Records
from aggregator.store.sqlite.store import SqliteStore
from protocol.auditlog import Entry, origin_of
from protocol.results import CONFIRMED, Decision
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.database import StorageError
from runtime.merkletable import MerkleTable

KINDS = ("query-filed", "approval", "grant-received", "match", "decision")
TABLES = {
    "query-filed": "queries",
    "approval": "approvals",
    "grant-received": "grants",
    "match": "results",
    "decision": "decisions",
}
Append = Callable[..., int]


class Crash(BaseException):
    """The process ends here: nothing that comes after happens."""


def live(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A whole query: filed, approved, granted, matched, its candidate confirmed."""
    site = Site(folder, monkeypatch, s.CUSTODIANS, 2)
    site.step()
    confirm(site)
    return site


def confirm(site: Site) -> None:
    for candidate, _, _ in site.desk.results(site.record, reader="ana"):
        decision = Decision(site.record.digest, candidate, CONFIRMED, system_ms())
        site.desk.decide(site.query_id, decision.sign(s.signing_key("ana")).to_bytes())


def entries(log: AuditLog) -> list[Entry]:
    return [Entry.parse(data) for data in log.entries()]


def assert_agree(store: SqliteStore, log: AuditLog) -> None:
    """Each row of the store is told of once, and nothing is told of that is not there."""
    told = Counter(entry.kind for entry in entries(log))
    for kind, table in TABLES.items():
        ((count,),) = rows(store, f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
        if kind == "match":
            found = [e.open("eve", s.sealing_key("eve")) for e in entries(log) if e.kind == kind]
            assert sum(int(str(body["candidates"])) for body in found) == count
        else:
            assert told[kind] == count, kind


def assert_agree_after_restart(folder: Path) -> None:
    store = SqliteStore(folder / "aggregator.db")
    key = s.signing_key("aggregator")
    auditors = {"eve": s.sealing_key("eve").public}
    log = AuditLog(folder / "audit.db", origin_of(s.SITE, "aggregator"), key, auditors)
    try:
        Records(store, log, "aggregator").flush()
        assert_agree(store, log)
    finally:
        log.close()
        store.close()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_while_the_log_is_written_leaves_neither_a_gap_nor_a_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, moment: str
) -> None:
    append: Append = MerkleTable.append

    def crash(self: Any, data: bytes, *more: Any) -> int:
        ends = Entry.parse(data).kind == kind
        if ends and moment == "before":
            raise Crash
        number = append(self, data, *more)
        if ends:
            raise Crash
        return number

    with monkeypatch.context() as patch:
        patch.setattr(MerkleTable, "append", crash)
        with pytest.raises(Crash):
            live(tmp_path, monkeypatch)
    assert_agree_after_restart(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_store_does_not_take_is_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    create = SqliteStore.__init__

    def refusing(self: SqliteStore, path: Path, **options: Any) -> None:
        create(self, path, **options)
        with altering(self) as connection:
            connection.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {TABLES[kind]}"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )

    monkeypatch.setattr(SqliteStore, "__init__", refusing)
    try:
        live(tmp_path, monkeypatch)
    except sqlite3.IntegrityError:
        pass
    else:
        assert kind in {"grant-received", "match"}, "a query's step goes on with the next try"
    monkeypatch.undo()
    assert_agree_after_restart(tmp_path)


def test_candidates_that_could_not_be_stored_are_found_at_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator.runner, "RETRY_S", 0.0)
    site = Site(tmp_path, monkeypatch, s.CUSTODIANS, 2)
    with altering(site.store) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON results"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    assert site.step().state == "blocked"
    with altering(site.store) as connection:
        connection.execute("DROP TRIGGER refuse")
    assert site.step().state == "complete"
    assert len(site.desk.results(site.record, reader="ana")) == 1
    assert_agree(site.store, site.log)
    site.close()


def test_nobody_goes_on_while_the_log_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator.runner, "RETRY_S", 0.0)
    site = Site(tmp_path, monkeypatch, s.CUSTODIANS, 2)

    def full(*_: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(MerkleTable, "append", full)
        assert site.step().state == "blocked"
        assert site.step().state == "blocked"
        with pytest.raises(StorageError):
            site.desk.results(site.record, reader="ana")
        now_ms = system_ms()
        case = s.case(
            query_id=bytes(16), requested_at_ms=now_ms, not_after_ms=now_ms + 3_600_000, live=False
        )
        with pytest.raises(StorageError):
            site.desk.file(case.query.to_bytes())
        assert [record.query_id for record in site.desk.everything()] == [site.query_id]
    assert site.step().state == "complete"
    confirm(site)
    assert_agree(site.store, site.log)
    site.close()
