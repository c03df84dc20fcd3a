"""The ground plane: exact where it can be, and refused with a reason where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.homography import GroundPlane, HomographyError, fit_ground_plane

# A camera 4 m up, looking 20 degrees down: image points of a ground rectangle.
GROUND = [(-3.0, 5.0), (3.0, 5.0), (4.0, 15.0), (-4.0, 15.0)]


def camera(points: NDArray[np.float64]) -> NDArray[np.float64]:
    tilt, focal = np.deg2rad(20), 1100.0
    x, z = points[:, 0], points[:, 1]
    forward = z * np.cos(tilt) + 4 * np.sin(tilt)
    down = 4 * np.cos(tilt) - z * np.sin(tilt)
    return np.column_stack([640 + focal * x / forward, 360 + focal * down / forward])


IMAGE = camera(np.array(GROUND)).tolist()


def test_a_fitted_plane_gives_the_ground_back() -> None:
    plane = fit_ground_plane(IMAGE, GROUND)
    inside = np.array([[0.0, 8.0], [2.0, 12.0], [-2.5, 6.0]])
    np.testing.assert_allclose(plane.to_ground(camera(inside)), inside, atol=1e-6)
    assert plane.rms_error_m is not None
    assert plane.rms_error_m < 1e-6


def test_points_above_the_horizon_are_nowhere() -> None:
    plane = fit_ground_plane(IMAGE, GROUND)
    horizon_y = 360 - 1100 * np.tan(np.deg2rad(20))
    assert np.isnan(plane.to_ground([[640, horizon_y - 5]])).all()
    assert np.isfinite(plane.to_ground([[640, horizon_y + 5]])).all()


def test_a_matrix_of_either_sign_means_the_same() -> None:
    fitted = fit_ground_plane(IMAGE, GROUND)
    for sign in (1, -1):
        plane = GroundPlane(sign * fitted.matrix, reference_px=(640, 720))
        np.testing.assert_allclose(plane.to_ground(IMAGE), GROUND, atol=1e-6)


def test_more_points_than_needed_average_their_errors() -> None:
    rng = np.random.default_rng(4)
    ground = rng.uniform([-3, 5], [3, 15], (12, 2))
    image = camera(ground) + rng.normal(0, 1.0, (12, 2))
    plane = fit_ground_plane(image.tolist(), ground.tolist())
    assert plane.rms_error_m is not None
    assert 0 < plane.rms_error_m < 0.3


@pytest.mark.parametrize(
    ("image", "ground", "reason"),
    [
        (IMAGE[:3], GROUND[:3], "too few"),
        (IMAGE, GROUND[:3], "give each both"),
        ([], [], "pairs"),
        ([(0, 0, 0)] * 4, GROUND, "pairs"),
        ([(0, float("nan")), *IMAGE[1:]], GROUND, "finite"),
        ([IMAGE[0], IMAGE[0], *IMAGE[2:]], GROUND, "the same"),
        (IMAGE, [GROUND[0], *GROUND[:3]], "the same"),
        ([(0, 0), (100, 100), (200, 200), (300, 300)], GROUND, "line"),
        ([(0, 0), (100, 100), (200, 200), (300, 100)], GROUND, "line"),
        (IMAGE, [(0, 0), (1, 0), (2, 0), (3, 0)], "line"),
        ([IMAGE[0], IMAGE[2], IMAGE[1], IMAGE[3]], GROUND, "horizon|contradict|swapped"),
    ],
)
def test_points_that_describe_no_plane_are_refused(
    image: list[tuple[float, float]], ground: list[tuple[float, float]], reason: str
) -> None:
    with pytest.raises(HomographyError, match=reason):
        fit_ground_plane(image, ground)


def test_points_that_contradict_one_another_are_refused() -> None:
    rng = np.random.default_rng(8)
    ground = rng.uniform([-3, 5], [3, 15], (8, 2))
    image = camera(ground)
    with pytest.raises(HomographyError):
        fit_ground_plane(rng.permutation(image).tolist(), ground.tolist())


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.eye(2),
        [[1, 0, 0], [0, 1, 0], [2, 0, 0]],
        [[1, 0, 0], [0, np.inf, 0], [0, 0, 1]],
        "no matrix",
        [[1, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [0, 1, -720]],
    ],
)
def test_matrices_that_are_no_homography_are_refused(matrix: object) -> None:
    with pytest.raises(HomographyError):
        GroundPlane(matrix, reference_px=(640, 720))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=6))
def test_any_points_are_fitted_or_refused(points: list[tuple[float, float]]) -> None:
    try:
        plane = fit_ground_plane(points, points)
    except HomographyError as error:
        assert str(error)
    else:
        scale = max(1.0, float(np.abs(points).max()))
        np.testing.assert_allclose(plane.to_ground(points), points, atol=0.2 * scale)
