"""Pictures at working sizes: what they show, and what is left of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_agent.vision.arrays import Image
from edge_agent.vision.shrinking import shrunk


def picture(width: int, height: int) -> Image:
    """Edges, gradients and noise."""
    rng = np.random.default_rng(5)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 4)
    return np.asarray(cv2.add(image, rng.integers(0, 12, image.shape, np.uint8)), np.uint8)


@pytest.mark.parametrize("size", [(512, 288), (640, 360), (320, 180), (64, 36), (32, 18)])
def test_a_picture_shrunk_by_halves_is_what_the_mean_of_its_pixels_gives(
    size: tuple[int, int],
) -> None:
    image = picture(1280, 720)
    small = shrunk(image, size)
    mean = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    assert small.shape == mean.shape
    assert np.abs(small.astype(int) - mean).mean() < 1.0


@pytest.mark.parametrize("size", [(61, 35), (512, 288), (960, 540)])
def test_fine_stripes_become_grey_and_no_coarse_ones(size: tuple[int, int]) -> None:
    """Lines one pixel wide that alias would be seen as broad ones."""
    image = np.zeros((2160, 3840, 3), np.uint8)
    image[:, ::2] = 255
    assert shrunk(image, size).std() < 3.0


@pytest.mark.parametrize("shape", [(1279, 717), (1366, 768), (33, 19), (20, 10)])
def test_pictures_of_any_size_are_given_at_the_size_that_was_asked_for(
    shape: tuple[int, int],
) -> None:
    assert shrunk(picture(*shape), (32, 18)).shape == (18, 32, 3)


def test_the_picture_itself_stays_as_it_was() -> None:
    image = picture(640, 360)
    before = image.copy()
    shrunk(image, (32, 18))
    assert shrunk(image, (640, 360)) is image
    assert np.array_equal(image, before)
