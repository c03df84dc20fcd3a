"""Whole bodies and faces of one frame: which belong together, and which are one body twice."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.vision.people import (
    NO_BODY,
    Bodies,
    distinct,
    faces_of_bodies,
    heads_of,
    outside,
    seen_whole,
)

Box = tuple[float, float, float, float]
HEADS = 7.5


def boxes(*rows: Box) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def bodies(*rows: Box, scores: tuple[float, ...] | None = None) -> Bodies:
    return Bodies(boxes(*rows), np.array(scores or (0.8,) * len(rows), np.float32))


def below(face: Box) -> Box:
    """The whole person below a face."""
    left, top, width, height = face
    return left - width, top - 0.35 * height, 3 * width, HEADS * height


def bust(face: Box) -> Box:
    """As much of the person as shows above a table."""
    left, top, width, height = face
    return left - 1.1 * width, top - 0.35 * height, 3.2 * width, 2.8 * height


ANA, BO = (100.0, 50.0, 32.0, 40.0), (190.0, 60.0, 30.0, 38.0)


@pytest.mark.parametrize("rest", [below, bust])
def test_a_face_belongs_to_the_body_whose_head_is_where_it_is(rest: object) -> None:
    assert callable(rest)
    found = faces_of_bodies(boxes(ANA, BO), boxes(rest(BO), rest(ANA)))
    assert found.tolist() == [1, 0]


def test_a_head_is_judged_where_a_face_would_be_boxed() -> None:
    for rest in (below, bust):
        (head,) = heads_of(boxes(rest(ANA)))
        assert head.tolist() == pytest.approx(list(ANA), abs=6)


def test_a_face_on_a_shirt_or_beside_a_body_is_nobodys() -> None:
    shirt = (ANA[0], ANA[1] + 2.2 * ANA[3], ANA[2], ANA[3])
    beside = (ANA[0] + 4 * ANA[2], ANA[1], ANA[2], ANA[3])
    assert faces_of_bodies(boxes(shirt, beside), boxes(below(ANA))).tolist() == [NO_BODY] * 2


def test_a_small_face_behind_a_large_body_is_not_that_bodys() -> None:
    far = (ANA[0] + 10, ANA[1] + 5, ANA[2] / 4, ANA[3] / 4)
    assert faces_of_bodies(boxes(far), boxes(below(ANA))).tolist() == [NO_BODY]


def test_of_two_bodies_at_one_face_it_stays_with_the_one_it_was_at() -> None:
    near = (ANA[0] + 10, ANA[1], ANA[2], ANA[3])
    both = boxes(below(ANA), below(near))
    face = boxes((ANA[0] + 6, ANA[1], ANA[2], ANA[3]))
    assert faces_of_bodies(face, both).tolist() == [1]
    assert faces_of_bodies(face, both, np.array([[True, False]])).tolist() == [0]


def test_the_upper_part_of_a_body_is_not_another_person() -> None:
    whole, upper = below(ANA), bust(ANA)
    assert distinct(bodies(upper, whole)).boxes.tolist() == [pytest.approx(list(whole))]


def test_a_child_before_a_grown_up_is_another_person() -> None:
    tall = below(ANA)
    child = (tall[0] + 10, tall[1] + 0.4 * tall[3], 0.5 * tall[2], 0.55 * tall[3])
    assert len(distinct(bodies(tall, child))) == 2
    assert len(distinct(bodies(below(ANA), below(BO)))) == 2


def test_feet_show_of_who_is_tall_in_the_picture_and_not_cut_off_by_its_edge() -> None:
    cut = (100.0, 420.0, 80.0, 300.0)
    seen = seen_whole(boxes(below(ANA), bust(ANA), cut), (720, 1280))
    assert seen.tolist() == [True, False, False]


def test_whose_head_is_in_an_ignored_area_is_left_out() -> None:
    window = ((90.0, 40.0), (150.0, 40.0), (150.0, 110.0), (90.0, 110.0))
    assert outside([window], boxes(ANA, BO)).tolist() == [False, True]
    assert outside([], boxes(ANA)).tolist() == [True]
    assert outside([window], boxes()).tolist() == []


def test_nobody_is_nobody() -> None:
    nobody = boxes()
    assert faces_of_bodies(nobody, nobody).tolist() == []
    assert faces_of_bodies(boxes(ANA), nobody).tolist() == [NO_BODY]
    assert heads_of(nobody).shape == (0, 4)
    assert len(distinct(Bodies.none())) == 0
