"""Sightings are sealed live within seconds and as one segment a slot; the keys go with the slot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edge_site import EPOCH, NOON_MS, SLOT, Box, Site, make_sighting
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.config import SealingConfig
from edge_agent.epochs import BoardEpochs, CannotAnnounce, EpochKeys
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.errors import MalformedMessage, ScopeExceeded, SealError
from protocol.keytree import FACE, ModalityKey, expand
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH, CameraAddress
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.sealing import open_block
from protocol.sightings import MaskStatus, Quantised
from protocol.signing import Signed
from protocol.v2.envelopes import Envelope, parse_envelope

NewBox = Callable[..., Box]


@pytest.fixture(params=[1, 2], ids=["version 1", "version 2"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def nonce_of(envelope: Any) -> bytes:
    return bytes(envelope.header.nonce if hasattr(envelope.header, "nonce") else envelope.nonce)


def keys_of(box: Box) -> EpochKeys:
    keys = box.sealer._keys.epoch_keys
    assert keys is not None
    return keys


def test_a_full_batch_is_sealed_at_once_and_a_small_one_after_a_while(new_box: NewBox) -> None:
    box = new_box(sealing=SealingConfig(live_after_s=60))
    box.see(*range(63))
    assert box.opened() == []
    box.see(63)
    assert [(one.kind, len(one.ids)) for one in box.opened()] == [("live", 64)]
    box.see(64)
    assert box.sealer.stats().held == 65
    assert box.payloads() == [], "one more waits for its time"


def test_live_envelopes_hold_what_was_seen(box: Box) -> None:
    box.see(1, 2, 3)
    box.live_now()
    box.see(4)
    box.live_now()
    opened = box.opened()
    assert [(one.kind, one.ids, one.sequence) for one in opened] == [
        ("live", [1, 2, 3], 1),
        ("live", [4], 2),
    ]
    sighting = opened[0].sightings[0]
    assert sighting.mask is MaskStatus.MASKED
    assert sighting.last_seen_ms == NOON_MS - 1000
    assert sighting.nearest_m == [1.5]


def test_a_slot_ends_as_one_segment_with_all_its_sightings(box: Box) -> None:
    box.see(1, 2)
    box.live_now()
    first = box.payloads()
    box.see(3)
    box.to_next_slot()
    box.see(4)
    box.to_next_slot()
    opened = box.site.open(first + box.payloads())
    assert [(one.kind, one.slot, one.ids) for one in opened] == [
        ("live", SLOT, [1, 2]),
        ("segment", SLOT, [1, 2, 3]),
        ("segment", SLOT + 1, [4]),
    ]
    assert len({one.generation for one in opened}) == 1
    assert [one.sequence for one in opened] == [1, 2, 3]


def test_a_segment_in_a_live_envelopes_place_shares_no_nonce_with_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.urandom", lambda size: b"\x13" * size)  # the worst of luck
    box.see(1)
    box.live_now()
    (number,) = [n for _, n in box.outbox._store.sequences() if n > 0]
    found = box.outbox._store.read("cam-1", number)
    assert found is not None
    live = parse_envelope(found[1])
    box.to_next_slot()
    segment = parse_envelope(box.payloads()[-1])
    assert (live.header.kind, segment.header.kind) == ("live", "segment")
    assert live.header.sequence == segment.header.sequence, "it takes the number"
    assert nonce_of(live) != nonce_of(segment)


def test_a_slot_without_sightings_makes_no_segment(box: Box) -> None:
    for _ in range(3):
        box.to_next_slot()
    assert box.opened() == []


def test_any_m_custodians_can_open_and_fewer_cannot(box: Box) -> None:
    box.see(1)
    box.sealer.finish()
    payloads = box.payloads()
    for pair in (("c1", "c2"), ("c2", "c3"), ("c1", "c3")):
        assert box.site.open(payloads, custodians=pair)[0].ids == [1]
    with pytest.raises(SealError):
        box.site.open(payloads, custodians=("c2",))


def test_keys_of_ended_slots_cannot_be_derived_from_what_is_held(box: Box) -> None:
    box.see(1)
    box.live_now()
    before = keys_of(box).slot_keys(SLOT)
    box.to_next_slot()
    keys = keys_of(box)
    for slot in range(SLOT + 1):
        with pytest.raises(ScopeExceeded):
            keys.slot_keys(slot)
    for trees in keys._trees.values():
        for tree in trees:
            assert sorted(expand(tree._nodes)) == list(range(SLOT + 1, SLOTS_PER_EPOCH))
    envelope = parse_envelope(box.payloads()[-1])
    for slot in range(SLOT + 1, SLOTS_PER_EPOCH):
        for label, key in keys.slot_keys(slot).items():
            assert key.key != before[label].key
            with pytest.raises(SealError):
                open_templates(envelope, key, label)


def open_templates(envelope: Envelope | EnvelopeOfVersion1, key: ModalityKey, label: str) -> None:
    if isinstance(envelope, Envelope):
        assert envelope.header.name.slot == SLOT
        envelope.open(FACE, key)
    else:
        assert envelope.header.slot == SLOT
        open_block(
            key,
            envelope.blocks().templates[FACE],
            header=envelope.header_bytes,
            label=label,
            nonce=envelope.nonce,
        )


def test_no_tree_is_held_for_slots_before_the_start(box: Box) -> None:
    box.sealer.tick(box.clock.now_ms)
    with pytest.raises(ScopeExceeded):
        keys_of(box).slot_keys(SLOT - 1)
    keys_of(box).slot_keys(SLOT)


def test_the_roots_are_nowhere_on_the_box_after_the_announcement(box: Box, site: Site) -> None:
    box.sealer.tick(box.clock.now_ms)
    signed = site.announcement(box.payloads()[0])
    share = signed.open_share("c1", site.day_secrets["c1", EPOCH])
    held = [node.key for trees in keys_of(box)._trees.values() for t in trees for node in t._nodes]
    stored = b"".join(path.read_bytes() for path in box.folder.rglob("*") if path.is_file())
    for root in share.values():
        assert root not in held
        assert root not in stored


def test_templates_are_wiped_once_the_segment_is_sealed(box: Box) -> None:
    sighting = make_sighting(NOON_MS - 1000, seed=5)
    template = sighting.templates[FACE].row
    box.sealer.add([sighting], box.clock.now_ms)
    box.live_now()
    assert template.any(), "the segment still needs it"
    box.to_next_slot()
    assert not template.any()
    assert box.sealer.stats().held == 0


def test_a_sighting_that_comes_within_the_grace_goes_into_its_slot(box: Box) -> None:
    box.clock.now_ms = (EPOCH * SLOTS_PER_EPOCH + SLOT + 1) * SLOT_MS + 2_000
    box.see(1, ago_s=3)
    box.see(2, ago_s=1)
    box.to_next_slot()
    assert [(one.slot, one.ids) for one in box.opened()] == [(SLOT, [1]), (SLOT + 1, [2])]


def test_a_late_sighting_goes_into_the_current_slot_and_a_very_late_one_is_counted(
    box: Box,
) -> None:
    box.see(1)
    box.to_next_slot()
    box.see(2, ago_s=box.spread_s + 7)
    box.see(3, ago_s=61)
    box.to_next_slot()
    opened = box.opened()
    assert [(one.slot, one.ids) for one in opened] == [(SLOT, [1]), (SLOT + 1, [2])]
    assert opened[1].sightings[0].last_seen_ms // SLOT_MS % SLOTS_PER_EPOCH == SLOT
    counters = box.outbox.stats().counters
    assert counters["late_sightings_restamped"] == 1
    assert counters["late_sightings_dropped"] == 1


def test_a_new_day_gets_a_new_announcement(box: Box, site: Site) -> None:
    box.clock.now_ms = (EPOCH + 1) * EPOCH_MS - 60_000
    box.see(1)
    box.to_next_slot()
    box.see(2)
    box.to_next_slot()
    opened = box.opened()
    assert [(one.epoch, one.slot, one.ids) for one in opened] == [
        (EPOCH, 95, [1]),
        (EPOCH + 1, 0, [2]),
    ]
    assert opened[1].generation > opened[0].generation


def test_a_stop_in_the_middle_of_a_slot_seals_an_early_segment(box: Box) -> None:
    box.see(1, 2)
    assert box.sealer.finish()
    assert [(one.kind, one.ids) for one in box.opened()] == [("segment", [1, 2])]


def test_a_restart_in_the_middle_of_a_slot_goes_on_under_a_new_generation(
    new_box: NewBox, site: Site
) -> None:
    box = new_box()
    box.see(1)
    box.live_now()
    payloads = box.payloads()
    box.outbox.close()
    again = new_box(folder=box.folder, clock=box.clock)
    again.see(2)
    again.to_next_slot()
    payloads = again.payloads()
    opened = site.open(payloads)
    assert [(one.kind, one.ids, one.sequence) for one in opened] == [
        ("live", [1], 1),
        ("segment", [2], 3),
    ]
    assert opened[1].generation > opened[0].generation


def test_a_clock_set_back_gets_a_new_generation_and_nothing_is_lost(box: Box) -> None:
    box.see(1)
    box.to_next_slot()
    box.see(2)
    box.clock.set_s(-2 * 3600)
    box.see(3)
    box.sealer.tick(box.clock.now_ms)
    box.sealer.finish()
    opened = box.opened()
    assert [one.ids for one in opened] == [[1], [2, 3]], "what was held goes back as well"
    assert opened[1].slot < opened[0].slot
    assert opened[1].generation > opened[0].generation


def test_a_clock_set_forward_takes_what_is_held_along(box: Box) -> None:
    box.see(1)
    box.clock.set_s(5 * 3600)
    box.see(2)
    box.sealer.finish()
    (segment,) = box.opened()
    assert (segment.slot, segment.ids) == (SLOT + 20, [1, 2])
    assert len({sighting.last_seen_ms for sighting in segment.sightings}) == 1


def test_a_recording_of_the_past_gives_a_segment_for_each_of_its_slots(box: Box) -> None:
    """Frames' own times drive the sealer, from long before the wall clock."""
    start_ms = (EPOCH * SLOTS_PER_EPOCH + 10) * SLOT_MS + 1000
    for minute in range(40):
        now_ms = start_ms + minute * 60_000
        box.sealer.add([make_sighting(now_ms - 500, seed=minute)], now_ms)
    box.sealer.finish()
    opened = [one for one in box.opened() if one.kind == "segment"]
    assert [(one.slot, len(one.ids)) for one in opened] == [(10, 15), (11, 15), (12, 10)]


def test_a_recording_that_runs_ahead_of_the_clock_stays_in_the_running_slot(box: Box) -> None:
    for minute in range(0, 60, 10):
        ahead_ms = box.clock.now_ms + minute * 60_000
        box.sealer.add([make_sighting(ahead_ms - 500, seed=minute)], ahead_ms)
    box.sealer.finish()
    segments = [one for one in box.opened() if one.kind == "segment"]
    assert [(one.slot, one.ids) for one in segments] == [(SLOT, list(range(0, 60, 10)))]


def test_a_slot_with_more_than_fits_a_segment_gets_a_second_generation(new_box: NewBox) -> None:
    box = new_box(max_segment_bytes=8000, sealing=SealingConfig(live_after_s=60, grace_s=0))
    for seed in range(60):
        box.see(seed)
    box.to_next_slot()
    segments = [one for one in box.opened() if one.kind == "segment"]
    assert [seed for one in segments for seed in one.ids] == list(range(60))
    assert len({one.generation for one in segments}) == len(segments) > 1
    assert {one.slot for one in segments} == {SLOT}


def test_without_enough_day_keys_sightings_wait_bounded_and_the_reason_is_told(
    new_box: NewBox, site: Site
) -> None:
    box = new_box(
        custodians=("c1",), sealing=SealingConfig(live_after_s=0.1, max_held=100, day_keys_wait_s=0)
    )
    for seed in range(130):
        box.see(seed)
    assert box.payloads() == []
    stats = box.sealer.stats()
    assert stats.held == 100
    assert "1 of 3 custodians" in stats.waiting_for
    assert box.outbox.stats().counters["held_sightings_dropped"] == 30
    assert not box.sealer.finish()
    box.keyring.accept(site.day_keys("c2"))
    box.to_next_slot()
    assert box.sealer.stats().waiting_for == ""
    opened = site.open(box.payloads(), custodians=("c1", "c2"))
    assert [seed for one in opened for seed in one.ids] == list(range(30, 130))


def test_sightings_that_waited_over_several_slots_are_sealed_under_their_own(
    new_box: NewBox, site: Site
) -> None:
    box = new_box(custodians=())
    for seed in range(3):
        box.see(seed)
        box.to_next_slot()
    for name in ("c2", "c3"):
        box.keyring.accept(site.day_keys(name))
    box.sealer.tick(box.clock.now_ms)
    opened = site.open(box.payloads(), custodians=("c2", "c3"))
    assert [(one.slot, one.ids) for one in opened] == [
        (SLOT, [0]),
        (SLOT + 1, [1]),
        (SLOT + 2, [2]),
    ]


def test_a_day_that_nobody_has_keys_for_does_not_hold_up_the_next(
    new_box: NewBox, site: Site
) -> None:
    box = new_box(custodians=())
    box.clock.now_ms = (EPOCH + 1) * EPOCH_MS - 60_000
    box.see(1)
    box.to_next_slot()
    for name in ("c1", "c2", "c3"):
        box.keyring.accept(site.day_keys(name, [EPOCH + 1]))
    box.see(2)
    box.sealer.tick(box.clock.now_ms)
    box.sealer.finish()
    assert [(one.epoch, one.ids) for one in box.opened()] == [(EPOCH + 1, [2])]
    assert box.outbox.stats().counters["held_sightings_dropped"] == 1


def test_a_custodian_whose_key_comes_later_is_in_from_the_next_slot(
    new_box: NewBox, site: Site
) -> None:
    box = new_box(custodians=("c1", "c2"))
    box.see(1)
    box.live_now()
    box.keyring.accept(site.day_keys("c3"))
    box.see(2)
    box.to_next_slot()
    box.see(3)
    box.to_next_slot()
    payloads = box.payloads()
    assert [sorted(a.shares) for a in announcements(payloads)] == [["c1", "c2"], ["c1", "c2", "c3"]]
    assert [one.ids for one in site.open(payloads, custodians=("c1", "c2"))] == [[1, 2], [3]]


def announcements(payloads: list[bytes]) -> list[Announcement]:
    found = []
    for payload in payloads:
        with suppress(MalformedMessage):
            signed = Signed.parse(payload, kind=EPOCH_KIND)
            found.append(Announcement.parse(signed.payload, box=signed.signer))
    return found


def test_a_sighting_that_cannot_be_sealed_does_not_hold_up_the_others(box: Box) -> None:
    good = make_sighting(NOON_MS - 1000, seed=1)
    bad = [
        replace(good, sighting_id=b"short"),
        replace(good, templates={FACE: Quantised(np.zeros(7, np.int8), 0.1)}),
        replace(good, row=replace(good.row, first_ms=good.row.last_ms + 1)),
        replace(good, row=replace(good.row, quality=float("nan"))),
        replace(good, episode=b""),
    ]
    box.sealer.add([*bad, good], box.clock.now_ms)
    box.sealer.finish()
    assert [one.ids for one in box.opened()] == [[1]]
    assert box.outbox.stats().counters["unusable_sightings"] == 5


def test_a_sighting_without_a_face_is_sealed_beside_others(box: Box) -> None:
    box.sealer.add([make_sighting(NOON_MS - 1000, seed=1, face=False)], box.clock.now_ms)
    box.sealer.finish()
    assert [one.ids for one in box.opened()] == [[1]]


def test_a_box_that_knows_nothing_of_its_past_waits_to_hear_of_it(box: Box, site: Site) -> None:
    heard = False
    epochs = BoardEpochs(
        CameraAddress("demo", "box-1", "cam-2"),
        trust=box.trust,
        keyring=box.keyring,
        board=site.board,
        models={},
        outbox=box.outbox,
        may_begin=lambda: heard,
    )
    with pytest.raises(CannotAnnounce, match="never published"):
        epochs.announce(EPOCH, first_slot=0, now_ms=NOON_MS)
    heard = True
    epochs.announce(EPOCH, first_slot=0, now_ms=NOON_MS)


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["see", "pass", "back", "ahead", "finish", "publish"]),
            st.integers(1, 1800),
        ),
        max_size=25,
    )
)
def test_every_sighting_is_sealed_or_counted_whatever_the_clock_does(
    site: Site, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    box = Box(site, tmp_path_factory.mktemp("box"), sealing=SealingConfig(day_keys_wait_s=0))
    seeds, payloads = 0, []
    for step, amount in steps:
        if step == "see":
            box.see(seeds, ago_s=amount % 90)
            seeds += 1
        elif step == "pass":
            box.clock.pass_s(amount)
        elif step == "back":
            box.clock.set_s(-amount / 10)
        elif step == "ahead":
            box.clock.set_s(amount / 10)
        elif step == "finish":
            box.sealer.finish()
        else:
            payloads += box.payloads()
        box.sealer.tick(box.clock.now_ms)
    assert box.sealer.finish()
    payloads += box.payloads()
    segments = [one for one in site.open(payloads) if one.kind == "segment"]
    found = sorted(seed for one in segments for seed in one.ids)
    lost = box.outbox.stats().counters.get("late_sightings_dropped", 0)
    assert len(found) == len(set(found))
    assert len(found) + lost == seeds
    names = [(one.epoch, one.generation, one.slot) for one in segments]
    assert len(set(names)) == len(names), "a slot of a generation has one segment"
    box.outbox.close()
