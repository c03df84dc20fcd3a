"""Whether a camera sees at all: watched, dark, blind, frozen, offline, or a film in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from edge_agent.coverage import CoverageBook, View
from edge_agent.vision.arrays import Image
from edge_agent.vision.view import Watch, judge
from protocol.names import SLOT_MS
from protocol.v2.rows import Coverage

BEGIN_MS = 1000 * SLOT_MS
SIZE = (180, 320, 3)


def street(number: int = 0, *, light: float = 1.0) -> Image:
    """Walls of different brightness, and the noise that every camera has."""
    return _street(number % 7, light)


@cache
def _street(seed: int, light: float) -> Image:
    rng = np.random.default_rng(seed)
    walls = np.kron(np.random.default_rng(1).integers(30, 200, (9, 16)), np.ones((20, 20)))
    noisy = walls[..., None] * light + rng.normal(0, 2, SIZE)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def still(_: int) -> Image:
    return street()


def night(number: int) -> Image:
    return street(number, light=0.05)


@cache
def covered(number: int) -> Image:
    rng = np.random.default_rng(number)
    return (90 + rng.normal(0, 2, SIZE)).astype(np.uint8)


class Told:
    """What a watch tells, as a slot's coverage."""

    def __init__(self) -> None:
        self.book = CoverageBook()

    def __call__(self, view: View, from_ms: int, until_ms: int) -> None:
        assert from_ms < until_ms
        self.book.tell(view, from_ms, until_ms, floor=0, end=1001)

    @property
    def coverage(self) -> Coverage:
        return self.book.of(1000)


@pytest.fixture
def told() -> Told:
    return Told()


def frames(seconds: float, *, fps: float = 5, from_s: float = 0) -> Iterator[int]:
    for number in range(round(seconds * fps)):
        yield BEGIN_MS + round(1000 * (from_s + number / fps))


@pytest.mark.parametrize(
    ("picture", "view"),
    [(street, View.WATCHED), (night, View.DARK), (covered, View.BLIND)],
    ids=["a street", "night without a light", "a hand over the lens"],
)
def test_a_picture_tells_whether_it_shows_anything(
    picture: Callable[[int], Image], view: View
) -> None:
    assert {judge(picture(number)) for number in range(5)} == {view}


def test_seconds_add_up_to_the_time_watched(told: Told) -> None:
    watch = Watch(told)
    for number, at_ms in enumerate(frames(60)):
        watch.frame(street(number), at_ms)
    for number, at_ms in enumerate(frames(30, from_s=60)):
        watch.frame(night(number), at_ms)
    for number, at_ms in enumerate(frames(20, from_s=90)):
        watch.frame(covered(number), at_ms)
    assert told.coverage == Coverage(watched_s=60, dark_s=30, blind_s=20)


def test_a_camera_that_sends_the_same_picture_for_long_is_frozen(told: Told) -> None:
    watch = Watch(told)
    for at_ms in frames(40):
        watch.frame(still(0), at_ms)
    for number, at_ms in enumerate(frames(5, from_s=40), 1):
        watch.frame(street(number), at_ms)
    assert told.coverage == Coverage(watched_s=11 + 5, frozen_s=29)


def test_an_empty_street_is_not_a_frozen_picture(told: Told) -> None:
    watch = Watch(told)
    for number, at_ms in enumerate(frames(40)):
        watch.frame(street(number), at_ms)
    assert told.coverage == Coverage(watched_s=40)


def test_a_camera_that_never_answers_is_offline_from_the_start(told: Told) -> None:
    watch = Watch(told)
    for at_ms in frames(60, fps=2):
        watch.silence(at_ms)
    assert told.coverage == Coverage(offline_s=60)


def test_a_camera_that_falls_silent_is_offline_until_it_answers(told: Told) -> None:
    watch = Watch(told)
    for number, at_ms in enumerate(frames(20)):
        watch.frame(street(number), at_ms)
    for at_ms in frames(40, fps=2, from_s=20):
        watch.silence(at_ms)
    for number, at_ms in enumerate(frames(10, from_s=60)):
        watch.frame(street(number), at_ms)
    assert told.coverage == Coverage(watched_s=20 + 5 + 10, offline_s=35)


def test_a_hang_of_the_whole_thread_is_not_taken_for_watching(told: Told) -> None:
    watch = Watch(told)
    watch.frame(street(1), BEGIN_MS)
    watch.frame(street(2), BEGIN_MS + 60_000)
    assert told.coverage == Coverage(watched_s=6, offline_s=55)


def test_a_film_in_place_of_a_camera_watches_nothing(told: Told) -> None:
    watch = Watch(told, stands_in=True)
    for number, at_ms in enumerate(frames(30)):
        watch.frame(street(number), at_ms)
    assert told.coverage == Coverage(standing_in_s=30)


def test_a_recording_is_covered_as_far_as_it_was_read(told: Told) -> None:
    watch = Watch(told, own_time=True)
    for number, at_ms in enumerate(frames(30, fps=1)):
        watch.frame(street(number), at_ms)
    watch.frame(street(4), BEGIN_MS + 300_000)  # a gap: nobody filmed
    assert told.coverage == Coverage(watched_s=29 + 5 + 1)


def test_time_that_goes_back_is_told_anew(told: Told) -> None:
    seen: Counter[View] = Counter()
    watch = Watch(lambda view, from_ms, until_ms: seen.update({view: until_ms - from_ms}))
    watch.frame(street(1), BEGIN_MS + 600_000)
    watch.frame(street(2), BEGIN_MS)
    watch.begin_again()
    watch.frame(street(3), BEGIN_MS + 3_600_000)
    assert seen == {View.WATCHED: 3}
