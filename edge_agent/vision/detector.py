"""Finds faces and their five landmarks in a frame with YuNet, at a fixed working size.

YuNet: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20 (2023), run by OpenCV's `FaceDetectorYN`.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.opencv import quiet_opencv
from edge_agent.vision.arrays import Detections, Image
from edge_agent.vision.errors import ModelError

MAX_FACES = 500


class FaceDetector:
    """A YuNet detector; not shared between threads (OpenCV keeps its working size inside)."""

    def __init__(
        self,
        model: bytes,
        *,
        width: int = 640,
        height: int = 360,
        score_threshold: float = 0.3,
        nms_threshold: float = 0.3,
    ) -> None:
        """Load the model.

        Args:
            model: the ONNX file's content.
            width: frames are shrunk to fit into width x height before detection. A face must be
                about 10 px wide there, so the size sets how far away people are seen.
            height: see width.
            score_threshold: detections below are not reported; keep it low, the tracker uses
                weak detections to go on with tracks it knows, never to begin one.
            nms_threshold: overlap (IoU) above which two boxes are taken for one face.

        Raises:
            ModelError: it cannot be loaded as a face detector.
        """
        quiet_opencv()
        self._width, self._height = width, height
        self._size = (width, height)
        try:
            self._net = cv2.FaceDetectorYN.create(
                "onnx",
                np.frombuffer(model, np.uint8),
                np.zeros(0, np.uint8),
                self._size,
                score_threshold,
                nms_threshold,
                MAX_FACES,
            )
        except cv2.error as error:
            raise ModelError(
                f"the face detector cannot be loaded ({error.err}); build the models again"
            ) from error

    def detect(self, image: Image) -> Detections:
        """Find the faces of a frame (H, W, 3) uint8 BGR of any size; sorted as the model gives.

        Frames are never enlarged: that costs time and shows no more.

        Raises:
            ModelError: the model does not give what a YuNet detector gives.
        """
        rows, columns = image.shape[:2]
        scale = min(self._width / columns, self._height / rows, 1.0)
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else image
        if size != self._size:
            self._net.setInputSize(size)
            self._size = size
        try:
            _, found = self._net.detect(small)
        except cv2.error as error:
            raise ModelError(f"the face detector failed ({error.err})") from error
        finally:
            if small is not image:
                small.fill(0)
        if found is None or len(found) == 0:
            return Detections.none()
        if found.ndim != 2 or found.shape[1] != 15:
            raise ModelError(f"the face detector gave rows of {found.shape}, not of 15 numbers")
        faces = np.asarray(found, np.float32)
        faces = faces[np.isfinite(faces).all(axis=1) & (faces[:, 2] > 0) & (faces[:, 3] > 0)]
        back = np.array([columns / size[0], rows / size[1]], np.float32)
        return Detections(
            boxes=faces[:, :4] * np.tile(back, 2),
            landmarks=faces[:, 4:14].reshape(-1, 5, 2) * back,
            scores=np.clip(faces[:, 14], 0.0, 1.0),
        )
