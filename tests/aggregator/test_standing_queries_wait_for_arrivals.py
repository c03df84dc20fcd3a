"""Live queries that stand cost nothing while nothing comes, and lose nothing by that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from quiet_site import QuietSite
from store_file import connections_to
from waiting import wait_for

import aggregator.runner
from aggregator.store.sqlite.store import SqliteStore
from aggregator.watching import ARRIVAL_MS
from protocol.about_queries import Withdrawal
from protocol.names import SLOT_MS
from protocol.signing import Signed
from runtime.lifecycle import Stop

QUERIES, CAMERAS = 3, 4


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QuietSite]:
    one = QuietSite(tmp_path, monkeypatch, queries=QUERIES, cameras=CAMERAS)
    yield one
    one.close()


@pytest.fixture
def standing(site: QuietSite) -> QuietSite:
    """All queries stand, all keys are there."""
    site.look()
    assert states(site) == {"standing"}
    site.look()  # the list of queries is read again after their states changed
    return site


def states(site: QuietSite) -> set[str]:
    return {site.desk.get(number).state for number in site.ids}


def found(site: QuietSite) -> list[int]:
    return [site.desk.count_results(site.desk.get(number).digest) for number in site.ids]


def withdrawal(site: QuietSite, query: int) -> bytes:
    digest = site.desk.get(site.ids[query]).digest
    return Withdrawal(digest, "recovered", site.now_ms).sign(s.signing_key("ana")).to_bytes()


@contextmanager
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect the signers of all signatures that are checked inside the block."""
    checked: list[str] = []
    verify = Signed.verify

    def counted(self: Signed, *more: object, **named: object) -> bytes:
        checked.append(self.signer)
        return verify(self, *more, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Signed, "verify", counted)
        yield checked


@contextmanager
def statements(site: QuietSite) -> Iterator[list[str]]:
    """Collect the SQL that this thread runs inside the block, and those that step queries."""
    assert isinstance(site.store, SqliteStore)
    ran: list[str] = []
    site.store._reader()
    connections = connections_to(site.store.path)
    for connection in connections:
        connection.set_trace_callback(ran.append)
    yield ran
    for connection in connections:
        connection.set_trace_callback(None)


@contextmanager
def running(site: QuietSite) -> Iterator[None]:
    stop = Stop()
    thread = threading.Thread(target=site.runner.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set("test over")
        site.desk.changed.set()
        thread.join(30)


def test_while_nothing_comes_no_signature_is_checked_and_no_query_reads_anything(
    standing: QuietSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with checks(monkeypatch) as checked, statements(standing) as ran:
        for _ in range(10):
            standing.now_ms += 100
            standing.look()
    assert checked == []
    cursors = [sql for sql in ran if "max(id)" in sql]
    log = [sql for sql in ran if "log_outbox" in sql]
    assert (len(cursors), len(log)) == (20, 10), "two cursors and the log a look, for all together"
    assert len(ran) == 30


def test_an_envelope_is_matched_at_once_by_all_who_hold_its_keys(
    standing: QuietSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing.see("cam-2")
    with checks(monkeypatch) as checked, statements(standing) as ran:
        standing.look()
    assert found(standing) == [1] * QUERIES
    assert checked == []
    assert len([sql for sql in ran if "SELECT DISTINCT" in sql]) == 1, "asked once for all queries"
    assert not [sql for sql in ran if "FROM announcements" in sql and "max(id)" not in sql]


@pytest.mark.slow
def test_an_announcement_is_asked_for_alone(standing: QuietSite) -> None:
    asked = standing.asked
    standing.announce("cam-3", generation=s.GENERATION + 1)
    with statements(standing) as ran:
        standing.look()
    assert standing.asked == asked + QUERIES * len(s.CUSTODIANS)
    read = [sql for sql in ran if "FROM announcements a" in sql]
    assert len(read) == QUERIES
    assert not [sql for sql in ran if "WHERE stream = " in sql and "FROM announcements" in sql]


@pytest.mark.slow
def test_a_quarter_of_an_hour_later_the_next_keys_are_asked_for(standing: QuietSite) -> None:
    asked = standing.asked
    standing.now_ms += SLOT_MS
    standing.look()
    assert standing.asked == asked + QUERIES * len(s.CUSTODIANS)
    standing.look()
    assert standing.asked == asked + QUERIES * len(s.CUSTODIANS)
    standing.see("cam-1", slot=s.SLOT + 1)
    standing.look()
    assert found(standing) == [1] * QUERIES


def test_a_withdrawal_ends_its_query_before_anything_else_is_matched(standing: QuietSite) -> None:
    standing.desk.withdraw(standing.ids[0], withdrawal(standing, 0))
    standing.see("cam-1")
    standing.look()
    assert standing.desk.get(standing.ids[0]).state == "withdrawn"
    assert found(standing) == [0, *[1] * (QUERIES - 1)]


@pytest.mark.slow
def test_a_withdrawal_and_an_arrival_wake_the_thread(
    site: QuietSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator.runner, "LOOK_S", 600.0)
    with running(site):
        wait_for(lambda: states(site) == {"standing"}, "all to stand")
        site.see("cam-1")
        site.desk.changed.set()  # as the service does for each batch that was stored
        wait_for(lambda: found(site) == [1] * QUERIES, "the find")
        site.desk.withdraw(site.ids[1], withdrawal(site, 1))
        wait_for(lambda: site.desk.get(site.ids[1]).state == "withdrawn", "the end")


def test_a_withdrawal_ends_a_query_that_waits_for_its_next_try(
    site: QuietSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "_serve", None)  # the custodians' answer is an error of the program
    site.look()
    assert states(site) == {"blocked"}
    site.desk.withdraw(site.ids[0], withdrawal(site, 0))
    site.look()
    assert site.desk.get(site.ids[0]).state == "withdrawn"


def test_another_directory_has_every_query_authorized_anew(
    standing: QuietSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = dict(standing.directory.principals)
    people["bo"] = replace(people["bo"], revoked_at_ms=standing.now_ms)
    newer = replace(standing.directory, version=standing.directory.version + 1, principals=people)
    standing.trust.accept(newer.sign(s.authority()).to_bytes())
    with checks(monkeypatch) as checked:
        standing.look()
    assert "bo" in checked
    assert states(standing) == {"failed"}


@pytest.mark.parametrize("bound", ["query", "programme"])
def test_a_query_ends_when_its_time_is_up(standing: QuietSite, bound: str) -> None:
    query = standing.desk.get(standing.ids[0]).query
    ends_ms = {"query": query.not_after_ms, "programme": standing.policy.programme_ends_ms}
    standing.now_ms = ends_ms[bound]
    standing.look()
    assert states(standing) == {"expired"}


@pytest.mark.slow
def test_a_live_query_is_complete_once_late_envelopes_can_have_come(standing: QuietSite) -> None:
    query = standing.desk.get(standing.ids[0]).query
    standing.now_ms = query.window_to_ms + ARRIVAL_MS - 1000
    standing.look()
    assert states(standing) == {"standing"}
    standing.now_ms += 2_000
    standing.look()
    assert states(standing) == {"complete"}


@pytest.mark.slow
def test_a_clock_that_was_set_back_has_every_query_authorized_anew(
    standing: QuietSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing.now_ms -= 10_000
    with checks(monkeypatch) as checked:
        standing.look()
    assert checked.count("ana") == QUERIES
