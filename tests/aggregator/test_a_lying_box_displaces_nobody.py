"""A box that knows the patient's template fills its own share of a result, and nobody else's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laid_down import new_store
from sealed_boxes import (
    DIMENSION,
    MODEL,
    NOW_MS,
    SITE,
    TestBox,
    make_box,
    make_directory,
    near,
    sighting,
    unit_vector,
)

from aggregator.config import LimitsSection
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.pool import Matcher
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes
from aggregator.matching.shares import fair_shares
from protocol.keytree import FACE
from protocol.names import SLOT_MS
from protocol.sightings import Encounter, MaskStatus, Sighting
from protocol.signing import SigningKey

RNG = np.random.default_rng(23)
ANA = unit_vector(RNG)
ROOM = 20


class City:
    """Three boxes, of which box-1 lies, and a store of what they sent."""

    def __init__(self, folder: Path) -> None:
        self.boxes = [make_box(1), make_box(2), make_box(3)]
        directory = make_directory(self.boxes, SigningKey.generate("aggregator"))
        self.store = new_store(folder / "a.db")
        self._intake = Intake(
            self.store,
            site=SITE,
            directory=lambda: directory,
            limits=LimitsSection(),
            retention_days=lambda: 14,
            now_ms=lambda: NOW_MS,
            audit=lambda _kind, _body: None,
        )

    def take(self, box: TestBox, sightings: list[Sighting], **options: bool) -> None:
        message = box.segment(sightings, **options)
        assert self._intake.process([Incoming(*message, NOW_MS)]).stored == 1

    def probes(self) -> list[Probes]:
        ana = ANA.astype(np.float32)
        return [Probes(FACE, MODEL, ana[None, :].copy(), np.array([0.6], np.float32), ("ana",))]

    def match(self) -> MatchReport:
        return match_scopes(
            self.store.segments,
            [box.keys() for box in self.boxes],
            self.probes(),
            calibrations={},
            contacts=True,
            max_candidates=ROOM,
        )


@pytest.fixture
def city(tmp_path: Path) -> City:
    return City(tmp_path)


def flood(count: int) -> list[Sighting]:
    return [sighting(near(ANA, 0.999, RNG)) for _ in range(count)]


def patient(score: float) -> Sighting:
    return sighting(near(ANA, score, RNG))


def test_a_flood_of_perfect_scores_displaces_no_sighting_of_another_camera(city: City) -> None:
    true = [patient(0.7), patient(0.65), patient(0.75)]
    city.take(city.boxes[0], flood(200))
    city.take(city.boxes[1], true[:1])
    city.take(city.boxes[2], true[1:])
    report = city.match()
    found = {c.sighting_id for c in report.candidates}
    assert {one.sighting_id for one in true} <= found
    assert len(report.candidates) == ROOM
    assert report.left_out == {"cam-1": 200 - (ROOM - 3)}, "the result says where there was more"
    scores = [c.strength for c in report.candidates]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.processes
def test_worker_processes_share_the_room_as_well(city: City) -> None:
    true = patient(0.7)
    for _ in range(8):
        city.take(city.boxes[0], flood(30))
    city.take(city.boxes[1], [true])
    matcher = Matcher(city.store.segments, processes=2, pool_from_envelopes=1)
    try:
        report = matcher.match(
            [box.keys() for box in city.boxes], city.probes(), contacts=True, max_candidates=ROOM
        )
    finally:
        matcher.close()
    assert true.sighting_id in {c.sighting_id for c in report.candidates}
    assert report.left_out["cam-1"] == 240 - (ROOM - 1)


HOUR_MS = 3_600_000
LIES = {
    "an hour before its slot": lambda s: moved(s, -HOUR_MS),
    "in the slot after": lambda s: moved(s, SLOT_MS),
    "next year": lambda s: moved(s, 365 * 24 * HOUR_MS),
    "in 1970": lambda s: replace(s, first_seen_ms=0, last_seen_ms=1),
    "an hour long": lambda s: replace(s, first_seen_ms=s.last_seen_ms - HOUR_MS),
    "an hour beside somebody": lambda s: replace(
        s, encounters=(Encounter(b"12345678", 1.0, 3600.0, MaskStatus.UNMASKED, 0.9),)
    ),
}


def moved(one: Sighting, by_ms: int) -> Sighting:
    return replace(
        one, first_seen_ms=one.first_seen_ms + by_ms, last_seen_ms=one.last_seen_ms + by_ms
    )


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_sighting_that_cannot_be_of_its_slot_is_no_candidate_and_is_counted(
    city: City, lie: object
) -> None:
    honest = patient(0.8)
    false = lie(patient(0.9))  # type: ignore[operator]
    city.take(city.boxes[0], [false, honest], as_they_are=True)
    report = city.match()
    assert [c.sighting_id for c in report.candidates] == [honest.sighting_id]
    assert report.lying == {"cam-1": 1}


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), max_size=60),
    st.integers(0, 40),
)
def test_a_camera_is_cut_short_only_for_one_that_has_no_more(
    items: list[tuple[int, float]], room: int
) -> None:
    kept, gone = fair_shares(items, room, camera=lambda i: i[0], score=lambda i: i[1])
    assert sorted(kept + gone) == sorted(items)
    assert len(kept) == min(room, len(items))
    shares = {camera: sum(1 for one in kept if one[0] == camera) for camera in range(5)}
    for camera, score in gone:
        assert all(score <= one[1] for one in kept if one[0] == camera), "the best stay"
        assert shares[camera] >= max(shares.values()) - 1, "nobody else has more than a turn more"


def test_the_made_up_people_are_alike(city: City) -> None:
    """What the flood test rests on: those perfect scores would win by score alone."""
    assert len(ANA) == DIMENSION
    city.take(city.boxes[0], flood(3))
    assert min(c.strength for c in city.match().candidates) > 0.95
