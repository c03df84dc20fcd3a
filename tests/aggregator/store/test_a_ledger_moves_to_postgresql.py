"""`sealtrace aggregator migrate`: a running site's ledger moves whole, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import protocol_samples as s
import pytest
from boxes_v2 import make_box_v2, person, strangers
from postgresql_server import server
from psycopg.conninfo import conninfo_to_dict
from sealed_boxes import DAY, NOW_MS, make_box, sighting, unit_vector
from store_backends import announce, forget, keep, place_in, stream_of
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.store import Store, StorePlace, open_store
from aggregator.store.moving.move import Moved, move
from aggregator.store.moving.target import NotTheSame
from aggregator.store.packed.packing import Packer
from aggregator.store.packed.store import PackedStore
from aggregator.store.place import moved_note
from aggregator.store.rows import RUNNING, BoxRow, GapRow, GrantRow, HealthRow, RejectRow, StreamRow
from protocol.about_queries import APPROVAL_KIND
from protocol.grant import Scope
from protocol.names import EPOCH_MS
from protocol.query import Query
from protocol.results import CONFIRMED, Decision
from runtime.database import StorageError
from runtime.lifecycle import FolderLock

pytestmark = pytest.mark.processes
RNG = np.random.default_rng(8)
OLD, NEW = make_box(1), make_box_v2(2)
FAR_MS = 1 << 45


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The file of a site that has something of every kind."""
    (tmp_path / "state").mkdir(mode=0o700)
    OLD.sequence = NEW.sequence = 0
    path = tmp_path / "state" / "aggregator.db"
    store = open_store(path)
    fill(store)
    store.close()
    return path


@pytest.fixture
def place(tmp_path: Path, database: Path) -> Iterator[StorePlace]:
    url = place_in(tmp_path).url
    yield StorePlace(database, url)
    forget(tmp_path)


def fill(store: Store) -> None:
    case = s.case(query_id=s.fixed("query 0", 16))
    digest = case.query.digest
    candidate = s.fixed("candidate", 16)
    decision = Decision(digest, candidate, CONFIRMED, 3).sign(s.signing_key("ana"))
    with store.writing() as unit:
        for box in (OLD, NEW):
            announce(unit, box, box.announcement())
        keep(
            unit,
            OLD,
            OLD.segment([sighting(unit_vector(RNG))], slot=3),
            OLD.live([sighting(unit_vector(RNG))], slot=4),
        )
        keep(unit, NEW, NEW.live([person(None)], slot=5), NEW.live([person(None)], slot=6))
        keep(unit, NEW, NEW.segment(strangers(3, RNG), slot=5, replaces=((1, 1),)))
        stream = stream_of(unit, NEW.address)
        unit.ledger.remember(
            stream, 0, sequence=5, epoch=DAY, outcome=1, digest=b"d" * 16, now_ms=NOW_MS
        )
        unit.ledger.move_streams([(StreamRow(stream, 0, 9, 100), 50)])
        unit.ledger.add_gap(stream, 0, GapRow(0, 2, 4, 40, None, lost=True))
        unit.ledger.add_gap(stream, 1, GapRow(0, 2, 4, 40, 41, lost=False))
        unit.ledger.move_streams([(StreamRow(stream, 1, 7, 101), 60)])
        unit.ledger.put_box(BoxRow("box-2", 5, "online", "1", 4, 5, -3, {"fps": 2.5}))
        unit.ledger.put_health(HealthRow("box-2", 7, 1, 700, 0, "1.0", {"q": 3.0}))
        unit.ledger.add_rejects([RejectRow("box-2", "c", "signature", 2, 1, "nul \0 in it")])
        unit.ledger.quarantine(
            stream=stream, topic="t", payload=b"\0p", reason="r", detail="d", received_ms=1
        )
        unit.ledger.add_query(Query.parse(case.query.payload), case.query, now_ms=1)
        unit.ledger.add_message(digest, case.approvals[0], now_ms=2)
        unit.ledger.set_state(digest, RUNNING, "why", now_ms=5)
        unit.ledger.add_grant(GrantRow(b"g" * 16, "c1", digest, ("face",), b"\x80", (), 4, 5, 6))
        unit.ledger.add_result(digest, candidate, {"ana": b"sealed"}, found_ms=1)
        unit.ledger.put_decision(digest, candidate, decision, decided_ms=3)
        unit.ledger.add_opening(digest, {"ana": b"opening"}, marks=[b"mark"], opened_ms=4)
        unit.ledger.put_watching(digest, {"ana": b"watched"})
        unit.ledger.add_entry(b"entry", log_size=3)


def told(store: Store) -> list[object]:
    """Return what a store tells of all that `fill` has put into it."""
    ledger, window = store.ledger, {"from_ms": 0, "to_ms": (DAY + 2) * EPOCH_MS}
    cameras = [OLD.camera, NEW.camera]
    digest = ledger.queries()[0].digest
    models = store.segments.models()
    scopes = [Scope(box.address, DAY, box.generation, 0, 95) for box in (OLD, NEW)]
    found = [
        row for scope in scopes for row in sorted(store.segments.scan(scope, modalities=("face",)))
    ]
    rows = [
        (
            row._replace(models=(), blocks=tuple(block or None for block in row.blocks)),
            row.models[0] and models[row.models[0]],
            store.segments.envelope(row.number).to_bytes(),
        )
        for row in found
    ]
    stream = ledger.stream(NEW.address)
    assert stream is not None
    gaps = sorted(ledger.open_gaps(), key=lambda gap: gap[1].number)
    return [
        rows, stream, ledger.stream(OLD.address), gaps,
        ledger.announcements(cameras, **window), ledger.digests(stream.number, 5),
        [ledger.came(stream.number, number) for number in (1, 3, 9, 10)],
        ledger.count_scope(cameras, **window), sorted(ledger.told_slots(cameras, first_epoch=0)),
        ledger.boxes(), ledger.health_history("box-2", from_slot=0, to_slot=9),
        ledger.quarantined(), ledger.queries(), ledger.messages(APPROVAL_KIND, digest),
        ledger.knows_grant(b"g" * 16), len(ledger.rejects()), ledger.results(digest, "ana"),
        ledger.decisions(digest), ledger.openings(digest, "ana"), ledger.opened_rows(digest),
        ledger.watching(digest, "ana"), ledger.link_seed(digest), ledger.pending_entries(),
        ledger.newest_announcement(),
    ]  # fmt: skip


def moving(database: Path, place: StorePlace, *, stopped: bool) -> Moved:
    return move(database, place, stopped=stopped, tell=lambda _text: None)


def both_told(database: Path, place: StorePlace) -> tuple[list[object], list[object]]:
    moved_note(database).unlink(missing_ok=True)  # so that the old one can still be looked into
    old, new = open_store(database), open_store(place)
    try:
        return told(old), told(new)
    finally:
        old.close()
        new.close()


def test_what_came_and_went_while_it_was_copied_is_there_when_it_is_done(
    database: Path, place: StorePlace
) -> None:
    assert not moving(database, place, stopped=False).finished
    with pytest.raises(StorageError, match="migrate"):
        open_store(place)
    store = open_store(database)  # the service goes on meanwhile
    with store.writing() as unit:
        keep(unit, NEW, NEW.segment([], slot=6, replaces=((2, 2),)), NEW.segment([], slot=7))
        unit.ledger.add_entry(b"later", log_size=4)
    store.close()
    again = moving(database, place, stopped=False)
    assert again.copied["envelopes"] == 2
    assert moving(database, place, stopped=True).finished
    old, new = both_told(database, place)
    assert new == old
    store = open_store(place)
    with store.writing() as unit:  # numbers go on behind those that were given
        keep(unit, NEW, NEW.segment([], slot=8))
        unit.ledger.add_entry(b"next", log_size=5)
    assert [one.entry for one in store.ledger.pending_entries()][-1] == b"next"
    assert store.segments.newest() > max(row[0].number for row in old[0])  # type: ignore[attr-defined]
    store.close()


def test_packed_segments_stay_where_they_are_and_are_found_from_there(
    database: Path, place: StorePlace
) -> None:
    store = open_store(database)
    assert isinstance(store, PackedStore)
    packer = Packer(store, store.objects, wait_ms=0, now_ms=lambda: FAR_MS)
    packer.round(at_once=True)
    before = told(store)
    store.close()
    moving(database, place, stopped=True)
    store = open_store(place)
    assert told(store) == before
    store.close()


def test_an_interrupted_move_goes_on_where_it_was(database: Path, place: StorePlace) -> None:
    class Killed(Exception):
        pass

    def interrupt(text: str) -> None:
        if text.startswith(("announcements", "streams")):
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            move(database, place, stopped=True, tell=interrupt)
    done = moving(database, place, stopped=True)
    assert done.finished
    assert done.copied["envelopes"] == 0, "they were there"
    old, new = both_told(database, place)
    assert new == old
    assert moving(database, place, stopped=True) == Moved({}, finished=True)


def test_who_goes_on_with_the_file_after_the_move_is_stopped(
    database: Path, place: StorePlace
) -> None:
    moving(database, place, stopped=True)
    with pytest.raises(StorageError, match="was moved to postgresql://") as refused:
        open_store(database)
    assert "[store] url" in str(refused.value)


def test_a_database_that_holds_another_ledger_is_left_alone(
    database: Path, place: StorePlace, tmp_path: Path
) -> None:
    store = open_store(replace(place, database=tmp_path / "none.db"))
    with store.writing() as unit:
        unit.ledger.add_stream(OLD.address)
    with pytest.raises(StorageError, match="another"):
        moving(database, place, stopped=True)
    assert store.ledger.addresses() == [OLD.address]
    store.close()


def test_a_database_that_another_file_is_moved_into_is_left_alone(
    database: Path, place: StorePlace, tmp_path: Path
) -> None:
    moving(database, place, stopped=False)
    other = tmp_path / "other.db"
    open_store(other).close()
    with pytest.raises(StorageError, match="elsewhere"):
        moving(other, place, stopped=True)


def test_a_row_that_comes_out_otherwise_is_noticed_and_not_kept(
    database: Path, place: StorePlace
) -> None:
    moving(database, place, stopped=False)
    name = str(conninfo_to_dict(place.url)["dbname"])
    with server().administrator(name) as connection:
        connection.execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.entry := 'other'; RETURN NEW; END $$;"
            " CREATE TRIGGER spoil BEFORE INSERT ON log_outbox FOR EACH ROW"
            " EXECUTE FUNCTION spoil()"
        )
    with pytest.raises(NotTheSame, match="log_outbox"):
        moving(database, place, stopped=True)
    with server().administrator(name) as connection:
        assert connection.execute("SELECT count(*) FROM streams").fetchone() == (0,)
        connection.execute("DROP TRIGGER spoil ON log_outbox")
    assert moving(database, place, stopped=True).finished


def test_the_command_copies_while_the_service_runs_and_finishes_when_it_is_stopped(
    database: Path, place: StorePlace, tmp_path: Path
) -> None:
    config = tmp_path / "aggregator.toml"
    config.write_text(f'site = "test"\nauthority = "{"58" + "66" * 31}"\nstate_dir = "state"\n')

    def migrate(*words: str) -> str:
        done = CliRunner().invoke(
            app, ["migrate", *words, "--config", str(config)], env={"COLUMNS": "300"}
        )
        return f"{done.exit_code} {done.output} {done.exception or ''}"

    assert "must look like postgresql://" in migrate()
    assert "password_file" in migrate("--to", "postgresql://u:secret@/d")
    running = FolderLock(tmp_path / "state")
    said = migrate("--to", place.url)
    assert said.startswith("0 ")
    assert "stop it, and run the same again" in said
    running.close()
    said = migrate("--to", place.url)
    assert said.startswith("0 ")
    assert "done: all of" in said
    assert "[store] url" in said
    assert "done: all of" in migrate("--to", place.url), "once more does nothing"
