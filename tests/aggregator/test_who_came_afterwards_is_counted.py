"""Who came in the hours after a confirmed subject is counted, and nobody at other times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
import query_samples_v2 as q2
from row_desk import RowDesk
from throwaway_ca import ThrowawayCa

from aggregator.deciding import WAIT_MS
from aggregator.ingest.messages import Incoming
from aggregator.watching import KEEP_S
from protocol.keytree import META
from protocol.names import ENVELOPE, SLOT_MS, SlotName, slot_start_ms
from protocol.query import Asked
from protocol.results import CONFIRMED, REJECTED, Decision
from protocol.small_cells import Small
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Batch, seal
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.sightings import Row, Sighting
from protocol.watching import Watching

FIRST, LAST = 36, 44
BEGIN_MS, END_MS = slot_start_ms(s.EPOCH, FIRST), slot_start_ms(s.EPOCH, LAST)
LATE_MS = END_MS + 120_000
Asking = Callable[..., RowDesk]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[Asking]:
    """Ask for the sample subject, and how many came in the half hour afterwards."""
    made: list[RowDesk] = []

    def ask(*, seen: tuple[int, ...] = (38,), **changes: object) -> RowDesk:
        asks = {
            "subjects": (q2.subject(),), "cameras": ("cam-1",), "live": False, "contacts": False,
            "asks": Asked(same_place_counts=True, afterwards_min=30),
            "window_from_ms": BEGIN_MS, "window_to_ms": END_MS, "approvers": ("bo", "cy", "di"),
            "requested_at_ms": LATE_MS, "not_after_ms": LATE_MS + 3 * WAIT_MS,
        }  # fmt: skip
        desk = RowDesk(tmp_path, monkeypatch, ca, at_ms=LATE_MS, **(asks | changes))  # type: ignore[arg-type]
        made.append(desk)
        for slot in range(FIRST, LAST):
            see(desk, slot, *([subject(slot)] if slot in seen else []))
        desk.step()
        return desk

    yield ask
    for desk in made:
        desk.close()


def subject(slot: int) -> Sighting:
    begins_ms = slot_start_ms(s.EPOCH, slot) + 60_000
    plain = v2.sighting("subject")
    name = s.fixed(f"id {slot}", 8)
    row = Row(begins_ms, begins_ms + 4000, plain.row.mask, 0.8, 0.6)
    return replace(plain, sighting_id=name, episode=name, row=row)


def see(desk: RowDesk, slot: int, *people: Sighting) -> None:
    """Seal a quarter hour in which as many people came as its number says, and have it come in."""
    name = SlotName(s.ADDRESS, s.EPOCH, s.GENERATION, slot)
    roots = s.roots()
    header = replace(
        v2.header(),
        name=name,
        sequence=slot,
        replaces=(),
        sealed_at_ms=slot_start_ms(s.EPOCH, slot + 1),
    )
    counts = Counts(2 * slot, masked=slot - 10, unmasked=10, at_once=(6, 1, 0))
    if slot == 40:
        counts = Counts(9, masked=2, unmasked=1, at_once=(2, 1, 0))
    sealed = seal(
        header,
        Batch(people, {"face": v2.SPACE}, v2.COVERAGE, True, frozenset(), counts),
        key=lambda label: slot_key([v2.leaf(root, label, slot) for root in roots], name, label),
        row_key=lambda row_id: row_key(
            [row_value(v2.leaf(root, META, slot), row_id) for root in roots], name, row_id
        ),
        board=s.signing_key(s.ADDRESS.box),
    )
    message = Incoming(s.ADDRESS.topic(ENVELOPE), sealed.to_bytes(), desk.time.ms)
    assert desk.intake.process([message]).stored == 1


def decide(desk: RowDesk, verdict: str = CONFIRMED) -> None:
    one = min(desk.candidates(), key=lambda one: one.first_seen_ms)
    digest = desk.record.digest
    desk.time.ms += 1000
    word = Decision(digest, one.candidate_id(digest), verdict, desk.time.ms)
    desk.desk.decide(desk.record.query_id, word.sign(s.signing_key("ana")).to_bytes())
    desk.step()
    desk.later(KEEP_S)
    desk.step()


def read(desk: RowDesk) -> Watching:
    sealed = desk.desk.watching(desk.record, reader="ana")
    assert sealed is not None
    return Watching.open(sealed, s.sealing_key("ana"), query_digest=desk.record.digest)


def counted(desk: RowDesk) -> dict[int, object]:
    return {
        (one.begins_ms - BEGIN_MS) // SLOT_MS + FIRST: one.people_at_least
        for one in read(desk).places()
    }


def test_nobody_is_counted_before_the_subject_is_confirmed(asking: Asking) -> None:
    desk = asking()
    assert counted(desk) == {}
    told = read(desk)
    assert told.counted is not None
    assert told.counted.tolist() == [0]
    assert "who came after those that are confirmed is counted" in desk.record.reason


def test_who_came_is_counted_from_then_until_so_long_afterwards(asking: Asking) -> None:
    desk = asking()
    decide(desk)
    assert counted(desk) == {38: 38, 39: 39}
    told = read(desk)
    assert told.counted_by_slot is not None
    assert told.counted_by_slot.tolist() == [[0, 0, 1, 1, 1, 0, 0, 0]], "of the third under five"
    assert desk.record.state == "complete"


def test_what_is_told_of_masks_has_no_small_number(asking: Asking) -> None:
    desk = asking()
    decide(desk)
    (first, _) = read(desk).places()
    assert (first.masked, first.unmasked, first.changed) == (28, 10, Small.FEW)
    assert (first.people, first.people_at_least) == (Small.WITHHELD, 38)
    assert first.at_once == (6, Small.FEW, Small.FEW)


def test_after_a_rejected_candidate_nobody_is_counted(asking: Asking) -> None:
    desk = asking()
    decide(desk, REJECTED)
    assert counted(desk) == {}


@pytest.mark.slow
def test_a_restart_forgets_nothing_that_was_confirmed(asking: Asking) -> None:
    desk = asking(seen=(38, 43))
    decide(desk)
    before = counted(desk)
    assert before
    assert desk.record.state == "standing"
    desk.begin()
    desk.step()
    desk.later(KEEP_S)
    desk.step()
    assert counted(desk) == before


def test_a_query_that_asks_for_counts_alone_is_told_of_all_its_quarter_hours(
    asking: Asking,
) -> None:
    desk = asking(asks=Asked(same_place_counts=True))
    assert counted(desk).keys() == {36, 37, 38, 39, 41, 42, 43}
