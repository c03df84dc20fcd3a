"""With a query's results its officers read what the cameras watched, and counts if they may."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
import query_samples_v2 as q2
from row_desk import RowDesk
from throwaway_ca import ThrowawayCa

from aggregator.ingest.messages import Incoming
from aggregator.matching.coverage import Portion, Told, tell_portions
from aggregator.store import SegmentReader
from aggregator.store.rows import ScopeCount
from aggregator.views import LEAST_CLASS, bound_of, bounds_by_model, class_of, query_view
from aggregator.watching import ARRIVAL_MS, KEEP_S
from protocol.names import ENVELOPE, SLOT_MS, slot_start_ms
from protocol.query import Asked
from protocol.watching import CameraWatch, Watching

Ask = Callable[..., RowDesk]
WITH_COUNTS = Asked(same_place_counts=True)
COUNTING = ("bo", "cy", "di")
BEGIN_MS = slot_start_ms(s.EPOCH, s.SLOT)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[Ask]:
    desks: list[RowDesk] = []

    def make(**query: Any) -> RowDesk:
        desks.append(RowDesk(tmp_path, monkeypatch, ca, **query))
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


def see(desk: RowDesk, *who: str) -> None:
    """Let the segment of the slot come, once it is over."""
    desk.time.ms = max(desk.time.ms, BEGIN_MS + SLOT_MS + ARRIVAL_MS)
    payload = v2.envelope(seen=[v2.sighting(one) for one in who]).to_bytes()
    message = Incoming(s.ADDRESS.topic(ENVELOPE), payload, desk.time.ms)
    assert desk.intake.process([message]).stored == 1


def read(desk: RowDesk, officer: str = "ana") -> Watching | None:
    sealed = desk.desk.watching(desk.record, reader=officer)
    if sealed is None:
        return None
    return Watching.open(sealed, s.sealing_key(officer), query_digest=desk.record.digest)


def watched(desk: RowDesk, officer: str = "ana") -> CameraWatch:
    told = read(desk, officer)
    assert told is not None
    (one,) = told.watches()
    return one


def test_who_asked_and_who_confirms_read_what_was_watched_and_counted(ask: Ask) -> None:
    desk = ask(asks=WITH_COUNTS, contacts=False, approvers=COUNTING)
    see(desk, "somebody")
    desk.step()
    for officer in ("ana", "bea"):
        told = read(desk, officer)
        assert told is not None
        assert (told.from_ms, told.until_ms) == (
            desk.record.query.window_from_ms,
            BEGIN_MS + SLOT_MS,
        )
        assert list(told.places()) == [], "four people are fewer than are told"
        assert told.counted_by_slot is not None
        assert told.counted_by_slot.sum() == 1
        one = watched(desk, officer)
        assert (one.watched_s, one.dark_s) == (v2.COVERAGE.watched_s, v2.COVERAGE.dark_s)
        assert one.missing_s == one.total_s - SLOT_MS // 1000
    assert desk.desk.watching(desk.record, reader="cleo") is None


def test_a_query_that_does_not_ask_for_counts_gets_none_and_coverage_all_the_same(ask: Ask) -> None:
    desk = ask()
    see(desk)
    desk.step()
    told = read(desk)
    assert told is not None
    assert told.counts is None
    assert watched(desk).watched_s == v2.COVERAGE.watched_s
    granted = [entry["labels"] for entry in desk.logged("grant-received")]
    assert granted == [["face", "cover", "live"]] * len(s.CUSTODIANS)


def test_of_how_many_were_compared_only_a_bound_is_told(ask: Ask) -> None:
    desk = ask()
    see(desk, "somebody", "somebody else")
    desk.step()
    assert desk.record.progress["sightings"] == 2
    told = query_view(desk.desk, desk.record, q2.POLICY)
    assert told["progress"]["sightings"] == LEAST_CLASS
    assert [class_of(many) for many in (0, 1, 64, 65, 84_000)] == [0, 64, 64, 128, 131_072]


def test_before_anybody_approved_few_sightings_of_version_1_are_told_as_a_class_too() -> None:
    few = {s.MODEL: 3}
    old = ScopeCount(1, 0, 3, few, exact=3, exact_by_model=few)
    assert (bound_of(old), bounds_by_model(old)) == (LEAST_CLASS, {s.MODEL: LEAST_CLASS})
    new = ScopeCount(1, 0, 8, {s.MODEL: 8}, at_most=True)
    assert (bound_of(new), bounds_by_model(new)) == (8, {s.MODEL: 8})


def test_beside_sightings_of_version_2_those_of_version_1_are_told_no_more_exactly() -> None:
    few = {s.MODEL: 3}
    both = ScopeCount(2, 0, 11, {s.MODEL: 11}, at_most=True, exact=3, exact_by_model=few)
    assert (bound_of(both), bounds_by_model(both)) == (8 + LEAST_CLASS, {s.MODEL: 8 + LEAST_CLASS})


def test_what_arrives_is_told_after_a_while_and_costs_one_writing(ask: Ask) -> None:
    desk = ask()
    desk.time.ms = BEGIN_MS + SLOT_MS + ARRIVAL_MS
    desk.step()
    assert watched(desk).watched_s == 0
    see(desk, "somebody")
    desk.step()
    assert watched(desk).watched_s == 0, "not sealed anew for every segment"
    desk.later(KEEP_S)
    desk.step()
    assert watched(desk).watched_s == v2.COVERAGE.watched_s


def test_a_segment_that_never_comes_is_missed_without_anything_happening(ask: Ask) -> None:
    desk = ask()
    desk.time.ms = BEGIN_MS + SLOT_MS + ARRIVAL_MS
    desk.step()
    before = watched(desk).missing_s
    desk.time.ms += SLOT_MS
    desk.step()
    desk.later(KEEP_S)
    desk.step()
    assert watched(desk).missing_s == before + SLOT_MS // 1000


@pytest.mark.slow
def test_all_is_told_when_the_query_is_complete(ask: Ask) -> None:
    desk = ask(asks=WITH_COUNTS, approvers=COUNTING)
    desk.step()
    see(desk, "somebody")
    desk.step()
    desk.time.ms = desk.record.query.window_to_ms + ARRIVAL_MS
    desk.step()
    assert desk.record.state == "complete"
    told = read(desk)
    assert told is not None
    assert told.until_ms == desk.record.query.window_to_ms
    assert watched(desk).watched_s == v2.COVERAGE.watched_s
    assert told.counted is not None
    assert told.counted.tolist() == [1]


def test_a_new_process_tells_the_same(ask: Ask) -> None:
    desk = ask(asks=WITH_COUNTS, approvers=COUNTING)
    see(desk, "somebody")
    desk.step()
    before = watched(desk)
    desk.begin()
    desk.step()
    assert watched(desk) == before


def test_hits_are_kept_before_anybody_looks_at_what_was_watched(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = ask()
    see(desk, "subject")
    found: list[int] = []

    def tell(reader: SegmentReader, portions: Sequence[Portion]) -> list[Told]:
        found.append(len(desk.candidates()))
        return tell_portions(reader, portions)

    monkeypatch.setattr("aggregator.watch_keeping.tell_portions", tell)
    desk.step()
    assert found == [1]


def test_a_large_scope_is_added_up_over_several_steps_before_the_query_ends(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.watching.SLOTS_A_STEP", 1)
    desk = ask()
    see(desk, "somebody")
    desk.step()
    desk.time.ms = desk.record.query.window_to_ms + ARRIVAL_MS
    for _ in range(10):
        desk.step()
    assert desk.record.state == "complete"
    assert watched(desk).watched_s == v2.COVERAGE.watched_s


def test_a_query_waits_for_the_segments_of_its_last_quarter_hour(ask: Ask) -> None:
    end_ms = BEGIN_MS + SLOT_MS
    desk = ask(live=False, window_to_ms=end_ms)
    desk.time.ms = end_ms + 1000
    desk.step()
    assert desk.record.state == "standing", "boxes spread them over the minute after it"
    see(desk, "subject")
    desk.step()
    assert desk.record.state == "complete"
    assert len(desk.candidates()) == 1
    assert watched(desk).watched_s == v2.COVERAGE.watched_s


def test_a_query_of_hours_long_past_waits_for_nothing(ask: Ask) -> None:
    desk = ask(live=False, window_to_ms=BEGIN_MS)
    assert desk.time.ms > BEGIN_MS + ARRIVAL_MS
    desk.step()
    assert desk.record.state == "complete"
