"""What the intake takes, refuses and sets aside, and that it says so."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hostile_cbor import BOMBS, within
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake_desk import Desk
from sealed_boxes import (
    DAY,
    DAY_MS,
    NOON_SLOT,
    NOW_MS,
    SITE,
    TestBox,
    make_box,
    revoked,
    sighting,
    unit_vector,
    without_camera,
)
from store_file import altering, connections_to, rows

from aggregator.ingest import quarantine
from aggregator.ingest.checks import Rejected
from aggregator.store.retention import purge
from protocol.encoding import encode
from protocol.names import EPOCH_MS
from protocol.sealing import Envelope
from protocol.sightings import Sighting
from protocol.signing import SigningKey, sign
from runtime.database import StorageFull

RNG = np.random.default_rng(7)
HOUR_MS = 3_600_000


@pytest.fixture
def box() -> TestBox:
    return make_box(1)


@pytest.fixture
def desk(tmp_path: Path, box: TestBox) -> Desk:
    return Desk(tmp_path / "a.db", [box, make_box(2)])


def some(count: int = 2) -> list[Sighting]:
    return [sighting(unit_vector(RNG)) for _ in range(count)]


def changed(payload: bytes, **parts: bytes) -> bytes:
    """Return an envelope with a part replaced and the signature left as it was."""
    envelope = Envelope.parse(payload)
    return encode(
        [
            parts.get("header", envelope.header_bytes),
            parts.get("ciphertext", envelope.ciphertext),
            parts.get("signature", envelope.signature),
        ]
    )


def test_stores_announcement_and_envelopes_as_they_came(desk: Desk, box: TestBox) -> None:
    announcement, live, segment = box.announcement(), box.live(some()), box.segment(some(1))
    batch = desk.take(announcement, live, segment)
    assert (batch.stored, batch.rejected, batch.changed) == (3, 0, {box.address})
    for number, (_, payload) in ((1, live), (2, segment)):
        envelope = desk.store.segments.envelope(number)
        assert envelope.to_bytes() == payload
        envelope.verify(desk.directory.resolver("box"))
    (kept,) = desk.store.ledger.announcements(["cam-1"], from_ms=DAY_MS, to_ms=DAY_MS + EPOCH_MS)
    assert kept.signed == announcement[1]
    assert desk.intake.position(box.address) == (2, ())


def test_an_envelope_may_come_before_its_announcement(desk: Desk, box: TestBox) -> None:
    announcement = box.announcement()
    assert desk.take(box.live(some())).stored == 1
    assert desk.intake.position(box.address) == (1, (0,))
    assert desk.take(announcement).stored == 1
    assert desk.intake.position(box.address) == (1, ())


def test_a_message_twice_is_kept_once(desk: Desk, box: TestBox) -> None:
    messages = [box.announcement(), box.live(some())]
    assert desk.take(*messages, *messages).duplicates == 2
    assert desk.take(*messages, retained=True).duplicates == 2
    assert desk.stored() == 1
    assert desk.rejects() == {}
    assert not desk.audited


def test_another_content_under_a_used_number_is_equivocation(desk: Desk, box: TestBox) -> None:
    desk.take(box.announcement(), box.live(some()))
    batch = desk.take(box.live(some(), sequence=1))
    assert batch.rejected == 1
    assert desk.rejects() == {"equivocation": 1}
    assert ("rejected", {"box": "box-1", "camera": "cam-1", "reason": "equivocation"}) in (
        desk.audited
    )
    assert desk.stored() == 1


def test_a_second_announcement_of_one_generation_is_equivocation(desk: Desk, box: TestBox) -> None:
    first = box.announcement()
    desk.take(first, box.announcement())
    assert desk.rejects() == {"equivocation": 1}
    (kept,) = desk.store.ledger.announcements(["cam-1"], from_ms=DAY_MS, to_ms=DAY_MS + 1)
    assert kept.signed == first[1]


def test_a_new_number_of_an_old_generation_is_a_replay(desk: Desk, box: TestBox) -> None:
    desk.take(box.announcement(), box.live(some()))
    box.generation += 1
    desk.take(box.announcement())
    box.generation -= 1
    desk.take(box.live(some()))
    assert desk.rejects() == {"replay": 1}
    assert desk.intake.position(box.address) == (2, ())


def test_a_box_that_lost_its_counters_begins_a_new_run(desk: Desk, box: TestBox) -> None:
    old = [box.announcement(), box.live(some()), box.live(some())]
    desk.take(*old)
    box.sequence = 0
    box.generation += 1
    fresh = [box.announcement(), box.live(some())]
    assert desk.take(*fresh).stored == 2
    assert desk.intake.position(box.address) == (1, ())
    assert desk.take(*old).duplicates == 3  # the broker delivers old ones again
    assert desk.rejects() == {}
    assert desk.stored() == 3


def test_what_came_before_a_box_lost_its_counters_is_no_replay_though_its_content_is_forgotten(
    desk: Desk, box: TestBox
) -> None:
    old = [box.announcement(), box.live(some()), box.live(some())]
    missed, last = box.live(some()), box.live(some())
    desk.take(*old, last)  # and one is missed
    box.sequence = 0
    box.generation += 1
    desk.take(box.announcement(), box.live(some()))
    desk.now_ms += 3 * EPOCH_MS
    purge(desk.store, now_ms=desk.now_ms, retention_days=14)
    assert rows(desk.store, "SELECT count(*) FROM sequences") == [(0,)]
    assert desk.take(*old).duplicates == 3
    assert desk.rejects() == {}
    assert desk.take(missed).rejected == 1
    assert desk.rejects() == {"replay": 1}, "it never came in that run, which is over"


def test_reordered_messages_open_and_close_gaps(desk: Desk, box: TestBox) -> None:
    messages = [box.announcement(), *(box.live(some(1)) for _ in range(9))]
    shuffled = list(messages)
    random.Random(3).shuffle(shuffled)
    for message in shuffled:
        assert desk.take(message).stored == 1
    assert desk.intake.position(box.address) == (9, ())
    assert desk.status().gaps == ()
    assert not desk.audited


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    order=st.permutations(range(8)).flatmap(
        lambda order: st.lists(st.sampled_from(order), max_size=14).map(
            lambda extra: (order, extra)
        )
    ),
    restart_at=st.integers(0, 14),
)
def test_any_order_and_repetition_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    order: tuple[list[int], list[int]],
    restart_at: int,
) -> None:
    box = make_box(1)
    desk = Desk(tmp_path_factory.mktemp("order") / "a.db", [box])
    messages = [box.live(some(1)) for _ in range(8)]
    for step, number in enumerate([*order[1], *order[0]]):
        if step == restart_at:
            desk.intake = desk.make_intake()
        batch = desk.take(messages[number])
        assert batch.stored + batch.duplicates == 1
        through, missing = desk.intake.position(box.address) or (-1, ())
        seen = set([*order[1], *order[0]][: step + 1])
        assert set(range(through + 1)) - set(missing) == seen
    assert desk.stored() == 8
    assert desk.intake.position(box.address) == (7, ())
    desk.store.close()


def test_gaps_are_reported_after_the_grace_and_closed_when_filled(desk: Desk, box: TestBox) -> None:
    messages = [box.announcement(), *(box.live(some(1)) for _ in range(5))]
    desk.take(messages[0], messages[5])
    assert desk.intake.review_gaps() == set()
    assert not desk.audited
    assert [(g.first, g.last) for g in desk.status().gaps] == [(1, 4)]
    desk.now_ms += desk.limits.gap_grace_s * 1000
    desk.intake.review_gaps()
    assert desk.audited == [("gap", {"box": "box-1", "camera": "cam-1", "first": 1, "last": 4})]
    desk.take(messages[2])
    assert [(g.first, g.last) for g in desk.status().gaps] == [(1, 1), (3, 4)]
    assert desk.intake.position(box.address) == (5, (1, 3, 4))
    desk.intake = desk.make_intake()  # a restart keeps them
    desk.take(messages[1], messages[3], messages[4])
    assert desk.status().gaps == ()
    desk.intake.review_gaps()
    assert len(desk.audited) == 1


def test_a_camera_full_of_gaps_is_reported_once(desk: Desk, box: TestBox) -> None:
    desk.take(*(box.live(some(1), sequence=number) for number in range(1, 60, 2)))
    desk.now_ms += desk.limits.gap_grace_s * 1000
    desk.intake.review_gaps()
    assert desk.audited == [("gap", {"box": "box-1", "camera": "cam-1", "first": 0, "last": 58})]
    assert len(desk.status().gaps) == 30


def test_receipts_pass_over_what_a_box_does_not_have(desk: Desk, box: TestBox) -> None:
    box.sequence = 5000
    desk.take(box.live(some(1)))
    through, missing = desk.intake.position(box.address) or (0, ())
    assert (through, len(missing)) == (1023, 1024)
    desk.now_ms += 11 * 60_000
    assert desk.intake.review_gaps() == {box.address}
    assert desk.intake.position(box.address) == (5000, ())
    late = box.live(some(1), sequence=17)  # welcome all the same
    assert desk.take(late).stored == 1


def test_forged_and_altered_messages_are_refused(desk: Desk, box: TestBox) -> None:
    topic, payload = box.live(some())
    envelope = Envelope.parse(payload)
    forged = TestBox(box.name, box.camera, SigningKey.generate(box.name))
    broken = bytes([envelope.ciphertext[0] ^ 1]) + envelope.ciphertext[1:]
    other_header = box.envelope(some()).header_bytes
    batch = desk.take(
        forged.live(some()),
        (topic, changed(payload, ciphertext=broken)),
        (topic, changed(payload, header=other_header)),
        (topic, changed(payload, signature=bytes(64))),
        (topic, changed(payload, signature=b"")),
        forged.announcement(),
        forged.health(),
    )
    assert (batch.rejected, batch.stored) == (7, 0)
    assert desk.rejects() == {"bad-signature": 7}
    assert desk.intake.position(box.address) is None
    assert desk.take((topic, payload)).stored == 1


def test_unknown_revoked_and_foreign_boxes_are_refused(desk: Desk, box: TestBox) -> None:
    stranger = make_box(9)
    desk.take(stranger.live(some()), stranger.announcement(), stranger.health())
    assert desk.rejects() == {"unknown-box": 3}
    desk.directory = without_camera(desk.directory, "box-1")
    desk.take(box.live(some()), box.announcement())
    assert desk.rejects()["foreign-camera"] == 2
    desk.directory = revoked(desk.directory, "box-1")
    desk.take(box.live(some()), box.announcement(), box.health())
    assert desk.rejects()["revoked-box"] == 3
    assert desk.stored() == 0
    assert desk.status().revoked


def test_a_topic_cannot_speak_for_another_camera(desk: Desk, box: TestBox) -> None:
    other = desk.boxes[1]
    _, payload = box.live(some())
    _, announcement = box.announcement()
    _, health = box.health()
    desk.take(
        (other.address.topic("envelope"), payload),
        (other.address.topic("epoch"), announcement),
        (other.health()[0], health),
        (box.address.topic("envelope").replace(SITE, "elsewhere"), payload),
        ("st/v1/nonsense", payload),
        (box.address.topic("receipt"), payload),
    )
    assert desk.rejects() == {"wrong-topic": 6}


@pytest.mark.parametrize("name", BOMBS)
def test_messages_that_would_grow_are_refused_for_nothing(
    desk: Desk, box: TestBox, name: str
) -> None:
    key = SigningKey("box-1", bytes(32))
    bodies = [BOMBS[name], *(sign(k, BOMBS[name], key).to_bytes() for k in ("epoch", "health"))]
    bodies.append(encode([BOMBS[name], b"ciphertext", bytes(64)]))
    topics = [box.address.topic("envelope"), box.address.topic("epoch"), box.health()[0]]
    sent = [(topic, body) for topic in topics for body in bodies]
    within(5, 4 << 20, lambda: desk.take(*sent))
    assert sum(desk.rejects().values()) == len(sent)
    assert desk.stored() == 0


def test_nothing_is_decoded_that_comes_under_the_topic_of_a_stranger(
    desk: Desk, box: TestBox
) -> None:
    stranger = make_box(9)
    topics = (
        stranger.address.topic("envelope"),
        stranger.address.topic("epoch"),
        stranger.health()[0],
    )
    desk.take(*((topic, b"what no decoder would read") for topic in topics))
    assert desk.rejects() == {"unknown-box": 3}


def test_oversized_messages_are_not_parsed(tmp_path: Path, box: TestBox) -> None:
    desk = Desk(tmp_path / "a.db", [box], max_envelope_bytes=2048)
    small, large = box.live(some(1)), box.live(some(60))
    batch = desk.take(large, small, (box.address.topic("epoch"), bytes(3 << 20)))
    assert (batch.stored, batch.rejected) == (1, 2)
    assert desk.rejects() == {"too-large": 2}


def test_a_clock_an_hour_ahead_goes_to_quarantine_and_can_be_admitted(
    desk: Desk, box: TestBox
) -> None:
    ahead = box.live(some(), sealed_at_ms=NOW_MS + HOUR_MS)
    announcement = box.announcement(at_ms=NOW_MS + HOUR_MS)
    batch = desk.take(ahead, announcement, box.live(some()))
    assert (batch.quarantined, batch.stored) == (2, 1)
    assert desk.status().clock_wrong
    assert desk.status().quarantined == 2
    assert desk.intake.position(box.address) == (2, ())  # the box may forget them
    first, second = desk.store.ledger.quarantined()
    assert first.reason == "clock-ahead"
    assert "3600 s ahead" in first.detail
    assert desk.take(ahead).duplicates == 1
    desk.intake.admit(first.number)
    desk.intake.admit(second.number)
    assert desk.stored() == 2
    assert desk.store.ledger.announcements(["cam-1"], from_ms=DAY_MS, to_ms=DAY_MS + 1)
    assert desk.store.ledger.quarantined() == []
    assert not desk.status().clock_wrong
    with pytest.raises(KeyError):
        desk.intake.admit(first.number)


def test_quarantined_messages_can_be_dropped(desk: Desk, box: TestBox) -> None:
    desk.take(box.live(some(), sealed_at_ms=NOW_MS + HOUR_MS))
    (item,) = desk.store.ledger.quarantined()
    quarantine.drop(desk.store, item.number)
    assert desk.store.ledger.quarantined() == []
    assert desk.stored() == 0
    with pytest.raises(KeyError):
        quarantine.drop(desk.store, item.number)


def test_a_revoked_box_is_not_admitted(desk: Desk, box: TestBox) -> None:
    desk.take(box.live(some(), sealed_at_ms=NOW_MS + HOUR_MS))
    (item,) = desk.store.ledger.quarantined()
    desk.directory = revoked(desk.directory, "box-1")
    with pytest.raises(Rejected, match="revoked"):
        desk.intake.admit(item.number)
    assert desk.store.ledger.quarantined() == [item]


@pytest.mark.slow
def test_a_full_quarantine_leaves_messages_to_their_box(tmp_path: Path, box: TestBox) -> None:
    desk = Desk(tmp_path / "a.db", [box], quarantine_mb=1)
    ahead = {"sealed_at_ms": NOW_MS + HOUR_MS}
    large = [box.live(some(1000) * 3, **ahead) for _ in range(7)]
    batch = desk.take(*large)
    assert batch.quarantined
    assert batch.rejected
    assert desk.rejects() == {"quarantine-full": batch.rejected}
    through, missing = desk.intake.position(box.address) or (-1, ())
    assert through + 1 - len(missing) == batch.quarantined


@pytest.mark.slow
def test_dropping_messages_makes_room_in_a_full_quarantine(tmp_path: Path, box: TestBox) -> None:
    desk = Desk(tmp_path / "a.db", [box], quarantine_mb=1)
    ahead = {"sealed_at_ms": NOW_MS + HOUR_MS}
    assert desk.take(*(box.live(some(1000) * 3, **ahead) for _ in range(7))).rejected
    for item in desk.store.ledger.quarantined():
        quarantine.drop(desk.store, item.number)
    assert desk.take(box.live(some(1000) * 3, **ahead)).quarantined == 1


@pytest.mark.slow
def test_what_our_own_code_fails_on_cannot_fill_the_disk(
    tmp_path: Path, box: TestBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_envelope: Envelope) -> None:
        raise ArithmeticError("a bug")

    monkeypatch.setattr("aggregator.ingest.numbered.lay_out", fail)
    desk = Desk(tmp_path / "a.db", [box], quarantine_mb=1)
    crowd = some(1000) * 3
    for _ in range(7):
        desk.take(box.live(crowd))
    held = desk.store.ledger.quarantined()
    assert held
    assert sum(item.size_bytes for item in held) <= 2**20
    assert desk.rejects() == {"quarantine-full": 7 - len(held)}
    assert desk.intake.position(box.address) is None  # the box keeps what was not stored


def test_a_slot_that_had_not_begun_is_refused_and_accounted_for(desk: Desk, box: TestBox) -> None:
    desk.take(box.live(some(), slot=NOON_SLOT + 1, sealed_at_ms=NOW_MS))
    assert desk.rejects() == {"slot-ahead": 1}
    assert desk.intake.position(box.address) == (0, ())
    desk.take(box.announcement(DAY + 2))
    assert desk.rejects() == {"slot-ahead": 2}
    assert desk.take(box.announcement(DAY + 1)).stored == 1


def test_an_epoch_past_retention_is_refused_and_accounted_for(desk: Desk, box: TestBox) -> None:
    desk.take(box.live(some(), epoch=DAY - 15), box.live(some(), epoch=DAY - 14))
    assert desk.rejects() == {"retention-ended": 1}
    assert desk.stored() == 1
    assert desk.intake.position(box.address) == (1, ())


def test_a_segment_whose_block_does_not_fit_its_header_is_refused(desk: Desk, box: TestBox) -> None:
    desk.take(box.segment(some(2), model="wide-999@00000000"))
    assert desk.rejects() == {"malformed": 1}
    assert desk.stored() == 0


def test_a_segment_replaces_the_live_envelopes_it_covers(desk: Desk, box: TestBox) -> None:
    first, second = some(3), some(2)
    live = [box.live(first), box.live(second)]
    assert desk.take(box.announcement(), live[0]).replaced_live == 0
    segment = box.segment([*first, *second])
    other_slot = box.live(some(9), slot=NOON_SLOT - 5)
    assert desk.take(other_slot, segment).replaced_live == 1
    assert desk.take(live[1]).replaced_live == 1  # late
    kinds = rows(desk.store, "SELECT segment, count FROM envelopes")
    assert sorted(kinds) == [(0, 9), (1, 5)]
    assert desk.take(*live).duplicates == 2


def test_a_segment_that_covers_too_little_replaces_nothing(desk: Desk, box: TestBox) -> None:
    desk.take(box.live(some(3)), box.live(some(3)), box.segment(some(5)))
    assert desk.stored() == 3
    desk.take(box.segment(some(1)))  # two segments together
    assert desk.stored() == 2


def test_an_unverified_segment_replaces_nothing(desk: Desk, box: TestBox) -> None:
    forged = TestBox(box.name, box.camera, SigningKey.generate(box.name))
    desk.take(box.live(some(3)), forged.segment(some(9)))
    assert desk.stored() == 1


def test_health_is_kept_and_an_hours_clock_error_is_flagged(desk: Desk, box: TestBox) -> None:
    assert desk.take(box.health(fps=12.5)).health == 1
    status = desk.status()
    assert (status.state, status.figures, status.clock_wrong) == ("online", {"fps": 12.5}, False)
    desk.now_ms += 30_000
    desk.take(box.health(reported_at_ms=desk.now_ms - HOUR_MS))
    assert not desk.status().clock_wrong  # an old report, replayed
    desk.take(box.health(reported_at_ms=desk.now_ms + HOUR_MS))
    assert desk.status().clock_wrong
    assert desk.status().clock_offset_ms == HOUR_MS
    assert desk.status("box-2").last_seen_ms is None


def test_figures_that_are_no_numbers_are_left_out(desk: Desk, box: TestBox) -> None:
    desk.take(box.health(fps=float("nan"), queue=float("inf"), temperature=41.0))
    assert desk.status().figures == {"temperature": 41.0}


def test_a_threads_connection_goes_with_the_thread(desk: Desk) -> None:
    for _ in range(5):
        thread = threading.Thread(target=desk.stored)
        thread.start()
        thread.join()
    reader_and_writer = 2
    assert len(connections_to(desk.store.path)) <= reader_and_writer


def test_a_will_says_offline_without_judging_the_clock(desk: Desk, box: TestBox) -> None:
    desk.take(box.health())
    desk.now_ms += 5 * HOUR_MS
    desk.take(box.health(reported_at_ms=NOW_MS - 60_000, state="offline"))
    status = desk.status()
    assert (status.state, status.clock_wrong) == ("offline", False)


def test_a_retained_report_does_not_judge_the_clock(desk: Desk, box: TestBox) -> None:
    desk.take(box.health(reported_at_ms=NOW_MS - HOUR_MS), retained=True)
    assert desk.status().state == "online"
    assert not desk.status().clock_wrong


def test_a_flood_of_one_reject_is_audited_once_a_minute(desk: Desk, box: TestBox) -> None:
    for _ in range(50):
        desk.take((box.address.topic("envelope"), b"garbage"))
    assert desk.rejects() == {"malformed": 50}
    assert len(desk.audited) == 1
    desk.now_ms += 61_000
    desk.take((box.address.topic("envelope"), b"garbage"))
    assert len(desk.audited) == 2


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_garbage_never_crashes_and_is_counted(desk: Desk, data: st.DataObject) -> None:
    box = desk.boxes[0]
    topics = [
        box.address.topic("envelope"),
        box.address.topic("epoch"),
        box.health()[0],
        f"st/v1/{SITE}/box-1/cam-1/health",
    ]
    whole = [box.live(some(1))[1], box.announcement()[1], box.health()[1]]
    before = sum(desk.rejects().values())
    payload = data.draw(
        st.one_of(
            st.binary(max_size=300),
            st.recursive(
                st.none()
                | st.integers(0, 2**64 - 1)
                | st.text(max_size=8)
                | st.binary(max_size=80),
                lambda inner: (
                    st.lists(inner, max_size=5)
                    | st.dictionaries(st.text(max_size=8), inner, max_size=5)
                ),
            ).map(encode),
            st.tuples(st.sampled_from(whole), st.integers(0, 5000), st.integers(1, 255)).map(
                lambda t: _flipped(*t)
            ),
            st.tuples(st.sampled_from(whole), st.integers(0, 5000)).map(
                lambda t: t[0][: t[1] % len(t[0])]
            ),
        )
    )
    topic = data.draw(st.one_of(st.sampled_from(topics), st.text(max_size=40)))
    batch = desk.take((topic, payload))
    assert batch.rejected == 1
    assert sum(desk.rejects().values()) == before + 1
    assert batch.stored == 0


def _flipped(payload: bytes, at: int, mask: int) -> bytes:
    changed_bytes = bytearray(payload)
    changed_bytes[at % len(payload)] ^= mask
    return bytes(changed_bytes)


def test_unknown_names_do_not_fill_the_reject_table(desk: Desk) -> None:
    for number in range(20):
        desk.take((f"st/v1/{SITE}/box-x{number}/cam-{number}/envelope", b"?"))
    counted = rows(desk.store, "SELECT box, camera, count FROM rejects")
    assert counted == [("unknown", "", 20)]


def test_a_full_disk_keeps_nothing_of_the_batch_and_recovers(tmp_path: Path, box: TestBox) -> None:
    desk = Desk(tmp_path / "a.db", [box])
    desk.take(box.announcement())
    with altering(desk.store) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    desk.store._writer.conn.execute(f"PRAGMA max_page_count = {pages + 2}")
    messages = [box.live(some(60)) for _ in range(20)]
    with pytest.raises(StorageFull):
        desk.take(*messages)
    assert desk.stored() == 0
    assert desk.intake.position(box.address) == (0, ())
    assert [a for a, _, _ in desk.intake.positions()] == [box.address]
    desk.store._writer.conn.execute("PRAGMA max_page_count = 1000000")
    assert desk.take(*messages).stored == 20
    assert desk.intake.position(box.address) == (20, ())


def test_state_survives_a_restart_of_the_process(tmp_path: Path, box: TestBox) -> None:
    desk = Desk(tmp_path / "a.db", [box])
    first = [box.announcement(), box.live(some())]
    desk.take(*first)
    desk.store.close()
    again = Desk(tmp_path / "a.db", [box])
    assert again.take(*first).duplicates == 2
    assert again.intake.position(box.address) == (1, ())


def test_a_batch_of_everything_sorts_itself(desk: Desk, box: TestBox) -> None:
    good = box.live(some())
    batch = desk.take(
        box.announcement(),
        good,
        good,
        (box.address.topic("envelope"), b"\x00" * 50),
        box.live(some(), sealed_at_ms=NOW_MS + HOUR_MS),
        box.health(),
    )
    assert (batch.stored, batch.duplicates, batch.quarantined, batch.rejected, batch.health) == (
        2,
        1,
        1,
        1,
        1,
    )
