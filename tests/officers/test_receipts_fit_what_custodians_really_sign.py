"""What custodians and aggregator really keep of opened rows fits together for an officer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from row_desk import RowDesk, founds_of, name_of, says
from throwaway_ca import ThrowawayCa

from officers.desk.case import open_case
from officers.desk.receipts import Receipts, compare
from officers.desk.receipts_asked import Given
from protocol.encoding import decode
from protocol.names import SightingName

ALICE, BOB, CAROL = "alice", "bob", "carol"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[RowDesk]:
    made = RowDesk(tmp_path, monkeypatch, ca)
    yield made
    made.close()


def compared(desk: RowDesk, *, officer: str = "ana", silent: tuple[str, ...] = ()) -> Receipts:
    """Compare as an officer does, long after."""
    query = desk.case.query
    case = open_case(query.to_bytes(), desk.record.query_id.hex(), desk.directory)
    given = [
        Given(name, silence="it is switched off")
        if name in silent
        else Given(name, tuple(listed(custodian.rows.receipts(case.digest))))
        for name, custodian in desk.custodians.items()
    ]
    shown = {
        one.name: f"candidate {number}"
        for number, one in enumerate(desk.candidates(officer), start=1)
        if one.name is not None
    }
    return compare(
        desk.openings(officer),
        given,
        shown,
        case=case,
        directory=desk.directory,
        now_ms=desk.time.ms + 3_600_000,
    )


def listed(data: bytes) -> list[bytes]:
    value = decode(data, what="receipts")
    assert isinstance(value, list)
    return value


def counts(receipts: Receipts) -> dict[str, int]:
    return {one.custodian: one.rows for one in receipts.custodians}


@pytest.mark.parametrize("officer", ["ana", "bea"])
def test_honest_ones_fit_for_each_officer(desk: RowDesk, officer: str) -> None:
    desk.open(founds_of(ALICE, BOB))
    desk.open(founds_of(CAROL))
    made = compared(desk, officer=officer)
    assert (made.rows, made.problems, made.waiting) == (3, (), ())
    assert counts(made) == {"c1": 3, "c2": 3, "c3": 3}


def test_they_fit_though_a_custodian_was_down_and_is_asked_no_more(desk: RowDesk) -> None:
    desk.down = {"c3"}
    desk.open(founds_of(ALICE, BOB))
    made = compared(desk, silent=("c3",))
    assert (made.rows, made.problems, made.waiting) == (2, (), ())


def test_hits_that_wait_are_told_and_fit_once_a_second_custodian_answers(desk: RowDesk) -> None:
    desk.down = {"c2", "c3"}
    desk.open(founds_of(ALICE))
    waiting = compared(desk, silent=("c2", "c3"))
    assert (waiting.rows, waiting.problems) == (0, ())
    desk.down = {"c3"}
    desk.later()
    desk.open()
    made = compared(desk, silent=("c3",))
    assert (made.rows, made.problems, made.waiting) == (1, (), ())


def test_a_custodian_that_lies_about_values_spoils_no_comparison(desk: RowDesk) -> None:
    def spoil(values: dict[SightingName, dict[int, bytes]]) -> None:
        values[name_of(ALICE)] = dict.fromkeys(values[name_of(ALICE)], bytes(32))

    desk.spoils = {"c3": says(spoil)}
    desk.open(founds_of(ALICE, BOB))
    made = compared(desk, silent=("c3",))
    assert (made.rows, made.problems) == (2, ())


def test_an_aggregator_that_drops_an_opening_and_its_results_is_accused(desk: RowDesk) -> None:
    desk.open(founds_of(ALICE))
    desk.run.rows.openings.clear()
    before = desk.openings()
    desk.open(founds_of(BOB, CAROL))
    assert len(desk.openings()) > len(before)
    query = desk.case.query
    case = open_case(query.to_bytes(), desk.record.query_id.hex(), desk.directory)
    given = [
        Given(name, tuple(listed(custodian.rows.receipts(case.digest))))
        for name, custodian in desk.custodians.items()
    ]
    shown = {name_of(ALICE): "candidate 1"}
    made = compare(
        before, given, shown, case=case, directory=desk.directory, now_ms=desk.time.ms + 3_600_000
    )
    (problem,) = made.problems
    assert "lists nowhere (c1: 2 rows, c2: 2 rows, c3: 2 rows)" in problem


def test_after_a_restart_of_the_aggregator_what_was_lost_is_asked_for_again(desk: RowDesk) -> None:
    desk.down = {"c2", "c3"}
    desk.open(founds_of(ALICE))
    desk.begin()
    desk.down = set()
    desk.open(founds_of(ALICE))
    made = compared(desk)
    assert (made.rows, made.problems, made.waiting) == (1, (), ())
