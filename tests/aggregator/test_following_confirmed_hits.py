"""Whoever was confirmed is followed by their clothes: nearby, briefly, and never identified."""

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
from aggregator.following import MOST_A_HIT, MOST_NEAR
from aggregator.ingest.messages import Incoming
from protocol.keytree import META
from protocol.names import ENVELOPE, CameraAddress, SlotName, slot_start_ms
from protocol.query import Asked
from protocol.results import CONFIRMED, REJECTED, Candidate, Decision
from protocol.sealing import SEGMENT
from protocol.sightings import quantise_template, template_bytes
from protocol.v2.blocks import Space
from protocol.v2.envelopes import Batch, seal
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.sightings import Row, Sighting

CLOTHES = Space(f"clothes-{s.DIMENSION}@0123456789abcdef")
POLICY = q2.POLICY_TEXT.replace(
    b"[threshold_floor]", b'[threshold_floor]\n"%s" = 0.6' % CLOTHES.name.encode()
)
"""Follows for 30 minutes before and after."""
FIRST, LAST = 36, 44
LATE_MS = slot_start_ms(s.EPOCH, LAST) + 120_000
"""When the window of these queries was over."""
BOX_OF = {"cam-1": "box-1", "cam-2": "box-2"}
Asking = Callable[..., RowDesk]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[Asking]:
    """Ask for the sample subject by face, and to follow them over two cameras."""
    made: list[RowDesk] = []

    def ask(*, at_ms: int = LATE_MS, policy: bytes = POLICY, **changes: object) -> RowDesk:
        asks = {
            "subjects": (q2.subject(),), "asks": Asked(continuation=True),
            "modalities": ("face", "appearance"), "cameras": ("cam-1", "cam-2"),
            "thresholds": {s.MODEL: 0.6, CLOTHES.name: 0.7}, "live": False,
            "window_from_ms": slot_start_ms(s.EPOCH, FIRST),
            "window_to_ms": slot_start_ms(s.EPOCH, LAST), "approvers": ("bo", "cy", "di"),
            "requested_at_ms": at_ms, "not_after_ms": at_ms + 3 * WAIT_MS,
        }  # fmt: skip
        desk = RowDesk(tmp_path, monkeypatch, ca, at_ms=at_ms, policy=policy, **(asks | changes))  # type: ignore[arg-type]
        made.append(desk)
        desk.announce(box="box-2", camera="cam-2")
        return desk

    yield ask
    for desk in made:
        desk.close()


def seen(who: str, clothes: str, slot: int, *, face: bool = True) -> Sighting:
    """Somebody in some clothes a minute into a slot."""
    begins_ms = slot_start_ms(s.EPOCH, slot) + 60_000
    plain = v2.sighting(who, face=face)
    worn = {"appearance": quantise_template(s.unit_vector(f"clothes {clothes}"))} if clothes else {}
    row = Row(begins_ms, begins_ms + 4000, plain.row.mask, 0.8, 0.6)
    return replace(plain, row=row, templates={**plain.templates, **worn})


def see(desk: RowDesk, slot: int, *people: Sighting, camera: str = "cam-1") -> None:
    """Seal what a camera saw in a slot, and have it come in."""
    address = CameraAddress(s.SITE, BOX_OF[camera], camera)
    name = SlotName(address, s.EPOCH, s.GENERATION, slot)
    roots = s.roots()
    sealed = seal(
        replace(
            v2.header(),
            name=name,
            sequence=slot,
            replaces=(),
            sealed_at_ms=slot_start_ms(s.EPOCH, slot + 1),
        ),
        Batch(people, {"face": v2.SPACE, "appearance": CLOTHES}, v2.COVERAGE, True, frozenset()),
        key=lambda label: slot_key([v2.leaf(root, label, slot) for root in roots], name, label),
        row_key=lambda row_id: row_key(
            [row_value(v2.leaf(root, META, slot), row_id) for root in roots], name, row_id
        ),
        board=s.signing_key(address.box),
    )
    message = Incoming(address.topic(ENVELOPE), sealed.to_bytes(), desk.time.ms)
    assert desk.intake.process([message]).stored == 1
    assert sealed.header.kind == SEGMENT


def found(desk: RowDesk) -> dict[str, Candidate]:
    """Return what officers read, by who it is."""
    everybody = ("subject", "later", "earlier", "elsewhere", "twin", "long after", "grey", "double")
    named = {s.fixed(f"id {who}", 8): who for who in everybody}
    return {named[one.sighting_id]: one for one in desk.candidates()}


def decide(desk: RowDesk, who: str, verdict: str = CONFIRMED, officer: str = "ana") -> None:
    one = found(desk)[who]
    digest = desk.record.digest
    word = Decision(digest, one.candidate_id(digest), verdict, desk.time.ms)
    desk.desk.decide(desk.record.query_id, word.sign(s.signing_key(officer)).to_bytes())


def street(desk: RowDesk) -> None:
    """The subject in a red coat at 40; the coat without a face around, at both cameras."""
    see(desk, 40, seen("subject", "red coat", 40), seen("grey", "grey suit", 40))
    see(desk, 41, seen("later", "red coat", 41, face=False))
    see(desk, 39, seen("earlier", "red coat", 39, face=False))
    see(desk, 42, seen("elsewhere", "red coat", 42, face=False), camera="cam-2")
    see(desk, 43, seen("long after", "red coat", 43, face=False))


def test_nobody_is_followed_before_officers_have_confirmed_the_face(asking: Asking) -> None:
    desk = asking()
    street(desk)
    desk.step()
    assert found(desk).keys() == {"subject"}
    assert desk.record.state == "standing"
    assert desk.record.reason.startswith("1 candidate waits to be confirmed")


@pytest.mark.slow
def test_a_confirmed_hit_is_followed_before_and_after_over_the_querys_cameras(
    asking: Asking,
) -> None:
    desk = asking()
    street(desk)
    desk.step()
    decide(desk, "subject")
    desk.step()
    seen_now = found(desk)
    assert seen_now.keys() == {"subject", "earlier", "later", "elsewhere"}
    hit = seen_now.pop("subject")
    assert (hit.follows, hit.by_appearance) == (None, False)
    for one in seen_now.values():
        assert one.follows == hit.name
        assert (one.modality, one.log10_lr) == ("appearance", None)
        assert one.score == pytest.approx(1.0, abs=0.02)
        assert one.row.last_ms > one.row.first_ms > 0
    assert desk.record.state == "complete"


def test_what_is_followed_is_opened_by_custodians_and_stands_in_their_receipts(
    asking: Asking,
) -> None:
    desk = asking()
    street(desk)
    desk.step()
    decide(desk, "subject")
    desk.step()
    assert {one.rows for one in desk.receipts("c1")} == {1, 3}
    assert desk.held().problems == ()
    assert [entry["found"] for entry in desk.logged("match")] == [1, 2, 1]


def test_a_rejected_candidate_is_not_followed_and_the_query_ends(asking: Asking) -> None:
    desk = asking()
    street(desk)
    desk.step()
    decide(desk, "subject", REJECTED)
    desk.step()
    assert found(desk).keys() == {"subject"}
    assert desk.record.state == "complete"


@pytest.mark.slow
def test_nobody_is_followed_from_one_who_was_followed(asking: Asking) -> None:
    desk = asking()
    street(desk)
    desk.step()
    decide(desk, "subject")
    desk.step()
    decide(desk, "elsewhere")  # from there "long after" would be near
    desk.later()
    desk.step()
    assert "long after" not in found(desk)


def test_a_query_that_does_not_ask_for_it_follows_nobody_and_waits_for_nobody(
    asking: Asking,
) -> None:
    desk = asking(asks=Asked(), modalities=("face",), thresholds={s.MODEL: 0.6})
    street(desk)
    desk.step()
    assert desk.record.state == "complete"
    decide(desk, "subject")
    desk.step()
    assert found(desk).keys() == {"subject"}


def test_a_query_waits_a_day_after_its_window_and_no_longer(asking: Asking) -> None:
    desk = asking()
    street(desk)
    desk.step()
    desk.time.ms += WAIT_MS - 600_000
    desk.step()
    assert desk.record.state == "standing"
    desk.time.ms += 600_000
    desk.step()
    assert desk.record.state == "complete"
    assert desk.run.keys == {}


def test_without_any_candidate_nothing_is_waited_for(asking: Asking) -> None:
    desk = asking()
    see(desk, 40, seen("grey", "grey suit", 40))
    desk.step()
    assert desk.record.state == "complete"


def test_a_hit_whose_clothes_were_not_seen_is_said(asking: Asking) -> None:
    desk = asking()
    see(desk, 40, seen("subject", "", 40))
    see(desk, 41, seen("later", "red coat", 41, face=False))
    desk.step()
    decide(desk, "subject")
    desk.step()
    assert found(desk).keys() == {"subject"}
    assert (
        "nobody was followed from the hit at cam-1: it has no template of appearance"
        in desk.record.reason
    )


def test_one_hit_brings_so_many_rows_and_all_together_half_of_what_the_query_may(
    asking: Asking,
) -> None:
    desk = asking(max_candidates=9)
    see(desk, 40, seen("subject", "red coat", 40))
    crowd = [seen(f"crowd {n}", "red coat", 41, face=False) for n in range(MOST_A_HIT + 5)]
    see(desk, 41, *crowd)
    desk.step()
    decide(desk, "subject")
    desk.step()
    assert len([one for one in desk.candidates() if one.follows]) == 4
    assert desk.record.progress["dropped"] >= MOST_A_HIT


@pytest.mark.slow
def test_the_quarter_hours_around_the_hit_go_first_and_leave_room_for_the_others(
    asking: Asking,
) -> None:
    desk = asking(max_candidates=50)
    see(desk, 40, seen("subject", "red coat", 40))
    for slot in (41, 42):
        see(desk, slot, *[seen(f"{slot} {n}", "red coat", slot, face=False) for n in range(18)])
    desk.step()
    decide(desk, "subject")
    desk.step()
    brought = [one.name.slot for one in desk.candidates() if one.follows and one.name]
    assert (brought.count(41), brought.count(42)) == (MOST_NEAR, MOST_A_HIT - MOST_NEAR)


def test_what_the_face_finds_too_is_a_find_and_no_continuation(asking: Asking) -> None:
    """It came twice: once in clothes alone, and by the face later."""
    desk = asking()
    see(desk, 40, seen("subject", "red coat", 40), replace(
        seen("subject", "red coat", 40), sighting_id=s.fixed("id twin", 8)
    ))  # fmt: skip
    desk.step()
    decide(desk, "subject")
    desk.step()
    assert {one.follows for one in desk.candidates()} == {None}


@pytest.mark.slow
def test_a_live_query_follows_into_what_comes_after_the_confirmation(asking: Asking) -> None:
    at_ms = slot_start_ms(s.EPOCH, 41) + 60_000
    desk = asking(at_ms=at_ms, requested_at_ms=at_ms)
    see(desk, 40, seen("subject", "red coat", 40))
    desk.step()
    decide(desk, "subject")
    desk.step()
    assert found(desk).keys() == {"subject"}
    desk.time.ms = slot_start_ms(s.EPOCH, 42) + 60_000
    see(desk, 41, seen("later", "red coat", 41, face=False))
    desk.step()
    assert found(desk).keys() == {"subject", "later"}
    assert desk.record.state == "standing"


@pytest.mark.slow
def test_no_template_of_clothes_stands_in_any_file(asking: Asking, tmp_path: Path) -> None:
    desk = asking()
    street(desk)
    desk.step()
    decide(desk, "subject")
    desk.step()
    plain = template_bytes(*quantise_template(s.unit_vector("clothes red coat")))[: s.DIMENSION]
    assert not any(plain in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.slow
def test_the_word_of_as_many_officers_as_the_policy_says_makes_a_hit(
    asking: Asking,
) -> None:
    desk = asking(policy=POLICY.replace(b"confirmations = 1", b"confirmations = 2"))
    street(desk)
    desk.step()
    decide(desk, "subject")
    desk.step()
    assert found(desk).keys() == {"subject"}
    decide(desk, "subject", officer="bea")
    desk.step()
    assert "later" in found(desk)
