"""Who was near a confirmed hit on several cameras is one contact, as a number and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
import query_samples_v2 as q2
from row_desk import RowDesk
from throwaway_ca import ThrowawayCa

from aggregator.deciding import WAIT_MS
from aggregator.ingest.messages import Incoming
from aggregator.linking import AGAIN_S
from protocol.keytree import META
from protocol.links import Links
from protocol.names import ENVELOPE, CameraAddress, SlotName, slot_start_ms
from protocol.query import Asked
from protocol.results import CONFIRMED, REJECTED, Decision
from protocol.sightings import quantise_template
from protocol.v2.blocks import Space
from protocol.v2.envelopes import Batch, seal
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.sightings import Encounter, Row, Sighting
from runtime.calibration import Calibration, Normal

CLOTHES = Space(f"clothes-{s.DIMENSION}@0123456789abcdef")
FIRST, LAST = 36, 44
LATE_MS = slot_start_ms(s.EPOCH, LAST) + 120_000
ONE = CameraAddress(s.SITE, "box-1", "cam-1")
TWO = CameraAddress(s.SITE, "box-2", "cam-2")
LINKED = Asked(linked_contacts=True)
Asking = Callable[..., RowDesk]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[Asking]:
    """Ask for the sample subject by face over two cameras, and to have companions linked."""
    made: list[RowDesk] = []

    def ask(**changes: object) -> RowDesk:
        asks = {
            "subjects": (q2.subject(),), "asks": LINKED, "cameras": ("cam-1", "cam-2"),
            "thresholds": {s.MODEL: 0.6}, "live": False,
            "window_from_ms": slot_start_ms(s.EPOCH, FIRST),
            "window_to_ms": slot_start_ms(s.EPOCH, LAST), "approvers": ("bo", "cy", "di"),
            "requested_at_ms": LATE_MS, "not_after_ms": LATE_MS + 3 * WAIT_MS,
        }  # fmt: skip
        desk = RowDesk(tmp_path, monkeypatch, ca, at_ms=LATE_MS, **(asks | changes))  # type: ignore[arg-type]
        made.append(desk)
        desk.announce(box="box-2", camera="cam-2")
        return desk

    yield ask
    for desk in made:
        desk.close()


def person(
    who: str,
    slot: int,
    *,
    face: str = "",
    near: Sequence[str] = (),
    after_s: int = 60,
    templates: bool = True,
    clothes: str = "",
) -> Sighting:
    """Somebody on a camera for four seconds; ``face`` is whose face it is, else their own."""
    begins_ms = slot_start_ms(s.EPOCH, slot) + after_s * 1000
    worn = {"appearance": quantise_template(s.unit_vector(f"clothes {clothes}"))} if clothes else {}
    encounters = tuple(
        Encounter(
            s.fixed(f"id {other}", 8),
            s.fixed(f"episode {other}", 8),
            begins_ms,
            begins_ms + 4000,
            4.0,
            1.2,
            1.3,
        )
        for other in near
    )
    row = Row(begins_ms, begins_ms + 4000, v2.sighting(who).row.mask, 0.8, 0.6)
    return Sighting(
        s.fixed(f"id {who}", 8),
        s.fixed(f"episode {who}", 8),
        replace(row, encounters=encounters),
        ({"face": v2.template(face or who)} if templates else {}) | worn,
    )


def see(desk: RowDesk, slot: int, *people: Sighting, address: CameraAddress = ONE) -> None:
    """Seal what a camera saw in a slot, and have it come in."""
    name = SlotName(address, s.EPOCH, s.GENERATION, slot)
    roots = s.roots()
    header = replace(
        v2.header(),
        name=name,
        sequence=slot,
        replaces=(),
        sealed_at_ms=slot_start_ms(s.EPOCH, slot + 1),
    )
    sealed = seal(
        header,
        Batch(people, {"face": v2.SPACE, "appearance": CLOTHES}, v2.COVERAGE, True, frozenset()),
        key=lambda label: slot_key([v2.leaf(root, label, slot) for root in roots], name, label),
        row_key=lambda row_id: row_key(
            [row_value(v2.leaf(root, META, slot), row_id) for root in roots], name, row_id
        ),
        board=s.signing_key(address.box),
    )
    message = Incoming(address.topic(ENVELOPE), sealed.to_bytes(), desk.time.ms)
    assert desk.intake.process([message]).stored == 1


def decide(desk: RowDesk, who: str, verdict: str = CONFIRMED) -> None:
    (one,) = (c for c in desk.candidates() if c.sighting_id == s.fixed(f"id {who}", 8))
    digest = desk.record.digest
    desk.time.ms += 1000
    word = Decision(digest, one.candidate_id(digest), verdict, desk.time.ms)
    desk.desk.decide(desk.record.query_id, word.sign(s.signing_key("ana")).to_bytes())
    desk.step()


def told(desk: RowDesk, officer: str = "ana") -> dict[str, int]:
    """Return the numbers that an officer reads, by the names of episodes in these tests."""
    links = read(desk, officer)
    named = {s.fixed(f"episode {who}", 8): who for who in EVERYBODY}
    return {} if links is None else {named[episode]: n for (_, episode), n in links.numbers.items()}


def read(desk: RowDesk, officer: str = "ana") -> Links | None:
    sealed = desk.desk.links(desk.record, reader=officer)
    digest = desk.record.digest
    return sealed and Links.open(sealed, s.sealing_key(officer), query_digest=digest)  # type: ignore[return-value]


EVERYBODY = ("friend a", "friend b", "friend c", "guard", "cashier", "faceless", "twin")
SUBJECT_B = "subject again"


def two_cameras(desk: RowDesk) -> None:
    """The subject at 38 on one camera and at 41 on another, a friend with them, others too."""
    see(
        desk, 38,
        person("subject", 38, near=("friend a", "guard", "faceless")),
        person("friend a", 38, face="the friend"),
        person("guard", 38),
        person("faceless", 38, templates=False),
    )  # fmt: skip
    see(
        desk, 41,
        person(SUBJECT_B, 41, face="subject", near=("friend b", "cashier")),
        person("friend b", 41, face="the friend"),
        person("cashier", 41),
        address=TWO,
    )  # fmt: skip
    desk.step()


def test_nobody_is_linked_before_officers_have_confirmed(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    assert read(desk) is None
    assert desk.logged("linked-contacts") == []
    assert "told who is one person" in desk.record.reason


def test_one_companion_on_two_cameras_is_one_number_and_others_are_others(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    decide(desk, SUBJECT_B)
    numbers = told(desk)
    assert numbers.keys() == {"friend a", "friend b", "guard", "cashier"}
    assert numbers["friend a"] == numbers["friend b"]
    assert len(set(numbers.values())) == 3
    assert told(desk, "bea") == numbers
    links = read(desk)
    assert links is not None
    assert links.without == 1
    assert desk.record.state == "complete"


@pytest.mark.slow
def test_the_log_tells_how_many_were_compared_and_nothing_of_whom(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    decide(desk, SUBJECT_B)
    digest = desk.record.digest
    assert desk.logged("linked-contacts") == [
        {"query_digest": digest, "companions": 2, "pairs": 1},
        {"query_digest": digest, "companions": 4, "pairs": 6},
    ]


def test_no_row_of_a_companion_is_opened_for_it(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    decide(desk, SUBJECT_B)
    assert {one.sighting_id for one in desk.candidates()} == {
        s.fixed("id subject", 8),
        s.fixed(f"id {SUBJECT_B}", 8),
    }
    assert desk.record.progress["rows"] == 2


@pytest.mark.slow
def test_what_is_sealed_holds_no_template(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    decide(desk, SUBJECT_B)
    links = read(desk)
    assert links is not None
    template = v2.template("the friend").row.astype(np.int8).tobytes()
    assert template[:8] not in links.to_bytes()
    assert len(links.to_bytes()) < 400


def test_companions_of_a_rejected_candidate_are_not_compared(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    decide(desk, SUBJECT_B, REJECTED)
    assert told(desk).keys() == {"friend a", "guard"}


@pytest.mark.slow
def test_a_word_taken_back_takes_its_companions_with_it(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    assert told(desk)
    decide(desk, "subject", REJECTED)
    assert told(desk) == {}


@pytest.mark.slow
def test_numbers_stay_while_more_is_confirmed_and_over_a_restart(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    first = told(desk)
    desk.begin()
    desk.step()
    assert told(desk) == first
    decide(desk, SUBJECT_B)
    later = told(desk)
    assert {who: later[who] for who in first} == first
    assert later["friend b"] == first["friend a"]
    assert desk.record.progress["candidates"] == 2
    assert desk.held().problems == ()


@pytest.mark.slow
def test_numbers_of_another_query_are_others(asking: Asking) -> None:
    desk = asking()
    two_cameras(desk)
    decide(desk, "subject")
    seed = desk.store.ledger.link_seed(desk.record.digest)
    assert len(seed) == 32
    with desk.store.writing() as unit:
        unit.ledger._run("UPDATE queries SET link_seed = ?", [bytes(32)])
    before = told(desk)
    desk.begin()
    desk.step()
    assert set(told(desk).values()).isdisjoint(before.values())


def test_two_at_one_time_on_one_camera_are_two_however_alike(asking: Asking) -> None:
    desk = asking()
    see(
        desk, 38,
        person("subject", 38, near=("friend a", "twin")),
        person("friend a", 38, face="the friend"),
        person("twin", 38, face="the friend"),
    )  # fmt: skip
    desk.step()
    decide(desk, "subject")
    numbers = told(desk)
    assert numbers["friend a"] != numbers["twin"]


def test_who_left_and_came_back_on_one_camera_is_one_again(asking: Asking) -> None:
    desk = asking()
    see(
        desk, 38,
        person("subject", 38, near=("friend a",)),
        person(SUBJECT_B, 38, face="subject", near=("friend b",), after_s=400),
        person("friend a", 38, face="the friend"),
        person("friend b", 38, face="the friend", after_s=400),
    )  # fmt: skip
    desk.step()
    decide(desk, "subject")
    decide(desk, SUBJECT_B)
    assert told(desk)["friend a"] == told(desk)["friend b"]


def test_a_companion_whose_sighting_ends_in_the_next_quarter_hour_is_compared(
    asking: Asking,
) -> None:
    desk = asking()
    see(desk, 38, person("subject", 38, near=("friend a",), after_s=895))
    see(desk, 39, person("friend a", 39, face="the friend", after_s=1))
    desk.step()
    decide(desk, "subject")
    assert told(desk).keys() == {"friend a"}


def dressed_alike(desk: RowDesk) -> dict[str, int]:
    """Two stays of one coat without a face, confirmed."""
    see(
        desk, 38,
        person("subject", 38, near=("friend a",)),
        person(SUBJECT_B, 38, face="subject", near=("friend b",), after_s=400),
        person("friend a", 38, templates=False, clothes="red coat"),
        person("friend b", 38, templates=False, clothes="red coat", after_s=400),
    )  # fmt: skip
    desk.step()
    decide(desk, "subject")
    decide(desk, SUBJECT_B)
    return told(desk)


WITH_CLOTHES = {
    "asks": Asked(linked_contacts=True, continuation=True),
    "modalities": ("face", "appearance"),
    "thresholds": {s.MODEL: 0.6, CLOTHES.name: 0.7},
    "policy": q2.POLICY_TEXT.replace(b"approvals = 2", b"approvals = 1").replace(
        b"[threshold_floor]", b'[threshold_floor]\n"%s" = 0.6' % CLOTHES.name.encode()
    ),
}


@pytest.mark.parametrize(("rate", "one_person"), [(None, False), (0.0536, False), (0.0005, True)])
def test_clothes_link_only_where_strangers_are_known_to_be_dressed_alike_seldom_enough(
    asking: Asking, rate: float | None, one_person: bool
) -> None:
    plain = Normal(0.0, 0.1)
    known = {CLOTHES.name: Calibration(plain, plain, plain, ((0.7, rate),))} if rate else {}
    numbers = dressed_alike(asking(calibrations=known, **WITH_CLOTHES))
    assert (numbers["friend a"] == numbers["friend b"]) is one_person


def test_clothes_link_nobody_in_a_query_that_opens_faces_alone(asking: Asking) -> None:
    assert dressed_alike(asking()) == {}


def test_a_query_that_does_not_ask_for_it_links_nobody_and_waits_for_nobody(
    asking: Asking,
) -> None:
    desk = asking(asks=Asked())
    two_cameras(desk)
    assert desk.record.state == "complete"
    decide(desk, "subject")
    assert read(desk) is None
    assert desk.run.company.sights == {}
    assert desk.logged("linked-contacts") == []


def test_custodians_open_nothing_of_it_with_the_approvals_of_any_query(asking: Asking) -> None:
    desk = asking(approvers=("bo", "cy"))
    two_cameras(desk)
    assert desk.record.state == "awaiting-approvals"
    assert "2 of 3" in desk.record.reason
    assert desk.candidates() == []


def test_a_companion_whose_segment_comes_later_is_compared_then(asking: Asking) -> None:
    desk = asking()
    see(
        desk, 38,
        person("subject", 38, near=("friend a",), after_s=895),
        person(SUBJECT_B, 38, face="subject", near=("guard",)),
        person("guard", 38),
    )  # fmt: skip
    desk.step()
    decide(desk, "subject")
    links = read(desk)
    assert links is not None
    assert (len(links.numbers), links.without) == (0, 1)
    see(desk, 41, person("cashier", 41))
    desk.later(AGAIN_S)
    desk.step()
    assert len(desk.logged("linked-contacts")) == 1, "that is of another quarter hour"
    see(desk, 39, person("friend a", 39, after_s=1))
    desk.step()
    assert told(desk).keys() == {"friend a"}


def test_what_comes_soon_after_is_compared_a_little_later_and_before_the_query_ends(
    asking: Asking,
) -> None:
    desk = asking()
    see(desk, 38, person("subject", 38, near=("friend a",), after_s=895))
    see(desk, 37, person(SUBJECT_B, 37, face="subject"))
    desk.step()
    decide(desk, "subject")
    see(desk, 39, person("friend a", 39, after_s=1))
    desk.step()
    assert told(desk) == {}
    decide(desk, SUBJECT_B, REJECTED)
    assert desk.record.state == "complete"
    assert told(desk).keys() == {"friend a"}
