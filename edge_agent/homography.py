"""From image pixels to metres on the ground, by a plane fitted to points measured on site."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.errors import OperationError

_MIN_WIDTH = 0.02  # least extent of the points across their main direction, relative to along it
_DUPLICATE_PX = 1.0
_FARTHEST = 1e6  # px or m: beyond, a number is a slip


class HomographyError(OperationError):
    """The ground points or the matrix do not describe a ground plane; the message says why."""


class GroundPlane:
    """A 3x3 homography from image points (px) to ground points (m).

    `rms_error_m` is how far the fitted points miss, None for a matrix given as such.
    """

    def __init__(
        self,
        matrix: ArrayLike,
        *,
        reference_px: tuple[float, float],
        rms_error_m: float | None = None,
    ) -> None:
        """Take a matrix as it is.

        Args:
            matrix: 3x3, image (x, y, 1) to ground (X w, Y w, w).
            reference_px: an image point known to be on the ground, in front of the camera; it
                tells which side of the horizon is ground.
            rms_error_m: see above.

        Raises:
            HomographyError: not 3x3, not finite, not invertible, or the reference is on the
                horizon.
        """
        try:
            values = np.array(matrix, np.float64)
        except (ValueError, TypeError):
            values = np.zeros(0)
        if values.shape != (3, 3) or not np.isfinite(values).all():
            raise HomographyError(
                "a homography is three rows of three finite numbers; measure the ground points "
                "again or leave it out"
            )
        norm = np.linalg.norm(values)
        if norm == 0 or np.linalg.cond(values) > 1e12:
            raise HomographyError(
                "the homography cannot be inverted: it maps the image to a line or a point"
            )
        side = values[2] @ np.array([*reference_px, 1.0])
        if abs(side) < 1e-12 * norm:
            raise HomographyError(
                f"the homography puts the image point {reference_px}, which should be ground, on "
                "the horizon"
            )
        self._matrix: NDArray[np.float64] = values * np.sign(side)
        self.rms_error_m = rms_error_m

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The 3x3 matrix, signed so that w is positive on the ground."""
        return self._matrix.copy()

    def to_ground(self, points_px: ArrayLike) -> NDArray[np.float64]:
        """Ground points (n, 2) in metres of image points (n, 2); NaN at and above the horizon."""
        points = np.asarray(points_px, np.float64).reshape(-1, 2)
        mapped = np.column_stack([points, np.ones(len(points))]) @ self._matrix.T
        scale = mapped[:, 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            ground: NDArray[np.float64] = np.where(scale > 1e-12, mapped[:, :2] / scale, np.nan)
        return ground


def fit_ground_plane(
    image_px: Sequence[Sequence[float]], ground_m: Sequence[Sequence[float]]
) -> GroundPlane:
    """Fit the plane to four or more points seen in the image and measured on the ground.

    Args:
        image_px: (n, 2) image points in pixels.
        ground_m: (n, 2) the same points on the ground in metres, in any right-angled axes.

    Raises:
        HomographyError: fewer than four, unequal numbers, points twice or (nearly) on one line,
            points on both sides of the horizon, or they contradict one another.
    """
    image, ground = _points(image_px, "image"), _points(ground_m, "ground")
    if len(image) != len(ground):
        raise HomographyError(
            f"{len(image)} image points but {len(ground)} ground points: give each both"
        )
    if len(image) < 4:
        raise HomographyError(f"{len(image)} points are too few: a plane needs four or more")
    _refuse_degenerate(image, "image", _DUPLICATE_PX)
    _refuse_degenerate(ground, "ground", 0.01)
    matrix, _ = cv2.findHomography(image, ground, 0)
    if matrix is None or not np.isfinite(matrix).all():
        raise HomographyError(
            "no plane fits these points: three of four may lie on one line, or two are swapped"
        )
    plane = GroundPlane(matrix, reference_px=(float(image[0, 0]), float(image[0, 1])))
    missed = plane.to_ground(image) - ground
    if np.isnan(missed).any():
        raise HomographyError(
            "the points lie on both sides of the horizon: two of them are probably swapped"
        )
    rms = float(np.sqrt((missed**2).sum(axis=1).mean()))
    extent = float(np.ptp(ground, axis=0).max())
    if rms > max(0.5, 0.1 * extent):
        raise HomographyError(
            f"the points contradict one another (off by {rms:.1f} m on average): "
            "check their order and measures"
        )
    return GroundPlane(
        matrix, reference_px=(float(image[0, 0]), float(image[0, 1])), rms_error_m=rms
    )


def _points(values: Sequence[Sequence[float]], what: str) -> NDArray[np.float64]:
    try:
        points = np.array(values, np.float64)
    except (ValueError, TypeError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) <= _FARTHEST).all():
        raise HomographyError(f"{what} points are pairs of finite numbers [x, y] up to 1e6")
    return points


def _refuse_degenerate(points: NDArray[np.float64], what: str, duplicate: float) -> None:
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    apart[np.diag_indices(len(points))] = np.inf
    if apart.min() < duplicate:
        first, second = np.unravel_index(int(np.argmin(apart)), apart.shape)
        raise HomographyError(
            f"{what} points {first + 1} and {second + 1} are the same: move one of them"
        )
    for left_out in [None] if len(points) > 4 else range(len(points)):
        # Of four points no three may be on one line; more need only not all be on one.
        chosen = points if left_out is None else np.delete(points, left_out, axis=0)
        spread = np.linalg.svd(chosen - chosen.mean(axis=0), compute_uv=False)
        if spread[1] < _MIN_WIDTH * spread[0]:
            raise HomographyError(
                f"{what} points lie (nearly) on one line: spread them over the ground seen"
            )
