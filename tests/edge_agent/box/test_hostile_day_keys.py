"""A custodian's day key that nobody can seal to is skipped and told; the box goes on sealing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from edge_site import EPOCH, NOON_MS, Box, Site
from hostile_keys import HOSTILE, hostile_day_keys

from edge_agent.config import SealingConfig
from protocol import hpke
from protocol.errors import MalformedMessage, SignatureInvalid

NewBox = Callable[..., Box]
EAGER = SealingConfig(live_after_s=0.1, grace_s=5, day_keys_wait_s=0)


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_key_that_nobody_can_seal_to_is_no_key(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        hpke.PublicKey(raw)


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_box_seals_to_the_others_and_names_the_custodian_with_the_bad_key(
    new_box: NewBox, site: Site, raw: bytes
) -> None:
    box = new_box(custodians=("c2", "c3"))
    with pytest.raises(MalformedMessage):
        box.keyring.accept(hostile_day_keys(site, "c1", raw))
    assert set(box.keyring.unusable()) == {"c1"}
    box.see(1)
    box.to_next_slot()
    payloads = box.payloads()
    assert set(site.announcement(payloads[0]).shares) == {"c2", "c3"}
    assert [one.ids for one in site.open(payloads, custodians=("c2", "c3"))] == [[1]]


def test_bad_keys_that_are_on_the_disk_already_stop_no_start(new_box: NewBox, site: Site) -> None:
    box = new_box(custodians=("c2", "c3"))
    box.outbox.close()
    kept = box.folder / "day-keys" / "c1.cbor"
    kept.write_bytes(hostile_day_keys(site, "c1", HOSTILE["low-order-0"]))
    again = new_box(folder=box.folder, custodians=())
    assert set(again.keyring.unusable()) == {"c1"}
    again.see(1)
    again.to_next_slot()
    assert site.open(again.payloads(), custodians=("c2", "c3"))[0].ids == [1]


def test_a_custodian_that_gives_good_keys_again_is_back(new_box: NewBox, site: Site) -> None:
    box = new_box(custodians=("c2", "c3"))
    with pytest.raises(MalformedMessage):
        box.keyring.accept(hostile_day_keys(site, "c1", HOSTILE["low-order-0"]))
    assert box.keyring.accept(site.day_keys("c1", issued_at_ms=NOON_MS + 2))
    assert box.keyring.unusable() == {}
    assert set(box.keyring.for_epoch(EPOCH)) == {"c1", "c2", "c3"}


def test_keys_known_before_stay_good_when_worse_ones_come(box: Box, site: Site) -> None:
    with pytest.raises(MalformedMessage):
        box.keyring.accept(hostile_day_keys(site, "c1", HOSTILE["low-order-0"]))
    assert set(box.keyring.for_epoch(EPOCH)) == {"c1", "c2", "c3"}
    assert set(box.keyring.unusable()) == {"c1"}, "it is told all the same"


def test_a_stranger_cannot_have_a_custodian_named(box: Box, site: Site) -> None:
    forged = hostile_day_keys(site, "c1", HOSTILE["low-order-0"], by=site.aggregator)
    with pytest.raises(SignatureInvalid):
        box.keyring.accept(forged)
    assert box.keyring.unusable() == {}


def test_sightings_wait_while_too_few_keys_are_usable_and_are_sealed_when_enough_are(
    new_box: NewBox, site: Site
) -> None:
    box = new_box(custodians=("c3",), sealing=EAGER)
    for name in ("c1", "c2"):
        with pytest.raises(MalformedMessage):
            box.keyring.accept(hostile_day_keys(site, name, HOSTILE["low-order-1"]))
    for seed in range(5):
        box.see(seed)
        box.to_next_slot()
    assert box.payloads() == []
    assert box.sealer.stats().held == 5
    assert "c1, c2" in box.sealer.stats().waiting_for
    box.keyring.accept(site.day_keys("c2", issued_at_ms=NOON_MS + 2))
    box.sealer.tick(box.clock.now_ms)
    opened = site.open(box.payloads(), custodians=("c2", "c3"))
    assert [seed for one in opened for seed in one.ids] == list(range(5))


def test_sealing_that_fails_in_any_way_loses_nothing_and_ends_nothing(
    new_box: NewBox, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_box(sealing=EAGER)
    with monkeypatch.context() as broken:

        def fails(*_: object, **__: object) -> bytes:
            raise ValueError("the cipher library has a bad day")

        broken.setattr(hpke.PublicKey, "seal", fails)
        box.see(1, 2)
        box.to_next_slot()
        assert not box.sealer.finish()
        assert box.sealer.stats().held == 2
        assert "bad day" in box.sealer.stats().waiting_for
    box.to_next_slot()
    assert [one.ids for one in box.opened()] == [[1, 2]]
    assert box.sealer.stats().waiting_for == ""
