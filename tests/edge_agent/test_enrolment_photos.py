"""A template from photographs, and for each photograph that gives none the reason."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.drawn_mask import draw_mask
from edge_agent.enrol import (
    EnrolmentError,
    FaceMasked,
    FaceTooPoor,
    FaceTooSmall,
    NoFaceFound,
    NotAnImage,
    PhotosDisagree,
    SeveralFacesFound,
    template_from_photos,
)
from edge_agent.vision.arrays import Image
from edge_agent.vision.models import VisionModels
from models.photos import photograph

pytestmark = pytest.mark.models


@pytest.fixture
def obama(photos_path: Path) -> Image:
    return np.asarray(cv2.imread(str(photos_path / "obama.jpg")), np.uint8)


def save(folder: Path, image: Image) -> Path:
    path = folder / "photo.png"
    cv2.imwrite(str(path), image)
    return path


def shrunk(image: Image, factor: float) -> Image:
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def test_photos_of_one_person_agree_and_fuse(photos_path: Path, models: VisionModels) -> None:
    photos = [photos_path / name for name in ("obama.jpg", "obama2.jpg", "obama3.jpg")]
    fused = template_from_photos(photos, models)
    assert fused.model_id == models.model_id
    assert fused.vector.dtype == np.float32
    assert abs(float(np.linalg.norm(fused.vector)) - 1) < 1e-5
    assert fused.agreement > 0.6
    assert 0.5 < fused.quality <= 1
    for photo in photos:
        single = template_from_photos([photo], models)
        assert single.vector @ fused.vector > 0.85
        assert single.agreement == 1.0
    stranger = template_from_photos([photos_path / "biden.jpg"], models)
    assert stranger.vector @ fused.vector < 0.3
    fused.wipe()
    assert not fused.vector.any()


def test_size_and_tilt_of_the_photo_hardly_matter(
    tmp_path: Path, obama: Image, photos_path: Path, models: VisionModels
) -> None:
    reference = template_from_photos([photos_path / "obama.jpg"], models).vector
    height, width = obama.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1.0)
    turned = np.asarray(cv2.warpAffine(obama, turn, (width, height)), np.uint8)
    close = obama[60:560, 250:720]  # the face fills the photo
    for image in (shrunk(obama, 0.4), turned, close):
        vector = template_from_photos([save(tmp_path, image)], models).vector
        assert vector @ reference > 0.8


def test_photos_of_two_people_are_refused(photos_path: Path, models: VisionModels) -> None:
    photos = [photos_path / name for name in ("obama.jpg", "biden.jpg", "obama2.jpg")]
    with pytest.raises(PhotosDisagree, match=r"biden\.jpg"):
        template_from_photos(photos, models)
    with pytest.raises(PhotosDisagree, match="same person"):
        template_from_photos(photos[:2], models)


def test_a_photo_with_a_mask_is_refused_unless_it_is_wanted(
    tmp_path: Path, obama: Image, photos_path: Path, models: VisionModels
) -> None:
    masked = save(tmp_path, draw_mask(obama, photograph("obama.jpg").landmarks))
    with pytest.raises(FaceMasked, match=r"wears a mask.*--masked"):
        template_from_photos([masked], models)
    taken = template_from_photos([masked], models, masked=True).vector
    bare = template_from_photos([photos_path / "obama2.jpg"], models, masked=True).vector
    stranger = template_from_photos([photos_path / "biden.jpg"], models).vector
    assert taken @ bare > taken @ stranger + 0.2


def test_two_faces_in_a_photo_are_refused(
    tmp_path: Path, obama: Image, photos_path: Path, models: VisionModels
) -> None:
    other = cv2.imread(str(photos_path / "biden.jpg"))
    other = cv2.resize(np.asarray(other), (obama.shape[1], obama.shape[0]))
    with pytest.raises(SeveralFacesFound, match="2 faces"):
        template_from_photos(
            [save(tmp_path, np.asarray(np.hstack([obama, other]), np.uint8))], models
        )


def test_a_photo_without_a_face_is_refused(tmp_path: Path, models: VisionModels) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (400, 300, 3), np.uint8)
    for image in (noise, np.full((1, 1, 3), 9, np.uint8), np.full((20, 3000, 3), 9, np.uint8)):
        with pytest.raises(NoFaceFound, match="frontal"):
            template_from_photos([save(tmp_path, image)], models)


def test_a_face_too_small_or_blurred_is_refused(
    tmp_path: Path, obama: Image, models: VisionModels
) -> None:
    with pytest.raises(FaceTooSmall, match="px"):
        template_from_photos([save(tmp_path, shrunk(obama, 0.15))], models)
    blurred = np.asarray(cv2.GaussianBlur(obama, (0, 0), 18), np.uint8)
    with pytest.raises(FaceTooPoor, match="blurred"):
        template_from_photos([save(tmp_path, blurred)], models)


def test_files_that_are_no_photo_are_refused(
    tmp_path: Path, photos_path: Path, models: VisionModels
) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("a face" * 100)
    (tmp_path / "cut.png").write_bytes((photos_path / "astronaut.png").read_bytes()[:200])
    for name in ("empty.jpg", "text.jpg", "cut.png", "missing.jpg", "."):
        with pytest.raises(NotAnImage, match=re.escape(f"photo {tmp_path / name}")):
            template_from_photos([tmp_path / name], models)


def test_no_photo_and_too_many_are_refused(photos_path: Path, models: VisionModels) -> None:
    with pytest.raises(EnrolmentError, match="at least one"):
        template_from_photos([], models)
    with pytest.raises(EnrolmentError, match="too many"):
        template_from_photos([photos_path / "obama.jpg"] * 17, models)
