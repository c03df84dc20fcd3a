"""What the first release left at headquarters goes into all that came since, and is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from site_v1 import CAMERAS, CUSTODIANS, SiteV1
from store_backends import forget, place_in

import custodian.backups
from aggregator import backups
from aggregator.config import AggregatorConfig
from aggregator.store import Store, StorePlace, open_inspector, open_store
from aggregator.store.moving.move import move
from aggregator.store.packed.packing import Packer
from aggregator.store.packed.store import PackedStore
from custodian.config import CustodianConfig
from runtime.backup.role import Asked
from runtime.config import load
from runtime.keyfiles import Cost

CHEAP = Cost(memory_kib=8)
ALONE = Asked(alone=True)


def quiet(_text: str) -> None:
    """Hear what is being done, and say nothing."""


@pytest.fixture
def old(tmp_path: Path) -> SiteV1:
    return SiteV1.unpack(tmp_path)


def database(old: SiteV1) -> Path:
    return old.root / "aggregator" / "state" / "aggregator.db"


def told(store: Store, old: SiteV1) -> list[object]:
    """Return what a store tells of the old site: envelopes byte for byte, queries, results."""
    ledger = store.ledger
    envelopes = []
    for number in range(1, store.segments.newest() + 1):
        with suppress(KeyError):
            envelopes.append(store.segments.envelope(number).to_bytes())
    assert len(envelopes) > len(old.truth["envelopes"])
    from_ms, to_ms = old.whole_window
    queries = ledger.queries()
    assert len(queries) == len(old.truth["queries"]) - 1  # among which are its candidates
    return [
        envelopes,
        [replace(one) for one in queries],
        [ledger.results(one.digest, "ana") for one in queries],
        [ledger.decisions(one.digest) for one in queries],
        ledger.announcements(CAMERAS, from_ms=from_ms, to_ms=to_ms),
        ledger.boxes(),
    ]


def pack(place: StorePlace) -> int:
    with closing(open_store(place)) as store:
        assert isinstance(store, PackedStore)
        packer = Packer(store, store.objects, wait_ms=600_000, now_ms=lambda: 1 << 45)
        return packer.round(at_once=True).segments


@pytest.fixture
def server_place(tmp_path: Path) -> Iterator[StorePlace]:
    yield place_in(tmp_path)
    forget(tmp_path)


@pytest.mark.processes
def test_its_ledger_moves_to_a_server_and_is_packed_there(
    old: SiteV1, server_place: StorePlace
) -> None:
    path = database(old)
    with closing(open_store(path)) as store:
        before = told(store, old)
    place = StorePlace(path, server_place.url)
    assert move(path, place, stopped=True, tell=quiet).finished
    assert pack(place) > 0
    with closing(open_store(place)) as store:
        assert told(store, old) == before


def test_its_aggregator_is_backed_up_by_the_new_version_and_put_back_in_its_form(
    old: SiteV1, tmp_path: Path
) -> None:
    path = old.paths.aggregator
    config = load(path, AggregatorConfig)
    before = asdict_of(database(old))  # not opened by a service of this version yet
    backups.back_up(path, config, old.passphrase, tmp_path / "b", tell=quiet, cost=CHEAP)
    assert asdict_of(database(old)) == before
    with closing(open_store(config.store_place)) as store:
        expected = told(store, old)
    shutil.rmtree(config.state_dir)
    backups.put_back(tmp_path / "b", config, old.passphrase, ALONE, replace=False, tell=quiet)
    with closing(open_store(config.store_place)) as store:
        assert told(store, old) == expected


def asdict_of(path: Path) -> list[dict[str, object]]:
    with closing(open_inspector(path)) as inspector:
        return [asdict(table) for table in inspector.tables()]


@pytest.mark.slow
def test_its_custodians_are_backed_up_and_put_back_with_their_withdrawals_and_without_keys(
    old: SiteV1, tmp_path: Path
) -> None:
    for name in CUSTODIANS:
        path = old.root / "custodians" / name / "custodian.toml"
        config = load(path, CustodianConfig)
        out = tmp_path / name
        custodian.backups.back_up(path, config, old.passphrase, out, tell=quiet, cost=CHEAP)
        shutil.rmtree(config.state_dir)
        custodian.backups.put_back(out, config, old.passphrase, ALONE, replace=False, tell=quiet)
        with closing(old.custodian(name)) as again:
            assert again.status()["withdrawals"] == 1
            assert again.log.size > 9
            assert old.truth["epoch"] in again.ring.epochs()  # a new one, for that day
