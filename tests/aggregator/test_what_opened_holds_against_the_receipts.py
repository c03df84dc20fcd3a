"""What the aggregator shows officers of opened rows is what custodians' own receipts say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import pytest
from row_desk import RowDesk, Values, founds_of, says
from throwaway_ca import ThrowawayCa


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[RowDesk]:
    one = RowDesk(tmp_path, monkeypatch, ca)
    yield one
    one.close()


@pytest.mark.parametrize("officer", ["ana", "bea"])
def test_what_is_shown_is_what_was_opened(desk: RowDesk, officer: str) -> None:
    desk.open(founds_of("one", "two"), more_may_come=True)
    desk.open(founds_of("three"))
    found = desk.held(officer)
    assert (found.rows, found.problems, found.waiting) == (3, (), ())


def test_hits_that_wait_over_a_restart_accuse_nobody(desk: RowDesk) -> None:
    desk.down = {"c1", "c3"}
    desk.open(founds_of("one", "two"))
    assert (desk.held().rows, desk.held().problems) == (0, ())
    desk.begin()
    desk.down = {"c1"}
    desk.open(founds_of("one", "two"))
    found = desk.held()
    assert (found.rows, found.problems, found.waiting) == (2, (), ())


def test_a_row_that_is_left_out_of_the_results_is_missed(desk: RowDesk) -> None:
    desk.open(founds_of("one", "two"))
    one = desk.candidates()[0]
    with desk.store.writing() as unit:
        unit.ledger.drop_undecided_result(desk.record.digest, one.candidate_id(desk.record.digest))
    (problem,) = desk.held().problems
    assert "cannot be found among the results" in problem


def spoil(values: Values) -> None:
    for of_row in values.values():
        of_row[max(of_row)] = s.fixed("lie", 32)


def test_where_two_contradict_each_other_the_aggregator_is_not_accused(desk: RowDesk) -> None:
    desk.down, desk.spoils["c3"] = {"c1"}, says(spoil)
    desk.open(founds_of("one"))
    assert not [problem for problem in desk.held().problems if "aggregator" in problem]
