"""An aggregator that opened more than it shows is found out by the custodians' receipts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import protocol_samples as s
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from opened_rows import SALT, RowsOf, opening_by, row_name

from officers.desk.case import open_case
from officers.desk.receipts import (
    Receipts,
    ReceiptsContradict,
    check_receipts,
    compare,
)
from officers.desk.receipts_asked import Given
from protocol.names import SightingName
from protocol.results import Opening
from protocol.signing import Signed
from protocol.v2.release import ROW_RELEASE_KIND, RowRelease

SIGNED = s.query().sign(s.signing_key("ana"))
CASE = open_case(SIGNED.to_bytes(), s.query().query_id.hex(), s.directory())
A, B, C, D = (row_name(number) for number in range(1, 5))
LATER_MS = s.NOW_MS + 10 * 60_000


@dataclass
class Site:
    """Three custodians, and what the aggregator says."""

    c1: RowsOf = field(default_factory=lambda: RowsOf("c1", CASE.digest))
    c2: RowsOf = field(default_factory=lambda: RowsOf("c2", CASE.digest))
    c3: RowsOf = field(default_factory=lambda: RowsOf("c3", CASE.digest))
    openings: list[Opening] = field(default_factory=list)
    shown: set[SightingName] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    @property
    def all(self) -> tuple[RowsOf, RowsOf, RowsOf]:
        return (self.c1, self.c2, self.c3)

    def open(self, rows: Sequence[SightingName], *custodians: RowsOf) -> None:
        """Open rows, list that, and show them."""
        self.openings.append(opening_by(custodians or self.all, rows))
        self.shown |= set(rows)

    def compared(self, *, now_ms: int = LATER_MS, settled: int | None = None) -> Receipts:
        answers = [
            Given(one.custodian, silence="it is switched off")
            if one.custodian in self.silent
            else Given(one.custodian, tuple(one.signed))
            for one in self.all
        ]
        listed = {row: f"candidate {n}" for n, row in enumerate(sorted(self.shown), start=1)}
        return compare(
            self.openings, answers, listed,
            case=CASE, directory=s.directory(), settled=settled, now_ms=now_ms,
        )  # fmt: skip

    def problem(self) -> str:
        (problem,) = self.compared().problems
        return problem


def test_an_honest_aggregator_passes_whoever_answers() -> None:
    site = Site()
    site.open([A, B])
    site.open([C], site.c1, site.c2)
    site.open([A, C], site.c2, site.c3)
    for silent in ((), ("c1",), ("c2",), ("c3",), ("c1", "c2"), ("c1", "c2", "c3")):
        site.silent = set(silent)
        compared = site.compared()
        assert (compared.rows, compared.problems, compared.waiting) == (3, (), ())
        assert [one.rows for one in compared.custodians] == [3, 3, 3]
        assert [one.custodian for one in compared.custodians if one.silence] == sorted(silent)
        check_receipts(compared)


def test_without_any_row_there_is_nothing_to_compare() -> None:
    compared = Site().compared()
    assert (compared.rows, compared.problems, compared.waiting) == (0, (), ())


def test_rows_that_the_aggregator_lists_nowhere_are_told() -> None:
    site = Site()
    site.open([A])
    for one in (site.c1, site.c2):
        one.open([B, C])
    assert "lists nowhere (c1: 2 rows, c2: 2 rows)" in site.problem()
    assert "tell the auditors" in site.problem()
    with pytest.raises(ReceiptsContradict, match="not what was opened"):
        check_receipts(site.compared())


def test_they_are_told_by_the_next_receipts_count_though_the_custodians_are_silent() -> None:
    site = Site()
    for one in (site.c1, site.c2):
        one.open([B, C])
    site.open([A], site.c1, site.c2)
    site.silent = {"c1", "c2", "c3"}
    assert "lists nowhere (c1: 2 rows, c2: 2 rows)" in site.problem()


def test_an_opened_row_that_is_not_among_the_results_is_told() -> None:
    site = Site()
    site.open([A, B])
    site.shown = {A}
    assert "of what was opened, 1 row of cam-1 cannot be found among the results" in site.problem()


def test_a_row_that_is_passed_off_as_another_is_told() -> None:
    site = Site()
    site.openings.append(opening_by(site.all, [A, B]))
    site.openings[0] = Opening((A, C), site.openings[0].receipts)
    site.shown = {A, C}
    problems = site.compared().problems
    assert sum("other rows than those listed" in problem for problem in problems) == 3
    assert any("lists nowhere" in problem for problem in problems)
    assert any("no 2 custodians sign for candidate 1, candidate 2" in one for one in problems)


def test_a_candidate_that_nobody_opened_is_told() -> None:
    site = Site()
    site.open([A])
    site.shown.add(D)
    assert "no 2 custodians sign for candidate 2" in site.problem()


def test_one_receipt_is_not_enough_for_a_row() -> None:
    site = Site()
    site.open([A], site.c1)
    assert "no 2 custodians sign for candidate 1" in site.problem()


def test_receipts_of_a_row_that_came_one_after_the_other_count_together() -> None:
    site = Site()
    site.open([A, B], site.c1)
    site.open([B, C], site.c3)
    site.shown = {B}
    compared = site.compared()
    assert (compared.rows, compared.problems) == (1, ())


def test_a_receipt_of_another_query_or_signer_does_not_count() -> None:
    site = Site()
    other = RowsOf("c1", bytes(32))
    elsewhere = opening_by([other], [A]).receipts["c1"]
    mine = opening_by([site.c2], [A]).receipts["c2"]
    site.openings.append(Opening((A,), {"c1": elsewhere, "c2": mine, "c3": mine}))
    site.shown = {A}
    problems = site.compared().problems
    assert any("receipt of c1" in one and "another query" in one for one in problems)
    assert any("receipt of c3" in one and "signed by 'c2'" in one for one in problems)


def test_rubbish_for_a_receipt_is_told_and_ends_nothing() -> None:
    site = Site()
    site.open([A])
    site.openings.append(Opening((B,), {"c1": (b"rubbish", SALT)}))
    site.c2.signed.append(b"\xff" * 40)
    problems = site.compared().problems
    assert any("opening 2 does not hold" in one for one in problems)
    assert any("c2 hands out a receipt that does not hold" in one for one in problems)
    assert site.compared().rows == 1


def test_a_custodian_that_disowns_its_receipt_is_told() -> None:
    site = Site()
    site.open([A])
    site.c2.signed.clear()
    assert "c2 does not know of the 1 row" in site.problem()


def test_two_receipts_under_one_id_are_told() -> None:
    site = Site()
    site.open([A])
    release = RowRelease.parse(Signed.parse(site.c1.signed[0], kind=ROW_RELEASE_KIND).payload)
    forged = replace(release, released_at_ms=release.released_at_ms + 1)
    site.c1.signed.append(forged.sign(s.signing_key("c1")).to_bytes())
    assert "c1 has signed two receipts under one id" in site.problem()


def test_a_custodian_that_counts_fewer_than_it_opened_is_told() -> None:
    site = Site()
    site.open([A, B])
    site.c1.opened.clear()
    site.open([C, D])
    assert "c1 had opened 2 rows" in site.problem()


def test_opening_the_same_rows_again_just_now_hides_nothing_that_was_opened_before() -> None:
    site = Site()
    site.open([A], site.c1, site.c2)
    for one in (site.c1, site.c2):
        one.open([B])
    for one in (site.c1, site.c2):
        one.released_at_ms = LATER_MS - 1_000
        one.open([B])
    assert "lists nowhere (c1: 1 row, c2: 1 row)" in site.problem()


def test_more_receipts_than_anybody_reads_are_no_silence_but_told() -> None:
    given = Given("c1", silence="its list of receipts does not end", endless=True)
    compared = compare([], [given], {}, case=CASE, directory=s.directory(), now_ms=LATER_MS)
    (problem,) = compared.problems
    assert "c1 gives more receipts than anybody reads" in problem
    with pytest.raises(ReceiptsContradict):
        check_receipts(compared)


def test_an_answer_that_was_lost_and_asked_for_again_is_no_problem() -> None:
    site = Site()
    for one in site.all:
        one.open([A, B])
    site.open([A, B])
    compared = site.compared()
    assert (compared.problems, compared.waiting) == ((), ())


def test_what_may_be_late_answers_is_accused_too_and_said_to_be_either() -> None:
    site = Site()
    site.open([A], site.c1, site.c2)
    site.open([B], site.c2, site.c3)
    site.c3.open([A])
    site.c1.open([B])
    assert "lists nowhere (c1: 1 row, c3: 1 row)" in site.problem()
    assert "answers that came late" in site.problem()
    site.c1.open([C, D])
    assert "answers that came late" not in site.problem()


def test_one_custodian_that_is_always_late_is_no_problem() -> None:
    site = Site()
    for row in (A, B, C):
        site.open([row], site.c1, site.c2)
        site.c3.open([row])
    compared = site.compared()
    assert compared.problems == ()
    (words,) = compared.waiting
    assert "c3: 3 rows" in words


def test_hits_that_wait_for_a_second_custodian_are_not_taken_for_fraud() -> None:
    site = Site()
    site.c1.open([A, B])
    site.silent = {"c2", "c3"}
    compared = site.compared()
    assert compared.problems == ()
    (words,) = compared.waiting
    assert "c1: 2 rows" in words
    assert "whether c2 or c3 did too is not known" in words


def test_rows_opened_just_now_are_not_missed_yet_and_are_a_minute_later() -> None:
    site = Site()
    for one in (site.c1, site.c2):
        one.open([A])
    compared = site.compared(now_ms=s.NOW_MS + 5_000)
    assert compared.problems == ()
    assert all("just now" in words for words in compared.waiting)
    assert "lists nowhere" in site.problem()


def test_what_is_opened_between_two_answers_of_the_aggregator_is_not_missed() -> None:
    site = Site()
    site.open([A])
    site.open([B])
    site.shown = {A}
    assert site.compared(settled=1).problems == ()
    assert "cannot be found among the results" in site.problem()


@settings(max_examples=examples(50))
@given(
    asked=st.lists(
        st.tuples(
            st.sets(st.integers(1, 6), min_size=1),
            st.sampled_from(["c1 c2", "c2 c3", "c1 c3", "c1 c2 c3"]),
        ),
        max_size=6,
    ),
    hidden=st.sets(st.integers(7, 9)),
    silent=st.sets(st.sampled_from(["c1", "c2"])),
)
def test_only_an_aggregator_that_hides_rows_is_accused_and_it_always_is(
    asked: list[tuple[set[int], str]], hidden: set[int], silent: set[str]
) -> None:
    site = Site(silent=silent if asked and asked[-1][1] == "c1 c2 c3" else set())
    if hidden:
        for one in (site.c1, site.c2):
            one.open([row_name(number) for number in sorted(hidden)])
    for numbers, names in asked:
        custodians = [one for one in site.all if one.custodian in names.split()]
        site.open([row_name(number) for number in sorted(numbers)], *custodians)
    assert bool(site.compared().problems) == bool(hidden)
