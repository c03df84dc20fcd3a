"""A passage that was watched and imported is one stay, whoever tells of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import protocol_samples as s
import pytest
from candidates import opened_candidate

from officers.desk.fitting import contradictions_of, fitted
from officers.desk.ground import Ground
from officers.desk.traces import Numbered, stays_of, traces_of
from officers.trace_text import origin_text
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.names import SightingName
from protocol.results import CONFIRMED
from protocol.sightings import MaskStatus
from protocol.v2.header import CLOCK, STATED
from protocol.v2.sightings import Encounter, Row


def seen(
    number: int,
    from_s: float,
    to_s: float,
    *,
    box: str = "box-1",
    film: bool = False,
    camera: str = "cam-1",
    subject: str = "P-17",
    verdict: str = CONFIRMED,
    met: str = "",
) -> Numbered:
    """A sighting of its own episode, who met somebody called ``met``."""
    name = SightingName(box, camera, s.EPOCH, 1, 40, s.fixed(f"id {number}", 8))
    first_ms, last_ms = (s.NOW_MS + int(1000 * at_s) for at_s in (from_s, to_s))
    company = Encounter(
        other_id=s.fixed(f"other {met} {box}", 8), other_episode=s.fixed(f"whom {met} {box}", 8),
        first_ms=first_ms, last_ms=last_ms, within_s=(last_ms - first_ms) / 1000, nearest_m=1.0,
        median_m=1.0, masks=(), other_masks=(),
    )  # fmt: skip
    row = Row(
        first_ms=first_ms, last_ms=last_ms, mask=MaskStatus.UNMASKED, mask_confidence=0.9,
        quality=0.8, masks=(), networks={}, continues=None,
        encounters=(company,) if met else (),
    )  # fmt: skip
    candidate = opened_candidate(
        name, row, subject=subject, episode=s.fixed(f"episode {number}", 8),
        origin=RECORDING if film else CAMERA_NOW, time_source=STATED if film else CLOCK,
    )  # fmt: skip
    return Numbered(number, candidate.candidate_id(bytes(32)), candidate, verdict)


@pytest.mark.parametrize("box", ["box-1", "station-1"])
def test_watched_and_imported_is_one_stay_with_the_contacts_of_the_longer_account(box: str) -> None:
    items = [
        seen(1, 0, 60, met="somebody"),
        seen(2, 2, 50, box=box, film=True, met="somebody"),
    ]
    (stay,) = stays_of(items)
    assert (stay.numbers, stay.doubles, stay.origin) == ((1, 2), (2,), CAMERA_NOW)
    assert (stay.seconds, stay.contact_seconds, len(stay.contacts)) == (60, 60, 1)
    assert "2: the same passage" in origin_text(stay)
    (trace,) = traces_of(["P-17"], items)
    assert (len(trace.hits), trace.seconds) == (1, 60)
    assert fitted(trace, Ground()).contradictions == ()


def test_the_film_tells_where_it_saw_more_and_what_was_watched_in_pieces_is_in_it() -> None:
    items = [seen(1, 0, 20), seen(2, 60, 90), seen(3, 1, 95, box="station-1", film=True)]
    for order in permutations(items):
        (stay,) = stays_of(order)
        assert (stay.numbers, stay.doubles, stay.seconds) == ((1, 2, 3), (1, 2), 94)
        assert stay.origin == RECORDING


def test_two_people_at_one_moment_stay_two_though_both_boxes_saw_both() -> None:
    items = [
        seen(1, 0, 60),
        seen(2, 30, 100, subject="P-18"),
        seen(3, 1, 59, box="station-1", film=True),
        seen(4, 31, 99, box="station-1", film=True, subject="P-18"),
    ]
    assert [(stay.subject, stay.numbers) for stay in stays_of(items)] == [
        ("P-17", (1, 3)),
        ("P-18", (2, 4)),
    ]


def test_passages_one_after_the_other_at_two_boxes_are_two() -> None:
    items = [seen(1, 0, 60), seen(2, 50, 110, box="station-1", film=True)]
    assert [stay.numbers for stay in stays_of(items)] == [(1,), (2,)]
    assert contradictions_of(stays_of(items), Ground()) == ()


def test_other_cameras_and_other_decisions_are_not_put_together() -> None:
    items = [
        seen(1, 0, 60),
        seen(2, 0, 60, camera="cam-2", box="box-2"),
        seen(3, 0, 60, box="station-1", film=True, verdict="undecided"),
    ]
    assert [stay.numbers for stay in stays_of(items)] == [(1,), (2,), (3,)]


def test_a_moment_that_both_saw_is_one() -> None:
    (stay,) = stays_of([seen(1, 5, 5), seen(2, 5, 5, box="station-1", film=True)])
    assert stay.doubles == (2,)


def test_who_is_confirmed_at_one_box_is_not_taken_for_whom_another_box_calls_the_same() -> None:
    other = seen(2, 100, 160, box="station-1", film=True, subject="P-18")
    met_there = seen(1, 0, 60, met="somebody")
    (company,) = met_there.candidate.encounters
    alike = replace(company, other_id=other.candidate.sighting_id)
    row = replace(met_there.candidate.row, encounters=(alike,))
    items = [replace(met_there, candidate=replace(met_there.candidate, row=row)), other]
    (contact,) = stays_of(items)[0].contacts
    assert contact.subject is None
