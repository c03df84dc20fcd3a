"""Turns a detected face into the upright 112x112 crop that the models were trained on.

The five target points are those of ArcFace (Deng et al., CVPR 2019; `arcface_dst` in InsightFace's
`face_align.py`). The transform is the least-squares similarity of Umeyama (IEEE TPAMI 13(4),
1991); in the plane, with points as complex numbers, it has the closed form used here:
a = sum(conj(s) d) / sum(|s|^2) for centred points s, d.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge_agent.vision.arrays import CROP_SIZE, Crops, Doubles, Floats, Image

ARCFACE_POINTS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float64,
)
_MIN_SPREAD = 1e-3  # px: landmarks nearer together than this give no direction


def similarity_transforms(landmarks: Floats | Doubles) -> Doubles:
    """The similarity (n, 2, 3) float64 from each face's landmarks (n, 5, 2) to the crop.

    Rows of faces whose landmarks are not finite or all in one place are NaN.
    """
    points = np.asarray(landmarks, np.float64)
    source = points[..., 0] + 1j * points[..., 1]  # (n, 5)
    target = ARCFACE_POINTS[:, 0] + 1j * ARCFACE_POINTS[:, 1]  # (5,)
    source_mean = source.mean(axis=1, keepdims=True)
    centred = source - source_mean
    spread = (np.abs(centred) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        turn = (np.conj(centred) * (target - target.mean())).sum(axis=1) / spread
        shift = target.mean() - turn * source_mean[:, 0]
        turn = np.where(spread > _MIN_SPREAD**2, turn, np.nan)
    matrices = np.empty((len(points), 2, 3), np.float64)
    matrices[:, 0, 0] = matrices[:, 1, 1] = turn.real
    matrices[:, 1, 0] = turn.imag
    matrices[:, 0, 1] = -turn.imag
    matrices[:, 0, 2] = shift.real
    matrices[:, 1, 2] = shift.imag
    return matrices


def align(image: Image, landmarks: Floats | Doubles) -> Crops:
    """Cut the aligned crops (n, 112, 112, 3) uint8 BGR out of a frame.

    A face whose transform is undefined gives a black crop. What lies outside the frame is black.
    """
    matrices = similarity_transforms(landmarks)
    crops = np.zeros((len(matrices), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for crop, matrix in zip(crops, matrices, strict=True):
        if np.isfinite(matrix).all():
            cut(image, matrix, crop)
    return crops


def cut(image: Image, matrix: Doubles, into: Image) -> None:
    """Draw what a similarity (2, 3) from the frame shows into a picture, black outside the frame.

    Args:
        image: the frame.
        matrix: from pixels of the frame to pixels of the picture.
        into: (h, w, 3) uint8, written in place.
    """
    size = (into.shape[1], into.shape[0])
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 0.5:  # more than twice as large in the frame: shrink first, or details alias
        image, matrix = _shrink(image, matrix, size, 2 ** math.floor(-math.log2(scale)))
        if image.size == 0:
            into.fill(0)
            return
    cv2.warpAffine(image, matrix, size, dst=into, flags=cv2.INTER_LINEAR)


def _shrink(
    image: Image, matrix: Doubles, size: tuple[int, int], factor: int
) -> tuple[Image, Doubles]:
    """The part of the frame that the picture shows, shrunk by a whole factor, and its transform."""
    corners = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float64)
    back = cv2.invertAffineTransform(matrix)
    seen = corners @ back[:, :2].T + back[:, 2]
    low = np.clip(np.floor(seen.min(axis=0)) - factor, 0, None).astype(int)
    high = np.ceil(seen.max(axis=0)).astype(int) + factor
    part = image[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
    whole = (part.shape[1] // factor, part.shape[0] // factor)
    if min(whole) < 1:
        return part[:0], matrix
    part = part[: whole[1] * factor, : whole[0] * factor]
    small = np.asarray(cv2.resize(part, whole, interpolation=cv2.INTER_AREA), np.uint8)
    # Pixel centres: x_full = factor * x_small + (factor - 1) / 2 + low
    offset = low + (factor - 1) / 2
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ offset
    moved[:, :2] *= factor
    return small, moved
