"""Sightings that follow one another become one stay, and nothing is lost or invented by that."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from candidates import candidate_of
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from officers.desk.traces import (
    MAX_GAP_MS,
    UNDECIDED,
    VERDICTS,
    Numbered,
    likelihood_times,
    likelihood_words,
    numbers_text,
    ranked,
    stays_of,
    traces_of,
)
from protocol.names import CameraAddress
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import Encounter, MaskStatus

START = 1_800_000_000_000
SUBJECTS = ("P-1", "P-2")


def candidate(
    start_s: float,
    end_s: float,
    *,
    subject: str = "P-1",
    camera: str = "cam-1",
    mask: MaskStatus = MaskStatus.UNMASKED,
    confidence: float = 0.9,
    score: float = 0.8,
    log10_lr: float | None = 3.0,
    met: tuple[Encounter, ...] = (),
    sighting_id: bytes = b"",
) -> Candidate:
    return candidate_of(
        subject=subject,
        address=CameraAddress("north", "box-1", camera),
        sighting_id=sighting_id or os.urandom(8),
        first_seen_ms=START + int(start_s * 1000),
        last_seen_ms=START + int(end_s * 1000),
        mask=mask,
        mask_confidence=confidence,
        quality=0.7,
        modality="face",
        model="sample-16@00000000",
        score=score,
        log10_lr=log10_lr,
        encounters=met,
    )


def numbered(*candidates: Candidate, verdict: str = CONFIRMED) -> list[Numbered]:
    return [Numbered(n, bytes([n]) * 16, one, verdict) for n, one in enumerate(candidates, start=1)]


def met(other: bytes, seconds: float, distance: float | None = 1.0) -> Encounter:
    return Encounter(other, distance, seconds, MaskStatus.MASKED, 0.8)


OTHERS = [bytes([n]) * 8 for n in range(1, 5)]
encounters = st.builds(
    Encounter,
    other_id=st.sampled_from(OTHERS),
    distance_m=st.none() | st.floats(0, 10),
    seconds=st.integers(0, 60).map(float),
    other_mask=st.sampled_from(MaskStatus),
    other_mask_confidence=st.floats(0, 1),
)


@st.composite
def counted(draw: st.DrawFn) -> list[Numbered]:
    items = []
    for number in range(1, draw(st.integers(0, 12)) + 1):
        begins = draw(st.integers(0, 300))
        one = candidate(
            begins,
            begins + draw(st.integers(0, 60)),
            subject=draw(st.sampled_from(SUBJECTS)),
            camera=draw(st.sampled_from(("cam-1", "cam-2"))),
            mask=draw(st.sampled_from(MaskStatus)),
            confidence=draw(st.floats(0, 1)),
            score=draw(st.floats(-1, 1)),
            log10_lr=draw(st.none() | st.floats(-6, 6)),
            met=tuple(draw(st.lists(encounters, max_size=4, unique_by=lambda one: one.other_id))),
            sighting_id=number.to_bytes(8, "big"),
        )
        verdict = draw(st.sampled_from(VERDICTS))
        items.append(Numbered(number, number.to_bytes(16, "big"), one, verdict))
    return items


@settings(max_examples=examples(50))
@given(counted())
def test_every_candidate_is_in_exactly_one_stay(items: list[Numbered]) -> None:
    stays = stays_of(items)
    assert Counter(n for stay in stays for n in stay.numbers) == Counter(i.number for i in items)
    by_number = {item.number: item for item in items}
    for stay in stays:
        inside = [by_number[number] for number in stay.numbers]
        assert {i.verdict for i in inside} == {stay.verdict}
        assert {i.candidate.subject for i in inside} == {stay.subject}
        assert {i.candidate.address for i in inside} == {stay.address}
        assert stay.from_ms == min(i.candidate.first_seen_ms for i in inside)
        assert stay.to_ms == max(i.candidate.last_seen_ms for i in inside)
        assert stay.score == max(i.candidate.strength for i in inside)
        assert stay.mask in {i.candidate.mask for i in inside}
        assert 0 <= stay.mask_confidence <= 1


@settings(max_examples=examples(50))
@given(counted())
def test_a_stay_holds_what_directly_follows_and_nothing_that_overlaps(
    items: list[Numbered],
) -> None:
    by_number = {item.number: item.candidate for item in items}
    for stay in stays_of(items):
        inside = sorted(
            (by_number[number] for number in stay.numbers),
            key=lambda c: (c.first_seen_ms, c.last_seen_ms),
        )
        for one, after in pairwise(inside):
            assert 0 <= after.first_seen_ms - one.last_seen_ms <= MAX_GAP_MS


def test_two_look_alikes_at_one_time_are_two_stays_each_with_its_own_mask() -> None:
    patient = candidate(0, 58, mask=MaskStatus.UNMASKED)
    companion = candidate(0.4, 58.4, mask=MaskStatus.MASKED)
    stays = stays_of(numbered(patient, companion))
    assert [(stay.numbers, stay.mask, stay.mask_varies) for stay in stays] == [
        ((1,), MaskStatus.UNMASKED, False),
        ((2,), MaskStatus.MASKED, False),
    ]


def test_of_two_who_might_go_on_from_one_neither_is_taken_for_it() -> None:
    together = numbered(
        candidate(0, 58), candidate(0, 58.4), candidate(58.6, 110), candidate(58.8, 115)
    )
    assert [stay.numbers for stay in stays_of(together)] == [(1,), (2,), (3,), (4,)]
    joined_by_another = numbered(candidate(0, 58), candidate(58.2, 110), candidate(58.6, 115))
    assert len(stays_of(joined_by_another)) == 3
    left_by_another = numbered(candidate(0, 58), candidate(0, 58.4), candidate(58.6, 110))
    assert len(stays_of(left_by_another)) == 3


def test_a_hundred_look_alikes_at_one_time_are_a_hundred_stays() -> None:
    crowd = numbered(*(candidate(0, 10) for _ in range(100)))
    assert len(stays_of(crowd)) == 100


@settings(max_examples=examples(50))
@given(counted(), st.randoms(use_true_random=False))
def test_the_order_of_finding_does_not_matter(items: list[Numbered], order: random.Random) -> None:
    shuffled = list(items)
    order.shuffle(shuffled)
    assert [s.numbers for s in stays_of(shuffled)] == [s.numbers for s in stays_of(items)]


@settings(max_examples=examples(50))
@given(counted())
def test_contacts_lose_no_second_and_no_metre(items: list[Numbered]) -> None:
    for stay in stays_of(items):
        inside = [i.candidate for i in items if i.number in stay.numbers]
        all_met = [e for one in inside for e in one.encounters]
        assert {c.episode for c in stay.contacts} == {e.other_id for e in all_met}
        for contact in stay.contacts:
            mine = [e for e in all_met if e.other_id == contact.episode]
            assert contact.seconds == sum(e.within_s for e in mine)
            known = [e.nearest_m for e in mine if e.nearest_m is not None]
            assert contact.nearest_m == (min(known) if known else None)
            assert contact.mask in {span.status for e in mine for span in e.other_masks}
            if any(span.status != MaskStatus.UNKNOWN for e in mine for span in e.other_masks):
                assert contact.mask != MaskStatus.UNKNOWN


@settings(max_examples=examples(50))
@given(counted())
def test_a_trace_holds_confirmed_stays_alone_in_order_of_time(items: list[Numbered]) -> None:
    traces = traces_of(SUBJECTS, items)
    assert [trace.subject for trace in traces] == list(SUBJECTS)
    shown = 0
    for trace in traces:
        assert all(hit.verdict == CONFIRMED for hit in trace.hits)
        assert all(stay.verdict == UNDECIDED for stay in trace.candidates)
        assert all(stay.verdict == REJECTED for stay in trace.rejected)
        assert [h.from_ms for h in trace.hits] == sorted(h.from_ms for h in trace.hits)
        shown += sum(len(s.numbers) for s in (*trace.hits, *trace.candidates, *trace.rejected))
    assert shown == len(items)


def test_a_minute_after_a_minute_is_one_stay_and_a_pause_makes_two() -> None:
    first, second = candidate(0, 60), candidate(60.2, 110)
    later = candidate(110 + MAX_GAP_MS / 1000 + 0.1, 130)
    stays = stays_of(numbered(first, second, later))
    assert [stay.numbers for stay in stays] == [(1, 2), (3,)]
    assert stays[0].seconds == 110


def test_who_comes_next_in_like_clothes_is_somebody_else_until_an_officer_confirms_both() -> None:
    alike = [replace(candidate(*when), modality="appearance") for when in ((0, 6), (8, 14))]
    for verdict in (UNDECIDED, REJECTED):
        assert [s.numbers for s in stays_of(numbered(*alike, verdict=verdict))] == [(1,), (2,)]
    assert [s.numbers for s in stays_of(numbered(*alike))] == [(1, 2)]


def test_clothes_of_one_person_by_the_boards_word_are_one_stay() -> None:
    first, second = (
        replace(candidate(*when), modality="appearance", episode=b"one walk")
        for when in ((0, 60), (60, 70))
    )
    (stay,) = stays_of(numbered(first, second, verdict=UNDECIDED))
    assert stay.numbers == (1, 2)


def test_other_cameras_and_other_verdicts_are_not_merged() -> None:
    items = numbered(candidate(0, 10), candidate(10, 20, camera="cam-2"), candidate(20, 30))
    assert len(stays_of(items)) == 3
    items[2] = replace(items[2], verdict=UNDECIDED)
    items[1] = replace(items[1], candidate=candidate(10, 20))
    assert [s.numbers for s in stays_of(items)] == [(1, 2), (3,)]


def test_a_mask_put_on_is_told_and_the_longer_status_wins() -> None:
    (stay,) = stays_of(
        numbered(
            candidate(0, 10, mask=MaskStatus.UNMASKED),
            candidate(10, 60, mask=MaskStatus.MASKED, confidence=0.8),
            candidate(60, 110, mask=MaskStatus.UNKNOWN, confidence=1.0),
        )
    )
    assert (stay.mask, stay.mask_varies) == (MaskStatus.MASKED, True)
    assert stay.mask_confidence == pytest.approx(0.8)


def test_a_contact_over_two_sightings_is_one_contact() -> None:
    other = b"strange1"
    (stay,) = stays_of(
        numbered(
            candidate(0, 60, met=(met(other, 20, 1.5),)),
            candidate(60, 90, met=(met(other, 10, 0.7), met(b"strange2", 3, None))),
        )
    )
    assert [(c.episode, c.seconds, c.nearest_m) for c in stay.contacts] == [
        (other, 30, 0.7),
        (b"strange2", 3, None),
    ]
    assert stay.contact_seconds == 33


def test_another_subject_is_named_as_a_contact_once_confirmed() -> None:
    wife = candidate(0, 20, subject="P-2", sighting_id=b"wife-01!")
    man = candidate(0, 20, met=(met(b"wife-01!", 12),))
    one, _ = stays_of(numbered(man, wife))
    assert one.contacts[0].subject == "P-2"
    undecided = [*numbered(man), Numbered(2, bytes(16), wife, UNDECIDED)]
    assert stays_of(undecided)[0].contacts[0].subject is None
    elsewhere = replace(wife, address=CameraAddress("north", "box-2", "cam-2"))
    assert stays_of(numbered(man, elsewhere))[0].contacts[0].subject is None


def test_the_subject_split_by_the_tracker_for_a_moment_is_no_contact() -> None:
    twin = candidate(15, 20, sighting_id=b"split-up")
    stays = stays_of(numbered(candidate(0, 20, met=(met(b"split-up", 4),)), twin))
    assert [stay.contacts for stay in stays] == [(), ()]


def test_a_companion_whom_officers_took_for_the_subject_stays_a_contact() -> None:
    alike = candidate(2, 20, sighting_id=b"as-alike")
    stays = stays_of(numbered(candidate(0, 20, met=(met(b"as-alike", 12),)), alike))
    (contact,) = stays[0].contacts
    assert (contact.seconds, contact.subject) == (12, None)


def test_the_likeliest_stands_first_and_the_uncalibrated_last() -> None:
    stays = stays_of(
        numbered(
            candidate(0, 1, log10_lr=None, score=0.99),
            candidate(100, 101, log10_lr=1.0, score=0.6),
            candidate(200, 201, log10_lr=4.0, score=0.7),
        )
    )
    assert [stay.numbers for stay in ranked(stays)] == [(3,), (2,), (1,)]


@pytest.mark.parametrize(
    ("log10_lr", "words", "times"),
    [
        (None, "not calibrated", ""),
        (0.0, "no support either way", "x 1.0"),
        (0.5, "weak for", "x 3.2"),
        (1.5, "moderate for", "x 32"),
        (3.1, "strong for", "x 1,300"),
        (4.5, "very strong for", "x 32,000"),
        (6.0, "extremely strong for", "x 1,000,000"),
        (-2.5, "moderately strong against", "x 1/320"),
    ],
)
def test_a_likelihood_ratio_in_words(log10_lr: float | None, words: str, times: str) -> None:
    assert likelihood_words(log10_lr) == words
    assert likelihood_times(log10_lr) == times


def test_numbers_are_written_as_ranges() -> None:
    assert numbers_text([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert numbers_text([]) == ""
