"""Processes share boxes and queries evenly, and what a dead one had passes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from laid_down import new_store

from aggregator.processes import keeper as keeping
from aggregator.processes.duties import Duty
from aggregator.processes.keeper import Keeper, Shared
from aggregator.processes.members import MOST, Member, members, register
from aggregator.processes.shares import partitions, query_shares
from aggregator.store import Store
from runtime.database import StorageError
from runtime.lifecycle import Stop


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "aggregator.db")


class Process:
    """A process of an aggregator, as far as its leases go."""

    def __init__(self, store: Store, *duties: Duty) -> None:
        self.member = Member.new(frozenset(duties)).at("https://here:1")
        self.partitions, self.queries = partitions(), query_shares()
        self.keeper = Keeper(store, self.member, [self.partitions, self.queries])

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.partitions.held()), len(self.queries.held())


def all_of(*shares: Shared) -> list[int]:
    return sorted(number for share in shares for number in share.held())


def test_one_process_has_all_that_its_duties_give_it(store: Store) -> None:
    one = Process(store, Duty.INGEST)
    one.keeper.tick()
    assert one.counts == (64, 0)


def test_who_joins_gets_half_and_nothing_is_held_twice(store: Store) -> None:
    first, second = Process(store, Duty.INGEST), Process(store, Duty.INGEST, Duty.API)
    first.keeper.tick()
    second.keeper.tick()
    assert second.counts == (0, 0)
    first.keeper.tick()
    second.keeper.tick()
    assert (first.counts, second.counts) == ((32, 0), (32, 0))
    assert all_of(first.partitions, second.partitions) == list(range(64))


def test_what_a_process_had_that_died_passes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = Process(store, Duty.INGEST), Process(store, Duty.INGEST)
    alive.keeper.tick()
    with monkeypatch.context() as short:
        short.setattr(keeping, "LEASE_MS", 0)  # it never renews them
        dead.keeper.tick()
    alive.keeper.tick()
    assert alive.counts == (64, 0)


def test_who_stops_gives_all_back_at_once(store: Store) -> None:

    first, second = Process(store, Duty.INGEST), Process(store, Duty.INGEST)
    stop = Stop()
    stop.set("enough")
    first.keeper.run(stop)
    second.keeper.tick()
    assert (first.counts, second.counts) == ((0, 0), (64, 0))
    assert [one.name for one in members(store.ledger)] == [second.member.name]


def test_shares_with_open_queries_are_not_given_to_who_joins(store: Store) -> None:
    first, second = Process(store, Duty.QUERIES), Process(store, Duty.QUERIES)
    first.keeper.tick()
    busy = set(range(50))
    first.queries.busy = lambda: busy
    second.keeper.tick()
    first.keeper.tick()
    second.keeper.tick()
    assert busy <= set(first.queries.held())
    assert all_of(first.queries, second.queries) == list(range(64))


def test_a_lease_that_was_lost_is_ours_no_more_at_once(store: Store) -> None:
    one = Process(store, Duty.INGEST)
    one.keeper.tick()
    lease = one.partitions.held()[5]
    one.partitions.lose(lease)
    assert 5 not in one.partitions.held()
    one.partitions.lose(lease)  # known already


def test_processes_are_found_with_what_they_do_and_where(store: Store) -> None:
    one = Process(store, Duty.INGEST, Duty.API)
    one.keeper.tick()
    assert members(store.ledger) == [one.member]
    assert Member.read("what a later version writes") is None


def test_no_more_processes_are_registered_than_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST >= 64
    monkeypatch.setattr("aggregator.processes.members.MOST", 1)
    with store.writing() as unit:
        one, other = (Member.new(frozenset({Duty.API})) for _ in range(2))
        assert register(unit.ledger, one, for_ms=60_000) is not None
        assert register(unit.ledger, other, for_ms=60_000) is None


def test_a_store_that_fails_after_a_round_ends_no_process(store: Store) -> None:
    told: list[str] = []

    def fails() -> None:
        told.append("asked")
        raise StorageError("the server does not answer")

    one = Member.new(frozenset({Duty.API}))
    Keeper(store, one, [], on_tick=fails).tick()
    assert told
    assert members(store.ledger) == [one]
