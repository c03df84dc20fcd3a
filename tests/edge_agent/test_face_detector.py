"""The detector: OpenCV's rows, at any frame size, and a closer look where a face should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.bench_detection import about, best_scores, small_faces
from edge_agent.vision.arrays import Detections, Image
from edge_agent.vision.detector import FaceDetector
from edge_agent.vision.errors import ModelError
from edge_agent.vision.models import VisionModels
from edge_agent.vision.yunet import YuNet, of_any_size
from models.build import default_mask_model
from models.mask_classifier.crops import CropSet, load_crops

pytestmark = pytest.mark.models

DATA = Path(__file__).parents[1] / "data"
NOWHERE = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def crops() -> CropSet:
    return load_crops(DATA / "mask_holdout.npz")


@pytest.mark.parametrize(
    ("photo", "scale"),
    [("astronaut.png", 1.0), ("astronaut.png", 0.31), ("obama2.jpg", 0.5), ("biden.jpg", 0.173)],
)
def test_rows_are_those_of_opencv_at_any_size(
    models: VisionModels, photos_path: Path, photo: str, scale: float
) -> None:
    image = cv2.imread(str(photos_path / photo))
    assert image is not None
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    peer = cv2.FaceDetectorYN.create(
        "onnx",
        np.frombuffer(models.detector_file, np.uint8),
        np.zeros(0, np.uint8),
        (image.shape[1], image.shape[0]),
        0.1,
        0.3,
    )
    expected = peer.detect(image)[1]
    found = YuNet(models.detector_file).find(np.asarray(image, np.uint8), 0.1)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, :14], expected[:, :14], atol=1e-3)  # px
    np.testing.assert_allclose(found[:, 14], expected[:, 14], atol=1e-5)


def test_what_is_no_face_detector_is_refused(models: VisionModels) -> None:
    with pytest.raises(ModelError, match="0 inputs of 640 x 640"):
        FaceDetector(default_mask_model().read_bytes())
    with pytest.raises(ModelError, match="cannot be loaded"):
        FaceDetector(bytes(100) + models.detector_file[100:])


def test_a_detector_of_any_size_stays_as_it_is(models: VisionModels) -> None:
    opened = of_any_size(models.detector_file)
    assert len(opened) == len(models.detector_file)
    assert of_any_size(opened) == opened


def test_the_detector_gives_the_same_face_at_any_frame_size(
    models: VisionModels, face: Callable[[str, int], Image]
) -> None:
    head = face("astronaut.png", 100)
    found = []
    for rows, columns, left, top in [
        (360, 640, 100, 50),
        (720, 1280, 700, 300),
        (500, 400, 50, 200),
    ]:
        frame = np.full((rows, columns, 3), 120, np.uint8)
        frame[top : top + head.shape[0], left : left + head.shape[1]] = head
        detections = models.detector(640, 360, 0.6).detect(frame)
        assert len(detections) == 1
        found.append(detections.landmarks[0] - [left, top])
    for landmarks in found[1:]:
        assert np.abs(landmarks - found[0]).max() < 6


def test_an_empty_picture_has_no_face(models: VisionModels) -> None:
    detector = models.detector(640, 360)
    for size in [(1, 1), (3, 2000), (360, 640)]:
        assert len(detector.detect(np.full((*size, 3), 90, np.uint8))) == 0


def test_small_faces_get_better_landmarks_from_a_patch_of_their_own(
    models: VisionModels, face: Callable[[str, int], Image]
) -> None:
    detector = models.detector(640, 360)
    large = np.full((720, 720, 3), 120, np.uint8)
    head = face("astronaut.png", 144)
    large[100 : 100 + head.shape[0], 100 : 100 + head.shape[1]] = head
    truth = (models.detector(640, 640).detect(large).landmarks[0] - 100) / 4
    small = face("astronaut.png", 36)
    coarse, fine = [], []
    for left in range(40, 1100, 53):
        frame = np.full((720, 1280, 3), 120, np.uint8)
        frame[301 : 301 + small.shape[0], left : left + small.shape[1]] = small
        found = detector.detect(frame)
        assert len(found) == 1
        refined = detector.refine(frame, found)
        assert (refined.boxes == found.boxes).all()
        coarse.append(np.abs(found.landmarks[0] - [left, 301] - truth).mean())
        fine.append(np.abs(refined.landmarks[0] - [left, 301] - truth).mean())
    assert np.mean(fine) < 0.6 * np.mean(coarse)


def test_what_is_no_face_keeps_its_place_and_loses_its_score(models: VisionModels) -> None:
    detector = models.detector(640, 360)
    frame = np.full((720, 1280, 3), 90, np.uint8)
    boxes = np.array([[1270, -10, 20, 25], [-900, 50, 20, 25], [600, 300, 1, 1]], np.float32)
    marks = np.random.default_rng(1).uniform(0, 700, (3, 5, 2)).astype(np.float32)
    nothing = Detections(boxes, marks, np.full(3, 0.5, np.float32))
    refined = detector.refine(frame, nothing)
    assert (refined.landmarks == marks).all()
    assert (refined.scores == 0).all()
    assert len(detector.refine(frame, Detections.none())) == 0


def test_small_masked_faces_are_found_where_heads_are(models: VisionModels, crops: CropSet) -> None:
    detector = models.detector(960, 540)
    rng = np.random.default_rng(3)
    masked = crops.images[crops.labels == 1][:96]
    whole, closer = [], []
    for scene in small_faces(masked, 24):
        whole.append(best_scores(detector.detect(scene.image), scene.boxes))
        found = detector.detect_in(scene.image, about(scene.boxes, rng))
        assert len(found) <= len(scene.boxes)
        assert (np.diff(found.scores) <= 0).all()
        closer.append(best_scores(found, scene.boxes))
    assert (np.concatenate(whole) >= 0.65).mean() < 0.2
    assert (np.concatenate(closer) >= 0.65).mean() >= 0.75


def test_no_face_is_found_twice(models: VisionModels, crops: CropSet) -> None:
    detector = models.detector(960, 540)
    (scene,) = small_faces(crops.images[crops.labels == 0][:3], 48)
    first = detector.detect(scene.image)
    assert len(first) == 3
    assert len(detector.detect_in(scene.image, scene.boxes)) == 3
    assert len(detector.detect_in(scene.image, scene.boxes, first)) == 0
    one = first.take(np.array([0]))
    assert len(detector.detect_in(scene.image, np.tile(scene.boxes, (7, 1)), one)) == 2


def test_a_face_found_closer_has_its_place_in_the_frame(
    models: VisionModels, face: Callable[[str, int], Image]
) -> None:
    frame = np.full((720, 1280, 3), 120, np.uint8)
    head = face("astronaut.png", 60)
    frame[400 : 400 + head.shape[0], 900 : 900 + head.shape[1]] = head
    detector = models.detector(1280, 720)
    known = detector.detect(frame)
    found = detector.detect_in(frame, known.boxes)
    assert np.abs(found.boxes - known.boxes).max() < 5
    assert np.abs(found.landmarks - known.landmarks).max() < 5.5  # coarse in the whole


def test_heads_in_no_place_or_off_the_picture_give_nothing(models: VisionModels) -> None:
    detector = models.detector(640, 360)
    frame = np.full((360, 640, 3), 90, np.uint8)
    assert len(detector.detect_in(frame, NOWHERE)) == 0
    odd = [[-900, 40, 20, 25], [600, 340, 90, 120], [np.nan, 0, 20, 20], [5, 5, 0, 0]]
    assert len(detector.detect_in(frame, np.array(odd, np.float32))) == 0


def test_bare_and_masked_faces_are_found_again_and_backs_of_heads_are_not(
    models: VisionModels, crops: CropSet
) -> None:
    detector = models.detector(960, 540)
    for label, least in ((0, 0.95), (1, 0.75)):
        kept = []
        for scene in small_faces(crops.images[crops.labels == label][:32], 32):
            marks = np.zeros((len(scene.boxes), 5, 2), np.float32)
            boxes = scene.boxes.astype(np.float32)
            faces = Detections(boxes, marks, np.full(len(boxes), 0.5, np.float32))
            kept.append(detector.refine(scene.image, faces).scores > 0)
        assert np.concatenate(kept).mean() >= least
    with np.load(DATA / "heads_from_behind.npz") as archive:
        offset, files, boxes = archive["offset"], archive["jpeg"], archive["box"]
    taken = []
    for number, box in enumerate(boxes):
        file = files[offset[number] : offset[number + 1]]
        picture = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
        head = Detections(box[None], np.zeros((1, 5, 2), np.float32), np.full(1, 0.6, np.float32))
        taken.append(detector.refine(picture, head).scores[0] > 0)
    assert len(taken) == 40
    assert sum(taken) <= 1
