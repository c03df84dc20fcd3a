"""Who is lost in the middle of the picture and found there again is one person; nobody else is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.vision.absence import Absences
from edge_agent.vision.looks import LOOKS
from edge_agent.vision.people import NO_BODY, Bodies

FRAME = (720, 1280)
Box = tuple[float, float, float, float]
MIDDLE: Box = (600.0, 200.0, 80.0, 220.0)
LONGEST_S = 4.0


def colours(*of: int) -> NDArray[np.float64]:
    """A histogram of these colours."""
    made = np.full(LOOKS, 0.1)
    made[list(of)] = 10.0
    return np.asarray(made / made.sum(), np.float64)


RED, BLUE = colours(1, 20), colours(8, 30)


def moved(box: Box, by_px: float) -> Box:
    return (box[0] + by_px, *box[1:])


class Scene:
    """Tells it who is where, look by look."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self.absences = Absences(longest_s)

    def look(
        self, at_ms: int, people: dict[int, tuple[Box, NDArray[np.float64]]]
    ) -> list[tuple[int, int]]:
        boxes = np.array([box for box, _ in people.values()], np.float32).reshape(-1, 4)
        looks = np.array([look for _, look in people.values()]).reshape(-1, LOOKS)
        numbers = np.array(list(people), np.int64)
        bodies = Bodies(boxes, np.ones(len(boxes), np.float32))
        self.absences.note(at_ms, numbers, np.arange(len(numbers)), bodies, looks)
        return self.absences.returned(at_ms, numbers.tolist(), FRAME)

    def again(
        self, at_ms: int, people: dict[int, tuple[Box, NDArray[np.float64]]]
    ) -> list[tuple[int, int]]:
        """Look twice: nobody is believed who was seen once."""
        assert self.look(at_ms, people) == []
        return self.look(at_ms + 400, people)

    def stay(self, number: int, box: Box, looks: NDArray[np.float64], until_ms: int) -> None:
        for at_ms in range(until_ms - 3200, until_ms + 1, 400):
            assert self.look(at_ms, {number: (box, looks)}) == []

    def lose(self, *numbers: int) -> None:
        for number in numbers:
            self.absences.lose(number, FRAME)


def found_after(
    gap_ms: int,
    *,
    box: Box = MIDDLE,
    again: Box = MIDDLE,
    looks: NDArray[np.float64] = RED,
    looks_again: NDArray[np.float64] = RED,
    longest_s: float = LONGEST_S,
) -> Sequence[tuple[int, int]]:
    scene = Scene(longest_s)
    scene.stay(1, box, looks, 4000)
    scene.lose(1)
    return scene.again(4000 + gap_ms, {2: (again, looks_again)})


def test_who_is_found_where_they_were_lost_in_the_same_colours_is_the_same_person() -> None:
    assert found_after(1600) == [(2, 1)]
    assert found_after(3000, again=moved(MIDDLE, 60)) == [(2, 1)], "they took a step"


@pytest.mark.parametrize(
    "change",
    [
        {"gap_ms": 5000},
        {"gap_ms": 1600, "looks_again": BLUE},
        {"gap_ms": 1600, "again": moved(MIDDLE, 300)},
        {"gap_ms": 1600, "again": (600.0, 200.0, 40.0, 110.0)},
        {"gap_ms": 1600, "box": (5.0, 200.0, 80.0, 220.0), "again": (5.0, 200.0, 80.0, 220.0)},
        {"gap_ms": 1600, "longest_s": 0.0},
        {
            "gap_ms": 3000,
            "box": (600.0, 500.0, 80.0, 220.0),
            "again": (600.0, 500.0, 80.0, 220.0),
        },
    ],
    ids=["late", "other clothes", "elsewhere", "smaller", "at the edge", "turned off", "below"],
)
def test_whoever_else_begins_is_somebody_else(change: dict[str, object]) -> None:
    assert found_after(**change) == []  # type: ignore[arg-type]


def test_who_walks_is_looked_for_along_the_way_they_went() -> None:
    scene = Scene()
    for step in range(8):
        scene.look(400 * step, {1: (moved(MIDDLE, 40 * step - 300), RED)})
    scene.lose(1)
    # The last look was at 2800 ms, 100 px a second: 1200 ms later they are 120 px on.
    on, back = moved(MIDDLE, 280 - 300 + 120), moved(MIDDLE, 280 - 300 - 110)
    assert scene.look(4000, {2: (back, RED), 3: (on, RED)}) == []
    moved_on = {2: (moved(back, -40), RED), 3: (moved(on, 40), RED)}
    assert scene.look(4400, moved_on) == [(3, 1)]


def test_of_whom_little_was_seen_nobody_is_the_continuation() -> None:
    scene = Scene()
    for at_ms in range(0, 2401, 400):
        scene.look(at_ms, {1: (MIDDLE, RED)})
    scene.lose(1)
    assert scene.again(3600, {2: (MIDDLE, RED)}) == []


def test_who_was_there_before_the_other_was_lost_is_not_they() -> None:
    scene = Scene()
    scene.stay(1, MIDDLE, RED, 2000)
    both = {1: (MIDDLE, RED), 2: (moved(MIDDLE, 40), RED)}
    assert scene.look(2400, both) == []
    scene.lose(1)
    assert scene.again(2800, {2: (MIDDLE, RED)}) == []


def test_of_two_who_fit_about_as_well_nobody_is_taken_for_the_lost_one() -> None:
    scene = Scene()
    scene.stay(1, MIDDLE, RED, 2000)
    scene.lose(1)
    either = {2: (moved(MIDDLE, -40), RED), 3: (moved(MIDDLE, 45), RED)}
    assert scene.again(3600, either) == []


def test_of_two_lost_side_by_side_each_is_found_in_their_own_place() -> None:
    scene = Scene()
    left, right = MIDDLE, moved(MIDDLE, 130)
    for at_ms in range(-1200, 2001, 400):
        scene.look(at_ms, {1: (left, RED), 2: (right, RED)})
    scene.lose(1, 2)
    again = {3: (moved(right, 5), RED), 4: (moved(left, -5), RED)}
    assert sorted(scene.again(3200, again)) == [(3, 2), (4, 1)]


def test_it_may_come_out_late_that_the_other_was_lost() -> None:
    """Whoever hides somebody for two seconds may be they, if those are not found again."""
    scene = Scene()
    scene.stay(1, MIDDLE, RED, 2000)
    for at_ms in range(3200, 4401, 400):
        assert scene.look(at_ms, {2: (MIDDLE, RED)}) == []
    scene.lose(1)
    assert scene.look(4800, {2: (MIDDLE, RED)}) == [(2, 1)]


def test_nobody_comes_back_twice_nor_after_a_cut() -> None:
    scene = Scene()
    scene.stay(1, MIDDLE, RED, 2000)
    scene.lose(1)
    assert scene.again(3200, {2: (MIDDLE, RED)}) == [(2, 1)]
    assert scene.again(4000, {2: (MIDDLE, RED), 3: (moved(MIDDLE, 10), RED)}) == []
    scene.lose(2, 3)
    scene.absences.flush()
    assert scene.absences.away == frozenset()
    assert scene.again(4800, {4: (MIDDLE, RED)}) == []


def test_numbers_that_are_one_person_are_kept_as_one() -> None:
    scene = Scene()
    scene.stay(1, MIDDLE, RED, 2000)
    scene.absences.go_on(1, 5)
    scene.look(2400, {5: (MIDDLE, RED), 6: (moved(MIDDLE, 3), RED)})
    scene.absences.merge(6, 5)
    scene.absences.merge(99, 5)
    scene.lose(5, 6)
    assert scene.absences.away == {5}


def test_what_was_known_of_who_has_gone_is_overwritten() -> None:
    scene = Scene()
    scene.stay(1, MIDDLE, RED, 2000)
    known = scene.absences._here[1]
    scene.lose(1)
    assert not scene.absences.expire(5000)
    assert scene.absences.expire(20_000)
    assert not known.looks.any()
    assert not known.box.any()
    scene.look(20_000, {2: (MIDDLE, RED)})
    known = scene.absences._here[2]
    scene.absences.forget(2)
    assert not known.looks.any()


def test_without_bodies_or_looks_nothing_is_kept() -> None:
    absences = Absences(LONGEST_S)
    numbers = np.array([1], np.int64)
    absences.note(0, numbers, np.array([NO_BODY]), Bodies.none(), np.zeros((0, LOOKS)))
    body = Bodies(np.array([MIDDLE], np.float32), np.ones(1, np.float32))
    absences.note(0, numbers, np.array([0]), body, None)
    absences.lose(1, FRAME)
    assert absences.away == frozenset()
