"""The outbox gives numbers without gaps, keeps what is not receipted, and forgets what is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.outbox import Outbox, OutboxFull, SlotName
from protocol.errors import MalformedMessage
from protocol.names import CameraAddress
from protocol.signing import SigningKey
from protocol.telemetry import Receipt

NAME = SlotName(20_700, 1, 40)
OTHER = SlotName(20_700, 1, 41)


def opened(folder: Path, *, max_bytes: int = 1 << 20) -> Outbox:
    return Outbox(folder / "outbox.sqlite", max_bytes=max_bytes, memory_bytes=1 << 16)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    one = opened(tmp_path)
    one.begin_camera("cam-1")
    yield one
    one.close()


def live(outbox: Outbox, name: SlotName = NAME, size: int = 100, camera: str = "cam-1") -> None:
    outbox.add_live(camera, name, 1, lambda n: n.to_bytes(4, "big") + bytes(size))


def segment(outbox: Outbox, name: SlotName = NAME, size: int = 100) -> None:
    outbox.add_segment("cam-1", name, 9, lambda n, _: n.to_bytes(4, "big") + bytes(size))


def numbers(outbox: Outbox, limit: int = 1000, camera: str = "cam-1") -> list[int]:
    taken = [message for message in outbox.take(limit) if message.camera == camera]
    assert all(int.from_bytes(m.payload[:4], "big") == m.sequence for m in taken)
    return [message.sequence for message in taken]


def test_messages_are_numbered_from_zero_and_handed_out_in_order(outbox: Outbox) -> None:
    for _ in range(5):
        live(outbox)
    assert numbers(outbox, 2) == [0, 1]
    assert numbers(outbox) == [2, 3, 4]
    assert numbers(outbox) == []


def test_cameras_have_sequences_of_their_own_and_take_turns(outbox: Outbox) -> None:
    outbox.begin_camera("cam-2")
    for _ in range(10):
        live(outbox)
        live(outbox, camera="cam-2")
    taken = outbox.take(6)
    assert {
        camera: [m.sequence for m in taken if m.camera == camera] for camera in ("cam-1", "cam-2")
    } == {"cam-1": [0, 1, 2], "cam-2": [0, 1, 2]}


def test_numbers_and_messages_outlive_the_process(outbox: Outbox, tmp_path: Path) -> None:
    live(outbox)
    live(outbox)
    outbox.count("published_messages", 7)
    outbox.take(1)
    outbox.close()
    again = opened(tmp_path)
    live(again, OTHER)
    assert numbers(again) == [0, 1, 2]
    assert again.stats().counters["published_messages"] == 7
    again.close()


def test_generations_rise_past_the_persisted_one_and_the_clock(
    outbox: Outbox, tmp_path: Path
) -> None:
    def build(generation: int, sequence: int) -> bytes:
        return f"{generation} {sequence}".encode()

    assert outbox.announce("cam-1", 20_700, now_ms=5_000, build=build) == 5
    assert outbox.announce("cam-1", 20_700, now_ms=1_000, build=build) == 6
    outbox.close()
    again = opened(tmp_path)
    assert again.announce("cam-1", 20_700, now_ms=0, build=build) == 7
    assert [m.payload for m in again.take(9)] == [b"5 0", b"6 1", b"7 2"]
    again.close()


def test_a_message_that_cannot_be_built_takes_no_number(outbox: Outbox) -> None:
    live(outbox)
    with pytest.raises(ZeroDivisionError):
        outbox.add_live("cam-1", NAME, 1, lambda _: bytes(1 // 0))
    with pytest.raises(ZeroDivisionError):
        outbox.announce("cam-1", 1, now_ms=9_000_000, build=lambda *_: bytes(1 // 0))
    assert outbox.generation("cam-1") == 0
    live(outbox)
    assert numbers(outbox) == [0, 1]


def test_acknowledged_messages_stay_until_a_receipt_covers_them(
    outbox: Outbox, tmp_path: Path
) -> None:
    for _ in range(4):
        live(outbox)
    for message in outbox.take(9):
        outbox.acknowledged(message.camera, message.sequence)
    assert outbox.idle(receipted=False)
    assert not outbox.idle(receipted=True)
    assert outbox.receipt("cam-1", stored_through=2, missing=(1,), issued_at_ms=1) == 2
    assert numbers(outbox) == [1], "what the receipt misses is sent again"
    outbox.close()
    again = opened(tmp_path)
    assert numbers(again) == [1, 3], "and after a restart everything without a receipt is"
    again.close()


def test_an_older_receipt_changes_nothing(outbox: Outbox) -> None:
    for _ in range(3):
        live(outbox)
    outbox.receipt("cam-1", stored_through=0, missing=(), issued_at_ms=50)
    assert outbox.receipt("cam-1", stored_through=2, missing=(), issued_at_ms=49) == 0
    assert numbers(outbox) == [1, 2]


def test_what_comes_back_undelivered_goes_out_first_and_once(outbox: Outbox) -> None:
    for _ in range(4):
        live(outbox)
    first = outbox.take(2)
    outbox.give_back("cam-1", first[1].sequence)
    outbox.give_back("cam-1", first[0].sequence)
    outbox.give_back("cam-1", first[0].sequence)
    assert numbers(outbox) == [0, 1, 2, 3]


def test_unreceipted_messages_are_sent_again_ever_more_rarely(outbox: Outbox) -> None:
    live(outbox)

    def deliver() -> None:
        for message in outbox.take(9):
            outbox.acknowledged(message.camera, message.sequence)

    deliver()
    assert outbox.requeue_unreceipted(older_than_s=3600) == 0
    assert outbox.requeue_unreceipted() == 1
    deliver()
    pause_s = 0.05
    ready = time.monotonic() + pause_s
    while time.monotonic() < ready:
        assert outbox.requeue_unreceipted(older_than_s=pause_s) == 0
    assert outbox.stats().counters["resent_messages"] == 1


def test_what_receipts_go_on_missing_is_not_sent_again_each_time(outbox: Outbox) -> None:
    """Headquarters may refuse a message for good; its receipts then miss it for ever."""
    live(outbox)
    live(outbox)
    for at in range(5):
        for message in outbox.take(9):
            outbox.acknowledged(message.camera, message.sequence)
        outbox.receipt("cam-1", stored_through=1, missing=(0,), issued_at_ms=at)
    assert outbox.stats().counters["resent_messages"] == 1


def test_a_segment_takes_the_place_of_live_envelopes_nobody_has_seen(outbox: Outbox) -> None:
    live(outbox)
    assert numbers(outbox, 1) == [0]
    for _ in range(5):
        live(outbox)
    segment(outbox)
    live(outbox, OTHER)
    assert [(m.sequence, m.kind) for m in outbox.take(9)] == [(1, "segment"), (2, "live")]


def test_a_segment_never_takes_a_number_that_has_been_handed_out(outbox: Outbox) -> None:
    for _ in range(3):
        live(outbox)
    taken = outbox.take(9)
    outbox.give_back("cam-1", taken[-1].sequence)
    segment(outbox)
    assert [(m.sequence, m.kind) for m in outbox.take(9)] == [(2, "live"), (3, "segment")]


def test_a_receipt_from_an_earlier_life_moves_the_sequence_on(
    outbox: Outbox, tmp_path: Path
) -> None:
    outbox.receipt("cam-1", stored_through=41, missing=(), issued_at_ms=1)
    live(outbox)
    assert numbers(outbox) == [42]
    outbox.close()
    again = opened(tmp_path)
    live(again)
    assert numbers(again) == [42, 43]
    again.close()


def test_no_receipt_ends_the_sequence(outbox: Outbox, tmp_path: Path) -> None:
    key = SigningKey.generate("aggregator")

    def receipt(through: int) -> Receipt:
        address = CameraAddress("demo", "box-1", "cam-1")
        return Receipt.parse(Receipt(address, through, (), 1).sign(key).payload)

    with pytest.raises(MalformedMessage):
        receipt(2**63 - 1)
    last = receipt(2**62).stored_through
    outbox.receipt("cam-1", stored_through=last, missing=(), issued_at_ms=1)
    outbox.add_live("cam-1", NAME, 1, lambda n: n.to_bytes(8, "big"))
    outbox.close()
    assert opened(tmp_path).next_sequence("cam-1") == 2**62 + 2


def test_when_full_live_envelopes_with_a_segment_go_first_without_loss(tmp_path: Path) -> None:
    outbox = opened(tmp_path, max_bytes=12_000)
    outbox.begin_camera("cam-1")
    for _ in range(4):
        live(outbox, size=1000)
    for message in outbox.take(9):  # seen by the broker, so the segment cannot replace them
        outbox.acknowledged(message.camera, message.sequence)
    segment(outbox, size=4000)
    for _ in range(3):
        live(outbox, OTHER, size=1000)
    counters = outbox.stats().counters
    assert counters["dropped_live_covered"] >= 1
    assert "dropped_live" not in counters
    assert numbers(outbox) == [4, 5, 6, 7]
    outbox.close()


def test_when_full_new_live_envelopes_are_refused_and_old_ones_stay(tmp_path: Path) -> None:
    outbox = opened(tmp_path, max_bytes=5_000)
    outbox.begin_camera("cam-1")
    for _ in range(3):
        live(outbox, size=1000)
    with pytest.raises(OutboxFull):
        for _ in range(3):
            live(outbox, OTHER, size=1000)
    assert outbox.stats().bytes_kept <= 5_000
    assert numbers(outbox)[:3] == [0, 1, 2]
    outbox.close()


def test_when_full_a_segment_displaces_the_newest_live_envelopes(tmp_path: Path) -> None:
    outbox = opened(tmp_path, max_bytes=6_000)
    outbox.begin_camera("cam-1")
    outbox.begin_camera("cam-2")
    live(outbox, camera="cam-2", size=1000)
    live(outbox, camera="cam-2", size=1000)
    live(outbox, camera="cam-2", size=1000)
    segment(outbox, size=2500)
    assert numbers(outbox, camera="cam-2") == [0, 1]
    assert outbox.stats().counters["dropped_live"] == 1
    with pytest.raises(OutboxFull):
        segment(outbox, OTHER, size=6_000)
    outbox.close()


def test_an_announcement_always_finds_room(tmp_path: Path) -> None:
    outbox = opened(tmp_path, max_bytes=1_500)
    outbox.begin_camera("cam-1")
    live(outbox, size=1000)
    outbox.announce("cam-1", 1, now_ms=1, build=lambda *_: bytes(1000))
    assert [m.kind for m in outbox.take(9)] == ["live", "epoch"]
    outbox.close()


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(
        st.sampled_from(["live", "segment", "take", "ack", "back", "receipt", "restart"]),
        max_size=40,
    )
)
def test_whatever_happens_numbers_have_no_gap_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    outbox = opened(folder)
    outbox.begin_camera("cam-1")
    slot, held = 0, []
    stored: set[int] = set()
    for at, step in enumerate(steps):
        name = SlotName(20_700, 1, slot)
        if step == "live":
            live(outbox, name)
        elif step == "segment":
            segment(outbox, name)
            slot += 1
        elif step == "take":
            held += outbox.take(3)
        elif step == "ack" and held:
            message = held.pop(0)
            stored.add(message.sequence)
            outbox.acknowledged("cam-1", message.sequence)
        elif step == "back" and held:
            outbox.give_back("cam-1", held.pop().sequence)
        elif step == "receipt" and stored:
            through = max(stored)
            missing = [n for n in range(through) if n not in stored]
            outbox.receipt("cam-1", stored_through=through, missing=missing, issued_at_ms=at)
        elif step == "restart":
            outbox.close()
            outbox, held, slot = opened(folder), [], slot + 1
    for message in held:
        outbox.give_back("cam-1", message.sequence)
    outbox.requeue_unreceipted()
    last = outbox.next_sequence("cam-1")
    assert set(range(last)) == stored | set(numbers(outbox))
    outbox.close()
