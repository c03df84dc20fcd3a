"""Encounters: how far apart people are, and for how long they were within reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.encounters import DistanceModel, EncounterBook, Meeting
from edge_agent.homography import HomographyError
from edge_agent.vision.config import EncounterConfig, GroundConfig

FRAME = (720, 1280)
FOCAL_PX = 1280 / 2 / np.tan(np.deg2rad(30))


def face_box(across_m: float, depth_m: float) -> list[float]:
    """The box of a face 0.23 m high at this place before a camera of 60 degrees."""
    height = 0.23 * FOCAL_PX / depth_m
    centre = 640 + across_m * FOCAL_PX / depth_m
    return [centre - 0.4 * height, 200.0, 0.8 * height, height]


def body_box(across_m: float, depth_m: float) -> list[float]:
    """The box of somebody 1.7 m high at this place."""
    height = 1.7 * FOCAL_PX / depth_m
    centre = 640 + across_m * FOCAL_PX / depth_m
    return [centre - height / 5, 100.0, height / 2.5, height]


def by_faces(model: DistanceModel, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return model.distances(boxes, np.full_like(boxes, np.nan))


def by_bodies(model: DistanceModel, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return model.distances(np.full_like(boxes, np.nan), boxes)


def matrix(*rows: list[float]) -> NDArray[np.float64]:
    return np.array(rows, np.float64)


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [((0, 4), (1, 4), 1.0), ((-1, 6), (1, 6), 2.0), ((0, 3), (0, 5), 2.0), ((0, 8), (0, 8), 0.0)],
)
def test_distances_from_the_size_of_faces(
    first: tuple[float, float], second: tuple[float, float], apart: float
) -> None:
    model = DistanceModel(EncounterConfig(), FRAME)
    distances = by_faces(model, matrix(face_box(*first), face_box(*second)))
    assert distances[0, 1] == pytest.approx(apart, abs=0.05)
    assert distances[0, 1] == distances[1, 0]


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [((0, 4), (1, 4), 1.0), ((-1, 6), (1, 6), 2.0), ((0, 4), (0, 6), 2.0), ((0, 8), (0, 8), 0.0)],
)
def test_distances_from_the_height_of_bodies(
    first: tuple[float, float], second: tuple[float, float], apart: float
) -> None:
    model = DistanceModel(EncounterConfig(), FRAME)
    distances = by_bodies(model, matrix(body_box(*first), body_box(*second)))
    assert distances[0, 1] == pytest.approx(apart, abs=0.05)


def standing(across_m: float, depth_m: float, tall_m: float) -> list[float]:
    """The box of a body on level ground 3 m below the camera."""
    height = tall_m * FOCAL_PX / depth_m
    feet = 100 + 3 * FOCAL_PX / depth_m
    centre = 640 + across_m * FOCAL_PX / depth_m
    return [centre - height / 5, feet - height, height / 2.5, height]


def test_who_is_taller_stands_no_nearer_once_passers_by_have_shown_the_ground() -> None:
    model = DistanceModel(EncounterConfig(), (2000, 1280))
    pair = matrix(standing(0, 8, 1.55), standing(1, 8, 1.85))
    assert by_bodies(model, pair)[0, 1] > 1.7, "by their own heights they are 1.6 m apart in depth"
    rng = np.random.default_rng(2)
    for _ in range(120):
        tall = rng.normal(1.7, 0.08)
        by_bodies(model, matrix(standing(rng.uniform(-2, 2), rng.uniform(4, 14), tall)))
    assert by_bodies(model, pair)[0, 1] == pytest.approx(1.0, abs=0.15)
    far = matrix(standing(0, 6, 1.7), standing(0, 9, 1.7))
    assert by_bodies(model, far)[0, 1] == pytest.approx(3.0, abs=0.4)


def test_bodies_whose_heights_follow_no_ground_teach_nothing() -> None:
    model = DistanceModel(EncounterConfig(), (2000, 1280))
    pair = matrix(standing(0, 8, 1.55), standing(1, 8, 1.85))
    before = by_bodies(model, pair)
    rng = np.random.default_rng(3)
    for _ in range(150):
        box = standing(0, rng.uniform(4, 14), 1.7)
        box[1] = rng.uniform(0, 800)
        by_bodies(model, matrix(box))
    np.testing.assert_allclose(by_bodies(model, pair), before)


def test_of_whom_only_a_part_shows_the_face_or_the_shoulders_tell_how_far_they_are() -> None:
    model = DistanceModel(EncounterConfig(), FRAME)
    whole = body_box(0, 4)
    shoulders = 0.5 * FOCAL_PX / 4
    cut = [640 + FOCAL_PX / 4 - shoulders / 2, 400.0, shoulders, 320.0]  # to the picture's edge
    nobody = [np.nan] * 4
    face = [*face_box(1, 4)[:1], 410.0, *face_box(1, 4)[2:]]
    seen = model.distances(matrix(nobody, nobody, face), matrix(whole, cut, cut))
    assert seen[0, 1] == pytest.approx(1.0, abs=0.05)
    assert seen[0, 2] == pytest.approx(1.0, abs=0.05)


def test_distances_through_a_homography_use_the_feet() -> None:
    ground = GroundConfig(matrix=((0.01, 0, 0), (0, 0.01, 0), (0, 0, 1)))  # 1 px = 1 cm
    model = DistanceModel(EncounterConfig(ground=ground), FRAME)
    # Heads 100 px apart in height; the nearer face is larger, so its feet are lower still.
    boxes = matrix([100, 100, 32, 40], [400, 100, 32, 40], [100, 200, 40, 50])
    distances = by_faces(model, boxes)
    assert distances[0, 1] == pytest.approx(3.0)
    assert distances[0, 2] == pytest.approx(np.hypot(0.04, (200 + 375 - 100 - 300) / 100))


def test_where_feet_show_they_and_not_the_face_say_where_somebody_stands() -> None:
    ground = GroundConfig(matrix=((0.01, 0, 0), (0, 0.01, 0), (0, 0, 1)))
    model = DistanceModel(EncounterConfig(ground=ground), FRAME)
    bodies = matrix([100, 100, 80, 300], [400, 100, 80, 300])
    faces = matrix([120, 110, 32, 40], [420, 110, 64, 80])  # the second leans forward
    assert model.distances(faces, bodies)[0, 1] == pytest.approx(3.0)


def test_feet_above_the_horizon_fall_back_to_the_size_of_faces() -> None:
    # w = 0.01 y - 4: the horizon is at y = 400.
    ground = GroundConfig(matrix=((1, 0, 0), (0, 1, 0), (0, 0.01, -4)))
    model = DistanceModel(EncounterConfig(ground=ground), FRAME)
    high = [100.0, 0.0, 16.0, 20.0]  # feet at 150
    by_size = DistanceModel(EncounterConfig(), FRAME)
    boxes = matrix(high, [140.0, 0.0, 16.0, 20.0])
    np.testing.assert_allclose(by_faces(model, boxes), by_faces(by_size, boxes))


def test_a_ground_that_is_no_plane_is_refused() -> None:
    line = GroundConfig(
        image_points_px=((0, 0), (10, 10), (20, 20), (30, 30)),
        ground_points_m=((0, 0), (1, 1), (2, 2), (3, 3)),
    )
    with pytest.raises(HomographyError, match="line"):
        DistanceModel(EncounterConfig(ground=line), FRAME)
    with pytest.raises(ValueError, match="not both"):
        GroundConfig()


def both(distance: float) -> NDArray[np.float64]:
    return np.array([[0.0, distance], [distance, 0.0]])


PAIR = np.array([7, 3])


def test_seconds_count_only_between_observations_of_both_within_reach() -> None:
    book = EncounterBook(reach_m=2.0, max_gap_s=1.0)
    book.observe(0, PAIR, both(3.0))
    book.observe(200, PAIR, both(1.5))
    book.observe(400, PAIR, both(1.0))  # + 200
    book.observe(600, PAIR, both(2.5))  # apart
    book.observe(800, PAIR, both(1.9))
    book.observe(1200, PAIR, both(1.9))  # + 400
    book.observe(5000, PAIR, both(1.9))  # too long a gap
    assert book.meetings(3) == [Meeting(7, 1.0, 0.6, 200, 5000, 1.9)]
    assert book.meetings(7) == [Meeting(3, 1.0, 0.6, 200, 5000, 1.9)]


def test_the_median_of_a_long_meeting_is_that_of_all_of_it() -> None:
    book = EncounterBook(reach_m=2.0)
    for step in range(5000):
        book.observe(20 * step, PAIR, both(0.5 if step < 2000 else 1.5))
    (meeting,) = book.meetings(3)
    assert (meeting.distance_m, meeting.median_m) == (0.5, 1.5)
    assert meeting.seconds == (meeting.last_ms - meeting.first_ms) / 1000
    (pair,) = book._pairs.values()
    assert len(pair.seen_m) <= 512


def test_people_never_within_reach_have_not_met() -> None:
    book = EncounterBook(reach_m=2.0)
    book.observe(0, PAIR, both(2.01))
    assert book.meetings(3) == []
    assert len(book) == 0


def test_one_of_them_hidden_for_a_moment_breaks_nothing() -> None:
    book = EncounterBook(reach_m=2.0, max_gap_s=1.0)
    book.observe(0, PAIR, both(1.0))
    book.observe(200, PAIR[:1], np.zeros((1, 1)))
    book.observe(400, PAIR, both(1.0))
    assert book.meetings(3) == [Meeting(7, 1.0, 0.4, 0, 400, 1.0)]


def test_two_tracks_that_prove_to_be_one_person_are_their_contacts_once() -> None:
    book = EncounterBook(reach_m=2.0)
    near = np.ones((3, 3))
    for at_ms in (0, 400, 800):
        book.observe(at_ms, np.array([1, 2, 3]), near)
    for at_ms in (1200, 1600):
        book.observe(at_ms, np.array([1, 3]), near[:2, :2])
    book.merge(2, 1)
    assert book.partners(1) == {3}
    assert book.partners(3) == {1}
    (met,) = book.meetings(1)
    assert (met.other_track, met.first_ms, met.last_ms) == (3, 0, 1600)
    assert book.meetings(2) == []
    book.observe(2000, np.array([1, 2]), near[:2, :2])
    book.merge(2, 1)
    assert len(book) == 1


def test_forget_drops_a_track_and_its_pairs_only() -> None:
    book = EncounterBook(reach_m=2.0)
    near = np.ones((3, 3))
    book.observe(0, np.array([1, 2, 3]), near)
    assert book.partners(2) == {1, 3}
    book.forget(1)
    assert book.partners(2) == {3}
    assert book.meetings(1) == []
    book.forget(2)
    book.forget(3)
    assert len(book) == 0


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 2000), st.sets(st.integers(0, 4)), st.integers(0, 10_000)),
        max_size=15,
    )
)
def test_any_course_of_events_keeps_pairs_mutual_and_times_possible(
    steps: list[tuple[int, set[int], int]],
) -> None:
    book = EncounterBook(reach_m=2.0, max_gap_s=1.0)
    at_ms = 0
    for wait_ms, present, seed in steps:
        at_ms += wait_ms
        tracks = np.array(sorted(present), np.int64)
        place = np.random.default_rng(seed).uniform(0, 5, (len(tracks), 2))
        book.observe(at_ms, tracks, np.linalg.norm(place[:, None] - place[None], axis=2))
    for track in range(5):
        for meeting in book.meetings(track):
            assert 0 <= meeting.distance_m <= 2.0
            assert 0 <= meeting.seconds <= at_ms / 1000
            back = [m for m in book.meetings(meeting.other_track) if m.other_track == track]
            assert back == [replace(meeting, other_track=track)]
            assert meeting.distance_m <= meeting.median_m <= 2.0
            assert meeting.seconds <= (meeting.last_ms - meeting.first_ms) / 1000
    for track in range(5):
        book.forget(track)
    assert len(book) == 0


def test_time_within_reach_goes_on_under_a_persons_next_number() -> None:
    book = EncounterBook(reach_m=2, max_gap_s=1)
    one_two, two_three, three_four = (np.array(pair) for pair in ((1, 2), (2, 3), (3, 4)))
    book.observe(0, one_two, both(1))
    book.observe(400, one_two, both(1))
    book.go_on(1, 3)
    book.observe(800, two_three, both(1))
    book.go_on(2, 4)
    book.observe(1200, three_four, both(1))
    book.observe(1600, three_four, both(1))
    seconds = [book.meetings(n)[0].seconds for n in (1, 3)]
    assert seconds == [0.4, 0.8]
    assert [one.seconds for one in book.meetings(3)] == [0.8, 0.4]
    assert [one.before_s for one in book.meetings(3)] == [pytest.approx(0.8), pytest.approx(0.4)]
    assert sum(one.seconds for n in (1, 3) for one in book.meetings(n)) == pytest.approx(1.6)


def test_who_was_out_of_reach_under_the_new_number_begins_anew() -> None:
    book = EncounterBook(reach_m=2, max_gap_s=3)
    book.observe(0, np.array([1, 2]), both(1))
    book.go_on(1, 3)
    book.observe(400, np.array([2, 3]), both(5))
    book.observe(800, np.array([2, 3]), both(1))
    book.observe(1200, np.array([2, 3]), both(1))
    (met,) = book.meetings(3)
    assert met.seconds == pytest.approx(0.4)


def test_a_number_between_that_was_forgotten_breaks_no_chain() -> None:
    book = EncounterBook(reach_m=2, max_gap_s=3)
    book.observe(0, np.array([1, 2]), both(1))
    book.go_on(1, 3)
    book.forget(3, for_good=False)
    book.go_on(3, 5)
    book.observe(800, np.array([2, 5]), both(1))
    assert book.meetings(5)[0].seconds == pytest.approx(0.8)
    book.forget(3)
    book.forget(1)
    book.observe(1200, np.array([2, 5]), both(1))
    assert book.meetings(5)[0].seconds == pytest.approx(1.2)
    for number in (2, 5):
        book.forget(number)
    assert len(book) == 0
    assert not book._earlier


def test_it_may_come_out_late_that_a_number_is_somebody_who_was_there_before() -> None:
    book = EncounterBook(reach_m=2, max_gap_s=3)
    for at_ms in (0, 400):
        book.observe(at_ms, np.array([1, 2]), both(1))
    for at_ms in (2400, 2800):
        book.observe(at_ms, np.array([2, 3]), both(1))
    book.go_on(1, 3)
    (met,) = book.meetings(3)
    assert met.seconds == pytest.approx(2.4)
    assert met.before_s == pytest.approx(0.4)
    book.observe(6000, np.array([2, 4]), both(1))
    book.go_on(3, 4)
    assert book.meetings(4)[0].seconds == 0, "too long unseen"
    assert book.meetings(4)[0].before_s == pytest.approx(2.8)
