"""Finds faces in a few pictures, to tell an installer whether they are large enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_agent.vision.arrays import Detections, Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.detector import FaceDetector
from edge_agent.vision.errors import ModelError
from edge_agent.vision.quality import face_signs
from runtime.bundle import MANIFEST_NAME, Role, load_bundle

HIDE_SCORE = 0.15
"""Score from which something is hidden in a picture that is kept: rather a lamp than no face."""
_ROLES: tuple[Role, ...] = ("face_detector",)
_HUGE = 0.3  # height of a face, in heights of the picture
_HIDE_SIZES = (1920, 640)  # px, the longer sides at which faces to be hidden are looked for


@dataclass(frozen=True, slots=True)
class FaceSurvey:
    """Faces in a few pictures of one camera.

    `pictures` looked at, `faces` found in all of them, `most` in one; medians, 0 without a face:
    `eyes_px` between the eyes in the camera's picture, `height_px` of the face there,
    `working_px` of the face at the size at which the agent looks for faces.
    """

    pictures: int
    faces: int = 0
    most: int = 0
    eyes_px: float = 0.0
    height_px: float = 0.0
    working_px: float = 0.0


class FaceFinder:
    """The bundle's face detector, set as the agent sets it, and once more to hide faces."""

    def __init__(self, model: bytes, vision: VisionConfig, nms_threshold: float = 0.3) -> None:
        """Load the detector.

        Raises:
            ModelError: it is no face detector.
        """
        self.vision = vision
        self._model, self._nms = model, nms_threshold
        self._agent = FaceDetector(
            model,
            width=vision.detect_width,
            height=vision.detect_height,
            score_threshold=vision.begin_score,
            nms_threshold=nms_threshold,
        )
        self._wary: list[FaceDetector] = []

    def find(self, image: Image) -> Detections:
        """The faces that the agent would begin to follow."""
        return self._agent.detect(image)

    def find_to_hide(self, image: Image) -> Detections:
        """Whatever may be a face, also one that the picture's edge cuts; boxes may overlap."""
        if not self._wary:
            self._wary = [
                FaceDetector(
                    self._model,
                    width=size,
                    height=size,
                    score_threshold=HIDE_SCORE,
                    nms_threshold=self._nms,
                )
                for size in _HIDE_SIZES
            ]
        # Mirrored beyond its edges, since the detector sees no half faces.
        margin = max(1, max(image.shape[:2]) // 8)
        mirrored = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT)
        padded = np.asarray(mirrored, np.uint8)
        try:
            found = [each.detect(padded) for each in self._wary]
        finally:
            padded.fill(0)
        corner = np.array([margin, margin, 0, 0], np.float32)
        every = Detections(
            np.concatenate([each.boxes for each in found]) - corner,
            np.concatenate([each.landmarks for each in found]) - np.float32(margin),
            np.concatenate([each.scores for each in found]),
        )
        # A face that fills the view is found for certain; an uncertain one is the view itself.
        huge = every.boxes[:, 3] > image.shape[0] * _HUGE
        return every.take(~huge | (every.scores >= self.vision.begin_score))

    def survey(self, pictures: Sequence[Image]) -> FaceSurvey:
        """Count and measure the faces in pictures (H, W, 3) uint8 BGR."""
        eyes: list[float] = []
        heights: list[float] = []
        working: list[float] = []
        most = 0
        for picture in pictures:
            found = self.find(picture)
            rows, columns = picture.shape[:2]
            scale = min(self.vision.detect_width / columns, self.vision.detect_height / rows, 1.0)
            eyes += face_signs(found, (rows, columns)).eyes_px.tolist()
            heights += found.boxes[:, 3].tolist()
            working += (found.boxes[:, 3] * scale).tolist()
            most = max(most, len(found))
        if not eyes:
            return FaceSurvey(len(pictures))
        return FaceSurvey(
            pictures=len(pictures),
            faces=len(eyes),
            most=most,
            eyes_px=float(np.median(eyes)),
            height_px=float(np.median(heights)),
            working_px=float(np.median(working)),
        )


def load_finder(
    bundle: Path, trusted_keys: Sequence[bytes], vision: VisionConfig
) -> FaceFinder | None:
    """Load the face detector of a bundle; None when there is no bundle in that folder.

    Raises:
        BundleError: there is one, but it is not to be believed or has no face detector.
        ModelError: its detector cannot be loaded.
    """
    if not (bundle / MANIFEST_NAME).exists():
        return None
    verified = load_bundle(bundle, trusted_keys, roles=_ROLES)
    entry = verified.entry("face_detector")
    if entry.engine != "yunet":
        raise ModelError(
            f"face detector {entry.model_id} is for the engine {entry.engine!r}; "
            "this version runs 'yunet' detectors"
        )
    nms = entry.parameters.get("nms_threshold", 0.3)
    return FaceFinder(
        verified.read(entry), vision, float(nms) if isinstance(nms, int | float) else 0.3
    )
