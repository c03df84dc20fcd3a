"""Day keys dated by a clock that had leapt ahead do not shut out those of the right clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from edge_site import EPOCH, NOON_MS, Site

from edge_agent.epochs import DayKeyring
from protocol.errors import EnvelopeRejected

DAY_MS = 24 * 3600 * 1000


def keyring(site: Site, folder: Path) -> DayKeyring:
    return DayKeyring(site.trust(), site="demo", folder=folder, now_ms=lambda: NOON_MS)


def test_what_was_dated_years_ahead_is_replaced_though_it_was_kept(
    site: Site, tmp_path: Path
) -> None:
    ahead = site.day_keys("c1", (EPOCH + 900,), issued_at_ms=NOON_MS + 900 * DAY_MS)
    assert keyring(site, tmp_path / "keys").accept(ahead)
    again = keyring(site, tmp_path / "keys")
    assert again.for_epoch(EPOCH) == {}
    assert again.accept(site.day_keys("c1", issued_at_ms=NOON_MS))
    assert set(again.for_epoch(EPOCH)) == {"c1"}
    assert set(keyring(site, tmp_path / "keys").for_epoch(EPOCH)) == {"c1"}


def test_what_was_dated_a_little_ahead_is_not_rolled_back(site: Site, tmp_path: Path) -> None:
    ring = keyring(site, tmp_path / "keys")
    assert ring.accept(site.day_keys("c1", issued_at_ms=NOON_MS + 60_000))
    with pytest.raises(EnvelopeRejected, match="older"):
        ring.accept(site.day_keys("c1", issued_at_ms=NOON_MS))
