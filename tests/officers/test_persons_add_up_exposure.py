"""A contact list has persons: what one companion's contacts add up to, over cameras and days."""

from __future__ import annotations

import random

import protocol_samples as s
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from officers.desk.contacts import Contact
from officers.desk.persons import DAY_MS, Person, person_values, persons_of
from officers.desk.traces import Stay, Trace
from officers.desk.within import Within, median_of, most_within, seconds_of
from protocol.keytree import FACE
from protocol.names import CameraAddress
from protocol.results import CONFIRMED
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

HOUR_S = 3600.0
HALL, YARD = (CameraAddress(s.SITE, f"box-{n}", f"cam-{n}") for n in (1, 2))
ALI, BEA = b"companion-ali"[:8], b"bea-----"


def at(seconds: float) -> int:
    return s.NOW_MS + round(seconds * 1000)


def met(
    episode: bytes,
    from_s: float,
    to_s: float,
    *,
    seconds: float | None = None,
    nearest: float | None = 1.0,
    median: float | None = 1.5,
    subject: str | None = None,
    mask: MaskStatus = MaskStatus.MASKED,
) -> Contact:
    return Contact(
        episode,
        at(from_s),
        at(to_s),
        to_s - from_s if seconds is None else seconds,
        nearest,
        median,
        mask,
        0.9,
        other_masks=(MaskSpan(at(from_s), at(to_s), mask, 0.9),),
        subject=subject,
    )


def stay(address: CameraAddress, *contacts: Contact, number: int = 1) -> Stay:
    return Stay(
        "P-17", address, min(one.from_ms for one in contacts), max(one.to_ms for one in contacts),
        MaskStatus.UNMASKED, 0.9, False, 0.8, 3.0, "m", CONFIRMED, (number,), (bytes(8),),
        contacts, modality=FACE,
    )  # fmt: skip


def trace(*stays: Stay, candidates: tuple[Stay, ...] = ()) -> Trace:
    return Trace("P-17", stays, candidates, ())


def only(*stays: Stay, links: dict[tuple[CameraAddress, bytes], int] | None = None) -> Person:
    (person,) = persons_of(trace(*stays), links or {})
    return person


def test_one_companion_of_two_stays_before_one_camera_is_one_person() -> None:
    person = only(stay(HALL, met(ALI, 0, 130)), stay(HALL, met(ALI, 400, 460), number=2))
    assert (person.number, person.linked, person.subject) == (1, False, None)
    assert person.seconds == 190
    assert (person.first_ms, person.last_ms) == (at(0), at(460))
    assert [one.stay.numbers for one in person.exposures] == [(1,), (2,)]


def test_two_companions_are_two_persons_numbered_by_their_first_moment() -> None:
    listed = persons_of(trace(stay(HALL, met(BEA, 50, 80), met(ALI, 20, 90))))
    assert [(one.number, one.seconds) for one in listed] == [(1, 70), (2, 30)]
    assert listed[0].exposures[0].contact.episode == ALI


def test_the_same_episode_of_another_camera_is_another_person_unless_linked() -> None:
    stays = stay(HALL, met(ALI, 0, 60)), stay(YARD, met(ALI, 600, 660))
    assert len(persons_of(trace(*stays))) == 2
    person = only(*stays, links={(HALL, ALI): 7, (YARD, ALI): 7})
    assert (person.number, person.linked, person.seconds) == (7, True, 120)
    assert person.cameras == ("cam-1", "cam-2")


def test_who_is_not_linked_comes_after_those_who_are() -> None:
    listed = persons_of(
        trace(stay(HALL, met(BEA, 0, 10), met(ALI, 20, 30))), {(HALL, ALI): 3, (YARD, BEA): 5}
    )
    assert [(one.number, one.linked) for one in listed] == [(3, True), (6, False)]


def test_another_subject_is_one_person_wherever_they_were_confirmed() -> None:
    stays = (
        stay(HALL, met(ALI, 0, 60, subject="P-18")),
        stay(YARD, met(BEA, 600, 660, subject="P-18"), number=2),
        stay(YARD, met(ALI, 900, 930), number=3),
    )
    known, other = persons_of(trace(*stays))
    assert (known.subject, known.seconds, known.linked) == ("P-18", 120, False)
    assert other.subject is None
    linked = only(*stays, links={(HALL, ALI): 2, (YARD, ALI): 2})
    assert (linked.number, linked.subject, linked.seconds) == (2, "P-18", 150)


def test_a_link_that_speaks_of_two_subjects_joins_neither() -> None:
    stays = (
        stay(HALL, met(ALI, 0, 60, subject="P-18")),
        stay(YARD, met(BEA, 600, 660, subject="P-19"), number=2),
    )
    listed = persons_of(trace(*stays), {(HALL, ALI): 1, (YARD, BEA): 1})
    assert sorted((one.subject or "", one.number) for one in listed) == [("P-18", 1), ("P-19", 2)]


def test_what_two_cameras_saw_at_one_time_counts_once() -> None:
    stays = stay(HALL, met(ALI, 0, 100)), stay(YARD, met(BEA, 50, 150))
    person = only(*stays, links={(HALL, ALI): 1, (YARD, BEA): 1})
    assert person.seconds == pytest.approx(150)
    assert person.most_in_24h_s == pytest.approx(150)


def test_only_hits_make_the_list() -> None:
    considered = stay(HALL, met(ALI, 0, 60))
    assert persons_of(trace(candidates=(considered,))) == ()


def test_the_most_within_24_hours_slides_over_midnight() -> None:
    person = only(
        stay(HALL, met(ALI, 0, 600)),
        stay(HALL, met(ALI, 20 * HOUR_S, 20 * HOUR_S + 900), number=2),
        stay(HALL, met(ALI, 30 * HOUR_S, 30 * HOUR_S + 1200), number=3),
    )
    assert person.seconds == 2700
    assert person.most_in_24h_s == pytest.approx(2100)


def test_a_contact_that_lasts_across_the_window_counts_as_far_as_it_is_within() -> None:
    parts = [Within(0, DAY_MS * 2, 2 * 24 * HOUR_S)]
    assert most_within(parts, window_ms=DAY_MS) == pytest.approx(24 * HOUR_S)
    assert most_within([], window_ms=DAY_MS) == 0
    assert most_within([Within(5, 5, 12.0)], window_ms=DAY_MS) == pytest.approx(12)


def test_distances_are_of_all_exposures() -> None:
    person = only(
        stay(HALL, met(ALI, 0, 10, nearest=2.0, median=2.5)),
        stay(HALL, met(ALI, 20, 120, nearest=None, median=1.0), number=2),
    )
    assert (person.nearest_m, person.median_m) == (2.0, 1.0)
    assert median_of([(None, 5.0)]) is None
    assert only(stay(HALL, met(ALI, 0, 1, nearest=None, median=None))).nearest_m is None


def test_a_mask_taken_off_shows_over_time() -> None:
    person = only(
        stay(HALL, met(ALI, 0, 30)),
        stay(HALL, met(ALI, 60, 180, mask=MaskStatus.UNMASKED), number=2),
    )
    assert [span.status for span in person.other_masks] == [MaskStatus.MASKED, MaskStatus.UNMASKED]
    assert person.mask[0] == MaskStatus.UNMASKED
    values = person_values(person)
    assert (values["mask"], values["seconds"], len(values["contacts"])) == ("unmasked", 150, 2)


spans = st.lists(
    st.builds(
        lambda begins, lasts, share: Within(begins, begins + lasts, share * lasts / 1000),
        st.integers(0, 3 * DAY_MS),
        st.integers(1, DAY_MS),
        st.floats(0.01, 1),
    ),
    max_size=8,
)


@settings(max_examples=examples(50))
@given(spans, st.randoms(use_true_random=False))
def test_seconds_are_never_more_than_their_sum_nor_than_there_are(
    parts: list[Within], order: random.Random
) -> None:
    whole = seconds_of(parts)
    assert whole <= sum(one.seconds for one in parts) + 1e-6
    assert whole >= max((one.seconds for one in parts), default=0) - 1e-6
    day = most_within(parts, window_ms=DAY_MS)
    assert day <= min(whole, 24 * HOUR_S) + 1e-6
    assert most_within(parts, window_ms=10 * DAY_MS) == pytest.approx(whole)
    for one in parts:
        assert day >= seconds_of([one]) - 1e-6
    shuffled = list(parts)
    order.shuffle(shuffled)
    assert most_within(shuffled, window_ms=DAY_MS) == pytest.approx(day)
