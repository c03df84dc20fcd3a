"""What a custodian released after enough others had is listed too: officers count its receipts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from row_desk import RowDesk, Spoil, Values, founds_of, name_of, says
from store_file import altering
from throwaway_ca import ThrowawayCa
from waiting import wait_for

from aggregator.asking import Patience
from aggregator.ingest.messages import Incoming
from protocol.about_queries import Withdrawal
from protocol.names import ENVELOPE, SightingName
from runtime.lifecycle import Stop


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[RowDesk]:
    one = RowDesk(tmp_path, monkeypatch, ca)
    yield one
    one.close()


def hold_back(desk: RowDesk, custodian: str) -> None:
    desk.slow[custodian] = Event()


def let_answer(desk: RowDesk, custodian: str) -> None:
    """Let a custodian's answer go out, and wait until it has woken the runner."""
    desk.desk.changed.clear()
    desk.slow.pop(custodian).set()
    wait_for(desk.desk.changed.is_set, "the late answer", every_s=0.01)


def see(desk: RowDesk, *people: str) -> None:
    envelope = v2.envelope(seen=[v2.sighting(one) for one in people])
    message = Incoming(s.ADDRESS.topic(ENVELOPE), envelope.to_bytes(), desk.time.ms)
    assert desk.intake.process([message]).stored == 1


def look(desk: RowDesk) -> None:
    """Have the runner look, wait until it is done, and look again if that has woken it."""
    desk.desk.changed.set()
    while desk.desk.changed.is_set():
        desk.desk.changed.clear()
        desk.runner.look(Stop())
        assert desk.runner.wait(30.0), "a step takes long"


def withdraw(desk: RowDesk) -> None:
    withdrawal = Withdrawal(desk.record.digest, "enough is known", desk.time.ms)
    signed = withdrawal.sign(s.signing_key("ana"))
    for custodian in desk.custodians.values():
        custodian.withdrawals.submit(signed.to_bytes(), desk.directory)
    desk.desk.withdraw(desk.record.query_id, signed.to_bytes())
    look(desk)
    assert desk.record.state == "withdrawn"


@pytest.mark.slow
@pytest.mark.parametrize("officer", ["ana", "bea"])
def test_two_custodians_that_were_late_once_each_accuse_nobody(desk: RowDesk, officer: str) -> None:
    for late, person in (("c1", "one"), ("c3", "two")):
        hold_back(desk, late)
        desk.open(founds_of(person), more_may_come=True)
        let_answer(desk, late)
        desk.opening.take_in_late()
    found = desk.held(officer)
    assert (found.rows, found.problems, found.waiting) == (2, (), ())
    assert [sorted(one.receipts) for one in desk.openings(officer)] == [
        ["c2", "c3"], ["c1"], ["c1", "c2"], ["c3"],
    ]  # fmt: skip
    assert [set(one.rows) for one in desk.openings(officer)] == [
        {name_of("one")}, {name_of("one")}, {name_of("two")}, {name_of("two")},
    ]  # fmt: skip
    told = desk.logged("opened-rows")
    assert [one["rows"] for one in told] == [1, 0, 1, 0]
    assert len({one for entry in told for one in entry["release_ids"]}) == 6  # type: ignore[attr-defined]
    assert not desk.accused


@pytest.mark.slow
def test_the_runner_takes_in_what_came_late_at_its_next_look(desk: RowDesk) -> None:
    hold_back(desk, "c1")
    see(desk, "subject")
    look(desk)
    assert [sorted(one.receipts) for one in desk.openings()] == [["c2", "c3"]]
    let_answer(desk, "c1")
    look(desk)
    assert [sorted(one.receipts) for one in desk.openings()] == [["c2", "c3"], ["c1"]]


@pytest.mark.slow
def test_what_came_late_is_listed_before_the_process_stops(desk: RowDesk) -> None:
    hold_back(desk, "c1")
    see(desk, "subject")
    look(desk)
    let_answer(desk, "c1")
    stop = Stop()
    stop.set("the test's end")
    desk.runner.run(stop)
    assert [sorted(one.receipts) for one in desk.openings()] == [["c2", "c3"], ["c1"]]


@pytest.mark.slow
@pytest.mark.parametrize("late", ["c1", "c3"])
def test_what_comes_after_the_querys_end_is_listed(desk: RowDesk, late: str) -> None:
    hold_back(desk, late)
    see(desk, "subject")
    look(desk)
    withdraw(desk)
    let_answer(desk, late)
    look(desk)
    assert sorted(name for one in desk.openings("bea") for name in one.receipts) == [
        "c1", "c2", "c3",
    ]  # fmt: skip
    found = desk.held()
    assert (found.rows, found.problems, found.waiting) == (1, (), ())


@pytest.mark.slow
def test_a_late_answer_keeps_no_key_of_a_query_that_has_ended(desk: RowDesk) -> None:
    hold_back(desk, "c1")
    see(desk, "subject")
    look(desk)
    run = desk.runner._runs[desk.record.digest]
    assert run.keys
    withdraw(desk)
    assert not run.keys


@pytest.mark.slow
def test_what_comes_late_is_for_officers_in_force_alone(desk: RowDesk) -> None:
    hold_back(desk, "c1")
    see(desk, "subject")
    look(desk)
    withdraw(desk)
    later = desk.trust.directory.revoke("bea", at_ms=desk.time.ms)
    assert desk.trust.accept(later.sign(s.authority()).to_bytes())
    let_answer(desk, "c1")
    look(desk)
    assert [sorted(one.receipts) for one in desk.openings("ana")] == [["c2", "c3"], ["c1"]]
    assert [sorted(one.receipts) for one in desk.openings("bea")] == [["c2", "c3"]]


def impatient(desk: RowDesk) -> None:
    desk.patience = Patience(least_s=0.1, most_s=0.5)
    desk.begin()


@pytest.mark.slow
def test_rows_that_wait_open_with_a_late_answer_and_nobody_is_asked_again(desk: RowDesk) -> None:
    impatient(desk)
    desk.down = {"c3"}
    hold_back(desk, "c1")
    see(desk, "subject")
    look(desk)
    assert desk.candidates() == []
    assert "1 hit waits for custodian c1, c3" in desk.record.reason
    asked = {name: len(requests) for name, requests in desk.asked.items()}
    let_answer(desk, "c1")
    look(desk)
    assert [one.row for one in desk.candidates("bea")] == [v2.sighting("subject").row]
    assert {name: len(requests) for name, requests in desk.asked.items()} == asked
    assert "waits" not in desk.record.reason
    assert (desk.held().rows, desk.held().problems) == (1, ())


@pytest.mark.slow
def test_a_row_that_opens_after_the_querys_end_is_shown(desk: RowDesk) -> None:
    impatient(desk)
    desk.down = {"c3"}
    hold_back(desk, "c1")
    see(desk, "subject")
    look(desk)
    withdraw(desk)
    let_answer(desk, "c1")
    look(desk)
    assert [one.name for one in desk.candidates()] == [name_of("subject")]
    found = desk.held()
    assert (found.rows, found.problems, found.waiting) == (1, (), ())


def other_value(values: Values) -> None:
    for of_row in values.values():
        of_row[max(of_row)] = s.fixed("lie", 32)


def more_rows(values: dict[SightingName, dict[int, bytes]]) -> None:
    values[name_of("somebody")] = dict(next(iter(values.values())))


def nothing(_values: object) -> None:
    """Change nothing."""


LIES: dict[str, Spoil] = {
    "another value": says(other_value),
    "a row too many": says(more_rows),
    "what does not open": says(nothing, sealed=b"x" * 500),
    "rows of another query": says(nothing, query_digest=bytes(32)),
}


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
def test_a_late_lie_is_named_though_the_row_is_open(desk: RowDesk, lie: str) -> None:
    desk.spoils["c1"] = LIES[lie]
    hold_back(desk, "c1")
    desk.open(founds_of("one"))
    assert not desk.accused
    let_answer(desk, "c1")
    desk.opening.take_in_late()
    assert {refusal.custodian for refusal in desk.accused} == {"c1"}
    assert [one.row for one in desk.candidates()] == [v2.sighting("one").row]


@pytest.mark.slow
def test_an_old_release_that_comes_late_is_not_taken_again(desk: RowDesk) -> None:
    desk.spoils["c1"] = says(nothing, release_id=b"one and the same")
    desk.open(founds_of("one"), more_may_come=True)
    hold_back(desk, "c1")
    desk.open(founds_of("two"))
    openings = len(desk.openings())
    let_answer(desk, "c1")
    desk.opening.take_in_late()
    assert {refusal.custodian for refusal in desk.accused} == {"c1"}
    assert len(desk.openings()) == openings


@pytest.mark.slow
def test_a_late_refusal_is_no_opening_and_ends_nothing(desk: RowDesk) -> None:
    impatient(desk)
    desk.down = {"c3"}
    desk.spoils["c1"] = lambda *_: b"no answer of a custodian"
    hold_back(desk, "c1")
    desk.open(founds_of("one"))
    let_answer(desk, "c1")
    desk.opening.take_in_late()
    assert [sorted(one.receipts) for one in desk.openings()] == [["c2"]]
    assert desk.run.rows.words().startswith("1 hit waits for custodian c1, c3")


@pytest.mark.slow
def test_what_came_late_while_the_disk_was_full_is_listed_afterwards(desk: RowDesk) -> None:
    hold_back(desk, "c1")
    desk.open(founds_of(*(f"person {n}" for n in range(60))))
    let_answer(desk, "c1")
    with altering(desk.store) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    writer = desk.store._writer.conn
    writer.execute(f"PRAGMA max_page_count = {pages}")
    desk.opening.take_in_late()
    assert len(desk.openings()) == 1
    writer.execute("PRAGMA max_page_count = 1000000")
    desk.opening.take_in_late()
    assert [sorted(one.receipts) for one in desk.openings()] == [["c2", "c3"], ["c1"]]
    assert len(desk.logged("opened-rows")) == 2
