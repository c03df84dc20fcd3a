"""Any backend keeps the ledger: positions and gaps, announcements, queries, results, the outbox."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from boxes_v2 import make_box_v2
from sealed_boxes import DAY, NOW_MS, make_box
from store_backends import announce, keep, stream_of

from aggregator.store import Store, Unit
from aggregator.store.rows import (
    BLOCKED,
    COMPLETE,
    RUNNABLE,
    RUNNING,
    BoxRow,
    FalseGrant,
    GapRow,
    GrantRow,
    HealthRow,
    LateFilm,
    RejectRow,
    Seen,
    StreamRow,
)
from protocol.about_queries import APPROVAL_KIND, REFUSAL_KIND, WITHDRAWAL_KIND
from protocol.epoch import RECORDING
from protocol.names import EPOCH_MS, slot_start_ms
from protocol.query import Query
from protocol.results import CONFIRMED, Decision
from protocol.signing import Signed

WINDOW = {"from_ms": DAY * EPOCH_MS, "to_ms": (DAY + 1) * EPOCH_MS}


def file(store: Store, number: int = 0) -> bytes:
    """File a query; return its digest."""
    case = s.case(query_id=s.fixed(f"query {number}", 16))
    with store.writing() as unit:
        query = Query.parse(case.query.payload)
        unit.ledger.add_query(query, case.query, now_ms=1000 + number)
    return case.query.digest


def remember(unit: Unit, stream: int, run: int, digest: bytes, now_ms: int = NOW_MS) -> None:
    """Remember a message that came as number 5."""
    unit.ledger.remember(
        stream, run, sequence=5, epoch=DAY, outcome=1, digest=digest, now_ms=now_ms
    )


# ---------------------------------------------------------------------- streams, gaps, messages


def test_a_stream_stands_where_it_was_moved_with_its_gaps_in_order(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        late = unit.ledger.add_gap(stream, 0, GapRow(0, 8, 9, 50, None, False))
        early = unit.ledger.add_gap(stream, 0, GapRow(0, 2, 4, 40, None, False))
        unit.ledger.move_streams([(StreamRow(stream, 0, 12, 100), 60)])
    row = store.ledger.stream(box.address)
    assert row is not None
    assert (row.run, row.highest, row.generation) == (0, 12, 100)
    assert [(gap.number, gap.first, gap.last) for gap in row.gaps] == [(early, 2, 4), (late, 8, 9)]
    with store.writing() as unit:
        unit.ledger.shrink_gap(early, 3, 4)
        unit.ledger.report_gap(early, 70)
        unit.ledger.close_gap(late, 80)
    row = store.ledger.stream(box.address)
    assert row is not None
    assert row.gaps == (GapRow(early, 3, 4, 40, 70, False),)
    with store.writing() as unit:
        unit.ledger.lose_gaps(stream)
    assert store.ledger.open_gaps() == [(box.address, GapRow(early, 3, 4, 40, 70, True))]
    with store.writing() as unit:
        unit.ledger.drop_gap(early)
        assert unit.ledger.drop_gaps(before_ms=81, most=10) == 1
    assert store.ledger.open_gaps() == []


def test_a_gap_of_a_run_that_is_over_does_not_come_back_with_the_stream(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        unit.ledger.add_gap(stream, 0, GapRow(0, 2, 4, 40, None, False))
        unit.ledger.move_streams([(StreamRow(stream, 1, 0, 101), 60)])
    row = store.ledger.stream(box.address)
    assert row is not None
    assert row.gaps == ()


def test_a_stream_knows_which_generations_of_films_and_of_its_own_have_begun(store: Store) -> None:
    box, other = make_box_v2(1), make_box_v2(2)
    assert box.camera != other.camera
    other.camera = box.camera
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        moved = StreamRow(stream, 1, 9, 140, live_generation=120, floor_generation=100)
        unit.ledger.move_streams([(moved, 60)])
        assert announce(unit, box, box.announcement())  # of what it sees
        for generation, epoch in ((130, DAY - 1), (131, DAY - 1), (140, DAY - 2)):
            box.generation, box.origin = generation, RECORDING
            assert announce(unit, box, box.announcement(epoch))
        other.generation, other.origin = 999, RECORDING
        assert announce(unit, other, other.announcement(DAY - 1))
    assert store.ledger.stream(box.address) == moved
    assert store.ledger.recorded_generations(stream) == {DAY - 1: 131, DAY - 2: 140}


def test_films_since_a_query_ended_are_found_by_box_and_day(store: Store) -> None:
    box, station = make_box_v2(1), make_box_v2(2)
    station.camera, station.origin = box.camera, RECORDING
    digests = [file(store, number) for number in range(2)]
    with store.writing() as unit:
        announce(unit, box, box.announcement())
        announce(unit, station, station.announcement())
        keep(unit, station, station.segment([], slot=30))
        unit.ledger.set_state(digests[0], COMPLETE, "", now_ms=5, seen=Seen(0, 0))
        unit.ledger.set_state(digests[1], COMPLETE, "", now_ms=5)
    first, second = sorted(store.ledger.queries(), key=lambda one: one.filed_ms)
    assert (first.seen, second.seen) == (Seen(0, 0), Seen(1, 2))
    with store.writing() as unit:
        keep(unit, box, box.segment([], slot=33))
        keep(unit, station, *(station.segment([], slot=slot) for slot in (31, 31, 34)))
        assert not unit.ledger.set_state(digests[0], COMPLETE, "again", now_ms=9)

    def since(seen: Seen, **window: int) -> list[LateFilm]:
        return store.ledger.films_since([box.camera], seen=seen, **(WINDOW | window))

    place = (station.name, box.camera, DAY)
    assert since(Seen(0, 0)) == [LateFilm(*place, frozenset({30, 31, 34}))]
    assert since(Seen(1, 2)) == [LateFilm(*place, frozenset({31, 34}))]
    begins_ms = slot_start_ms(DAY, 34)
    assert since(Seen(1, 2), from_ms=begins_ms) == [LateFilm(*place, frozenset({34}))]
    assert since(Seen(1, 2), to_ms=slot_start_ms(DAY, 31)) == []
    assert store.ledger.films_since(["cam-2"], seen=Seen(0, 0), **WINDOW) == []
    again = store.ledger.query(first.query_id)
    assert again is not None
    assert again.seen == Seen(0, 0), "it had ended"


def test_a_message_is_remembered_once_a_run_and_known_in_any(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        for run in (0, 1):
            digest = bytes([run]) * 16
            remember(unit, stream, run, digest)
    assert sorted(store.ledger.digests(stream, 5)) == [bytes(16), b"\1" * 16]
    assert store.ledger.digests(stream, 6) == []
    with pytest.raises(Exception), store.writing() as unit:  # noqa: B017 - the backend's own
        remember(unit, stream, 0, b"x" * 16)
    assert len(store.ledger.digests(stream, 5)) == 2


def test_an_announcement_is_kept_once_a_generation_and_found_in_order(store: Store) -> None:
    boxes = [make_box(2), make_box(1)]
    cursors = [store.ledger.newest_announcement()]
    for box in boxes:
        for epoch in (DAY, DAY - 1):
            message = box.announcement(epoch=epoch)
            with store.writing() as unit:
                assert announce(unit, box, message)
            with store.writing() as unit:
                assert not announce(unit, box, message), "the same once more"
            cursors.append(store.ledger.newest_announcement())
    assert cursors == sorted(set(cursors))
    cameras = ["cam-1", "cam-2", "nowhere"]
    found = store.ledger.announcements(cameras, **WINDOW)
    assert [one.address.camera for one in found] == ["cam-2", "cam-1"], "the order of streams"
    both = store.ledger.announcements(cameras, from_ms=(DAY - 1) * EPOCH_MS, to_ms=WINDOW["to_ms"])
    assert [one.epoch for one in both] == [DAY - 1, DAY] * 2
    assert store.ledger.announcements(["cam-1"], **WINDOW) == [found[1]]
    newer = store.ledger.announcements(cameras, **WINDOW, after=cursors[2])
    assert newer == [found[1]]
    assert store.ledger.announcements(["cam-2"], **WINDOW, after=cursors[2]) == []
    assert store.ledger.announcements(cameras, **WINDOW, after=cursors[-1]) == []


# ---------------------------------------------------------------------- boxes, rejects, quarantine


def test_a_box_keeps_its_clocks_offset_and_is_never_heard_earlier(store: Store) -> None:
    first = BoxRow("box-1", 500, "online", "1.0", 490, 500, -10, {"fps": 5.0})
    with store.writing() as unit:
        unit.ledger.note_heard({"box-1": 400, "box-2": 300})
        unit.ledger.put_box(first)
    assert store.ledger.box("box-1") == first
    later = replace(first, last_seen_ms=0, state="offline", clock_offset_ms=None)
    with store.writing() as unit:
        unit.ledger.put_box(later)
    assert store.ledger.boxes()["box-1"] == replace(first, state="offline")
    assert store.ledger.boxes()["box-2"].last_seen_ms == 300
    assert store.ledger.newest_reports_ms(2) == [490]
    assert store.ledger.box("box-3") is None


def test_the_history_of_a_box_has_one_row_a_quarter_hour(store: Store) -> None:
    first = HealthRow("box-1", 7, 1, 700, 0, "1.0", {"outbox.queued": 3.0})
    later = replace(first, slot=9, last_ms=900, silent_ms=150)
    other = replace(first, box="box-2", silent_ms=40)
    with store.writing() as unit:
        for row in (first, later, other):
            unit.ledger.put_health(row)
    again = replace(first, reports=2, worst={"outbox.queued": 5.0})
    with store.writing() as unit:
        unit.ledger.put_health(again)
    ledger = store.ledger
    assert ledger.health_history("box-1", from_slot=0, to_slot=10) == [again, later]
    assert ledger.health_history("box-1", from_slot=8, to_slot=10) == [later]
    assert ledger.health_history("box-1", from_slot=0, to_slot=9) == [again]
    assert ledger.newest_health("box-1", through_slot=9) == later
    assert ledger.newest_health("box-1", through_slot=8) == again
    assert ledger.newest_health("box-3", through_slot=9) is None
    assert ledger.silences_ms(from_slot=0, to_slot=10) == {"box-1": 150, "box-2": 40}
    assert ledger.silences_ms(from_slot=8, to_slot=9) == {}


def test_the_history_of_boxes_ends(store: Store) -> None:
    with store.writing() as unit:
        for slot in range(6):
            unit.ledger.put_health(HealthRow("box-1", slot, 1, slot, 0, "1.0", {}))
    dropped = []
    for _ in range(3):
        with store.writing() as unit:
            dropped.append(unit.ledger.drop_health(before_slot=5, most=3))
    assert dropped == [3, 2, 0]
    kept = store.ledger.health_history("box-1", from_slot=0, to_slot=10)
    assert [row.slot for row in kept] == [5]


def test_rejects_add_up(store: Store) -> None:
    once = RejectRow("box-1", "cam-1", "signature", 2, 100, "first")
    for row in (once, replace(once, count=3, last_ms=200, detail="second")):
        with store.writing() as unit:
            unit.ledger.add_rejects([row])
    assert store.ledger.rejects() == [replace(once, count=5, last_ms=200, detail="second")]


def test_quarantine_is_listed_in_order_and_taken_once(store: Store) -> None:
    box = make_box(1)
    with store.writing() as unit:
        stream = stream_of(unit, box.address)
        for number in range(3):
            unit.ledger.quarantine(
                stream=stream, topic=f"t{number}", payload=bytes(10 * number),
                reason="clock-ahead", detail="d", received_ms=number,
            )  # fmt: skip
    listed = store.ledger.quarantined()
    assert [one.topic for one in listed] == ["t0", "t1", "t2"]
    assert store.ledger.quarantined(limit=1, after=listed[0].number) == [listed[1]]
    assert store.ledger.quarantine_bytes() == 30
    assert store.ledger.quarantined_by_box() == {"box-1": {"clock-ahead": 3}}
    with store.writing() as unit:
        assert unit.ledger.take_quarantined(listed[1].number) == ("t1", bytes(10))
        with pytest.raises(KeyError):
            unit.ledger.take_quarantined(listed[1].number)
    assert store.ledger.quarantine_bytes() == 20


# ---------------------------------------------------------------------- queries


def test_a_query_comes_back_as_it_was_filed_and_an_ended_one_stays_ended(store: Store) -> None:
    digests = [file(store, number) for number in range(3)]
    first = store.ledger.query(s.fixed("query 0", 16))
    assert first is not None
    assert (first.digest, first.requester, first.filed_ms) == (digests[0], "ana", 1000)
    assert [one.digest for one in store.ledger.queries()] == digests[::-1]
    with store.writing() as unit:
        assert unit.ledger.set_state(digests[0], RUNNING, "", now_ms=5)
        assert not unit.ledger.set_state(digests[0], RUNNING, "", now_ms=6)
        assert unit.ledger.set_state(digests[1], BLOCKED, "why", now_ms=7)
        assert unit.ledger.set_state(digests[0], COMPLETE, "", now_ms=8)
        assert not unit.ledger.set_state(digests[0], RUNNING, "again", now_ms=9)
    assert [one.digest for one in store.ledger.queries_in(RUNNABLE)] == [digests[1]]
    assert store.ledger.count_open_queries() == 2
    assert store.ledger.query(b"no such query") is None


def test_progress_adds_up(store: Store) -> None:
    digest = file(store)
    with store.writing() as unit:
        unit.ledger.add_progress(digest, {"segments": 2, "left_out.cam-1": 1})
        unit.ledger.add_progress(digest, {"segments": 3})
    (record,) = store.ledger.queries()
    assert record.progress == {"segments": 5, "left_out.cam-1": 1}


def test_messages_come_back_signed_in_the_order_of_coming(store: Store) -> None:
    digest = file(store)
    case = s.case(query_id=s.fixed("query 0", 16))
    with store.writing() as unit:
        for number, approval in enumerate(reversed(case.approvals)):
            unit.ledger.add_message(digest, approval, now_ms=number)
    assert store.ledger.messages(APPROVAL_KIND, digest) == case.approvals[::-1]
    refusal = s.refusal(case.query, "bo")
    with store.writing() as unit:
        unit.ledger.add_message(digest, refusal, now_ms=9)
    assert store.ledger.messages(REFUSAL_KIND, digest) == [refusal]
    assert store.ledger.messages(WITHDRAWAL_KIND, digest) == []
    assert store.ledger.messages(APPROVAL_KIND, bytes(32)) == []


def test_a_grant_is_known_and_a_lie_is_kept_once(store: Store) -> None:
    digest = file(store)
    grant = GrantRow(b"g" * 16, "c1", digest, ("face",), b"\x80", (("cam-1", 3, "no"),), 4, 5, 6)
    lie = FalseGrant(digest, "c1", "it lied", 9)
    with store.writing() as unit:
        unit.ledger.add_grant(grant)
        unit.ledger.add_false_grant(lie)
        unit.ledger.add_false_grant(replace(lie, reason="again", found_ms=10))
    assert store.ledger.knows_grant(b"g" * 16)
    assert not store.ledger.knows_grant(b"h" * 16)
    assert store.ledger.false_grants() == store.ledger.false_grants(digest) == [lie]
    assert store.ledger.false_grants(bytes(32)) == []


def test_results_keep_their_order_and_who_was_decided_on_stays(store: Store) -> None:
    digest = file(store)
    ids = [s.fixed(f"candidate {number}", 16) for number in (2, 0, 1)]
    with store.writing() as unit:
        for number in ids:
            sealed = {name: name.encode() + b" sealed " + number for name in ("ana", "bea")}
            assert unit.ledger.add_result(digest, number, sealed, found_ms=1)
        assert not unit.ledger.add_result(digest, ids[0], {"ana": b"other"}, found_ms=2)
    for moment in (3, 4):  # a later decision takes the place of the earlier
        decision: Signed = Decision(digest, ids[1], CONFIRMED, moment).sign(s.signing_key("ana"))
        with store.writing() as unit:
            unit.ledger.put_decision(digest, ids[1], decision, decided_ms=moment)
    results = store.ledger.results(digest, "ana")
    assert [one[0] for one in results] == ids
    assert results[0] == (ids[0], b"ana sealed " + ids[0], None)
    assert results[1][2] == decision.to_bytes()
    with store.writing() as unit:
        for number in ids:
            unit.ledger.drop_undecided_result(digest, number)
    assert [one[0] for one in store.ledger.results(digest, "ana")] == [ids[1]]
    assert store.ledger.count_results(digest) == 1
    assert store.ledger.has_result(digest, ids[1])
    assert not store.ledger.has_result(digest, ids[0])


def test_each_officer_has_their_own_seals_and_decisions(store: Store) -> None:
    digest, number = file(store), s.fixed("candidate", 16)
    signed = {
        name: Decision(digest, number, CONFIRMED, 3).sign(s.signing_key(name))
        for name in ("bea", "ana")
    }
    with store.writing() as unit:
        unit.ledger.add_result(digest, number, {"ana": b"to ana", "bea": b"to bea"}, found_ms=1)
        for decision in signed.values():
            unit.ledger.put_decision(digest, number, decision, decided_ms=3)
    for name, decision in signed.items():
        sealed = f"to {name}".encode()
        assert store.ledger.results(digest, name) == [(number, sealed, decision.to_bytes())]
    assert store.ledger.results(digest, "cleo") == []
    assert store.ledger.decisions(digest) == [signed[n].to_bytes() for n in ("ana", "bea")]
    with store.writing() as unit:
        unit.ledger.reseal_result(digest, number, {"ana": b"better"})
        unit.ledger.reseal_result(digest, bytes(16), {"ana": b"of nobody"})
    assert [one[1] for one in store.ledger.results(digest, "ana")] == [b"better"]
    assert store.ledger.result_ids(digest) == {number}


def test_openings_are_kept_in_order_and_their_rows_once(store: Store) -> None:
    digest = file(store)
    with store.writing() as unit:
        for number, marks in enumerate(([b"one", b"two"], [b"two", b"three"])):
            sealed = {"ana": b"opening %d" % number, "bea": b"the same"}
            unit.ledger.add_opening(digest, sealed, marks=marks, opened_ms=number)
    assert store.ledger.openings(digest, "ana") == [b"opening 0", b"opening 1"]
    assert store.ledger.openings(digest, "cleo") == []
    assert store.ledger.opened_rows(digest) == {b"one", b"two", b"three"}
    assert store.ledger.opened_rows(bytes(32)) == frozenset()


def test_of_what_cameras_watched_each_officer_has_the_newest(store: Store) -> None:
    digest = file(store)
    for told in (b"first", b"second"):
        with store.writing() as unit:
            unit.ledger.put_watching(digest, {"ana": told + b" to ana", "bea": told})
    assert store.ledger.watching(digest, "ana") == b"second to ana"
    assert store.ledger.watching(digest, "bea") == b"second"
    assert store.ledger.watching(digest, "cleo") is None
    assert store.ledger.watching(bytes(32), "ana") is None


def test_of_linked_contacts_each_officer_has_the_newest(store: Store) -> None:
    digest = file(store)
    for told in (b"first", b"second"):
        with store.writing() as unit:
            unit.ledger.put_links(digest, {"ana": told + b" to ana", "bea": told})
    assert store.ledger.links(digest, "ana") == b"second to ana"
    assert store.ledger.links(digest, "bea") == b"second"
    assert store.ledger.links(digest, "cleo") is None


def test_each_query_has_a_random_seed_of_its_own_for_good(store: Store) -> None:
    digest = file(store)
    seed = store.ledger.link_seed(digest)
    assert len(seed) == 32
    assert store.ledger.link_seed(digest) == seed


def test_entries_wait_for_the_log_in_order(store: Store) -> None:
    assert not store.ledger.pending_numbers()
    with store.writing() as unit:
        for number in range(3):
            unit.ledger.add_entry(bytes([number]), log_size=number)
    first, second, third = store.ledger.pending_entries()
    with store.writing() as unit:
        unit.ledger.drop_entry(second.number)
    assert store.ledger.pending_entries() == [first, third]
    numbers = store.ledger.pending_numbers()
    assert (numbers.start, numbers[-1]) == (first.number, third.number)
    with store.writing() as unit:
        unit.ledger.drop_entry(third.number)
    assert list(store.ledger.pending_numbers()) == [first.number]
