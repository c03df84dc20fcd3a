"""Finds faces and their five landmarks in a frame with YuNet, at a fixed working size.

YuNet: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20 (2023), run by OpenCV's `FaceDetectorYN`.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.opencv import quiet_opencv
from edge_agent.vision.arrays import Detections, Floats, Image
from edge_agent.vision.errors import ModelError

MAX_FACES = 500
FINE_SIZE = 128
"""Side (px) of the patch in which a small face's landmarks are found again."""
_FINE_BELOW_PX = 40.0  # faces narrower than this at the working size have coarse landmarks
_FINE_VIEW = 1.8  # the patch shows so many times the face's longer side
_FINE_SCORE = 0.4


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
        self._net = _load(model, self._size, score_threshold, nms_threshold)
        self._fine = _load(model, (FINE_SIZE, FINE_SIZE), _FINE_SCORE, nms_threshold)

    def detect(self, image: Image) -> Detections:
        """Find the faces of a frame (H, W, 3) uint8 BGR of any size; sorted as the model gives.

        Frames are never enlarged: that costs time and shows no more.

        Raises:
            ModelError: the model does not give what a YuNet detector gives.
        """
        rows, columns = image.shape[:2]
        scale = min(self._width / columns, self._height / rows, 1.0)
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        small = image
        if scale < 1.0:
            small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if size != self._size:
            self._net.setInputSize(size)
            self._size = size
        try:
            faces = _run(self._net, small)
        finally:
            if small is not image:
                small.fill(0)
        back = np.array([columns / size[0], rows / size[1]], np.float32)
        return Detections(
            boxes=faces[:, :4] * np.tile(back, 2),
            landmarks=faces[:, 4:14].reshape(-1, 5, 2) * back,
            scores=np.clip(faces[:, 14], 0.0, 1.0),
        )

    def refine(self, image: Image, detections: Detections) -> Detections:
        """Find the landmarks of small faces again, in a patch of the frame at its full size.

        A face that is 20 px wide at the working size has landmarks good to a pixel or two, which
        is a tenth of the face. In a patch of its own they are several times better, and so is the
        template made of the crop. Boxes and scores stay; large faces, and faces not found again in
        their place, stay as they are.

        Raises:
            ModelError: the model does not give what a YuNet detector gives.
        """
        rows, columns = image.shape[:2]
        scale = min(self._width / columns, self._height / rows, 1.0)
        landmarks = detections.landmarks.copy()
        for row in np.flatnonzero(detections.boxes[:, 2] * scale < _FINE_BELOW_PX):
            box = detections.boxes[row].astype(np.float64)
            view = _FINE_VIEW * box[2:].max()
            corner = box[:2] + (box[2:] - view) / 2
            zoom = FINE_SIZE / view
            matrix = np.array([[zoom, 0, -zoom * corner[0]], [0, zoom, -zoom * corner[1]]])
            patch = np.asarray(cv2.warpAffine(image, matrix, (FINE_SIZE, FINE_SIZE)), np.uint8)
            try:
                faces = _run(self._fine, patch)
            finally:
                patch.fill(0)
            if not len(faces):
                continue
            off = faces[:, :2] + faces[:, 2:4] / 2 - FINE_SIZE / 2
            nearest = int(np.argmin((off**2).sum(axis=1)))
            size = faces[nearest, 3] / (box[3] * zoom)
            if np.hypot(*off[nearest]) < box[2:].max() * zoom / 2 and 0.6 < size < 1.6:
                found = faces[nearest, 4:14].reshape(5, 2) / zoom + corner
                landmarks[row] = found.astype(np.float32)
        return Detections(detections.boxes, landmarks, detections.scores)


def _load(
    model: bytes, size: tuple[int, int], score_threshold: float, nms_threshold: float
) -> cv2.FaceDetectorYN:
    try:
        return cv2.FaceDetectorYN.create(
            "onnx",
            np.frombuffer(model, np.uint8),
            np.zeros(0, np.uint8),
            size,
            score_threshold,
            nms_threshold,
            MAX_FACES,
        )
    except cv2.error as error:
        raise ModelError(
            f"the face detector cannot be loaded ({error.err}); build the models again"
        ) from error


def _run(net: cv2.FaceDetectorYN, image: Image) -> Floats:
    """The network's rows (n, 15): box, landmarks, score; unusable rows left out."""
    try:
        _, found = net.detect(image)
    except cv2.error as error:
        raise ModelError(f"the face detector failed ({error.err})") from error
    if found is None or len(found) == 0:
        return np.zeros((0, 15), np.float32)
    if found.ndim != 2 or found.shape[1] != 15:
        raise ModelError(f"the face detector gave rows of {found.shape}, not of 15 numbers")
    faces = np.asarray(found, np.float32)
    return faces[np.isfinite(faces).all(axis=1) & (faces[:, 2] > 0) & (faces[:, 3] > 0)]
