"""A track keeps its best crops, spread over time, and nothing after it was wiped."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.arrays import Image
from edge_agent.vision.gallery import Gallery


def crop(value: int) -> Image:
    return np.full((112, 112, 3), value, np.uint8)


def test_the_best_stay_and_come_best_first() -> None:
    gallery = Gallery(2, 0)
    for index, value in enumerate([0.3, 0.5, 0.2, 0.9, 0.4]):
        gallery.offer(crop(index), value, index * 1000)
    crops, qualities = gallery.crops()
    assert qualities.tolist() == [0.9, 0.5]
    assert crops[:, 0, 0, 0].tolist() == [3, 1]
    assert gallery.crops(0.6)[1].tolist() == [0.9]


def test_of_one_moment_only_the_better_is_kept() -> None:
    gallery = Gallery(4, 300)
    assert gallery.offer(crop(1), 0.5, 0)
    assert gallery.offer(crop(2), 0.6, 200)
    assert not gallery.offer(crop(3), 0.55, 250)
    assert gallery.offer(crop(4), 0.1, 300)
    assert gallery.crops()[0][:, 0, 0, 0].tolist() == [2, 4]


def test_a_face_that_gets_better_and_better_still_fills_several_places() -> None:
    gallery = Gallery(4, 300)
    for index in range(12):
        gallery.offer(crop(index), index / 20, index * 200)
    assert len(gallery) == 4


def test_wipe_leaves_no_pixel() -> None:
    gallery = Gallery(2, 0)
    gallery.offer(crop(9), 0.5, 0)
    inside = gallery._crops
    gallery.wipe()
    assert not inside.any()
    assert len(gallery) == 0
    assert len(gallery.crops()[0]) == 0


@given(
    size=st.integers(1, 5),
    offers=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 500)), max_size=40),
)
def test_what_it_wants_it_takes_and_never_more_than_its_size(
    size: int, offers: list[tuple[int, int]]
) -> None:
    gallery = Gallery(size, 300)
    at_ms, best = 0, -1.0
    for value, step in offers:
        at_ms += step
        wanted = gallery.wants(value / 100, at_ms)
        assert gallery.offer(crop(value), value / 100, at_ms) == wanted
        best = max(best, value / 100)
    qualities = gallery.crops()[1]
    assert len(qualities) <= size
    assert best < 0 or best in qualities or best == 0.0
