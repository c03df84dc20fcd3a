"""People of a camera: each is one number, by the face, the body, or both by turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.arrays import Detections
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.crowd import Crowd, CrowdStep, PersonSpan
from edge_agent.vision.looks import LOOKS
from edge_agent.vision.people import NO_BODY, NO_FACE, Bodies

STEP_MS = 200
Box = tuple[float, float, float, float]
Scene = Callable[[int], tuple[Sequence[Box], Sequence[Box] | None]]
"""The faces and bodies of a step; None where bodies are not looked for."""


def faces(found: Sequence[Box], score: float = 0.9) -> Detections:
    count = len(found)
    return Detections(
        np.array(found, np.float32).reshape(-1, 4),
        np.zeros((count, 5, 2), np.float32),
        np.full(count, score, np.float32),
    )


def bodies(found: Sequence[Box], score: float = 0.8) -> Bodies:
    return Bodies(
        np.array(found, np.float32).reshape(-1, 4), np.full(len(found), score, np.float32)
    )


def face(x: float, y: float = 60.0) -> Box:
    return x, y, 32.0, 40.0


def body(x: float, y: float = 60.0) -> Box:
    """The body of who has that face."""
    return x - 32.0, y - 14.0, 96.0, 300.0


def follow(
    crowd: Crowd, scene: Scene, steps: Iterable[int]
) -> tuple[list[CrowdStep], list[PersonSpan]]:
    seen: list[CrowdStep] = []
    ended: list[PersonSpan] = []
    for index in steps:
        shown, there = scene(index)
        step = crowd.update(
            1_000_000 + index * STEP_MS, faces(shown), None if there is None else bodies(there)
        )
        seen.append(step)
        ended += step.ended
    return seen, ended


def numbers(seen: Iterable[CrowdStep]) -> set[int]:
    found = {number for step in seen for number in step.persons.tolist()}
    return found - {gone for step in seen for gone, _ in step.merged}


def every_second(index: int, there: Sequence[Box]) -> Sequence[Box] | None:
    return there if index % 2 == 0 else None


def test_who_turns_round_again_and_again_is_one_person() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        x = 100 + 4.0 * index
        return [face(x)] if index % 16 < 6 else [], every_second(index, [body(x)])

    seen, ended = follow(Crowd(VisionConfig()), scene, range(60))
    assert numbers(seen) == {1}
    assert not ended
    assert {int(step.bodies[0]) for step in seen if len(step.bodies)} == {0, NO_BODY}
    assert {int(step.faces[0]) for step in seen if len(step.faces)} == {0, NO_FACE}


def test_whose_body_is_hidden_for_long_stays_the_same_by_the_face() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        shown = index < 10 or index >= 30
        return [face(100)], every_second(index, [body(100)] if shown else [])

    seen, _ = follow(Crowd(VisionConfig()), scene, range(50))
    assert numbers(seen) == {1}


def test_without_a_person_detector_the_people_are_the_faces() -> None:
    seen, _ = follow(Crowd(VisionConfig()), lambda _: ([face(100), face(300)], None), range(10))
    assert numbers(seen) == {1, 2}
    assert all((step.bodies == NO_BODY).all() for step in seen)


def test_a_face_seen_before_its_body_is_the_same_person() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        return [face(100)], every_second(index, [body(100)] if index >= 6 else [])

    seen, _ = follow(Crowd(VisionConfig()), scene, range(20))
    assert numbers(seen) == {1}


def test_two_numbers_that_prove_to_be_one_person_become_one() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        off = 90.0 if index < 4 else 0.0  # a body that seems to stand beside its face at first
        return [face(100)], every_second(index, [body(100 + off * (4 - index) / 4)])

    seen, ended = follow(Crowd(VisionConfig()), scene, range(30))
    assert len(numbers(seen)) == 1
    (merged,) = {pair for step in seen for pair in step.merged}
    assert merged == (2, 1)
    assert not ended


def test_two_whose_faces_were_seen_side_by_side_never_become_one() -> None:
    """The body of who has turned away is taken for that of who stands before them."""

    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        if index < 20:
            return [face(100), face(190)], every_second(index, [body(100), body(190)])
        x = max(100.0, 190.0 - 12 * (index - 20))
        return [face(100)], every_second(index, [body(x)])

    seen, _ = follow(Crowd(VisionConfig()), scene, range(50))
    assert len(numbers(seen[:20])) == 2
    assert not [pair for step in seen for pair in step.merged if set(pair) <= numbers(seen[:20])]


def test_people_who_cross_keep_their_numbers_and_their_faces() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        left, right = 60 + 12.0 * index, 540 - 12.0 * index
        shown = [face(left), face(right, 70)]
        hidden = abs(left - right) < 50  # the second one walks in front of the first
        there = [body(right, 70)] if hidden else [body(left), body(right, 70)]
        return shown[1:] if hidden else shown, every_second(index, there)

    seen, _ = follow(Crowd(VisionConfig()), scene, range(40))
    assert numbers(seen) == {1, 2}
    first = [step for step in seen if len(step.persons) == 2]
    for step in (first[1], first[-1]):
        place = dict(zip(step.persons.tolist(), step.face_boxes[:, 0].tolist(), strict=True))
        assert (place[1] < place[2]) == (step is first[1])


def test_when_bodies_were_taken_for_one_another_the_faces_say_whose_they_are() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        # They turn on their heels where they meet: by movement alone each seems to go on.
        left, right = 150 + 12.0 * (10 - abs(10 - index)), 410 - 12.0 * (10 - abs(10 - index))
        shown = [] if 8 <= index <= 12 else [face(left), face(right)]
        return shown, every_second(index, [] if 8 <= index <= 12 else [body(left), body(right)])

    seen, _ = follow(Crowd(VisionConfig(max_lost_s=3, person_max_lost_s=3)), scene, range(24))
    assert numbers(seen) == {1, 2}
    for step in (step for step in seen[16:] if len(step.bodies) and step.bodies[0] != NO_BODY):
        head, rest = step.face_boxes[:, 0], step.body_boxes[:, 0]
        assert (np.abs(head - 32 - rest) < 40).all(), "each has the body below the own face"


def test_a_body_of_which_nobody_is_sure_counts_with_a_sure_face_at_its_head() -> None:
    crowd = Crowd(VisionConfig())
    step = crowd.update(0, faces([face(100)]), bodies([body(100), body(400)], score=0.32))
    assert step.bodies.tolist() == [0]
    assert step.faces.tolist() == [0]


def test_a_neighbours_sure_box_does_not_take_over_who_is_seen_but_weakly() -> None:
    crowd = Crowd(VisionConfig())
    for index in range(12):
        strong = index < 3
        there = Bodies(
            np.array([body(100), body(160)], np.float32),
            np.array([0.8 if strong else 0.32, 0.8], np.float32),
        )
        if index == 2:
            there = there.take(np.array([0]))  # the neighbour is missed once
        step = crowd.update(400 * index, faces([]), there)
        place = dict(zip(step.persons.tolist(), step.bodies.tolist(), strict=True))
        assert place[1] == 0


def test_who_stands_before_somebody_for_two_seconds_does_not_end_them() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        hidden = 10 <= index < 20
        front = [body(110, 90)] if index >= 4 else []
        return [], every_second(index, front if hidden else [body(100), *front])

    seen, ended = follow(Crowd(VisionConfig()), scene, range(40))
    assert numbers(seen) == {1, 2}
    assert not ended


def test_who_leaves_an_open_place_is_gone_after_a_second() -> None:
    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        return [], every_second(index, [] if 10 <= index < 20 else [body(100)])

    seen, ended = follow(Crowd(VisionConfig()), scene, range(30))
    assert [span.person for span in ended] == [1]
    assert numbers(seen) == {1, 2}


def test_somebody_in_other_clothes_who_comes_at_once_is_somebody_else() -> None:
    red, blue = np.full((1, LOOKS), 1e-6), np.full((1, LOOKS), 1e-6)
    red[0, 0] = blue[0, 20] = 1
    crowd = Crowd(VisionConfig())
    for index in range(10):
        looks = red if index < 5 else blue
        step = crowd.update(400 * index, faces([]), bodies([body(100)]), looks)
    assert step.persons.tolist() == [2]


def test_a_long_stay_is_cut_and_goes_on_under_a_new_number() -> None:
    config = VisionConfig(max_length_s=2.0)

    def scene(index: int) -> tuple[Sequence[Box], Sequence[Box] | None]:
        return [face(100)], every_second(index, [body(100)])

    seen, ended = follow(Crowd(config), scene, range(30))
    assert ended == [PersonSpan(1, goes_on_as=2), PersonSpan(2, goes_on_as=3)]
    assert [len(step.persons) for step in seen] == [1] * 30
    assert [int(step.persons[0]) for step in seen].count(1) == 11


def test_expire_and_flush_let_everybody_go() -> None:
    crowd = Crowd(VisionConfig())
    follow(crowd, lambda _: ([face(100)], [body(100), body(400)]), range(4))
    assert crowd.expire(1_000_000 + 4 * STEP_MS) == ()
    assert {span.person for span in crowd.expire(1_010_000)} == {1, 2}
    follow(crowd, lambda _: ([face(100)], [body(100)]), range(100, 104))
    assert [span.person for span in crowd.flush()] == [3]
    assert len(crowd) == 0
    follow(crowd, lambda _: ([face(100)], [body(100)]), range(3))
    assert crowd.started == 4


box = st.tuples(st.floats(0, 600), st.floats(0, 300), st.floats(5, 200), st.floats(5, 400))
found = st.lists(box, max_size=4)


@given(
    frames=st.lists(st.tuples(found, st.none() | found, st.integers(0, 3000)), max_size=12),
)
def test_whatever_is_found_the_bookkeeping_holds(
    frames: list[tuple[list[Box], list[Box] | None, int]],
) -> None:
    crowd, at_ms = Crowd(VisionConfig()), 0
    known: set[int] = set()
    for shown, there, wait_ms in frames:
        at_ms += wait_ms
        step = crowd.update(at_ms, faces(shown), None if there is None else bodies(there))
        assert len(set(step.persons.tolist())) == len(step.persons)
        for rows, count in ((step.faces, len(shown)), (step.bodies, len(there or []))):
            real = rows[rows >= 0].tolist()
            assert len(set(real)) == len(real)
            assert all(row < count for row in real)
        for gone, into in step.merged:
            assert gone not in step.persons.tolist()
            known.discard(gone)
            known.add(into)
        for span in step.ended:
            known.discard(span.person)
            assert span.person not in step.persons.tolist()
        known |= set(step.persons.tolist())
        assert len(crowd) == len(known)
    assert {span.person for span in crowd.flush()} == known
