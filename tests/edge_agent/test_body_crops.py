"""Bodies are cut out of frames, and told good enough or not, before anything is made of them."""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.appearance import body_bounds, body_crop, light

FRAME = (540, 960)


def _person() -> np.ndarray:
    """A crop (128, 64, 3) of a figure in red and dark before a grey wall."""
    crop = np.full((128, 64, 3), 150, np.uint8)
    cv2.circle(crop, (32, 14), 9, (120, 150, 190), -1)
    cv2.rectangle(crop, (16, 24), (47, 68), (40, 40, 190), -1)
    cv2.rectangle(crop, (19, 69), (45, 122), (40, 35, 35), -1)
    return crop


def test_a_crop_is_what_the_box_holds_stretched() -> None:
    frame = np.zeros((*FRAME, 3), np.uint8)
    frame[100:300, 200:280] = (10, 20, 30)
    crop = body_crop(frame, np.array([200, 100, 80, 200], np.float32))
    assert crop.shape == (128, 64, 3)
    assert (crop == (10, 20, 30)).all()


def test_what_lies_outside_the_frame_is_left_out_of_a_crop() -> None:
    frame = np.full((*FRAME, 3), 90, np.uint8)
    assert (body_crop(frame, np.array([-50, 400, 100, 300], np.float32)) == 90).all()
    assert not body_crop(frame, np.array([2000, 0, 50, 100], np.float32)).any()
    assert not body_crop(frame, np.array([0, 0, np.nan, 100], np.float32)).any()


def test_bodies_too_small_squat_or_half_outside_are_worth_little() -> None:
    boxes = np.array(
        [
            [100, 100, 100, 260],  # a whole person
            [400, 100, 18, 40],  # far away
            [500, 100, 150, 130],  # sits behind a table
            [900, 100, 100, 260],  # half outside
        ],
        np.float32,
    )
    whole, far, seated, outside = body_bounds(boxes, FRAME).tolist()
    assert whole == 1
    assert far == seated == 0
    assert 0 < outside < 0.5
    assert body_bounds(np.zeros((0, 4)), FRAME).shape == (0,)


def test_who_is_hidden_is_worth_less_than_who_stands_in_front() -> None:
    behind, front, apart = body_bounds(
        np.array([[100, 100, 80, 200], [130, 120, 100, 260], [600, 100, 80, 200]]), FRAME
    ).tolist()
    assert behind < 0.3 < front == apart == 1


def test_darkness_glare_and_fog_give_nothing() -> None:
    assert light(_person()) == 1
    assert light((_person() * 0.1).astype(np.uint8)) == 0
    assert light(np.full((128, 64, 3), 252, np.uint8)) == 0
    assert light((120 + _person() * 0.02).astype(np.uint8)) == 0
