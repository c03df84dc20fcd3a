"""Finds faces and their five landmarks in a frame: in the whole of it, and closer where needed.

Small faces with a mask are not found in a frame as it comes; enlarged three times they are. So
there is a pass over the whole frame at a fixed working size, one over enlarged heads of people
whose face it did not find (`FaceDetector.detect_in`), and a last look at each face of which a crop
is to be kept (`FaceDetector.refine`), in which backs of heads are not found again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_agent.opencv import quiet_opencv
from edge_agent.vision.alignment import cut
from edge_agent.vision.arrays import Detections, Doubles, Floats, Image
from edge_agent.vision.boxes import common_area
from edge_agent.vision.changes import Grid, Part
from edge_agent.vision.quality import face_signs
from edge_agent.vision.shrinking import shrunk, size_within
from edge_agent.vision.yunet import LARGEST_STRIDE, YuNet

FINE_SIZE = 128
"""Side (px) of the patch in which a face is looked for again."""
_FINE_BELOW_PX = 40.0  # faces narrower than this at the working size have coarse landmarks
_FINE_VIEW = 1.4  # the patch shows so many times the face's longer side
CERTAIN = 0.68
"""Least score in its patch, lowered by `YAW_COST`, of what is a face. Of 337 backs of heads and
lost profiles in footage 2% reach it, of masked faces 24 px high 87% (docs/decisions/0017)."""
YAW_COST, MOST_YAW = 0.2, 2.0
"""By how much a turn of one (`FaceSigns.yaw`) lowers a score seen closer, and where that ends."""

HEAD_TILE = 160
"""Side (px) of a tile of the second pass."""
HEAD_HEIGHT = 90.0
"""Height (px) that a face has there; masked ones are found less often at 72, at no fewer false."""
MOST_ENLARGED = 4.0
"""A face is enlarged by no more: below 22 px there is little to be found in it."""
_TILES = 16  # in one run: 640 x 640 pixels
_OFF = 0.75  # a tile's face has its middle within so many heights of where it was expected
_SMALLEST, _LARGEST = 0.45, 1.8  # its height, in heights expected
_SAME = 0.3  # overlap (IoU) of two boxes of one face


class FaceDetector:
    """A face detector for one camera."""

    def __init__(
        self,
        model: bytes | YuNet,
        *,
        width: int = 640,
        height: int = 360,
        score_threshold: float = 0.3,
        nms_threshold: float = 0.3,
    ) -> None:
        """Load the model.

        Args:
            model: the ONNX file's content, or the network loaded.
            width: frames are shrunk to fit into width x height before detection. A bare face must
                be about 12 px high there, a masked one 40, so the size sets how far away people
                are seen.
            height: see width.
            score_threshold: detections below are not reported; keep it low, the tracker uses
                weak detections to go on with tracks it knows, never to begin one.
            nms_threshold: overlap (IoU) above which two boxes are taken for one face; a network
                that is loaded has its own.

        Raises:
            ModelError: it cannot be loaded as a face detector.
        """
        quiet_opencv()
        self._width, self._height = width, height
        self._score_threshold = score_threshold
        self._net = model if isinstance(model, YuNet) else YuNet(model, nms_threshold=nms_threshold)

    def detect(self, image: Image, parts: Sequence[Part] | None = None) -> Detections:
        """Find the faces of a frame (H, W, 3) uint8 BGR of any size; best first.

        The frame is not enlarged here: see :meth:`detect_in`.

        Args:
            image: the frame.
            parts: of :meth:`grid`, no two with a square in common, to be searched alone; None:
                all of the frame.

        Raises:
            ModelError: the model does not give what a YuNet detector gives.
        """
        if parts is not None and not parts:
            return Detections.none()
        size = size_within(image, (self._width, self._height))
        small = shrunk(image, size)
        try:
            if parts is None:
                faces = self._net.find(small, self._score_threshold)
            else:
                found = [self._in_part(small, part) for part in parts]
                faces = np.concatenate([np.zeros((0, 15), np.float32), *found])
                faces = faces[np.argsort(-faces[:, 14], kind="stable")]
        finally:
            if small is not image:
                small.fill(0)
        scale = np.array([image.shape[1] / size[0], image.shape[0] / size[1]], np.float32)
        return _detections(faces, scale)

    def grid(self, image: Image) -> Grid:
        """The squares on whose borders parts of a frame (H, W, 3) end."""
        size = image.shape[1], image.shape[0]
        return Grid.of(size, size_within(image, (self._width, self._height)), LARGEST_STRIDE)

    def _in_part(self, small: Image, part: Part) -> Floats:
        """Rows (n, 15) of a part of a frame at its working size, in pixels of that."""
        left, top = LARGEST_STRIDE * part.left, LARGEST_STRIDE * part.top
        cut_out = small[top : LARGEST_STRIDE * part.bottom, left : LARGEST_STRIDE * part.right]
        found = self._net.find(cut_out, self._score_threshold)
        return _moved(found, np.array([left, top], np.float64), 1.0)

    def detect_in(
        self, image: Image, boxes: Floats | Doubles, known: Detections | None = None
    ) -> Detections:
        """Find faces where heads are, enlarged: of people whose face the whole frame did not show.

        The heads come as tiles of one picture, as many as 16 a run, each so large that its face is
        about `HEAD_HEIGHT` high.

        Args:
            image: the frame (H, W, 3) uint8 BGR at its full size.
            boxes: where a face should be (n, 4): left, top, width, height, px.
            known: what was found already; nothing is found twice.

        Returns:
            At most one face a box, best first, in pixels of the frame. Scores are lowered for
            turned faces (`YAW_COST`): so backs of heads stay below what confirms a track, which
            then means here what it means in :meth:`detect`.

        Raises:
            ModelError: the model does not give what a YuNet detector gives.
        """
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= 1).all(axis=1)
        heads = np.asarray(boxes, np.float64)[usable]
        found = [
            self._in_tiles(image, heads[start : start + _TILES])
            for start in range(0, len(heads), _TILES)
        ]
        faces = np.concatenate(found) if found else np.zeros((0, 15), np.float32)
        faces[:, 14] = _closer_scores(faces)
        faces = faces[faces[:, 14] >= self._score_threshold]
        faces = faces[np.argsort(-faces[:, 14], kind="stable")]
        taken = np.zeros((0, 4), np.float32) if known is None else known.boxes
        kept: list[int] = []
        for row, box in enumerate(faces[:, :4]):
            others = np.concatenate([taken, faces[kept, :4]])
            if not len(others) or _overlaps(box, others).max() < _SAME:
                kept.append(row)
        return _detections(faces[kept], np.ones(2, np.float32))

    def refine(self, image: Image, detections: Detections) -> Detections:
        """Look at faces again, each in a patch of the frame at its full size.

        A face that is 20 px wide at the working size has landmarks good to a pixel or two, which
        is a tenth of the face. In a patch of its own they are several times better, and so is the
        template made of the crop. Large faces keep their landmarks, all their boxes. The score
        becomes that of the patch, and 0 for what is not found there again or below `CERTAIN`: the
        back of a head, a shadow, a pattern.

        Raises:
            ModelError: the model does not give what a YuNet detector gives.
        """
        scale = self._scale(image)
        landmarks = detections.landmarks.copy()
        scores = np.zeros(len(detections), np.float32)
        for row, box in enumerate(detections.boxes.astype(np.float64)):
            if not np.isfinite(box).all() or box[2:].min() <= 0:
                continue
            face = self._again(image, box)
            if face is None:
                continue
            if _closer_scores(face[None])[0] >= CERTAIN:
                scores[row] = face[14]
                if box[2] * scale < _FINE_BELOW_PX:
                    landmarks[row] = face[4:14].reshape(5, 2)
        return Detections(detections.boxes, landmarks, scores)

    def _scale(self, image: Image) -> float:
        return float(min(self._width / image.shape[1], self._height / image.shape[0], 1.0))

    def _again(self, image: Image, box: Doubles) -> Floats | None:
        """The face (15,) of a box (4,), found in a patch; in pixels of the frame."""
        view = _FINE_VIEW * box[2:].max()
        corner = box[:2] + (box[2:] - view) / 2
        patch = np.zeros((FINE_SIZE, FINE_SIZE, 3), np.uint8)
        try:
            cut(image, _enlarging(corner, FINE_SIZE / view), patch)
            faces = self._net.find(patch, self._score_threshold)
        finally:
            patch.fill(0)
        if not len(faces):
            return None
        faces = _moved(faces, corner, view / FINE_SIZE)
        off = faces[:, :2] + faces[:, 2:4] / 2 - (box[:2] + box[2:] / 2)
        nearest = int(np.argmin((off**2).sum(axis=1)))
        size = faces[nearest, 3] / box[3]
        if np.hypot(*off[nearest]) < box[2:].max() / 2 and 0.6 < size < 1.6:
            return np.asarray(faces[nearest], np.float32)
        return None

    def _in_tiles(self, image: Image, heads: Doubles) -> Floats:
        """The best face (n, 15) of each head (k, 4), where one is found; in pixels of the frame."""
        across = math.ceil(math.sqrt(len(heads)))
        down = -(-len(heads) // across)
        sheet = np.zeros((down * HEAD_TILE, across * HEAD_TILE, 3), np.uint8)
        zooms = np.minimum(HEAD_HEIGHT / heads[:, 3], MOST_ENLARGED)
        corners = heads[:, :2] + heads[:, 2:] / 2 - HEAD_TILE / zooms[:, None] / 2
        places = [HEAD_TILE * np.array([n % across, n // across]) for n in range(len(heads))]
        try:
            for corner, zoom, (x, y) in zip(corners, zooms.tolist(), places, strict=True):
                tile = np.zeros((HEAD_TILE, HEAD_TILE, 3), np.uint8)
                cut(image, _enlarging(corner, zoom), tile)
                sheet[y : y + HEAD_TILE, x : x + HEAD_TILE] = tile
                tile.fill(0)
            faces = self._net.find(sheet, self._score_threshold)
        finally:
            sheet.fill(0)
        found = []
        middles = faces[:, :2] + faces[:, 2:4] / 2
        for head, corner, zoom, place in zip(heads, corners, zooms.tolist(), places, strict=True):
            height = head[3] * zoom
            off = np.abs(middles - place - HEAD_TILE / 2).max(axis=1)
            sized = (faces[:, 3] > _SMALLEST * height) & (faces[:, 3] < _LARGEST * height)
            rows = np.flatnonzero(sized & (off < min(_OFF * height, HEAD_TILE / 2)))
            if len(rows):
                here = faces[rows[:1]].copy()
                here[:, [0, 4, 6, 8, 10, 12]] -= place[0]
                here[:, [1, 5, 7, 9, 11, 13]] -= place[1]
                found.append(_moved(here, corner, 1 / zoom))
        return np.concatenate(found) if found else np.zeros((0, 15), np.float32)


def _enlarging(corner: Doubles, zoom: float) -> Doubles:
    """The transform (2, 3) that shows the frame from a corner on, so many times enlarged."""
    return np.array([[zoom, 0, -zoom * corner[0]], [0, zoom, -zoom * corner[1]]])


def _moved(faces: Floats, corner: Doubles, scale: float) -> Floats:
    """Faces (n, 15) of a patch in pixels of the frame that it was cut from."""
    moved = faces.copy()
    moved[:, :14] *= scale
    moved[:, [0, 4, 6, 8, 10, 12]] += corner[0]
    moved[:, [1, 5, 7, 9, 11, 13]] += corner[1]
    return moved


def _closer_scores(faces: Floats) -> Floats:
    """The scores (n,) of faces (n, 15) seen closer, lowered as far as they are turned away."""
    found = _detections(faces, np.ones(2, np.float32))
    yaw = np.minimum(face_signs(found, (1, 1)).yaw, MOST_YAW)
    return np.asarray(faces[:, 14] - YAW_COST * yaw, np.float32)


def _overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of a box (4,) with each of others (n, 4)."""
    common = common_area(box[None], others)[0]
    union = box[2:].prod() + others[:, 2:].prod(axis=1) - common
    return np.asarray(common / np.maximum(union, 1e-6), np.float32)


def _detections(faces: Floats, scale: Floats) -> Detections:
    """Rows (n, 15) of the network as detections, enlarged by (x, y)."""
    return Detections(
        boxes=faces[:, :4] * np.tile(scale, 2),
        landmarks=faces[:, 4:14].reshape(-1, 5, 2) * scale,
        scores=np.clip(faces[:, 14], 0.0, 1.0),
    )
