"""A box has day keys of past days from the second form, and what it had of the first besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_site import EPOCH, NOON_MS, Box, Site

from protocol import hpke
from protocol.daykeys import DayKeys

PAST = EPOCH - 3


def in_second_form(site: Site, custodian: str, epochs: Sequence[int], issued_at_ms: int) -> bytes:
    keys = {}
    for epoch in epochs:
        secret = site.day_secrets.setdefault((custodian, epoch), hpke.PrivateKey.generate())
        keys[epoch] = secret.public
    signed = DayKeys("demo", custodian, issued_at_ms, keys, 2).sign(site.custodians[custodian])
    return signed.to_bytes()


def test_past_days_come_from_the_second_form_whichever_form_came_last(
    site: Site, tmp_path: Path
) -> None:
    box = Box(site, tmp_path / "box")
    assert box.keyring.for_epoch(PAST) == {}
    for name in ("c1", "c3"):
        assert box.keyring.accept(in_second_form(site, name, [PAST, EPOCH], NOON_MS))
    assert list(box.keyring.for_epoch(PAST)) == ["c1", "c3"]
    box.keyring.accept(site.day_keys("c1", issued_at_ms=NOON_MS + 1000))
    again = site.keyring(tmp_path / "box" / "day-keys", box.trust, ())
    for keyring in (box.keyring, again):
        assert list(keyring.for_epoch(PAST)) == ["c1", "c3"]
        assert keyring.for_epoch(PAST)["c1"] == site.day_secrets["c1", PAST].public
        assert list(keyring.for_epoch(EPOCH)) == ["c1", "c2", "c3"]
        assert list(keyring.for_epoch(EPOCH + 1)) == ["c1", "c2", "c3"], "of the first form"
    box.outbox.close()


def test_of_two_keys_of_one_day_the_later_one_counts(site: Site, tmp_path: Path) -> None:
    box = Box(site, tmp_path / "box")
    before = box.keyring.for_epoch(EPOCH)["c1"]
    del site.day_secrets["c1", EPOCH]  # the custodian has made its keys anew
    box.keyring.accept(in_second_form(site, "c1", [EPOCH], NOON_MS + 1000))
    assert box.keyring.for_epoch(EPOCH)["c1"] == site.day_secrets["c1", EPOCH].public != before
    box.outbox.close()
