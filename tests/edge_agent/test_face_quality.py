"""Better faces get higher numbers: larger, sharper, more frontal, wholly in view."""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.alignment import ARCFACE_POINTS
from edge_agent.vision.arrays import Detections
from edge_agent.vision.quality import face_signs, quality, sharpness, upper_bounds

FRAME = (720, 1280)


def face(
    eyes_px: float = 40.0, yaw: float = 0.0, left: float = 400.0, score: float = 0.9
) -> Detections:
    scale = eyes_px / 35.2
    landmarks = ARCFACE_POINTS.copy()
    landmarks[2, 0] += yaw * 35.2  # the nose goes to the side
    box = np.array([[left, 300, 80 * scale, 105 * scale]], np.float32)
    points = (landmarks * scale + [left, 300]).astype(np.float32)
    return Detections(box, points[None], np.array([score], np.float32))


def bound(detections: Detections) -> float:
    return float(upper_bounds(face_signs(detections, FRAME), detections.scores)[0])


def test_signs_measure_what_their_names_say() -> None:
    signs = face_signs(face(eyes_px=50, yaw=0.3), FRAME)
    assert abs(signs.eyes_px[0] - 50) < 1
    assert abs(signs.yaw[0] - 0.3) < 0.02
    assert signs.pitch[0] < 0.02
    assert signs.inside[0] == 1.0


def test_signs_do_not_change_with_tilt() -> None:
    upright = face(yaw=0.2)
    turn = np.deg2rad(35)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    tilted = Detections(
        upright.boxes, (upright.landmarks @ rotation.T).astype(np.float32), upright.scores
    )
    for name in ("eyes_px", "yaw", "pitch"):
        before, after = (getattr(face_signs(d, FRAME), name)[0] for d in (upright, tilted))
        assert abs(before - after) < 1e-3, name


def test_quality_falls_with_each_fault() -> None:
    best = bound(face())
    assert best > 0.9
    faults = [
        face(eyes_px=12),
        face(yaw=0.4),
        face(left=-50),
        face(score=0.35),
    ]
    assert all(bound(fault) < best - 0.05 for fault in faults)
    order = [bound(face(eyes_px=size)) for size in (4, 8, 12, 20, 32)]
    assert order == sorted(order)
    assert order[0] == 0.0
    assert bound(face(yaw=1.0)) < 0.3


def test_a_blurred_crop_is_worth_less() -> None:
    rng = np.random.default_rng(1)
    sharp = cv2.GaussianBlur(rng.integers(0, 255, (112, 112, 3), np.uint8), (0, 0), 1.5)
    crops = np.stack([cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (0.1, 2, 4, 8)])
    values = sharpness(np.asarray(crops, np.uint8))
    assert all(np.diff(values) < 0)
    assert all(np.diff(quality(np.full(4, 0.9), values)) < 0)
    assert sharpness(np.zeros((1, 112, 112, 3), np.uint8))[0] == 0.0


def test_no_faces_no_numbers() -> None:
    signs = face_signs(Detections.none(), FRAME)
    assert upper_bounds(signs, np.zeros(0, np.float32)).shape == (0,)
    assert sharpness(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0,)
