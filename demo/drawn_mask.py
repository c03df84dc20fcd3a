"""Draws a surgical mask onto a photographed face, following its landmarks."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.photos import Landmarks

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

# In units of the face: origin between the eyes, x along the eyes (1 = their distance), y down to
# the mouth (1 = its distance). Measured by eye on surgical masks of adults.
_LEFT_HALF: Final = [(-0.28, 0.22), (-0.62, 0.36), (-0.98, 0.46), (-0.98, 0.85), (-0.86, 1.2)]
_OUTLINE: Final[Points] = np.array(
    [(0.0, 0.16), *_LEFT_HALF, (-0.62, 1.52), (-0.3, 1.76), (0.0, 1.83), (0.3, 1.76), (0.62, 1.52)]
    + [(-x, y) for x, y in reversed(_LEFT_HALF)]
)
_STRAPS: Final[Points] = np.array(
    [
        [(-0.96, 0.48), (-1.34, 0.12)],
        [(0.96, 0.48), (1.34, 0.12)],
        [(-0.84, 1.22), (-1.3, 0.62)],
        [(0.84, 1.22), (1.3, 0.62)],
    ]
)
_PLEATS: Final = (0.72, 0.98, 1.24)
_COLOUR: Final = (222, 205, 172)  # BGR, the usual light blue
_FINE: Final = 4  # sub-pixel bits for OpenCV's drawing


def draw_mask(photo: Image, landmarks: Landmarks) -> Image:
    """Return a copy of `photo` (h x w x 3, BGR) whose face wears a light-blue surgical mask.

    Shading: darker to the sides, a lit ridge over the nose, three pleats, straps to the ears, a
    soft edge. The face below is covered completely, as a real mask would.
    """
    to_photo = _face_frame(landmarks)
    unit = float(np.hypot(*to_photo[:, 0]))
    outline = _place(_OUTLINE, to_photo)
    height, width = photo.shape[:2]
    cover = np.zeros((height, width), np.uint8)
    cv2.fillPoly(cover, [_fixed(outline)], 255, cv2.LINE_AA, _FINE)

    left, top = np.floor(outline.min(0)).astype(int)
    right, bottom = np.ceil(outline.max(0)).astype(int)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    across, down = _unplace(xs, ys, to_photo)
    shade = 1.0 - 0.34 * np.clip(np.abs(across), 0, 1.1) ** 2
    shade += 0.07 * np.exp(-((across / 0.16) ** 2)) - 0.1 * np.clip(down - 1.1, 0, 1)
    for pleat in _PLEATS:
        line = down - pleat - 0.12 * (1 - across**2)
        shade -= 0.13 * np.exp(-((line / 0.022) ** 2)) - 0.05 * np.exp(
            -(((line - 0.05) / 0.03) ** 2)
        )
    weave = np.random.default_rng(7).normal(0, 2.5, (height, width, 1))
    light = _light_on(photo, left, top, right, bottom)
    fabric = np.clip(shade, 0.35, 1.12)[..., None] * np.array(_COLOUR) + weave
    cloth = np.clip(fabric * light, 0, 255)
    cord = np.array([225.0, 225.0, 225.0]) * light

    drawn = photo.astype(np.float64)
    thickness = max(1, round(unit * 0.035))
    straps = np.zeros((height, width), np.uint8)
    for strap in _STRAPS:
        cv2.polylines(
            straps, [_fixed(_place(strap, to_photo))], False, 255, thickness, cv2.LINE_AA, _FINE
        )
    soft = max(unit * 0.012, 0.4)
    for layer, paint in ((straps, cord), (cover, cloth)):
        alpha = cv2.GaussianBlur(layer, (0, 0), soft).astype(np.float64)[..., None] / 255
        drawn = drawn * (1 - alpha) + paint * alpha
    return drawn.astype(np.uint8)


def _face_frame(landmarks: Landmarks) -> NDArray[np.float64]:
    """The 2x3 map from face units to pixels."""
    right_eye, left_eye, _, right_mouth, left_mouth = np.array(landmarks, np.float64)
    origin, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    return np.stack([left_eye - right_eye, mouth - origin, origin], axis=1)


def _place(points: Points, frame: NDArray[np.float64]) -> Points:
    placed: Points = points @ frame[:, :2].T + frame[:, 2]
    return placed


def _unplace(
    xs: NDArray[np.float32], ys: NDArray[np.float32], frame: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    inverse = np.linalg.inv(frame[:, :2]).astype(np.float32)
    dx, dy = xs - np.float32(frame[0, 2]), ys - np.float32(frame[1, 2])
    return inverse[0, 0] * dx + inverse[0, 1] * dy, inverse[1, 0] * dx + inverse[1, 1] * dy


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.round(points * (1 << _FINE)).astype(np.int32)


def _light_on(photo: Image, left: int, top: int, right: int, bottom: int) -> float:
    """How brightly the face is lit, so that the mask is neither glowing nor grey."""
    face = photo[max(top, 0) : bottom, max(left, 0) : right]
    return float(np.clip(0.55 + float(face.mean()) / 255 * 0.75, 0.6, 1.08))
