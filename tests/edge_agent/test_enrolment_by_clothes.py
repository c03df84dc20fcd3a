"""A picture of a person gives a template of their clothes, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.enrol import EnrolmentError, NotAnImage
from edge_agent.enrol_clothes import box_of, template_from_body
from edge_agent.vision.appearance import BodyCrops
from edge_agent.vision.arrays import Doubles, Floats

BOX = "100,20,80,200"


class MeanColour:
    """A network of three numbers: what colour most of a crop has."""

    model_id = "colour-3@00000000"
    dimension = 3

    def embed(self, crops: BodyCrops) -> Floats:
        means = crops.reshape(len(crops), -1, 3).mean(axis=1)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Somebody in red and dark, before a blue wall."""
    image = np.full((240, 320, 3), (200, 90, 60), np.uint8)
    image[20:120, 100:180] = (40, 40, 190)
    image[120:220, 100:180] = (40, 35, 35)
    return saved(tmp_path, image)


def saved(folder: Path, image: np.ndarray) -> Path:
    path = folder / "picture.png"
    cv2.imwrite(str(path), image)
    return path


def test_only_what_the_box_holds_is_described(picture: Path) -> None:
    made = template_from_body(picture, box_of(BOX), MeanColour())
    blue, green, red = made.vector.tolist()
    assert red > 2 * max(blue, green)
    assert abs(float(np.linalg.norm(made.vector)) - 1) < 1e-5
    assert (made.modality, made.model_id) == ("appearance", "colour-3@00000000")
    assert 0 < made.quality <= 1
    made.wipe()
    assert not made.vector.any()


def test_without_a_box_the_picture_is_the_person(picture: Path, tmp_path: Path) -> None:
    whole = np.asarray(cv2.imread(str(picture)), np.uint8)[20:220, 100:180]
    made = template_from_body(picture, box_of(BOX), MeanColour())
    cut = template_from_body(saved(tmp_path, whole), None, MeanColour())
    assert made.vector @ cut.vector > 0.999


@pytest.mark.parametrize(
    ("box", "why"),
    [
        (np.array([100, 20, 20, 40.0]), "40 px tall"),
        (np.array([0, 20, 320, 100.0]), "too little of a standing person"),
        (np.array([300, 20, 80, 200.0]), "too little of a standing person"),
    ],
)
def test_too_little_of_a_person_is_refused(picture: Path, box: Doubles, why: str) -> None:
    with pytest.raises(EnrolmentError, match=why):
        template_from_body(picture, box, MeanColour())


def test_in_the_dark_nobody_has_colours(picture: Path, tmp_path: Path) -> None:
    image = np.asarray(cv2.imread(str(picture)), np.uint8)
    with pytest.raises(EnrolmentError, match="too dark"):
        template_from_body(saved(tmp_path, image // 12), box_of(BOX), MeanColour())


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,four", "1,2,0,9", "1,2,3,nan", "1,2,3,4,5"])
def test_what_is_no_box_is_refused(text: str) -> None:
    with pytest.raises(EnrolmentError, match="left, top, width and height"):
        box_of(text)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("nothing to see")
    with pytest.raises(NotAnImage, match=r"letter\.txt"):
        template_from_body(path, None, MeanColour())
