"""The detector: the same face at any frame size, and exact landmarks for small faces too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.vision.arrays import Detections, Image
from edge_agent.vision.models import VisionModels

pytestmark = pytest.mark.models


def test_the_detector_gives_the_same_face_at_any_frame_size(
    models: VisionModels, face: Callable[[str, int], Image]
) -> None:
    head = face("astronaut.png", 100)
    found = []
    for rows, columns, left, top in [
        (360, 640, 100, 50),
        (720, 1280, 700, 300),
        (500, 400, 50, 200),
    ]:
        frame = np.full((rows, columns, 3), 120, np.uint8)
        frame[top : top + head.shape[0], left : left + head.shape[1]] = head
        detections = models.detector(640, 360, 0.6).detect(frame)
        assert len(detections) == 1
        found.append(detections.landmarks[0] - [left, top])
    for landmarks in found[1:]:
        assert np.abs(landmarks - found[0]).max() < 6


def test_an_empty_picture_has_no_face(models: VisionModels) -> None:
    detector = models.detector(640, 360)
    for size in [(1, 1), (3, 2000), (360, 640)]:
        assert len(detector.detect(np.full((*size, 3), 90, np.uint8))) == 0


def test_small_faces_get_better_landmarks_from_a_patch_of_their_own(
    models: VisionModels, face: Callable[[str, int], Image]
) -> None:
    detector = models.detector(640, 360)
    large = np.full((720, 720, 3), 120, np.uint8)
    head = face("astronaut.png", 144)
    large[100 : 100 + head.shape[0], 100 : 100 + head.shape[1]] = head
    truth = (models.detector(640, 640).detect(large).landmarks[0] - 100) / 4
    small = face("astronaut.png", 36)
    coarse, fine = [], []
    for left in range(40, 1100, 53):
        frame = np.full((720, 1280, 3), 120, np.uint8)
        frame[301 : 301 + small.shape[0], left : left + small.shape[1]] = small
        found = detector.detect(frame)
        assert len(found) == 1
        refined = detector.refine(frame, found)
        assert (refined.boxes == found.boxes).all()
        coarse.append(np.abs(found.landmarks[0] - [left, 301] - truth).mean())
        fine.append(np.abs(refined.landmarks[0] - [left, 301] - truth).mean())
    assert np.mean(fine) < 0.6 * np.mean(coarse)


def test_refining_what_is_no_face_changes_nothing(models: VisionModels) -> None:
    detector = models.detector(640, 360)
    frame = np.full((720, 1280, 3), 90, np.uint8)
    boxes = np.array([[1270, -10, 20, 25], [-900, 50, 20, 25], [600, 300, 1, 1]], np.float32)
    marks = np.random.default_rng(1).uniform(0, 700, (3, 5, 2)).astype(np.float32)
    nothing = Detections(boxes, marks, np.full(3, 0.5, np.float32))
    assert (detector.refine(frame, nothing).landmarks == marks).all()
    assert len(detector.refine(frame, Detections.none())) == 0
