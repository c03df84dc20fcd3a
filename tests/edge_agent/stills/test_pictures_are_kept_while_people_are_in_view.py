"""Of each person one picture is in memory while they are in view, and overwritten after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edge_agent.stills.portraits import MOST_KEPT, RECENT_MS, Portraits
from edge_agent.vision.arrays import Detections, Image
from edge_agent.vision.crowd import CrowdStep
from edge_agent.vision.people import NO_FACE, Bodies

SIGHTING = b"sighting"
Box = tuple[float, float, float, float]


class NobodyElse:
    """A detector that finds no face."""

    def detect(self, image: Image) -> Detections:
        del image
        return Detections.none()


def portraits(*, wanted: bool = True, bodies_sought: bool = True) -> Portraits:
    return Portraits(
        lambda _width, _height: NobodyElse(), wanted=lambda: wanted, bodies_sought=bodies_sought
    )


def noise(seed: int = 1) -> Image:
    return np.random.default_rng(seed).integers(1, 256, (480, 3200, 3), np.uint8)


def look(
    book: Portraits, people: dict[int, Box], *, at_ms: int = 0, score: float = 0.5, seed: int = 1
) -> None:
    """A frame with these bodies, whose faces do not show."""
    boxes = np.array(list(people.values()), np.float32).reshape(-1, 4)
    count = len(people)
    step = CrowdStep(
        persons=np.array(list(people), np.int64),
        faces=np.full(count, NO_FACE, np.int64),
        bodies=np.arange(count),
        face_boxes=np.full((count, 4), np.nan),
        body_boxes=boxes.astype(np.float64),
        ended=(),
        merged=(),
    )
    bodies = Bodies(boxes, np.full(count, score, np.float32))
    book.look(noise(seed), at_ms, step, Detections.none(), bodies)


def pictures(book: Portraits, numbers: Sequence[int]) -> list[Image]:
    """The very arrays that are kept."""
    found = []
    for number in numbers:
        portrait = book._kept[number].portrait
        assert portrait is not None
        found.append(portrait.picture)
    return found


FIRST, SECOND = (100.0, 60.0, 100.0, 300.0), (400.0, 60.0, 100.0, 300.0)


def test_a_better_picture_takes_the_place_of_one_and_that_is_overwritten() -> None:
    book = portraits()
    look(book, {1: FIRST})
    (before,) = pictures(book, [1])
    look(book, {1: FIRST}, at_ms=400, score=0.505, seed=2)
    assert pictures(book, [1])[0] is before, "hardly better"
    look(book, {1: FIRST}, at_ms=800, score=0.9, seed=3)
    assert pictures(book, [1])[0] is not before
    assert not before.any()


@pytest.mark.parametrize("sighting", [True, False])
def test_who_has_gone_leaves_no_picture_in_memory(*, sighting: bool) -> None:
    book = portraits()
    look(book, {1: FIRST})
    (kept,) = pictures(book, [1])
    if sighting:
        book.finish(1, SIGHTING)
        assert book.take()[SIGHTING].jpeg
    else:
        book.forget(1)
    assert not kept.any()
    assert book.take() == {}


def test_of_two_numbers_that_are_one_person_the_better_picture_stays() -> None:
    book = portraits()
    look(book, {1: FIRST}, score=0.9)
    look(book, {2: FIRST}, at_ms=2 * RECENT_MS, score=0.5)
    good, worse = pictures(book, [1, 2])
    book.merge(1, 2)
    assert pictures(book, [2])[0] is good
    assert good.any()
    assert not worse.any()


def test_no_more_pictures_are_kept_than_there_is_room_for() -> None:
    book = portraits()
    crowd = {number: (80.0 * number, 60.0, 60.0, 200.0) for number in range(MOST_KEPT + 4)}
    look(book, crowd)
    pictures(book, range(MOST_KEPT))
    for number in crowd:
        book.finish(number, bytes([number]) * 8)
    stills = book.take()
    assert sum(bool(still.jpeg) for still in stills.values()) == MOST_KEPT
    assert {still.reason for still in stills.values() if not still.jpeg} == {"failed"}


def test_who_stood_there_a_moment_ago_may_stand_there_still() -> None:
    book = portraits()
    beside = (130.0, 65.0, 100.0, 300.0)
    look(book, {2: beside})
    look(book, {1: FIRST}, at_ms=RECENT_MS)
    book.finish(1, SIGHTING)
    assert book.take()[SIGHTING].reason == "others-near"
    look(book, {3: FIRST}, at_ms=4 * RECENT_MS)
    pictures(book, [3])


def test_a_frame_in_which_nobody_looked_for_bodies_gives_none() -> None:
    book = portraits()
    step = CrowdStep(
        np.array([1]), np.array([NO_FACE]), np.array([-1]),
        np.full((1, 4), np.nan), np.full((1, 4), np.nan), (), (),
    )  # fmt: skip
    book.look(noise(), 0, step, Detections.none(), None)
    book.finish(1, SIGHTING)
    assert book.take() == {}


def test_where_none_are_wanted_none_are_kept() -> None:
    book = portraits(wanted=False)
    look(book, {1: FIRST})
    assert book._kept == {}
