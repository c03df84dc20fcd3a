"""What only a store that several processes share has to show: in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from boxes_v2 import make_box_v2, strangers
from postgresql_server import USER, server
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sealed_boxes import DAY, make_box
from store_backends import announce, forget, keep, place_in, stream_of

from aggregator.store import StorePlace, open_inspector, open_store
from aggregator.store.postgresql import days
from aggregator.store.postgresql.schema import MIGRATIONS
from aggregator.store.postgresql.sessions import _MOST_CONNECTIONS
from aggregator.store.postgresql.store import PostgresqlStore
from aggregator.store.rows import RejectRow
from protocol.grant import Scope
from runtime.database import SchemaTooNew, StorageError, StorageFull

pytestmark = pytest.mark.processes
RNG = np.random.default_rng(5)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[StorePlace]:
    yield place_in(tmp_path)
    forget(tmp_path)


@pytest.fixture
def stores(place: StorePlace) -> Iterator[tuple[PostgresqlStore, PostgresqlStore]]:
    """Two of one database, as two processes have them."""
    both = PostgresqlStore(place), PostgresqlStore(place)
    yield both
    for one in both:
        one.close()


Two = tuple[PostgresqlStore, PostgresqlStore]


# ---------------------------------------------------------------------- several writers


def test_as_many_threads_as_there_are_write_in_turn_and_read_meanwhile(stores: Two) -> None:
    store, _ = stores
    count = 3 * _MOST_CONNECTIONS
    ready, failed = threading.Barrier(count), list[StorageError]()

    def write() -> None:
        ready.wait(60)
        try:
            with store.writing(durable=True) as unit:
                unit.ledger.add_entry(b"entry", log_size=store.ledger.log_size())
        except StorageError as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert len(store.ledger.pending_entries()) == count


def test_whoever_reads_a_long_answer_finds_a_connection_for_more(stores: Two) -> None:
    store, _ = stores
    box = make_box_v2(1)
    with store.writing() as unit:
        announce(unit, box, box.announcement())
        for slot in range(4):
            keep(unit, box, box.segment(strangers(1, RNG), slot=slot))
    scope = Scope(box.address, DAY, box.generation, 0, 95)
    count = 2 * _MOST_CONNECTIONS
    ready, read = threading.Barrier(count), list[bytes]()

    def look() -> None:
        ready.wait(60)
        for row in store.segments.scan(scope, modalities=()):
            read.append(store.segments.header(row.number))

    threads = [threading.Thread(target=look) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(read) == 4 * count


def test_two_processes_take_in_at_once_and_a_cursor_misses_none_of_it(stores: Two) -> None:
    first, second = make_box_v2(1), make_box_v2(2)
    slow, quick = stores
    with slow.writing(beside=True) as unit:
        announce(unit, first, first.announcement())
        keep(unit, first, first.segment(strangers(1, RNG)))
        unit.segments.replaced()  # its number is given, and not committed
        with quick.writing(beside=True) as other:
            announce(other, second, second.announcement())
            keep(other, second, second.segment(strangers(1, RNG)))
        seen, announced = quick.segments.newest(), quick.ledger.newest_announcement()
        (came,) = quick.ledger.arrived_since(0)
        assert came[0] == second.name
    since = {name[0] for name in quick.ledger.arrived_since(seen)}
    assert first.name in since, "it was committed later, under a lower number"
    window = {"from_ms": 0, "to_ms": (DAY + 9) * 86_400_000}
    late = quick.ledger.announcements([first.camera], **window, after=announced)
    assert [one.address for one in late] == [first.address]
    assert quick.segments.newest() == slow.segments.newest() == 2
    assert quick.ledger.newest_announcement() == 2


def test_numbers_of_a_transaction_that_was_undone_hold_nobody_back(stores: Two) -> None:
    slow, quick = stores
    box = make_box_v2(1)
    with pytest.raises(KeyError), slow.writing(beside=True) as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
        unit.segments.replaced()
        raise KeyError
    with quick.writing(beside=True) as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
    (row,) = quick.segments.scan(Scope(box.address, DAY, box.generation, 0, 95), modalities=())
    assert quick.segments.newest() == row.number


def test_who_writes_in_turn_waits_for_another_process_and_intake_does_not(stores: Two) -> None:
    slow, quick = stores
    order: list[str] = []

    def write(name: str, *, beside: bool) -> None:
        with quick.writing(beside=beside) as unit:
            unit.ledger.add_rejects([RejectRow(name, "", "signature", 1, 1, "")])
            order.append(name)

    waiting = threading.Thread(target=write, args=("in turn",), kwargs={"beside": False})
    with slow.writing() as unit:
        unit.ledger.add_entry(b"first", log_size=0)
        waiting.start()
        write("intake", beside=True)
        order.append("first")
    waiting.join(30)
    assert order == ["intake", "first", "in turn"]


def test_a_new_day_is_made_once_by_all_who_need_it(stores: Two) -> None:
    boxes = [make_box_v2(number) for number in range(1, 5)]

    def write(at: int) -> None:
        box = boxes[at]
        for day in range(DAY + 10, DAY + 14):
            with stores[at % 2].writing(beside=True) as unit:
                keep(unit, box, box.segment(strangers(1, RNG), epoch=day))

    threads = [threading.Thread(target=write, args=(at,)) for at in range(len(boxes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert stores[0].segments.newest() == 16
    assert len(stores[1].ledger.arrived_since(0)) == 16


def test_a_transaction_comes_to_days_that_are_new_one_after_the_other(stores: Two) -> None:
    box = make_box_v2(1)
    epochs = range(DAY + 20, DAY + 32)
    with stores[0].writing(beside=True) as unit:
        for day in epochs:
            assert announce(unit, box, box.announcement(day))
            keep(unit, box, box.segment([], epoch=day))
            unit.segments.replaced()
    assert len(stores[1].ledger.arrived_since(0)) == len(epochs)


def test_a_day_that_another_process_dropped_is_made_again(stores: Two) -> None:
    here, there = stores
    box = make_box_v2(1)
    with here.writing(beside=True) as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
    with there.writing() as unit:
        assert unit.segments.drop_days(before_epoch=DAY + 1, most=1) == 1
    with pytest.raises(StorageError, match="tried again"), here.writing(beside=True) as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
    with here.writing(beside=True) as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
    assert len(there.ledger.arrived_since(0)) == 1


def test_a_day_that_somebody_is_reading_is_dropped_later_and_holds_nobody_up(
    stores: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "_MOST_WAITED_MS", 50)
    store, _ = stores
    box = make_box_v2(1)
    with store.writing() as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
    with server().administrator(str(conninfo_to_dict(store.place.url)["dbname"])) as reader:
        with reader.transaction():
            reader.execute("SELECT count(*) FROM envelopes")
            with pytest.raises(StorageError, match="tried again"), store.writing() as unit:
                unit.segments.drop_days(before_epoch=DAY + 1, most=1)
            assert len(store.ledger.arrived_since(0)) == 1
        with store.writing() as unit:
            assert unit.segments.drop_days(before_epoch=DAY + 1, most=1) == 1


# ---------------------------------------------------------------------- what can go wrong


def test_a_server_that_was_away_is_found_again_by_who_read_and_who_wrote(stores: Two) -> None:
    store = PostgresqlStore(stores[0].place, patience_s=0.5)
    box = make_box_v2(1)
    reader = store.segments.source.open()
    with store.writing(durable=True) as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
    assert reader.newest() == 1
    server().stop()
    try:
        for ask in (store.ledger.pending_entries, reader.newest):
            with pytest.raises(StorageError, match="server runs"):
                ask()
        with pytest.raises(StorageError, match="server runs"), store.writing():
            raise AssertionError
    finally:
        server().start()
    assert store.ledger.pending_entries() == []
    with store.writing() as unit:
        keep(unit, box, box.segment(strangers(1, RNG)))
    scope = Scope(box.address, DAY, box.generation, 0, 95)
    assert len(list(reader.scan(scope, modalities=()))) == 2
    store.close()


def test_a_connection_that_breaks_in_a_transaction_keeps_nothing_of_it(stores: Two) -> None:
    store, other = stores
    with pytest.raises(StorageError), store.writing() as unit:
        unit.ledger.add_entry(b"lost", log_size=0)
        (own,) = unit.transaction.rows("SELECT pg_backend_pid()")[0]
        other.ledger._peek("SELECT pg_terminate_backend(%s, 5000)", [own])
        unit.ledger.add_entry(b"lost too", log_size=1)
    assert store.ledger.pending_entries() == []


def test_a_full_disk_is_told_as_such(stores: Two) -> None:
    store, _ = stores
    with pytest.raises(StorageFull, match="free space"), store.writing() as unit:
        unit.transaction.change("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$")


def test_what_the_server_cannot_write_does_not_stop_a_batch(stores: Two) -> None:
    store, _ = stores
    with store.writing() as unit:
        unit.ledger.add_rejects([RejectRow("b", "", "topic", 1, 1, "nul \0 in it")])
        unit.ledger.quarantine(
            stream=None, topic="a\0b", payload=b"\0", reason="r", detail="\0", received_ms=1
        )
    (told,) = store.ledger.quarantined()
    assert told.topic == "a\ufffdb"


def test_a_database_of_a_newer_version_is_left_alone(place: StorePlace) -> None:
    name = str(conninfo_to_dict(place.url)["dbname"])
    with server().administrator(name) as connection:
        connection.execute(
            "INSERT INTO schema_steps (number, name) VALUES (%s, 'later')", [len(MIGRATIONS) + 1]
        )
    with pytest.raises(SchemaTooNew, match="newer version"):
        open_store(place)


def test_a_database_that_is_not_there_or_not_ours_is_a_plain_error(place: StorePlace) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        open_store(StorePlace(place.database, server().url("nowhere")))
    url = place.url.replace(f"//{USER}@", "//stranger@")
    server().run(sql.SQL("DROP ROLE IF EXISTS stranger").format())
    server().run(sql.SQL("CREATE ROLE stranger LOGIN").format())
    with pytest.raises(StorageError, match="owns the database"):
        open_store(StorePlace(place.database, url))


# ---------------------------------------------------------------------- looking into it


def test_operators_see_tables_and_rows_and_nothing_that_is_sealed(stores: Two) -> None:
    store, _ = stores
    box = make_box(1)
    with store.writing() as unit:
        announce(unit, box, box.announcement())
        unit.ledger.add_entry(b"sealed entry", log_size=7)
        stream_of(unit, box.address)
    inspector = open_inspector(store.place)
    tables = {table.name: table for table in inspector.tables()}
    assert tables["announcements"].rows == 1
    assert not [name for name in tables if "_d" in name], "a day is no table of its own"
    (row,) = inspector.rows("log_outbox", limit=5)
    assert row == {"number": 1, "entry": "(12 bytes)", "log_size": 7}
    (row,) = inspector.rows("streams", limit=5)
    assert row["camera"] == box.camera
    with pytest.raises(KeyError):
        inspector.rows("nothing", limit=1)
    inspector.close()
