"""A still is sealed as soon as there are keys; custodians' values open it, the board cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from edge_site import Box, Clock, Site

from edge_agent.cover import HELD_BACK
from edge_agent.stills.keeping import WAITS_S, CameraStills
from edge_agent.stills.portraits import Still
from edge_agent.stills.ring import StillRing
from protocol.errors import ScopeExceeded
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH, SightingName
from protocol.v2.evidence import SealedStill
from runtime.database import StorageError

NewBox = Callable[..., Box]
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"one person alone " * 40


def sealed_of(box: Box, name: SightingName) -> bytes:
    kept = box.ring.find(name)
    assert kept is not None
    return kept.sealed


def test_a_still_opens_by_what_custodians_release_for_its_sighting(box: Box, site: Site) -> None:
    box.see_with_still(1, JPEG)
    box.see_with_still(2, JPEG + b"another")
    assert box.ring.kept == 2, "before the slot is over"
    box.to_next_slot()
    one, other = box.names(box.payloads())
    assert site.open_still(sealed_of(box, one), box.announced) == JPEG
    assert site.open_still(sealed_of(box, other), box.announced, custodians=("c2", "c3")) == (
        JPEG + b"another"
    )


def test_the_reason_why_there_is_none_is_kept_by_the_same_name(box: Box) -> None:
    box.see_with_still(1, b"")
    box.to_next_slot()
    (name,) = box.names(box.payloads())
    kept = box.ring.find(name)
    assert kept is not None
    assert (kept.sealed, kept.reason) == (b"", "others-near")


def test_once_the_slot_is_over_the_board_can_open_nothing(box: Box) -> None:
    box.see_with_still(1, JPEG)
    keys = box.sealer._keys.epoch_keys
    assert keys is not None
    slot = box.clock.now_ms // SLOT_MS % SLOTS_PER_EPOCH
    name = SightingName.of(keys.slot_name(slot), (0x5EA1_ED1D_0000_0001).to_bytes(8, "big"))
    still = SealedStill.parse(sealed_of(box, name))
    assert bytes(still.open(keys.still_key(slot, name.sighting_id))) == JPEG, "the hour it runs"
    box.to_next_slot()
    with pytest.raises(ScopeExceeded, match="dropped"):
        keys.still_key(slot, name.sighting_id)


def test_a_copied_disk_holds_no_picture(box: Box, tmp_path: Path) -> None:
    for seed in range(20):
        box.see_with_still(seed, JPEG)
    copy = tmp_path / "copy"
    shutil.copytree(box.folder, copy)
    box.to_next_slot()
    box.ring.close()
    for folder in (copy, box.folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert any(path.name.startswith("stills") for path in files)
        for path in files:
            data = path.read_bytes()
            assert b"JFIF" not in data
            assert b"\xff\xd8\xff" not in data
            assert b"person alone" not in data


def test_stills_go_with_the_sightings_to_a_better_generation(new_box: NewBox, site: Site) -> None:
    """A third custodian's key comes while nothing of the slot has been published."""
    box = new_box(custodians=("c1", "c2"))
    box.sealer._live_due = lambda _now_ms: HELD_BACK  # as where nobody asks live
    box.see_with_still(1, JPEG)
    before = box.sealer.stats().generation
    box.keyring.accept(site.day_keys("c3"))
    box.to_next_slot()
    (name,) = box.names(box.payloads())
    assert name.generation > before
    assert site.open_still(sealed_of(box, name), box.announced, custodians=("c2", "c3")) == JPEG
    assert box.ring.kept == 1


def test_who_passes_after_midnight_waits_for_the_days_last_segment(box: Box, site: Site) -> None:
    last = SLOTS_PER_EPOCH - 1 - box.clock.now_ms // SLOT_MS % SLOTS_PER_EPOCH
    box.clock.pass_s(last * SLOT_MS / 1000)
    box.see_with_still(1, JPEG)
    slot_ends_ms = (box.clock.now_ms // SLOT_MS + 1) * SLOT_MS
    box.clock.pass_s((slot_ends_ms - box.clock.now_ms) / 1000 + 3)
    box.see_with_still(2, JPEG + b"2", sealed=False)
    box.clock.pass_s(5 + box.spread_s)
    box.sealer.tick(box.clock.now_ms)
    box.sealer.tick(box.clock.now_ms)
    assert box.ring.kept == 2
    box.to_next_slot()
    one, two = box.names(box.payloads())
    assert (one.epoch + 1, one.slot, two.slot) == (two.epoch, SLOTS_PER_EPOCH - 1, 0)
    assert site.open_still(sealed_of(box, two), box.announced) == JPEG + b"2"


def test_without_keys_a_still_waits_a_while_and_is_wiped(new_box: NewBox) -> None:
    box = new_box(custodians=())
    now_s = 0.0
    kept = CameraStills("cam-1", box.ring, now_s=lambda: now_s)
    still = Still(bytearray(JPEG))
    kept.hold(7, bytes(8), still)
    kept.seal(None, 0)
    assert bytes(still.jpeg) == JPEG
    now_s = WAITS_S + 1
    kept.seal(None, 0)
    assert not any(still.jpeg)
    assert kept.lost == 1


def test_a_disk_that_takes_no_stills_stops_no_sighting(box: Box) -> None:
    box.ring.put = _no_room  # type: ignore[method-assign]  # what a full disk answers
    for seed in range(3):
        box.see_with_still(seed, JPEG)
    box.to_next_slot()
    assert [one.ids for one in box.opened() if one.kind == "segment"] == [[0, 1, 2]]
    assert box.stills["cam-1"].lost == 3


def _no_room(*_: object, **__: object) -> None:
    raise StorageError("no room left")


def test_a_bug_in_keeping_stills_stops_no_sighting(box: Box) -> None:
    box.ring.put = _bug  # type: ignore[method-assign]  # what nobody foresaw
    box.sealer.add([], box.clock.now_ms)
    box.stills["cam-1"].hold(box.clock.now_ms // SLOT_MS, bytes(8), Still(bytearray(JPEG)))
    box.see(1)
    box.to_next_slot()
    assert [one.ids for one in box.opened() if one.kind == "segment"] == [[1]]


def _bug(*_: object, **__: object) -> None:
    raise RuntimeError("a bug")


def test_version_1_of_the_protocol_has_no_stills(tmp_path: Path) -> None:
    site = Site(tmp_path, version=1)
    box = Box(site, tmp_path / "box")
    box.see_with_still(1, JPEG)
    box.to_next_slot()
    assert box.ring.kept == 0
    assert box.stills["cam-1"].lost == 1
    box.outbox.close()
    box.ring.close()


def test_after_the_clock_was_set_nothing_that_waits_is_kept(new_box: NewBox) -> None:
    box = new_box(custodians=(), clock=Clock())
    still = Still(bytearray(JPEG))
    box.stills["cam-1"].hold(box.clock.now_ms // SLOT_MS, bytes(8), still)
    box.sealer.tick(box.clock.now_ms)
    box.clock.set_s(7200)
    box.sealer.tick(box.clock.now_ms)
    assert not any(still.jpeg)


def test_the_ring_is_there_again_after_a_start(box: Box) -> None:
    box.see_with_still(1, JPEG)
    box.to_next_slot()
    (name,) = box.names(box.payloads())
    box.ring.close()
    again = StillRing(box.folder / "stills.sqlite", max_bytes=1 << 20, hours=72)
    kept = again.find(name)
    assert kept is not None
    assert (bool(kept.sealed), again.kept) == (True, 1)
    again.close()
