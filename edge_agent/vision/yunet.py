"""Runs a YuNet face detector by onnxruntime: pictures of any size in, boxes and landmarks out.

YuNet: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20 (2023). What comes in and how what comes out is read follow OpenCV's `FaceDetectorYN`
(modules/objdetect/src/face_detect.cpp, Apache-2.0), which takes twice the time for the same rows.

The file says that its input is 640 x 640, and no operator in it depends on that: before it is
loaded the two numbers are replaced by names.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.vision.arrays import Floats, Image
from edge_agent.vision.embedder import onnx_session
from edge_agent.vision.errors import ModelError

MAX_FACES = 2000
"""Candidates looked at of one picture: a face is several, and a crowd more than 500."""
_STRIDES = (8, 16, 32)
LARGEST_STRIDE = _STRIDES[-1]
"""Pictures cut at multiples of it (px) have the cells that they have in the whole."""
_HEADS = ("cls", "obj", "bbox", "kps")
_WIDTHS = (1, 1, 4, 10)
_OUTPUTS = [f"{head}_{stride}" for head in _HEADS for stride in _STRIDES]
_FIXED = bytes.fromhex("0a020801 0a020803 0a03088005 0a03088005")
"""The dimensions 1, 3, 640, 640 of a tensor, as protobuf writes `TensorShapeProto`."""
_NAMED = bytes.fromhex("0a020801 0a020803 0a03120148 0a03120157")
"""The same with the last two by the names H and W: as long, so that no length around changes."""
_ROUNDING = 1e-4  # more than float32 loses of a score
_LEAST_LOG, _MOST_LOG = -20.0, 20.0
"""Sides of boxes come as logarithms; beyond these no picture has a face, and exp would overflow."""


class YuNet:
    """The network and what reads its answers; may be called from several threads."""

    def __init__(self, model: bytes, *, nms_threshold: float = 0.3, num_threads: int = 1) -> None:
        """Load the model.

        Args:
            model: the ONNX file's content.
            nms_threshold: overlap (IoU) above which two boxes are taken for one face.
            num_threads: threads that a run may use.

        Raises:
            ModelError: it cannot be loaded as a YuNet detector.
        """
        self._nms = nms_threshold
        self._session = onnx_session(of_any_size(model), "the face detector", num_threads)
        inputs = self._session.get_inputs()
        outputs = {tensor.name for tensor in self._session.get_outputs()}
        if len(inputs) != 1 or not outputs.issuperset(_OUTPUTS):
            raise ModelError(
                f"the face detector gives {sorted(outputs)}, not what a YuNet detector gives; "
                "build the models again"
            )
        self._input = inputs[0].name

    def find(self, image: Image, score_threshold: float) -> Floats:
        """Find faces in a picture (H, W, 3) uint8 BGR, at the size that it has.

        Returns:
            Rows (n, 15): left, top, width, height (px), five landmarks x, y (px, in the order of
            `Detections`), score in 0..1; best first, at most `MAX_FACES`.

        Raises:
            ModelError: the model refuses the picture, or gives what no YuNet detector gives.
        """
        blob, rows, columns = _blob(image)
        try:
            answers = self._session.run(_OUTPUTS, {self._input: blob})
        except Exception as error:  # onnxruntime's errors share no public base but Exception
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"the face detector failed ({first})") from error
        finally:
            blob.fill(0)
        return self._apart(_faces(answers, rows, columns, score_threshold), score_threshold)

    def _apart(self, faces: Floats, score_threshold: float) -> Floats:
        """Of faces (n, 15) that overlap only the best ones, best first."""
        if not len(faces):
            return faces
        # Whole pixels cut off at nought, as OpenCV has them: the same faces stay as there.
        kept = cv2.dnn.NMSBoxes(
            faces[:, :4].astype(np.int32).tolist(),
            faces[:, 14].tolist(),
            score_threshold,
            self._nms,
            1.0,
            MAX_FACES,
        )
        return faces[np.asarray(kept, np.int64).reshape(-1)]


def of_any_size(model: bytes) -> bytes:
    """Return an ONNX file with the size 640 x 640 of its one input left open.

    Raises:
        ModelError: it says that of no tensor or of several, and does not take other sizes already.
    """
    found = model.count(_FIXED)
    if found == 0 and model.count(_NAMED) == 1:
        return model
    if found != 1:
        raise ModelError(
            f"the face detector has {found} inputs of 640 x 640 pixels, not one as a YuNet "
            "detector has; build the models again"
        )
    return model.replace(_FIXED, _NAMED)


def _blob(image: Image) -> tuple[Floats, int, int]:
    """A picture as the network takes it (1, 3, h, w), and its cells of the largest stride.

    To the right and below it is continued in black. `cv2.dnn.blobFromImage` gives the same.
    """
    height, width = image.shape[:2]
    rows, columns = -(-height // LARGEST_STRIDE), -(-width // LARGEST_STRIDE)
    blob = np.zeros((1, 3, rows * LARGEST_STRIDE, columns * LARGEST_STRIDE), np.float32)
    for channel, plane in enumerate(cv2.split(image)):
        np.copyto(blob[0, channel, :height, :width], plane)
        plane.fill(0)
    return blob, rows, columns


def _faces(answers: list[Floats], rows: int, columns: int, score_threshold: float) -> Floats:
    """The candidates (n, 15) in what the network gave for cells of the largest stride."""
    found = []
    for number, stride in enumerate(_STRIDES):
        parts = answers[number :: len(_STRIDES)]
        down, across = rows * LARGEST_STRIDE // stride, columns * LARGEST_STRIDE // stride
        if any(
            np.size(part) != down * across * width
            for part, width in zip(parts, _WIDTHS, strict=True)
        ):
            raise ModelError(
                f"the face detector gave {[np.shape(part) for part in parts]} for {across} x {down}"
                " cells, which no YuNet detector gives"
            )
        sure, there = (part.reshape(-1) for part in parts[:2])
        # All that can be enough, in one pass; only of those what is out of 0..1 is put right.
        cells = np.flatnonzero(sure * there >= max(0.0, score_threshold - _ROUNDING) ** 2)
        scores = np.sqrt(np.clip(sure[cells], 0.0, 1.0) * np.clip(there[cells], 0.0, 1.0))
        enough = scores >= score_threshold
        cells, scores = cells[enough], scores[enough]
        if not len(cells):
            continue
        corner = np.column_stack([cells % across, cells // across]).astype(np.float32)
        box = parts[2].reshape(-1, 4)[cells]
        marks = parts[3].reshape(-1, 5, 2)[cells]
        size = np.exp(np.clip(box[:, 2:], _LEAST_LOG, _MOST_LOG)) * stride
        middle = (corner + box[:, :2]) * stride
        landmarks = (marks + corner[:, None]) * stride
        found.append(
            np.column_stack([middle - size / 2, size, landmarks.reshape(-1, 10), scores]).astype(
                np.float32
            )
        )
    if not found:
        return np.zeros((0, 15), np.float32)
    faces = np.concatenate(found)
    return faces[np.isfinite(faces).all(axis=1) & (faces[:, 2] > 0) & (faces[:, 3] > 0)]
