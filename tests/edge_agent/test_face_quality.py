"""Better faces get higher numbers: larger, sharper, more frontal, wholly in view, in the light."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.bench_detection import darkened
from edge_agent.vision.alignment import ARCFACE_POINTS
from edge_agent.vision.arrays import Detections, Image
from edge_agent.vision.quality import face_signs, quality, sharpness, upper_bounds
from models.mask_classifier.crops import load_crops

DATA = Path(__file__).parents[1] / "data"
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


def crop(light: float = 1.0, *, noise: float = 0.0, contrast: float = 1.0) -> Image:
    """Patches of many brightnesses, as a sensor takes them."""
    rng = np.random.default_rng(1)
    patches = np.kron(rng.integers(20, 230, (14, 14)), np.ones((8, 8)))[..., None]
    seen = (125 + contrast * (patches - 125)) * light + rng.normal(0, noise, (112, 112, 3))
    return np.asarray(np.clip(np.rint(seen), 0, 255), np.uint8)


def worth(picture: Image) -> float:
    return float(sharpness(picture[None])[0])


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
    sharp = crop()
    crops = np.stack([cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (0.1, 2, 4, 8)])
    values = sharpness(np.asarray(crops, np.uint8))
    assert all(np.diff(values) < 0)
    assert all(np.diff(quality(np.full(4, 0.9), values)) < 0)
    assert sharpness(np.zeros((1, 112, 112, 3), np.uint8))[0] == 0.0


def test_noise_is_not_taken_for_sharpness() -> None:
    blurred = np.asarray(cv2.GaussianBlur(crop(), (0, 0), 5), np.float64)
    grain = np.random.default_rng(2).normal(0, 3, blurred.shape)
    noisy = np.asarray(np.clip(np.rint(blurred + grain), 0, 255), np.uint8)
    assert worth(noisy) < 0.3 < worth(crop()) - 0.5


def test_what_is_too_dark_flat_or_noisy_is_worth_nothing() -> None:
    assert worth(crop(0.25, noise=2)) > 0.3
    for useless in (crop(0.07, noise=2), crop(contrast=0.03), crop(0.25, noise=20)):
        assert worth(useless) == 0
    values = [worth(crop(share)) for share in (0.2, 0.25, 0.3, 1.0)]
    assert values == sorted(values)


@pytest.mark.slow
def test_at_seven_percent_of_the_light_no_face_is_worth_anything() -> None:
    held_out = load_crops(DATA / "mask_holdout.npz").images
    assert (sharpness(held_out) > 0).all()
    for noise in (0, 2, 4):
        assert not sharpness(darkened(held_out, 0.07, noise)).any()
    assert (sharpness(darkened(held_out, 0.25, 2)) > 0).mean() > 0.9


def test_landmarks_that_no_face_has_are_worth_nothing() -> None:
    points = face().landmarks[0]
    upside_down = points[[3, 4, 2, 0, 1]]
    mirrored = points[[1, 0, 2, 4, 3]]
    in_line = points * [0.05, 1] + np.array([420, 0])
    out_of_the_box = points + np.array([0, 60])
    nose_below = points.copy()
    nose_below[2] = points[3:].mean(axis=0) + np.array([0, 20])
    for marks in (upside_down, mirrored, in_line, out_of_the_box, nose_below, points * np.nan):
        odd = Detections(face().boxes, marks[None].astype(np.float32), face().scores)
        assert bound(odd) == 0
    assert bound(face(yaw=0.6)) > 0


def test_no_faces_no_numbers() -> None:
    signs = face_signs(Detections.none(), FRAME)
    assert upper_bounds(signs, np.zeros(0, np.float32)).shape == (0,)
    assert sharpness(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0,)
