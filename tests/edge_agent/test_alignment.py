"""Faces of any size, place and tilt become the same upright crop."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.alignment import ARCFACE_POINTS, align, similarity_transforms
from edge_agent.vision.arrays import Doubles


def umeyama(source: Doubles, target: Doubles) -> Doubles:
    """Umeyama 1991, equations 40 to 43, by SVD: the textbook form to compare with."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / ((source - source_mean) ** 2).sum(axis=1).mean()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


@given(
    seed=st.integers(0, 10_000),
    size=st.floats(0.02, 20),
    turn=st.floats(-3, 3),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_the_closed_form_is_umeyamas_solution(
    seed: int, size: float, turn: float, shift: tuple[float, float]
) -> None:
    noise = np.random.default_rng(seed).normal(0, 3, (5, 2))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = ((ARCFACE_POINTS + noise) * size) @ rotation.T + shift
    found = similarity_transforms(landmarks[None])[0]
    np.testing.assert_allclose(
        found, umeyama(landmarks, ARCFACE_POINTS), rtol=1e-6, atol=1e-6 * max(1.0, 1 / size)
    )


def test_faces_of_all_sizes_and_tilts_give_the_same_crop() -> None:
    rng = np.random.default_rng(3)
    template = cv2.GaussianBlur(rng.integers(0, 255, (112, 112, 3), np.uint8), (0, 0), 4)
    for scale, angle in [(1.0, 0.0), (2.6, 20.0), (5.3, -30.0), (9.0, 10.0)]:
        place = cv2.getRotationMatrix2D((56, 56), angle, scale)
        place[:, 2] += 700
        frame = cv2.warpAffine(template, place, (1600, 1600), flags=cv2.INTER_CUBIC)
        landmarks = ARCFACE_POINTS @ place[:, :2].T + place[:, 2]
        crop = align(np.asarray(frame, np.uint8), landmarks[None])[0]
        inner = slice(8, 104)
        error = np.abs(crop[inner, inner].astype(int) - template[inner, inner]).mean()
        assert error < 2.0, (scale, angle)


def test_large_faces_are_shrunk_without_aliasing() -> None:
    checks = np.indices((1120, 1120)).sum(axis=0) % 2 * 255  # finer than the crop can show
    frame = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    crop = align(frame, ARCFACE_POINTS[None] * 10)[0]
    assert crop[4:108, 4:108].std() < 8
    assert abs(crop[4:108, 4:108].mean() - 127) < 3


def test_landmarks_without_a_direction_give_a_black_crop() -> None:
    frame = np.full((50, 50, 3), 200, np.uint8)
    nowhere = np.full((1, 5, 2), 20.0)
    lost = np.full((1, 5, 2), np.nan)
    good = ARCFACE_POINTS[None] * 0.3
    crops = align(frame, np.concatenate([nowhere, lost, good]))
    assert crops.shape == (3, 112, 112, 3)
    assert not crops[:2].any()
    assert crops[2].any()


def test_no_face_gives_no_crop() -> None:
    assert align(np.zeros((9, 9, 3), np.uint8), np.zeros((0, 5, 2))).shape == (0, 112, 112, 3)


def test_a_large_face_beyond_the_frame_is_black_there() -> None:
    frame = np.full((300, 300, 3), 200, np.uint8)
    crop = align(frame, ARCFACE_POINTS[None] * 5 - 250)[0]
    assert not crop[:40, :40].any()
    assert (crop[60:100, 60:100] == 200).all()
    assert not align(frame, ARCFACE_POINTS[None] * 5 + 5000).any()
