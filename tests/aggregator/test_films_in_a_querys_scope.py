"""Films that come while a query goes on are compared; of those that come after it one hears."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
from custodian_site import make_announcement
from row_desk import RowDesk
from throwaway_ca import ThrowawayCa

from aggregator.ingest.messages import Incoming
from aggregator.late_films import LateFilms
from aggregator.views import query_view
from protocol.about_queries import Withdrawal
from protocol.epoch import RECORDING
from protocol.keytree import META
from protocol.names import ENVELOPE, EPOCH, SLOT_MS, CameraAddress, SlotName, slot_start_ms
from protocol.query import Query
from protocol.sealing import SEGMENT
from protocol.v2.envelopes import Batch, seal
from protocol.v2.header import STATED, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.sightings import Sighting

STATION = CameraAddress(s.SITE, "box-2", "cam-1")
"""Imports films of the camera that box-1 watches."""
OTHER = CameraAddress(s.SITE, "box-2", "cam-3")
WINDOW = Query.parse(s.case().query.payload)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[RowDesk]:
    films = {"box-2": ("cam-1", "cam-3")}
    one = RowDesk(tmp_path, monkeypatch, ca, cameras=("cam-1",), recordings=films)
    yield one
    one.close()


class Film:
    """A film of a camera, as a station imports it."""

    generation = 9

    def __init__(self, desk: RowDesk, address: CameraAddress = STATION) -> None:
        self.desk, self.address = desk, address
        self.sequence = 0

    def announce(self) -> None:
        announced, signed = make_announcement(
            list(self.desk.custodians.values()), box=self.address.box, camera=self.address.camera,
            generation=self.generation, version=2, origin=RECORDING,
        )  # fmt: skip
        assert announced.sequence == self.sequence
        self._take(EPOCH, signed)

    def segment(self, *who: str | Sighting, slot: int = s.SLOT) -> None:
        name = SlotName(self.address, s.EPOCH, self.generation, slot)
        header = Header(
            SEGMENT, name, self.sequence, RECORDING, STATED, self.desk.time.ms,
            s.fixed(f"salt {self.sequence}", 8), (), (),
        )  # fmt: skip
        seen = [v2.sighting(one) if isinstance(one, str) else one for one in who]
        batch = Batch(seen, {"face": v2.SPACE}, v2.COVERAGE)

        def leaves(label: str) -> list[bytes]:
            return [v2.leaf(root, label, slot) for root in s.roots()]

        sealed = seal(
            header,
            batch,
            key=lambda label: slot_key(leaves(label), name, label),
            row_key=lambda row: row_key([row_value(leaf, row) for leaf in leaves(META)], name, row),
            board=s.signing_key(self.address.box),
        )
        self._take(ENVELOPE, sealed.to_bytes())

    def _take(self, kind: str, payload: bytes) -> None:
        message = Incoming(self.address.topic(kind), payload, self.desk.time.ms)
        assert self.desk.intake.process([message]).stored == 1
        self.sequence += 1


def end(desk: RowDesk) -> None:
    """Let the query's window be over, and the query with it."""
    desk.step()
    desk.time.ms = WINDOW.window_to_ms + 120_000
    desk.later()
    desk.step()
    assert desk.record.state == "complete"


def late(desk: RowDesk) -> tuple[LateFilms, ...]:
    return desk.desk.late_films(desk.record)


# ---------------------------------------------------------------------- while it goes on


@pytest.mark.slow
def test_films_of_past_hours_that_come_while_a_query_goes_on_are_granted_and_compared(
    desk: RowDesk,
) -> None:
    desk.step()
    assert desk.record.state == "standing"
    desk.time.ms += SLOT_MS
    film = Film(desk)
    film.announce()
    film.segment("subject", "somebody")
    desk.step()
    for officer in ("ana", "bea"):
        (one,) = desk.candidates(officer)
        assert (one.address, one.origin, one.time_source) == (STATION, "recorded", "stated")
        assert one.row == v2.sighting("subject").row
    assert late(desk) == ()


@pytest.mark.slow
def test_what_is_imported_bit_by_bit_is_compared_as_it_comes(desk: RowDesk) -> None:
    desk.step()
    film = Film(desk)
    film.announce()
    desk.step()
    assert desk.candidates() == []
    film.segment("somebody", slot=s.SLOT - 1)
    desk.step()
    desk.time.ms += SLOT_MS
    film.segment("subject")
    desk.step()
    assert [one.address for one in desk.candidates()] == [STATION]
    end(desk)
    assert late(desk) == ()


def test_both_boxes_of_a_camera_are_opened_and_each_candidate_says_whose_it_is(
    desk: RowDesk,
) -> None:
    envelope = v2.envelope(seen=[v2.sighting("subject")]).to_bytes()
    message = Incoming(s.ADDRESS.topic(ENVELOPE), envelope, desk.time.ms)
    assert desk.intake.process([message]).stored == 1
    film = Film(desk)
    film.announce()
    film.segment("subject")
    desk.step()
    assert {(one.address.box, one.origin) for one in desk.candidates()} == {
        ("box-1", "live"),
        ("box-2", "recorded"),
    }


@pytest.mark.slow
def test_a_station_that_makes_up_films_leaves_room_for_the_box_that_watches_the_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa
) -> None:
    desk = RowDesk(
        tmp_path, monkeypatch, ca, cameras=("cam-1",), recordings={"box-2": ("cam-1",)},
        max_candidates=4,
    )  # fmt: skip
    desk.step()
    film = Film(desk)
    film.announce()
    alike = v2.sighting("subject")
    film.segment(
        *(
            replace(alike, sighting_id=s.fixed(f"id {n}", 8), episode=s.fixed(f"episode {n}", 8))
            for n in range(10)
        )
    )
    desk.step()
    envelope = v2.envelope(seen=[alike]).to_bytes()
    message = Incoming(s.ADDRESS.topic(ENVELOPE), envelope, desk.time.ms)
    assert desk.intake.process([message]).stored == 1
    desk.step()
    assert [one.address.box for one in desk.candidates()] == ["box-2", "box-2", "box-1"]
    desk.close()


# ---------------------------------------------------------------------- after it


def test_films_that_come_after_the_end_are_told_and_not_compared(desk: RowDesk) -> None:
    end(desk)
    film = Film(desk)
    film.announce()
    assert late(desk) == (), "a day is announced, and nothing of it has come"
    film.segment("subject")
    film.segment("somebody", slot=s.SLOT - 2)
    film.segment("somebody", slot=s.SLOT - 2)
    desk.step()
    assert desk.candidates() == []
    (told,) = late(desk)
    first, last = slot_start_ms(s.EPOCH, s.SLOT - 2), slot_start_ms(s.EPOCH, s.SLOT + 1)
    assert told == LateFilms("cam-1", ("box-2",), first, last, 2)
    assert query_view(desk.desk, desk.record, desk.desk._policy)["late_films"] == [
        {
            "camera": "cam-1",
            "boxes": ("box-2",),
            "from_ms": first,
            "to_ms": last,
            "quarter_hours": 2,
        }
    ]


def test_the_rest_of_a_film_of_which_half_was_compared_is_told(desk: RowDesk) -> None:
    film = Film(desk)
    film.announce()
    film.segment("subject")
    end(desk)
    assert len(desk.candidates()) == 1
    assert late(desk) == ()
    film.segment("subject", slot=s.SLOT - 1)
    (told,) = late(desk)
    assert (told.quarter_hours, told.from_ms) == (1, slot_start_ms(s.EPOCH, s.SLOT - 1))


def test_segments_that_could_not_be_opened_for_want_of_their_announcement_are_told(
    desk: RowDesk,
) -> None:
    film = Film(desk)
    film.sequence = 1
    film.segment("subject")
    end(desk)
    film.sequence = 0
    film.announce()
    (told,) = late(desk)
    assert told.quarter_hours == 1


def test_films_of_other_cameras_and_hours_and_what_was_watched_are_not_told(desk: RowDesk) -> None:
    end(desk)
    other = Film(desk, OTHER)
    other.announce()
    other.segment("subject")
    film = Film(desk)
    film.announce()
    film.segment("subject", slot=37)
    film.segment("subject", slot=44)
    envelope = v2.envelope(seen=[v2.sighting("subject")]).to_bytes()
    message = Incoming(s.ADDRESS.topic(ENVELOPE), envelope, desk.time.ms)
    assert desk.intake.process([message]).stored == 1
    assert late(desk) == ()


def test_what_came_late_is_told_after_a_restart_and_as_long_as_it_is_kept(desk: RowDesk) -> None:
    end(desk)
    film = Film(desk)
    film.announce()
    film.segment("subject")
    record = desk.record
    desk.store.close()
    desk.store = type(desk.store)(desk.database)
    again = desk.store.ledger.query(record.query_id)
    assert again is not None
    assert again.seen == record.seen
    assert again.seen is not None
    assert len(desk.store.ledger.films_since(["cam-1"], from_ms=WINDOW.window_from_ms,
        to_ms=WINDOW.window_to_ms, seen=again.seen)) == 1  # fmt: skip
    with desk.store.writing() as unit:
        assert unit.segments.drop_days(before_epoch=s.EPOCH + 1, most=100) == 1
    assert desk.store.ledger.films_since(["cam-1"], from_ms=WINDOW.window_from_ms,
        to_ms=WINDOW.window_to_ms, seen=again.seen) == []  # fmt: skip


def test_nobody_hears_of_films_for_a_query_that_was_withdrawn(desk: RowDesk) -> None:
    desk.step()
    withdrawal = Withdrawal(desk.record.digest, "recovered", desk.time.ms)
    desk.desk.withdraw(desk.record.query_id, withdrawal.sign(s.signing_key("ana")).to_bytes())
    desk.step()
    assert desk.record.state == "withdrawn"
    film = Film(desk)
    film.announce()
    film.segment("subject")
    assert late(desk) == ()


def test_a_query_that_expired_hears_of_films_since(desk: RowDesk) -> None:
    desk.step()
    desk.time.ms = WINDOW.not_after_ms + 1
    desk.step()
    assert desk.record.state == "expired"
    desk.time.ms = WINDOW.window_to_ms
    film = Film(desk)
    film.announce()
    film.segment("subject")
    assert len(late(desk)) == 1
