"""One row a person, whatever detectors saw of them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.vision.arrays import Detections
from edge_agent.vision.people import NO_FACE, Bodies, heads_of, people_of
from edge_agent.vision.tracker import Tracker

HEADS = 7.5


def faces(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.zeros((count, 5, 2), np.float32),
        np.full(count, score, np.float32),
    )


def bodies(*boxes: tuple[float, float, float, float], score: float = 0.8) -> Bodies:
    count = len(boxes)
    return Bodies(np.array(boxes, np.float32).reshape(count, 4), np.full(count, score, np.float32))


def below(face: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The whole person below a face."""
    left, top, width, height = face
    return left - width, top, 3 * width, HEADS * height


ANA, BO = (100.0, 50.0, 32.0, 40.0), (150.0, 60.0, 30.0, 38.0)


def test_without_other_detectors_the_people_are_the_faces() -> None:
    found = faces(ANA, BO)
    seen = people_of(found, [], body_heads=HEADS)
    assert np.array_equal(seen.boxes, found.boxes)
    assert seen.faces.tolist() == [0, 1]


def test_a_head_judged_from_a_body_is_boxed_as_a_face_would_be() -> None:
    (head,) = heads_of(bodies(below(ANA)).boxes, HEADS)
    assert head.tolist() == pytest.approx(list(ANA), abs=0.5)


def test_a_face_and_its_body_are_one_person_as_sure_as_the_surer_detector() -> None:
    seen = people_of(faces(ANA, score=0.35), [bodies(below(ANA), score=0.8)], body_heads=HEADS)
    assert seen.scores.tolist() == pytest.approx([0.8])
    assert seen.faces.tolist() == [0]
    assert seen.boxes[0].tolist() == list(ANA)


def test_who_shows_no_face_is_a_person_beside_the_others() -> None:
    seen = people_of(faces(ANA), [bodies(below(BO), below(ANA))], body_heads=HEADS)
    assert seen.faces.tolist() == [0, NO_FACE]
    assert seen.boxes[1].tolist() == pytest.approx(list(BO), abs=0.5)


def test_two_bodies_in_one_place_are_two_people_though_one_face_shows() -> None:
    shoulder = (ANA[0] + 12, ANA[1] + 4, ANA[2], ANA[3])
    seen = people_of(faces(ANA), [bodies(below(shoulder), below(ANA))], body_heads=HEADS)
    assert len(seen) == 2
    assert seen.faces.tolist() == [0, NO_FACE]
    assert seen.boxes[1].tolist() == pytest.approx(list(shoulder), abs=0.5)


def test_a_body_that_stands_far_behind_a_face_is_another_person() -> None:
    far = (ANA[0] + 10, ANA[1] + 12, ANA[2] / 3, ANA[3] / 3)
    seen = people_of(faces(ANA), [bodies(below(far))], body_heads=HEADS)
    assert len(seen) == 2


def test_detectors_that_see_the_same_body_count_it_once() -> None:
    seen = people_of(
        faces(), [bodies(below(BO), score=0.6), bodies(below(BO), score=0.7)], body_heads=HEADS
    )
    assert seen.scores.tolist() == pytest.approx([0.7])
    assert seen.faces.tolist() == [NO_FACE]


def test_who_turns_round_stays_one_track() -> None:
    tracker = Tracker()
    numbers = set()
    for look in range(20):
        face = (100.0 + 4 * look, 50.0, 32.0, 40.0)
        shows = look % 8 < 4
        seen = people_of(faces(face) if shows else faces(), [bodies(below(face))], body_heads=HEADS)
        step = tracker.update(seen, 200 * look)
        assert (seen.faces[step.detections] != NO_FACE).tolist() == [shows]
        numbers |= set(step.track_ids.tolist())
    assert len(numbers) == 1


def test_a_track_begins_at_a_body_when_the_face_alone_would_be_too_unsure() -> None:
    weak = faces(ANA, score=0.35)
    assert len(Tracker().update(weak, 0).track_ids) == 0
    seen = people_of(weak, [bodies(below(ANA), score=0.8)], body_heads=HEADS)
    assert len(Tracker().update(seen, 0).track_ids) == 1
