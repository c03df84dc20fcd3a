"""What the board says of continuity and company makes stays and contacts, and nothing else does."""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import replace

import protocol_samples as s
import pytest
from candidates import opened_candidate
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from officers.desk.contacts import Contact
from officers.desk.export_forms import FORMATS, Report
from officers.desk.fitting import fitted
from officers.desk.ground import Ground
from officers.desk.traces import UNDECIDED, Numbered, Stay, ranked, stays_of, traces_of
from officers.trace_text import impossible_table, stays_table
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.names import SightingName
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import MaskStatus
from protocol.v2.header import CLOCK, STATED
from protocol.v2.sightings import Encounter, MaskSpan, Row
from runtime.terminal import show_table

MASKED, UNMASKED = MaskStatus.MASKED, MaskStatus.UNMASKED


def span(from_s: float, to_s: float, status: MaskStatus, confidence: float = 0.9) -> MaskSpan:
    return MaskSpan(s.NOW_MS + int(from_s * 1000), s.NOW_MS + int(to_s * 1000), status, confidence)


def met(
    from_s: float,
    to_s: float,
    *,
    other: bytes = b"other--1",
    episode: bytes = b"company1",
    nearest: float | None = 1.0,
    median: float | None = 1.5,
    masks: tuple[MaskSpan, ...] = (),
    other_masks: tuple[MaskSpan, ...] = (),
) -> Encounter:
    begins, ends = (s.NOW_MS + int(one * 1000) for one in (from_s, to_s))
    return Encounter(
        other, episode, begins, ends, to_s - from_s, nearest, median, masks, other_masks
    )


def seen(
    number: int,
    from_s: float,
    to_s: float,
    *,
    camera: str = "cam-1",
    episode: bytes = b"episode1",
    continues: int | None = None,
    encounters: tuple[Encounter, ...] = (),
    masks: tuple[MaskSpan, ...] = (),
    score: float | None = 0.8,
    through: int | None = None,
    impossible: str | None = None,
    subject: str = "P-17",
    origin: str = CAMERA_NOW,
    time_source: str = CLOCK,
) -> Candidate:
    row = Row(
        s.NOW_MS + int(from_s * 1000),
        s.NOW_MS + int(to_s * 1000),
        UNMASKED,
        0.9,
        0.8,
        masks=masks,
        continues=None if continues is None else id_of(continues),
        encounters=encounters,
    )
    return opened_candidate(
        SightingName("box-1", camera, 100, 0, 3, id_of(number)),
        row,
        site=s.SITE,
        episode=episode,
        score=score,
        through=None if through is None else id_of(through),
        impossible=impossible,
        subject=subject,
        origin=origin,
        time_source=time_source,
    )


def id_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


def numbered(*candidates: Candidate, verdict: str = CONFIRMED) -> list[Numbered]:
    return [Numbered(n, bytes([n]) * 16, one, verdict) for n, one in enumerate(candidates, start=1)]


def only(items: list[Numbered]) -> Stay:
    (stay,) = stays_of(items)
    return stay


def test_sightings_of_one_episode_are_one_stay_however_far_apart() -> None:
    stay = only(numbered(seen(1, 0, 10), seen(2, 300, 310)))
    assert (stay.numbers, stay.seconds) == ((1, 2), 310)
    apart = numbered(seen(1, 0, 10), seen(2, 300, 310, episode=b"episode2"))
    assert len(stays_of(apart)) == 2


def test_a_sighting_that_continues_another_belongs_to_its_stay() -> None:
    handed_over = numbered(
        seen(1, 0, 10),
        seen(2, 60, 70, episode=b"episode2", continues=1),
        seen(3, 200, 210, episode=b"episode3", continues=2),
    )
    assert only(handed_over).numbers == (1, 2, 3)
    assert len(stays_of(handed_over[::2])) == 2
    elsewhere = numbered(seen(1, 0, 10), seen(2, 60, 70, camera="cam-2", continues=1))
    assert len(stays_of(elsewhere)) == 2


def test_who_was_there_while_the_board_followed_another_is_a_second_stay() -> None:
    within = numbered(seen(1, 0, 10), seen(2, 100, 110), seen(3, 50, 60, episode=b"episode2"))
    assert [stay.numbers for stay in stays_of(within)] == [(1, 2), (3,)]
    alike = numbered(
        *(seen(number, 60 * number, 60 * number + 59.8) for number in range(3)),
        *(
            seen(number, 60 * number - 170, 60 * number - 110, episode=b"episode2")
            for number in (3, 4)
        ),
    )
    assert [stay.numbers for stay in stays_of(alike)] == [(1, 2, 3), (4, 5)]


def test_a_companion_met_twice_at_one_time_was_met_once() -> None:
    split = numbered(
        seen(1, 0, 60, encounters=(met(0, 60),)), seen(2, 30, 90, encounters=(met(30, 90),))
    )
    (contact,) = only(split).contacts
    assert contact.seconds == pytest.approx(90)


def test_sixteen_minutes_beside_one_companion_over_two_quarter_hours_are_one_contact() -> None:
    """Each is cut by the minute, at other moments; what either sighting tells is of the pair."""
    sightings = [
        seen(
            number,
            60 * number,
            60 * number + 60,
            continues=number - 1 if number > 1 else None,
            encounters=(
                met(60 * number, 60 * number + 25, other=id_of(100 + number)),
                met(60 * number + 25, 60 * number + 60, other=id_of(101 + number)),
            ),
        )
        for number in range(1, 17)
    ]
    (contact,) = only(numbered(*sightings)).contacts
    assert contact.seconds == pytest.approx(16 * 60)
    assert (contact.to_ms - contact.from_ms) == 16 * 60_000
    two = [
        replace(
            one,
            row=replace(
                one.row,
                encounters=(*one.encounters, met(90, 100, episode=b"another1"))[
                    : 3 if n == 0 else 2
                ],
            ),
        )
        for n, one in enumerate(sightings)
    ]
    assert [one.seconds for one in only(numbered(*two)).contacts] == [pytest.approx(960), 10]


def test_the_board_may_see_one_person_twice_at_one_time_and_it_is_one_stay() -> None:
    split = numbered(seen(1, 0, 10), seen(2, 4, 12), seen(3, 8, 20, episode=b"other", continues=2))
    assert only(split).numbers == (1, 2, 3)


def test_one_camera_seen_live_and_from_a_recording_is_one_stay_that_contradicts_nothing() -> None:
    items = numbered(seen(1, 0, 60), seen(2, 0, 60, episode=b"imported", origin=RECORDING))
    (trace,) = traces_of(["P-17"], items)
    assert [hit.numbers for hit in trace.hits] == [(1, 2)]
    assert fitted(trace, Ground()).contradictions == ()


def test_what_was_opened_with_a_hit_lengthens_its_stay_and_not_its_score() -> None:
    stay = only(numbered(seen(1, 0, 10), seen(2, 10, 70, score=None, through=1)))
    assert (stay.seconds, stay.score, stay.log10_lr) == (70, 0.8, 3.0)
    assert (stay.numbers, stay.unmatched) == ((1, 2), (2,))
    alone = only(numbered(seen(2, 10, 70, score=None, through=1)))
    assert (alone.score, alone.log10_lr) == (None, None)


def test_what_was_not_compared_stands_last_and_is_shown_as_such(
    capsys: pytest.CaptureFixture[str],
) -> None:
    items = numbered(seen(1, 0, 10, score=None, through=9), seen(2, 100, 110, episode=b"episode2"))
    ordered = ranked(stays_of(items))
    assert [stay.numbers for stay in ordered] == [(2,), (1,)]
    show_table(stays_table(ordered))
    assert "not compared" in capsys.readouterr().out


def test_what_a_recording_shows_is_a_stay_of_its_own_and_says_whose_word_its_times_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    film = seen(2, 10, 20, episode=b"episode2", origin=RECORDING, time_source=STATED)
    items = numbered(seen(1, 0, 10), film)
    now, recorded = stays_of(items)
    assert (now.numbers, recorded.numbers) == ((1,), (2,))
    show_table(stays_table([now]))
    assert "recording" not in capsys.readouterr().out
    show_table(stays_table([recorded]))
    words = " ".join(capsys.readouterr().out.split())
    assert "from a recording, its time as whoever imported it said" in words
    lines = rows(text_of("csv-line-list", report(items)))
    told = [(line["origin"], line["time_source"]) for line in lines]
    assert told == [("live", "clock"), ("recorded", "stated")]
    (_, hit) = json.loads(text_of("json", report(items)))["subjects"][0]["hits"]
    assert (hit["origin"], hit["time_source"]) == ("recorded", "stated")


def test_what_cannot_be_true_is_in_no_trace_and_listed_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lie = seen(2, 10, 20, impossible="it says of another quarter hour", encounters=(met(10, 12),))
    items = numbered(seen(1, 0, 10), lie)
    (trace,) = traces_of(["P-17"], items)
    assert [hit.numbers for hit in trace.hits] == [(1,)]
    assert trace.hits[0].contacts == ()
    made = report(items, impossible=tuple(items[1:]))
    (entry,) = json.loads(text_of("json", made))["impossible"]
    assert (entry["candidate_number"], entry["why"]) == (2, "it says of another quarter hour")
    (line,) = rows(text_of("csv-line-list", made))
    assert line["candidate_numbers"] == "1"
    show_table(impossible_table(items[1:]))
    assert "another quarter hour" in capsys.readouterr().out


def contact(*candidates: Candidate) -> Contact:
    (one,) = only(numbered(*candidates)).contacts
    return one


def test_one_companion_is_one_contact_however_often_they_were_cut_into_sightings() -> None:
    one = contact(
        seen(1, 0, 60, encounters=(met(10, 60, other=b"other--1", nearest=1.4, median=2.0),)),
        seen(2, 60, 90, encounters=(met(60, 70, other=b"other--2", nearest=0.6, median=0.8),)),
        seen(3, 90, 95, encounters=(met(90, 91, other=b"other--3", nearest=None, median=None),)),
    )
    assert (one.episode, one.seconds, one.nearest_m) == (b"company1", 61, 0.6)
    assert (one.from_ms, one.to_ms) == (s.NOW_MS + 10_000, s.NOW_MS + 91_000)
    assert one.median_m == 2.0


@pytest.mark.parametrize(
    ("parts", "median"),
    [
        ([(1.0, 10), (3.0, 9)], 1.0),
        ([(1.0, 9), (3.0, 10)], 3.0),
        ([(5.0, 1), (1.0, 1), (3.0, 1)], 3.0),
        ([(None, 50), (2.0, 1)], 2.0),
        ([(None, 50)], None),
        ([(4.0, 0)], 4.0),
    ],
)
def test_the_median_distance_weighs_seconds(
    parts: list[tuple[float | None, float]], median: float | None
) -> None:
    encounters = tuple(met(0, seconds, median=metres) for metres, seconds in parts)
    assert contact(seen(1, 0, 60, encounters=encounters)).median_m == median


def test_masks_of_both_are_told_as_they_went_on() -> None:
    one = contact(
        seen(
            1, 0, 60,
            encounters=(
                met(0, 60, masks=(span(0, 60, UNMASKED),),
                    other_masks=(span(0, 40, MASKED, 0.6), span(40, 60, UNMASKED, 0.9))),
            ),
        ),
        seen(
            2, 60, 70,
            encounters=(
                met(60, 70, masks=(span(60, 70, UNMASKED, 0.3),),
                    other_masks=(span(60, 70, UNMASKED, 0.9),)),
            ),
        ),
    )  # fmt: skip
    assert [(m.status, m.until_ms - m.from_ms) for m in one.other_masks] == [
        (MASKED, 40_000),
        (UNMASKED, 30_000),
    ]
    assert one.mask == UNMASKED
    assert one.mask_confidence == pytest.approx(0.9)
    (own,) = one.masks
    assert own.confidence == pytest.approx((60 * 0.9 + 10 * 0.3) / 70)


def test_a_mask_put_on_within_one_sighting_is_told() -> None:
    changing = (span(0, 50, UNMASKED), span(50, 60, MASKED))
    stay = only(numbered(seen(1, 0, 60, masks=changing)))
    assert stay.mask_varies
    assert stay.masks == changing
    assert not only(numbered(seen(1, 0, 60))).mask_varies


def test_another_subject_is_known_by_the_episode_too() -> None:
    wife = seen(7, 200, 210, episode=b"company1", subject="P-18")
    man = seen(1, 0, 60, encounters=(met(10, 20),))
    stays = stays_of(numbered(man, wife))
    assert [c.subject for stay in stays for c in stay.contacts] == ["P-18"]
    undecided = [*numbered(man), Numbered(2, bytes(16), wife, UNDECIDED)]
    assert [c.subject for stay in stays_of(undecided) for c in stay.contacts] == [None]


def test_the_subject_split_by_the_tracker_is_no_contact_of_their_own() -> None:
    split = met(0, 10, other=id_of(99), episode=b"episode1")
    assert only(numbered(seen(1, 0, 60, encounters=(split,)))).contacts == ()


@st.composite
def anybody(draw: st.DrawFn) -> list[Numbered]:
    items = []
    for number in range(1, draw(st.integers(0, 12)) + 1):
        begins = draw(st.integers(0, 300))
        one = seen(
            number,
            begins,
            begins + draw(st.integers(0, 60)),
            camera=draw(st.sampled_from(["cam-1", "cam-2"])),
            episode=draw(st.sampled_from([b"episode1", b"episode2", b"episode3"])),
            continues=draw(st.none() | st.integers(1, 12)),
            impossible=draw(st.none() | st.just("no")),
        )
        verdict = draw(st.sampled_from([CONFIRMED, UNDECIDED, REJECTED]))
        items.append(Numbered(number, id_of(number) * 2, one, verdict))
    return items


@settings(max_examples=examples(50))
@given(anybody(), st.randoms(use_true_random=False))
def test_every_possible_candidate_is_in_one_stay_and_stays_of_a_camera_do_not_overlap(
    items: list[Numbered], order: random.Random
) -> None:
    stays = stays_of(items)
    possible = [item.number for item in items if item.candidate.impossible is None]
    assert sorted(n for stay in stays for n in stay.numbers) == possible
    together = {number: stay for stay in stays for number in stay.numbers}
    for item in items:
        for other in items:
            alike = (item.verdict, item.candidate.address, item.candidate.episode) == (
                other.verdict,
                other.candidate.address,
                other.candidate.episode,
            )
            if alike and {item.number, other.number} <= set(possible):
                assert together[item.number] is together[other.number]
    for stay in stays:
        parts: dict[bytes, tuple[int, int]] = {}
        whole = [item.candidate for item in items if item.number in stay.numbers]
        for one in _by_the_boards_word(whole):
            begins, ends = min(c.first_seen_ms for c in one), max(c.last_seen_ms for c in one)
            for first, last in parts.values():
                assert ends <= first or last <= begins
            parts[one[0].sighting_id] = begins, ends
    shuffled = list(items)
    order.shuffle(shuffled)
    assert stays_of(shuffled) == stays


def _by_the_boards_word(whole: list[Candidate]) -> list[list[Candidate]]:
    """Put together again and again what has an episode in common, or continues another."""
    parts = [[one] for one in whole]
    for _ in whole:
        for part in parts:
            known = {one.episode for one in part} | {one.sighting_id for one in part}
            known |= {one.row.continues for one in part} - {None}
            for other in parts:
                if other is not part and any(
                    {one.episode, one.sighting_id, one.row.continues} & known for one in other
                ):
                    part.extend(other)
                    other.clear()
        parts = [part for part in parts if part]
    return parts


def report(items: list[Numbered], *, impossible: tuple[Numbered, ...] = ()) -> Report:
    traces = tuple(traces_of(["P-17"], items))
    return Report(s.query(), bytes(32), "ana", "complete", traces, s.NOW_MS, impossible)


def text_of(form: str, made: Report) -> str:
    return FORMATS[form](made, positions={}, hits_only=False)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_exports_say_what_the_second_version_tells() -> None:
    encounter = met(10, 20, masks=(span(10, 20, UNMASKED),), other_masks=(span(10, 20, MASKED),))
    items = numbered(
        seen(
            1, 0, 60, encounters=(encounter,), masks=(span(0, 30, UNMASKED), span(30, 60, MASKED))
        ),
        seen(2, 60, 70, score=None, through=1),
    )
    items[0] = replace(items[0], said={"dan": CONFIRMED, "ana": CONFIRMED}, needed=2)
    made = report(items)
    (line,) = rows(text_of("csv-line-list", made))
    assert (line["candidate_numbers"], line["not_compared_numbers"]) == ("1 2", "2")
    assert line["confirmed_by"] == "ana dan"
    assert [part.split()[0] for part in line["masks"].split("; ")] == [
        "unmasked",
        "masked",
        "unmasked",
    ]
    (near,) = rows(text_of("csv-contacts", made))
    assert near["contact_id"] == b"company1".hex()
    assert near["median_distance_m"] == "1.5"
    assert near["contact_from_utc"] < near["contact_to_utc"]
    assert near["contact_masks"].startswith("masked ")
    assert near["subject_masks"].startswith("unmasked ")
    (hit,) = json.loads(text_of("json", made))["subjects"][0]["hits"]
    assert hit["not_compared_numbers"] == [2]
    assert hit["confirmed_by"] == ["ana", "dan"]
    assert hit["contacts"][0]["median_distance_m"] == 1.5


@pytest.mark.parametrize("form", FORMATS)
def test_times_that_a_box_made_up_spoil_no_export(form: str) -> None:
    beyond = MaskSpan(s.NOW_MS, 1 << 61, MASKED, 0.9)
    wild = replace(met(0, 10, masks=(beyond,), other_masks=(beyond,)), last_ms=1 << 61)
    lie = seen(1, 0, 10, masks=(beyond,), encounters=(wild,))
    assert text_of(form, report(numbered(lie)))
