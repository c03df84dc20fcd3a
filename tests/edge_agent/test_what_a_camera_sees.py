"""Whether a camera sees at all: watched, dark, blind, frozen, offline, or a film in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.coverage import CoverageBook, View
from edge_agent.health import WORKING, CameraFigures, figures
from edge_agent.outbox import OutboxStats
from edge_agent.vision.arrays import Image
from edge_agent.vision.view import TROUBLE_AFTER_MS, Trouble, Watch, judge
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


@cache
def blurred(number: int) -> Image:
    """A lens out of focus, and the clock that a recorder writes into the picture."""
    image = cv2.GaussianBlur(street(number), (0, 0), 5)
    cv2.putText(image, "29.11.2026 07:35", (4, 12), cv2.FONT_HERSHEY_PLAIN, 0.8, (255, 255, 255))
    return np.asarray(image, np.uint8)


def turned(number: int) -> Image:
    return np.asarray(np.roll(street(number), (13, 37), axis=(0, 1)), np.uint8)


def half_covered(number: int) -> Image:
    image = street(number).copy()
    image[:, :180] = 60
    return image


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
    [
        (street, View.WATCHED),
        (night, View.DARK),
        (covered, View.BLIND),
        (blurred, View.BLIND),
        (half_covered, View.WATCHED),
    ],
    ids=[
        "a street",
        "night without a light",
        "a hand over the lens",
        "out of focus",
        "half a hand",
    ],
)
def test_a_picture_tells_whether_it_shows_anything(
    picture: Callable[[int], Image], view: View
) -> None:
    assert {judge(picture(number)) for number in range(5)} == {view}


@pytest.mark.slow
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


# -- what the box reports -------------------------------------------------------------------------


def nothing(_view: View, _from_ms: int, _until_ms: int) -> None:
    """Nobody is told."""


def troubles_after(picture: Callable[[int], Image], seconds: float) -> list[Trouble]:
    """What is reported each second of a camera that watched a street for a minute before."""
    watch = Watch(nothing)
    for number, at_ms in enumerate(frames(60, fps=1)):
        watch.frame(street(number), at_ms)
    found = [watch.trouble]
    for number, at_ms in enumerate(frames(seconds, fps=1, from_s=60)):
        watch.frame(picture(number), at_ms)
        found.append(watch.trouble)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("picture", "trouble"),
    [
        (night, Trouble.DARK),
        (covered, Trouble.BLOCKED),
        (blurred, Trouble.BLURRED),
        (still, Trouble.FROZEN),
        (turned, Trouble.MOVED),
        (half_covered, Trouble.MOVED),
    ],
    ids=lambda one: one.name.lower() if isinstance(one, Trouble) else one.__name__,
)
def test_what_is_wrong_for_half_a_minute_is_reported(
    picture: Callable[[int], Image], trouble: Trouble
) -> None:
    found = troubles_after(picture, 50)
    wait_s = TROUBLE_AFTER_MS // 1000
    assert set(found[:wait_s]) == {Trouble.NONE}
    assert set(found[-5:]) == {trouble}


@pytest.mark.slow
def test_a_bus_that_stops_and_lamps_that_go_on_and_off_are_no_trouble() -> None:
    def bus(number: int) -> Image:
        image = street(number).copy()
        if number % 60 < 20:
            image[60:, :160] = 120
        return image

    def lamp(number: int) -> Image:
        return street(number, light=0.4 if number % 40 < 20 else 1.0)

    for picture in (bus, lamp):
        assert set(troubles_after(picture, 80)) == {Trouble.NONE}


def test_a_trouble_that_has_passed_is_reported_no_more() -> None:
    watch = Watch(nothing)
    for number, at_ms in enumerate(frames(60, fps=1)):
        watch.frame(covered(number % 7), at_ms)
    assert (watch.trouble, watch.sees) == (Trouble.BLOCKED, False)
    watch.frame(street(1), BEGIN_MS + 61_000)
    assert (watch.trouble, watch.sees) == (Trouble.NONE, True)


@pytest.mark.slow
def test_a_camera_on_patrol_is_not_reported_to_show_another_place() -> None:
    for moves, last in ((False, Trouble.MOVED), (True, Trouble.NONE)):
        watch = Watch(nothing, moves=moves)
        for number, at_ms in enumerate(frames(110, fps=1)):
            watch.frame(street(number) if number < 60 else turned(number), at_ms)
        assert (watch.trouble, watch.sees) == (last, True)


def test_a_camera_on_patrol_is_still_seen_to_be_blocked() -> None:
    watch = Watch(nothing, moves=True)
    for number, at_ms in enumerate(frames(60, fps=1)):
        watch.frame(covered(number % 7), at_ms)
    assert watch.trouble is Trouble.BLOCKED


@pytest.mark.slow
def test_dusk_does_not_make_another_place() -> None:
    watch = Watch(nothing)
    for number, at_ms in enumerate(frames(300, fps=1)):
        watch.frame(_street(number % 7, round(1 - number / 400, 2)), at_ms)
        assert watch.trouble is Trouble.NONE


def test_health_reports_name_the_camera_and_its_trouble(tmp_path: Path) -> None:
    camera = CameraFigures(WORKING, 5.0, 100, 0, waiting=False, generation=1)
    told = figures(
        outbox=OutboxStats(0, 0, 0, 0, 0, disk_full=False, counters={}),
        cameras={"gate": replace(camera, trouble=Trouble.BLURRED), "door": camera},
        models={},
        state_dir=tmp_path,
        others={},
    )
    assert told["trouble.view.gate"] == 3
    assert "trouble.view.door" not in told
