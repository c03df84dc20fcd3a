"""Any backend leases work to processes: one holder at a time, and who lost it writes no more."""

from __future__ import annotations

import hashlib

import pytest
from store_backends import Backend
from waiting import wait_for

from aggregator.store import Store
from aggregator.store.leases import PARTITION, QUERY, Lease, LeaseLost

LONG_MS = 60_000


def take(store: Store, holder: str, number: int = 7, *, for_ms: int = LONG_MS) -> Lease | None:
    with store.writing() as unit:
        return unit.ledger.take_lease(PARTITION, number, holder, for_ms=for_ms)


def taken(store: Store, holder: str, number: int = 7, *, for_ms: int = LONG_MS) -> Lease:
    lease = take(store, holder, number, for_ms=for_ms)
    assert lease is not None
    return lease


def test_what_one_holds_nobody_else_gets(store: Store, backend: Backend) -> None:
    ours = taken(store, "a")
    other = backend.open()
    assert take(other, "b") is None
    assert list(other.ledger.held(PARTITION)) == [ours]
    assert list(other.ledger.held(QUERY)) == []
    other.close()


def test_a_lease_that_ran_out_passes_on_with_a_higher_fence(store: Store) -> None:
    ours = taken(store, "a", for_ms=1)
    wait_for(lambda: not store.ledger.held(PARTITION), "the lease run out", every_s=0.001)
    theirs = taken(store, "b")
    assert theirs.fence > ours.fence
    assert list(store.ledger.held(PARTITION)) == [theirs]


def test_who_takes_its_own_lease_again_has_a_higher_fence(store: Store) -> None:
    before = taken(store, "a")
    again = taken(store, "a")
    assert again.fence > before.fence
    with pytest.raises(LeaseLost), store.writing() as unit:
        unit.ledger.check_leases([before])


def test_fences_rise_for_ever_also_when_a_lease_was_given_back(store: Store) -> None:
    first = taken(store, "a")
    with store.writing() as unit:
        unit.ledger.release_leases([first])
    assert list(store.ledger.held(PARTITION)) == []
    assert taken(store, "b").fence > first.fence


def test_nothing_is_written_under_a_lease_that_was_lost(store: Store) -> None:
    ours = taken(store, "a", for_ms=1)
    wait_for(lambda: take(store, "b") is not None, "the lease passing on", every_s=0.001)
    with pytest.raises(LeaseLost, match="another process"), store.writing() as unit:
        unit.ledger.note_log_size(5)
        unit.ledger.check_leases([ours])
    assert store.ledger.log_size() == 0


def test_a_lease_that_ran_out_unnoticed_still_writes_while_nobody_took_it(store: Store) -> None:
    ours = taken(store, "a", for_ms=1)
    wait_for(lambda: not store.ledger.held(PARTITION), "the lease run out", every_s=0.001)
    with store.writing() as unit:
        unit.ledger.check_leases([ours])


def test_renewing_keeps_what_is_ours_and_tells_what_is_not(store: Store) -> None:
    kept, lost = taken(store, "a", 1), taken(store, "a", 2, for_ms=1)
    wait_for(lambda: take(store, "b", 2) is not None, "the lease passing on", every_s=0.001)
    with store.writing() as unit:
        assert unit.ledger.renew_leases([kept, lost], for_ms=LONG_MS) == [kept]
        unit.ledger.release_leases([lost])  # it is another's: it stays
    assert [one.holder for one in store.ledger.held(PARTITION)] == ["a", "b"]


def test_what_one_process_was_brought_the_others_find(store: Store, backend: Backend) -> None:
    with store.writing() as unit:
        unit.ledger.put_site_paper("directory", b"old")
        unit.ledger.put_site_paper("directory", b"new")
    other = backend.open()
    assert dict(other.ledger.site_papers()) == {"directory": hashlib.sha256(b"new").digest()}
    assert other.ledger.site_paper("directory") == b"new"
    assert other.ledger.site_paper("admissions") is None
    other.close()


def test_the_log_is_never_noted_shorter_than_it_was(store: Store) -> None:
    with store.writing() as unit:
        unit.ledger.note_log_size(9)
        unit.ledger.note_log_size(4)
    assert store.ledger.log_size() == 9
