"""An officer decides on candidates in order of time, and sees no other officer's word before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from traced_query import TWO_CONFIRM, TracedQuery, TracedSite, on_their_way, traced

from officers import desk
from officers.desk.opened_cases import Opened, OpenedCases
from officers.desk.queue import (
    FAIR,
    GOOD,
    POOR,
    SETTLED,
    WAITING,
    Queue,
    clashes,
    queues_of,
    travels,
)
from officers.desk.views import CANNOT_TELL, DIFFERENT, SAME, ViewRefused, Views
from protocol.results import CONFIRMED, REJECTED
from runtime.errors import OperationError


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedSite]:
    made = TracedSite(tmp_path_factory.mktemp("officers"), policy=TWO_CONFIRM)
    yield made
    made.close()


@pytest.fixture
def query(site: TracedSite) -> TracedQuery:
    return on_their_way(site)


def opened(query: TracedQuery, officer: str = "ana", cases: OpenedCases | None = None) -> Opened:
    assert isinstance(query.site, TracedSite)
    me, keys = query.site.person(officer)
    with desk.connect(me) as session:
        return (cases or OpenedCases()).of(session, query.id, keys.sealing)


def queue(query: TracedQuery, officer: str = "ana") -> Queue:
    (one,) = opened(query, officer).queues
    return one


@pytest.mark.slow
def test_order_is_time_and_never_score(query: TracedQuery) -> None:
    query.show("cam-1", 60, 70, score=0.51, log10_lr=-1.0)
    entries = queue(query).entries
    assert [one.number for one in entries] == [6, 1, 2, 3, 4]
    assert {one.state for one in entries} == {WAITING}
    assert [one.quality for one in entries] == [GOOD, GOOD, GOOD, POOR, GOOD]
    assert [one.number for one in queue(query).impossible] == [5]


@pytest.mark.slow
def test_people_dressed_alike_are_a_ranked_list_and_nobody_else_is(site: TracedSite) -> None:
    query = traced(site)
    for begins_s, score in ((0, 0.2), (8, 0.6), (16, 0.3)):
        query.show("cam-1", begins_s, begins_s + 6, score=score, clothes=True)
    ranked = queue(query)
    assert ranked.by_likeness
    assert [one.number for one in ranked.entries] == [2, 3, 1]
    assert ranked.after(ranked.entries[0]) is ranked.entries[1]
    query.show("cam-2", 30, 40, score=0.9)
    with_a_face = queue(query)
    assert not with_a_face.by_likeness
    assert [one.number for one in with_a_face.entries] == [1, 2, 3, 4]


@pytest.mark.slow
def test_sightings_that_the_board_says_are_one_person_are_one_entry_and_signed_each(
    site: TracedSite,
) -> None:
    query = traced(site)
    query.show("cam-1", 0, 60, episode=b"sits....", quality=0.55)
    query.show("cam-1", 60, 120, episode=b"sits....", quality=0.9)
    query.show("cam-1", 120, 180, episode=b"sits....", score=None)
    (entry,) = queue(query).entries
    assert [item.number for item in entry.items] == [1, 2], "what was not compared goes with it"
    assert entry.stay.numbers == (1, 2, 3)
    assert entry.best.number == 2
    assert replace(entry, items=entry.items[:1]).quality == FAIR
    query.decide("ana", CONFIRMED, 1)
    left = {one.number: one.state for one in queue(query).entries}
    assert left == {1: CONFIRMED, 2: WAITING}, "half of a stay is not the stay"


@pytest.mark.slow
def test_a_second_officer_sees_no_first_word_before_their_own(query: TracedQuery) -> None:
    query.decide("ana", CONFIRMED, 1)
    query.decide("ana", REJECTED, 2)
    for entry in queue(query, "dan").entries:
        assert (entry.state, dict(entry.others)) == (WAITING, {})
        assert entry.stay.confirmed_by == ()
    query.decide("dan", CONFIRMED, 1, 2)
    first, second, *_ = queue(query, "dan").entries
    assert (first.state, dict(first.others)) == (CONFIRMED, {"ana": CONFIRMED})
    assert (second.state, dict(second.others)) == (CONFIRMED, {"ana": REJECTED})
    assert (first.verdict, second.verdict) == (CONFIRMED, REJECTED)


@pytest.mark.slow
def test_what_enough_officers_confirmed_asks_nobody_else(site: TracedSite) -> None:
    query = on_their_way(site)
    results = opened(query, "ana").results
    said = [
        replace(item, verdict=CONFIRMED, said={"dan": CONFIRMED, "bea": CONFIRMED})
        if item.number == 1
        else item
        for item in results.candidates
    ]
    (one,) = queues_of(replace(results, candidates=tuple(said)))
    assert one.entries[0].state == SETTLED
    assert one.entries[0].others == {"bea": CONFIRMED, "dan": CONFIRMED}


@pytest.mark.slow
def test_the_next_one_is_the_next_in_time_and_round_again(query: TracedQuery) -> None:
    query.decide("ana", REJECTED, 2)
    one = queue(query)
    first, second, third, fourth = one.entries
    assert one.after(first) == third
    assert one.after(second) == third
    assert one.after(fourth) == first
    assert one.entry(3) == third
    with pytest.raises(OperationError, match="no candidate 5"):
        one.entry(5)


@pytest.mark.slow
def test_travel_is_told_from_the_confirmed_ones_before_and_after(query: TracedQuery) -> None:
    one = queue(query)
    ground = opened(query).results.ground
    assert travels(one.entry(2), one, ground) == (), "nothing is confirmed yet"
    query.decide("ana", CONFIRMED, 1, 4)
    one = queue(query)
    before, after = travels(one.entry(2), one, ground)
    assert (before.numbers, before.camera, before.after) == ((1,), "cam-1", True)
    assert (before.gap_s, before.walk_s, before.contradiction) == (1080, 360.0, None)
    assert (after.numbers, after.after) == ((4,), False)
    assert after.walk_s is not None
    assert after.contradiction is None


@pytest.mark.slow
def test_who_cannot_have_walked_so_fast_is_told_of_those_that_wait(query: TracedQuery) -> None:
    one = queue(query)
    ground = opened(query).results.ground
    (found,) = clashes(one.entry(2), one, ground)
    assert (found.numbers, found.others) == ((2,), (3,))
    assert "faster than walking allows" in found.why
    assert clashes(one.entry(4), one, ground) == ()
    query.decide("ana", CONFIRMED, 3)
    one = queue(query)
    assert clashes(one.entry(2), one, ground) == ()
    (travel,) = travels(one.entry(2), one, ground)
    assert travel.contradiction is not None


# -- what is kept open ----------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_open_is_opened_anew_when_more_was_found_or_time_has_passed(
    query: TracedQuery,
) -> None:
    now = 0.0
    cases = OpenedCases(fresh_s=10, clock=lambda: now)
    first = opened(query, cases=cases)
    assert opened(query, cases=cases) is first
    query.show("cam-1", 7000, 7010)
    second = opened(query, cases=cases)
    assert len(second.results.candidates) == 1 + len(first.results.candidates)
    query.decide("dan", REJECTED, 1)
    assert opened(query, cases=cases) is second
    now = 10.0
    assert opened(query, cases=cases) is not second
    cases.stale(query.id)
    third = opened(query, cases=cases)
    cases.forget()
    assert opened(query, cases=cases) is not third


# -- views ----------------------------------------------------------------------------------------

DIGEST = bytes(32)


def test_a_view_counts_for_a_stay_once_all_of_it_was_looked_at() -> None:
    views = Views()
    views.take(DIGEST, [b"1", b"2"], SAME)
    assert views.of(DIGEST, [b"1", b"2"]) is not None
    assert views.of(DIGEST, [b"1", b"2", b"3"]) is None, "another sighting came to it"
    assert views.of(bytes(31) + b"1", [b"1"]) is None, "of another query"
    views.take(DIGEST, [b"2"], DIFFERENT)
    assert views.of(DIGEST, [b"1", b"2"]) is None
    assert views.of(DIGEST, []) is None


def test_an_undone_view_leaves_known_that_the_score_was_seen() -> None:
    views = Views()
    views.take(DIGEST, [b"1"], DIFFERENT)
    views.undo(DIGEST, [b"1"])
    assert views.of(DIGEST, [b"1"]) is None
    assert views.knows(DIGEST, [b"1"])
    views.take(DIGEST, [b"1"], SAME)
    view = views.of(DIGEST, [b"1"])
    assert view is not None
    assert (view.value, view.knowing, view.first) == (SAME, True, DIFFERENT)
    views.forget()
    assert not views.knows(DIGEST, [b"1"])


@pytest.mark.slow
def test_a_view_given_beside_a_score_has_no_first_one() -> None:
    views = Views()
    views.take(DIGEST, [b"1"], CANNOT_TELL, knowing=True)
    view = views.of(DIGEST, [b"1"])
    assert view is not None
    assert (view.knowing, view.first) == (True, "")
    with pytest.raises(ViewRefused, match="is no view"):
        views.take(DIGEST, [b"1"], "perhaps")


@pytest.mark.slow
def test_a_still_was_shown_or_is_missing_or_nobody_has_looked() -> None:
    views = Views()
    assert views.still_of(DIGEST, [b"1", b"2"]) is None
    views.saw(DIGEST, b"1", still=False)
    assert views.still_of(DIGEST, [b"1", b"2"]) is False
    views.saw(DIGEST, b"2", still=True)
    assert views.still_of(DIGEST, [b"1", b"2"]) is True
