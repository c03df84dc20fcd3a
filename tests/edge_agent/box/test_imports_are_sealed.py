"""What films show is sealed beside what the box watches, in one series, and nothing of it twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edge_site import EPOCH, MODEL, NOON_MS, SLOT, Box, Opened, Site, make_sighting

from edge_agent.coverage import View
from edge_agent.footage import seconds as s
from edge_agent.footage.desk import ImportDesk, ImportRefused, Quarter
from edge_agent.footage.ledger import LIVE, RECORDED, Ledger, open_ledger
from protocol.directory_forms import SECOND
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.errors import ScopeExceeded
from protocol.keytree import FACE
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH, CameraAddress
from protocol.v2.header import STAMPED, STATED
from protocol.v2.hours import CameraHours, DayHours
from protocol.v2.rows import SLOT_S, Coverage

NUMBER = EPOCH * SLOTS_PER_EPOCH + SLOT - 8  # two hours before noon
YESTERDAY = NUMBER - SLOTS_PER_EPOCH
MakeDesk = Callable[..., ImportDesk]


@pytest.fixture
def ledger(box: Box) -> Iterator[Ledger]:
    one = Ledger(box.folder / "imports.sqlite", box.site.board)
    yield one
    one.close()


@pytest.fixture
def make_desk(box: Box, ledger: Ledger) -> MakeDesk:
    def make(**options: Any) -> ImportDesk:
        values: dict[str, Any] = {
            "site": "demo",
            "box": "box-1",
            "trust": box.trust,
            "keyring": box.keyring,
            "board": box.site.board,
            "models": {FACE: MODEL},
            "outbox": box.outbox,
            "ledger": ledger,
            "keys_wait_s": 0.0,
            "now_ms": box.clock,
        }
        return ImportDesk(**(values | options))

    for custodian in box.site.custodian_names:
        days = [EPOCH - 1, EPOCH, EPOCH + 1]
        box.keyring.accept(box.site.day_keys(custodian, days, issued_at_ms=NOON_MS + 1))
    return make


@pytest.fixture
def desk(make_desk: MakeDesk) -> ImportDesk:
    return make_desk()


def quarter(
    *seeds: int, number: int = NUMBER, camera: str = "cam-1", watched: range = range(SLOT_S),
    source: str = STAMPED, view: View = View.WATCHED,
) -> Quarter:  # fmt: skip
    views = bytearray(SLOT_S)
    for at in watched:
        views[at] = view
    seen = [make_sighting(number * SLOT_MS + 60_000 + 5000 * n, seed=n) for n in seeds]
    return Quarter(camera, number, source, seen, bytes(views))


def sealed(box: Box) -> list[Opened]:
    """All segments that the box has sealed, in order; announcements are kept beside."""
    return box.site.open([*box.announced, *box.payloads()])


def test_a_quarter_hour_of_a_film_is_a_segment_of_its_own_day(box: Box, desk: ImportDesk) -> None:
    assert desk.seal(quarter(1, 2, number=YESTERDAY), floor=YESTERDAY) == 2
    (one,) = sealed(box)
    assert (one.epoch, one.slot) == (EPOCH - 1, SLOT - 8)
    assert (one.origin, one.time_source) == (RECORDING, STAMPED)
    assert one.ids == [1, 2]
    assert one.coverage == Coverage(watched_s=SLOT_S)


def test_an_empty_quarter_hour_that_was_watched_is_told_of(box: Box, desk: ImportDesk) -> None:
    assert desk.seal(quarter(watched=range(100)), floor=NUMBER) == 0
    (one,) = sealed(box)
    assert one.coverage == Coverage(watched_s=100)


def test_films_of_several_days_have_a_generation_each_beside_that_of_the_live_camera(
    box: Box, desk: ImportDesk
) -> None:
    box.see(1)
    box.live_now()
    desk.seal(quarter(2, number=YESTERDAY), floor=YESTERDAY + 1)
    desk.seal(quarter(3), floor=YESTERDAY + 1)
    box.see(4)
    box.live_now()
    desk.seal(quarter(5, number=YESTERDAY + 1), floor=NUMBER)
    box.watch(1)
    box.to_next_slot()
    found = sealed(box)
    by_origin = {origin: {one.generation for one in found if one.origin == origin}
                 for origin in (CAMERA_NOW, RECORDING)}  # fmt: skip
    assert len(by_origin[CAMERA_NOW]) == 1
    assert len(by_origin[RECORDING]) == 2
    assert [one.ids for one in found if one.origin == RECORDING] == [[2], [3], [5]]
    assert [one.ids for one in found if one.kind == "segment" and one.origin == CAMERA_NOW] == [
        [1, 4]
    ]


@pytest.mark.slow
def test_live_and_imported_messages_of_a_camera_share_one_series(
    box: Box, desk: ImportDesk
) -> None:
    for seed in range(3):
        box.see(10 + seed)
        box.live_now()
        desk.seal(quarter(seed, number=NUMBER + seed), floor=NUMBER + seed)
    messages = box.outbox.take(100)
    assert sorted(one.sequence for one in messages) == list(range(len(messages)))


def test_seconds_are_told_once_and_whom_they_show_is_not_lost(
    box: Box, desk: ImportDesk, ledger: Ledger
) -> None:
    desk.seal(quarter(1, watched=range(0, 600)), floor=NUMBER)
    desk.seal(quarter(2, watched=range(500, 900)), floor=NUMBER)
    first, second = sealed(box)
    assert first.coverage == Coverage(watched_s=600)
    assert second.coverage == Coverage(watched_s=300)
    assert second.generation > first.generation
    assert ledger.told("cam-1", RECORDED, NUMBER, NUMBER) == {NUMBER: s.WHOLE}


def test_a_quarter_hour_that_is_known_and_shows_nobody_is_not_sealed_again(
    box: Box, desk: ImportDesk
) -> None:
    for _ in range(2):
        desk.seal(quarter(), floor=NUMBER)
    assert len(sealed(box)) == 1


def test_each_kind_of_clock_has_a_segment_of_its_own(box: Box, desk: ImportDesk) -> None:
    desk.seal(quarter(1, watched=range(300)), floor=NUMBER)
    desk.seal(quarter(2, watched=range(300, 900), source=STATED), floor=NUMBER + 1)
    assert [one.time_source for one in sealed(box)] == [STAMPED, STATED]


def test_more_people_than_a_segment_holds_have_several_and_coverage_is_told_once(
    box: Box, make_desk: MakeDesk
) -> None:
    desk = make_desk(max_segment_bytes=6000)
    desk.seal(quarter(*range(40)), floor=NUMBER)
    found = sealed(box)
    assert len(found) > 1
    assert sorted(seed for one in found for seed in one.ids) == list(range(40))
    assert [one.coverage for one in found[1:]] == [Coverage()] * (len(found) - 1)


def test_sightings_are_wiped_once_they_are_sealed_and_when_they_are_refused(
    desk: ImportDesk,
) -> None:
    for camera in ("cam-1", "cellar"):
        one = quarter(1, camera=camera)
        row = one.sightings[0].templates[FACE].row
        assert row.any()
        if camera == "cellar":
            with pytest.raises(ImportRefused):
                desk.seal(one, floor=NUMBER)
        else:
            desk.seal(one, floor=NUMBER)
        assert not row.any()


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (quarter(camera="cellar"), "sealtrace box recordings DIR box-1 --camera cellar"),
        (quarter(source="guess"), "how the times"),
        (quarter(number=NUMBER + 20), "has not begun"),
        (Quarter("cam-1", NUMBER, STAMPED, [], bytes(SLOT_S - 1)), "each second"),
        (Quarter("cam-1", NUMBER, STAMPED, [], bytes([77]) * SLOT_S), "each second"),
        (quarter(number=YESTERDAY - 40 * SLOTS_PER_EPOCH), "day keys of 0 of 3 custodians"),
    ],
)
def test_what_cannot_be_sealed_is_refused_with_the_reason(
    box: Box, desk: ImportDesk, one: Quarter, why: str
) -> None:
    with pytest.raises(ImportRefused, match=why):
        desk.seal(one, floor=0)
    assert box.payloads() == []


def test_a_camera_whose_film_the_agent_plays_itself_is_left_to_it(make_desk: MakeDesk) -> None:
    with pytest.raises(ImportRefused, match="take it out"):
        make_desk(busy={"cam-1"}).seal(quarter(), floor=0)


def test_keys_of_slots_that_come_no_more_are_forgotten(desk: ImportDesk) -> None:
    desk.seal(quarter(1, number=YESTERDAY), floor=NUMBER)
    assert not desk._keys
    desk.seal(quarter(1), floor=NUMBER + 3)
    (keys,) = desk._keys.values()
    with pytest.raises(ScopeExceeded, match="has been dropped"):
        keys.slot_keys(SLOT - 8)
    desk.end()
    assert not desk._keys


# ---------------------------------------------------------------------- kills


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_before_the_outbox_has_a_segment_has_it_sealed_anew(
    box: Box, desk: ImportDesk, ledger: Ledger, make_desk: MakeDesk, monkeypatch: Any
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(box.outbox._store, "insert", killed)
        with pytest.raises(Killed):
            desk.seal(quarter(1), floor=NUMBER)
        # The announcement was the first thing to be stored.
    assert make_desk().told("cam-1", NUMBER, NUMBER)[1] == {}


def test_a_kill_after_the_outbox_has_a_segment_has_it_known(
    box: Box, desk: ImportDesk, ledger: Ledger, make_desk: MakeDesk, monkeypatch: Any
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "settle", killed)
        with pytest.raises(Killed):
            desk.seal(quarter(1), floor=NUMBER)
    again = make_desk()
    assert again.told("cam-1", NUMBER, NUMBER)[1] == {NUMBER: s.WHOLE}
    again.seal(quarter(), floor=NUMBER)
    assert [one.ids for one in sealed(box)] == [[1]]


def test_a_kill_between_intent_and_segment_has_it_sealed_anew(
    box: Box, desk: ImportDesk, ledger: Ledger, make_desk: MakeDesk
) -> None:
    desk.seal(quarter(1), floor=NUMBER)
    next_sequence = box.outbox.next_sequence("cam-1")
    ledger.intend("cam-1", next_sequence, NUMBER + 1, s.WHOLE)  # and no more
    again = make_desk()
    assert again.told("cam-1", NUMBER, NUMBER + 1)[1] == {NUMBER: s.WHOLE}


def test_an_outbox_that_is_full_refuses_and_forgets_the_intent(
    new_box: Callable[..., Box], site: Site, tmp_path: Path
) -> None:
    small = new_box(max_bytes=12_000)
    ledger = Ledger(small.folder / "imports.sqlite", site.board)
    desk = ImportDesk(
        site="demo", box="box-1", trust=small.trust, keyring=small.keyring, board=site.board,
        models={FACE: MODEL}, outbox=small.outbox, ledger=ledger, keys_wait_s=0.0,
        now_ms=small.clock,
    )  # fmt: skip
    with pytest.raises(ImportRefused, match="run the same command again"):
        for number in range(8):
            desk.seal(quarter(*range(20), number=NUMBER + number), floor=NUMBER)
    told = ledger.told("cam-1", RECORDED, NUMBER, NUMBER + 8)
    assert len(told) < 8
    assert len(told) == small.outbox.stats().counters["imported_segments"]
    ledger.close()


def test_what_could_not_be_sealed_is_not_taken_for_told_when_the_camera_goes_on(
    box: Box, desk: ImportDesk, ledger: Ledger
) -> None:
    desk.seal(quarter(1), floor=NUMBER + 3)
    with pytest.raises(ScopeExceeded):  # its keys have been forgotten
        desk.seal(quarter(2, number=NUMBER + 1), floor=NUMBER + 3)
    box.see(1)
    box.live_now()
    desk.seal(quarter(3, number=NUMBER + 4), floor=NUMBER + 4)
    told = ledger.told("cam-1", RECORDED, NUMBER, NUMBER + 4)
    assert told.keys() == {NUMBER, NUMBER + 4}


# ---------------------------------------------------------------------- what is known


def test_a_film_is_known_by_content_and_camera_and_its_name_is_nowhere(
    box: Box, desk: ImportDesk
) -> None:
    content = b"\7" * 32
    assert desk.known("cam-1", content) is None
    desk.note_film("cam-1", content, began_ms=5)
    known = desk.known("cam-1", content)
    assert known is not None
    assert (known.began_ms, known.imported_ms) == (5, box.clock.now_ms)
    assert desk.known("cam-2", content) is None
    disk = b"".join(path.read_bytes() for path in box.folder.glob("imports.sqlite*"))
    assert content not in disk


def test_another_boxs_ledger_knows_the_film_by_another_hash(
    desk: ImportDesk, tmp_path: Path, ledger: Ledger, box: Box
) -> None:
    desk.note_film("cam-1", b"\7" * 32, began_ms=5)
    stranger = Ledger(box.folder / "imports.sqlite", box.site.aggregator)
    assert stranger.known("cam-1", b"\7" * 32) is None
    stranger.close()


def test_a_ledger_is_for_its_owner_alone_and_opens_again(box: Box, ledger: Ledger) -> None:
    path = box.folder / "imports.sqlite"
    assert path.stat().st_mode & 0o777 == 0o600
    ledger.note_live("cam-1", NUMBER, 0b1010)
    ledger.close()
    again = Ledger(path, box.site.board)
    assert again.told("cam-1", LIVE, NUMBER, NUMBER) == {NUMBER: 0b1010}
    again.forget_before(NUMBER + 1)
    assert again.told("cam-1", LIVE, NUMBER, NUMBER) == {}
    again.close()


def test_a_damaged_ledger_is_put_aside_and_the_box_goes_on(box: Box, ledger: Ledger) -> None:
    path = box.folder / "imports.sqlite"
    ledger.note_live("cam-1", NUMBER, 1)
    ledger.close()
    path.write_bytes(b"no database at all" * 500)
    again = open_ledger(path, box.site.board)
    assert again.told("cam-1", LIVE, NUMBER, NUMBER) == {}
    again.note_live("cam-1", NUMBER, 1)
    again.close()
    assert len(list(box.folder.glob("imports.sqlite.damaged-*"))) == 1


def test_the_sealer_tells_which_seconds_were_watched(box: Box) -> None:
    told: list[tuple[int, int]] = []
    box.sealer._watched = lambda number, bits: told.append((number, bits))
    box.watch(30)
    box.watch(20, View.OFFLINE)
    box.watch(10, View.DARK)
    box.to_next_slot()
    ((number, bits),) = told
    assert number == NOON_MS // SLOT_MS
    assert bits == s.between(number, NOON_MS, NOON_MS + 30_000) | s.between(
        number, NOON_MS + 50_000, NOON_MS + 60_000
    )


def test_what_stands_for_imports_is_told(desk: ImportDesk) -> None:
    standing = desk.standing([EPOCH - 1, EPOCH - 40])
    assert standing.recordings == ("cam-1", "cam-2")
    assert EPOCH - 1 in standing.days
    assert EPOCH - 40 not in standing.days
    assert standing.trouble == ""


@pytest.mark.parametrize("version", [1])
def test_a_site_of_version_1_takes_no_imports(desk: ImportDesk) -> None:
    assert "go on to version 2" in desk.standing([]).trouble


def test_rights_that_are_taken_away_count_at_once(box: Box, desk: ImportDesk) -> None:
    desk.seal(quarter(1), floor=NUMBER)
    directory = box.site.directory
    principal = replace(directory.principals["box-1"], recordings=())
    newer = replace(
        directory,
        version=directory.version + 1,
        principals={**directory.principals, "box-1": principal},
        form=SECOND,
    )
    box.trust.accept(box.site.signed_directory(newer))
    with pytest.raises(ImportRefused, match="no recordings of 'cam-1'"):
        desk.seal(quarter(2, number=NUMBER + 1), floor=NUMBER)


def test_of_hours_that_others_told_those_that_this_box_watched_are_left_to_its_own_ledger(
    box: Box, make_desk: MakeDesk, ledger: Ledger
) -> None:
    slot = NUMBER % SLOTS_PER_EPOCH
    day = DayHours(frozenset({slot, slot + 1}), frozenset({slot + 2}), frozenset({slot + 3}))
    hours = CameraHours(CameraAddress("demo", "box-1", "cam-1"), NOON_MS, {EPOCH: day})
    desk = make_desk(elsewhere=lambda _camera: hours)
    ledger.note_live("cam-1", NUMBER, 0)
    told = frozenset({NUMBER + 1, NUMBER + 2, NUMBER + 3})
    assert desk.elsewhere("cam-1", NUMBER, NUMBER + 5) == told
    desk.seal(quarter(1, number=NUMBER + 3), floor=NUMBER)
    assert desk.elsewhere("cam-1", NUMBER, NUMBER + 5) == told - {NUMBER + 3}
    box.clock.pass_s(3 * 3600)
    assert desk.elsewhere("cam-1", NUMBER, NUMBER + 5) is None, "what was told is old"
    assert make_desk().elsewhere("cam-1", NUMBER, NUMBER + 5) is None
