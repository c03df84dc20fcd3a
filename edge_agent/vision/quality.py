"""How much a face crop is worth for recognition: one number from 0 to 1, cheap enough for all.

Four signs, each mapped to 0..1 and joined by a weighted geometric mean, so that one very bad sign
cannot be outvoted: size (distance between the eyes), frontality (where the nose lies between eyes
and mouth), the detector's score, and sharpness (variance of the Laplacian on the aligned crop;
Pech-Pacheco et al., ICPR 2000), less what noise adds to it, and 0 in the dark. The first three need
no crop: see `upper_bounds`. Landmarks that lie as no face's do give 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.alignment import ARCFACE_POINTS
from edge_agent.vision.arrays import Crops, Detections, Doubles, Floats
from edge_agent.vision.light import inner_grey, light, noise

SIZE_WEIGHT, FRONT_WEIGHT, SCORE_WEIGHT, SHARP_WEIGHT = 0.35, 0.30, 0.15, 0.20
SMALLEST_EYES_PX, ENOUGH_EYES_PX = 5.0, 32.0
HALF_SHARP = 40.0  # Laplacian variance at which sharpness counts one half
YAW_WIDTH, PITCH_WIDTH = 0.35, 0.30
_NOISE_IN_LAPLACIAN = 20.0  # variance that the kernel 0 1 0, 1 -4 1, 0 1 0 makes of variance 1

LOWEST_MOUTH, HIGHEST_EYES = 1.1, -0.1
"""Landmarks lie within the box's height, or so far above and below it."""
NARROWEST, WIDEST = 0.2, 2.0
"""Distance between the eyes over that from eyes to mouth (0.86 from the front)."""
MOST_PITCH = 0.6
"""Further off its place the nose is not between eyes and mouth."""
_EYES_Y = ARCFACE_POINTS[:2, 1].mean()
_MOUTH_Y = ARCFACE_POINTS[3:, 1].mean()
_NOSE_AT = float((ARCFACE_POINTS[2, 1] - _EYES_Y) / (_MOUTH_Y - _EYES_Y))


@dataclass(frozen=True, slots=True)
class FaceSigns:
    """What the landmarks tell: each (n,) float64.

    `eyes_px` distance between the eyes in the frame; `yaw` how far the nose is off the middle
    line, in eye distances (0 = frontal, 0.5 = about a half profile); `pitch` how far the nose is
    off its place between eyes and mouth, in eye-to-mouth heights; `inside` the part of the box
    within the frame; `plausible` 1 where the landmarks lie as those of a face can, else 0.
    """

    eyes_px: Doubles
    yaw: Doubles
    pitch: Doubles
    inside: Doubles
    plausible: Doubles


def face_signs(detections: Detections, frame_size: tuple[int, int]) -> FaceSigns:
    """Measure the landmarks of all faces of a frame of `frame_size` = (height, width)."""
    points = detections.landmarks.astype(np.float64)
    right, left, nose = points[:, 0], points[:, 1], points[:, 2]
    eyes, mouth = (right + left) / 2, points[:, 3:].mean(axis=1)
    across = left - right
    down = mouth - eyes
    eyes_px = np.hypot(across[:, 0], across[:, 1])
    height_px = np.hypot(down[:, 0], down[:, 1])
    # The face's own axes: `down` is little changed by turning the head, `across` shrinks with it.
    axis = down / np.maximum(height_px, 1e-6)[:, None]
    nose_off = nose - eyes
    sideways = nose_off[:, 0] * axis[:, 1] - nose_off[:, 1] * axis[:, 0]
    along = (nose_off * axis).sum(axis=1)
    boxes = detections.boxes.astype(np.float64)
    seen = np.clip(boxes[:, :2] + boxes[:, 2:], 0, frame_size[::-1]) - np.clip(
        boxes[:, :2], 0, frame_size[::-1]
    )
    return FaceSigns(
        eyes_px=eyes_px,
        yaw=np.abs(sideways) / np.maximum(eyes_px, 1e-6),
        pitch=np.abs(along / np.maximum(height_px, 1e-6) - _NOSE_AT),
        inside=seen.prod(axis=1) / np.maximum(boxes[:, 2:].prod(axis=1), 1e-6),
        plausible=_plausible(points, boxes).astype(np.float64),
    )


def _plausible(points: Doubles, boxes: Doubles) -> NDArray[np.bool_]:
    """Whether landmarks (n, 5, 2) lie as a face's do that stands upright in its box (n, 4).

    Eyes above nose above mouth along the face's own axis, the left ones left, all within the box's
    height, and the face neither a line nor twice as wide as high.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        at = (points - boxes[:, None, :2]) / boxes[:, None, 2:]
        eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
        down = mouth - eyes
        height = np.hypot(down[:, 0], down[:, 1])
        axis = down / height[:, None]
        across = points[:, 1] - points[:, 0]
        nose = ((points[:, 2] - eyes) * axis).sum(axis=1) / height
        wide = (across[:, 0] * axis[:, 1] - across[:, 1] * axis[:, 0]) / height
        fits: NDArray[np.bool_] = (
            np.isfinite(at).all(axis=(1, 2))
            & (down[:, 1] > 0)
            & (np.abs(nose - _NOSE_AT) <= MOST_PITCH)
            & (wide >= NARROWEST)
            & (wide <= WIDEST)
            & (at[:, :2, 1].min(axis=1) >= HIGHEST_EYES)
            & (at[:, 3:, 1].max(axis=1) <= LOWEST_MOUTH)
        )
    return fits


def upper_bounds(signs: FaceSigns, scores: Floats) -> Doubles:
    """The quality (n,) that each face would have if its crop were perfectly sharp."""
    size = np.clip(
        (signs.eyes_px - SMALLEST_EYES_PX) / (ENOUGH_EYES_PX - SMALLEST_EYES_PX), 0.0, 1.0
    )
    frontality = np.exp(-((signs.yaw / YAW_WIDTH) ** 2) - (signs.pitch / PITCH_WIDTH) ** 2)
    bound = (
        size**SIZE_WEIGHT
        * frontality**FRONT_WEIGHT
        * scores.astype(np.float64) ** SCORE_WEIGHT
        * np.clip(signs.inside, 0.0, 1.0)
    )
    return np.where(signs.plausible > 0, bound, 0.0)


def sharpness(crops: Crops) -> Doubles:
    """Sharpness (n,) in 0..1 of aligned crops (n, 112, 112, 3); 0 for what is too dark to tell."""
    values = np.zeros(len(crops), np.float64)
    for row, crop in enumerate(crops):
        grey = inner_grey(crop)
        _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
        of_noise = _NOISE_IN_LAPLACIAN * noise(grey) ** 2
        variance = max(0.0, float(deviation[0, 0]) ** 2 - of_noise)
        values[row] = variance / (variance + HALF_SHARP)
    return values * light(crops)


def quality(bounds: Doubles, sharp: Doubles) -> Doubles:
    """Join the bound from `upper_bounds` (n,) with sharpness (n,) to the quality (n,) in 0..1."""
    joined: Doubles = bounds * sharp**SHARP_WEIGHT
    return joined
