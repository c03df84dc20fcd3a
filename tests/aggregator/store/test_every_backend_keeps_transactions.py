"""A transaction of any backend is kept whole or not at all, whoever reads, whatever crashes."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.connection import Connection

import numpy as np
import pytest
from sealed_boxes import NOW_MS, make_box, sighting, unit_vector
from store_backends import Backend, announce, keep, stream_of

from aggregator.store import Store
from protocol.names import EPOCH_MS

RNG = np.random.default_rng(12)


class Undone(Exception):
    """Something goes wrong inside a transaction."""


def test_what_fails_in_the_middle_leaves_nothing_and_does_not_harm_what_follows(
    store: Store,
) -> None:
    box = make_box(1)
    with pytest.raises(Undone), store.writing() as unit:
        keep(unit, box, box.segment([sighting(unit_vector(RNG))]))
        announce(unit, box, box.announcement())
        unit.ledger.add_entry(b"entry", log_size=3)
        raise Undone
    assert store.ledger.stream(box.address) is None
    assert store.ledger.arrived_since(0) == frozenset()
    assert store.ledger.announcements([box.camera], from_ms=0, to_ms=NOW_MS + EPOCH_MS) == []
    assert store.ledger.pending_entries() == []
    before = store.segments.models()  # a backend may have given the model its number for good
    with store.writing() as unit:
        keep(unit, box, box.segment([sighting(unit_vector(RNG))]))
    (row,) = store.segments.scan(box.keys().scope, modalities=("face",))
    assert store.segments.models()[row.models[0] or 0]
    assert before.items() <= store.segments.models().items()


def test_a_transaction_inside_another_is_part_of_it(store: Store) -> None:
    with pytest.raises(Undone), store.writing() as unit:
        with store.writing() as inner:
            inner.ledger.add_entry(b"inner", log_size=0)
        assert [one.entry for one in unit.ledger.pending_entries()] == [b"inner"]
        raise Undone
    assert store.ledger.pending_entries() == []


def test_a_reader_sees_what_was_committed_and_the_writer_what_it_wrote(store: Store) -> None:
    with store.writing() as unit:
        unit.ledger.add_entry(b"entry", log_size=7)
        assert [one.log_size for one in unit.ledger.pending_entries()] == [7]
        seen: list[int] = []
        other = threading.Thread(target=lambda: seen.append(len(store.ledger.pending_entries())))
        other.start()
        other.join(30)
        assert seen == [0], "a reader waits for no writer, and sees nothing half done"
    assert len(store.ledger.pending_entries()) == 1


def test_writers_take_turns_and_lose_nothing(store: Store) -> None:
    def write() -> None:
        for _ in range(20):
            with store.writing() as unit:
                unit.ledger.add_entry(b"one", log_size=len(unit.ledger.pending_entries()))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [one.log_size for one in store.ledger.pending_entries()] == list(range(80))


def _crash(backend: Backend, pipe: Connection) -> None:
    """Commit one transaction, and be killed inside the next."""
    store = backend.open()
    box = make_box(1)
    with store.writing(durable=True) as unit:
        stream_of(unit, box.address)
        unit.ledger.add_entry(b"kept", log_size=0)
    with store.writing(durable=True) as unit:
        unit.ledger.add_entry(b"lost", log_size=1)
        keep(unit, box, box.segment([sighting(unit_vector(RNG))]))
        pipe.send("inside")
        pipe.recv()


@pytest.mark.processes
def test_a_process_killed_inside_a_transaction_leaves_what_was_committed(backend: Backend) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_crash, args=(backend, theirs))
    process.start()
    assert ours.poll(60)
    process.kill()
    process.join(30)
    store = backend.open()
    assert [one.entry for one in store.ledger.pending_entries()] == [b"kept"]
    assert store.ledger.arrived_since(0) == frozenset()
    with store.writing() as unit:
        unit.ledger.add_entry(b"next", log_size=1)
    store.close()
