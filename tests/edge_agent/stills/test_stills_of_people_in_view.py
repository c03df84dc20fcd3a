"""Of everybody who was a sighting there is one still with their face, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
import pytest
from footage import PEOPLE, footage

from edge_agent.capture import Frame
from edge_agent.stills.portrait import HEIGHT, WIDTH
from edge_agent.stills.portraits import Still
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Detections, Floats, Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from protocol.keytree import FACE
from protocol.sightings import dequantise_template
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models
RECOGNISED = 0.36  # about the threshold of a city; here strangers stay far below


def see(
    models: VisionModels, frames: Iterable[Frame], *, wanted: Callable[[], bool] = lambda: True
) -> tuple[list[Sighting], dict[bytes, Still]]:
    pipeline = CameraPipeline(VisionConfig(), models, stills=wanted)
    found = [sighting for frame in frames for sighting in pipeline.process(frame)]
    return found + pipeline.flush(), pipeline.take_stills()


def picture_of(still: Still) -> Image:
    decoded = cv2.imdecode(np.frombuffer(bytes(still.jpeg), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(decoded, np.uint8)


def faces_in(models: VisionModels, picture: Image) -> tuple[Image, Detections]:
    large = np.asarray(cv2.resize(picture, None, fx=2, fy=2), np.uint8)
    return large, models.detector(960, 960, 0.3).detect(large)


def embedded(models: VisionModels, image: Image, faces: Detections) -> Floats:
    crops = align(image, faces.landmarks)
    return np.asarray(models.embedder.embed(crops, np.zeros(len(crops), np.bool_)))


@pytest.mark.parametrize("clip", ["face-walking", "walking-and-pause"])
def test_the_still_shows_the_face_of_its_sighting_and_no_other(
    models: VisionModels, clip: str
) -> None:
    sightings, stills = see(models, footage(clip))
    assert stills.keys() == {one.sighting_id for one in sightings}
    assert len(stills) == PEOPLE[clip]
    templates = [
        dequantise_template(*one.templates[FACE]) if FACE in one.templates else None
        for one in sightings
    ]
    for row, sighting in enumerate(sightings):
        picture = picture_of(stills[sighting.sighting_id])
        assert picture.shape[0] <= HEIGHT
        assert picture.shape[1] <= WIDTH
        large, faces = faces_in(models, picture)
        assert len(faces) == 1
        vector = embedded(models, large, faces)[0]
        for other, template in enumerate(templates):
            if template is not None:
                assert (float(vector @ template) > RECOGNISED) == (row == other)


def test_people_who_show_only_their_back_have_a_still_without_any_face(
    models: VisionModels,
) -> None:
    _, stills = see(models, footage("store-aisle"))
    shown = [still for still in stills.values() if still.jpeg]
    assert len(shown) >= 2
    for still in shown:
        # The back of a head with a hat is a face to the detector, but never one to begin a track.
        found = faces_in(models, picture_of(still))[1]
        assert (found.scores < VisionConfig().begin_score).all()


def test_where_stills_are_not_permitted_nothing_is_kept_of_anybody(models: VisionModels) -> None:
    sightings, stills = see(models, footage("face-walking"), wanted=lambda: False)
    assert sightings
    assert stills == {}


def test_a_policy_that_permits_no_more_ends_what_is_kept_already(models: VisionModels) -> None:
    frames = list(footage("face-walking"))
    seen = 0

    def wanted() -> bool:
        return seen < len(frames) // 2

    pipeline = CameraPipeline(VisionConfig(), models, stills=wanted)
    sightings: list[Sighting] = []
    for seen, frame in enumerate(frames):  # noqa: B007 - read by `wanted`
        sightings += pipeline.process(frame)
    sightings += pipeline.flush()
    assert sightings
    assert all(not still.jpeg for still in pipeline.take_stills().values())


@pytest.mark.parametrize("height", [20, 40, 80])
def test_a_strangers_head_beside_the_persons_is_neither_found_nor_known(
    models: VisionModels, face: Callable[[str, int], Image], height: int
) -> None:
    """A head is put over the shoulder of who walks towards the camera, large or small."""
    stranger = face("biden.jpg", height)
    reference = embedded(models, *_only(models, face("biden.jpg", 160)))[0]
    frames = []
    for frame in footage("face-walking"):
        image = frame.image.copy()
        found = models.detector(960, 540, 0.6).detect(image)
        for left, top, width, tall in found.boxes[:1].tolist():
            _put(image, stranger, round(left + 1.3 * width), round(top + 0.5 * tall))
        frames.append(Frame(image, frame.captured_at_ms, frame.index))
    sightings, stills = see(models, frames)
    own = [
        one
        for one in sightings
        if FACE in one.templates
        and float(dequantise_template(*one.templates[FACE]) @ reference) < RECOGNISED
    ]
    shown = [stills[one.sighting_id] for one in own if stills[one.sighting_id].jpeg]
    assert shown
    for still in shown:
        large, faces = faces_in(models, picture_of(still))
        assert len(faces) <= 1
        for vector in embedded(models, large, faces):
            assert float(vector @ reference) < RECOGNISED


def _only(models: VisionModels, image: Image) -> tuple[Image, Detections]:
    found = models.detector(640, 640, 0.5).detect(image)
    return image, found.take(np.array([0]))


def _put(image: Image, head: Image, x: int, y: int) -> None:
    low_x, low_y = max(0, x), max(0, y)
    high_x, high_y = min(image.shape[1], x + head.shape[1]), min(image.shape[0], y + head.shape[0])
    if high_x > low_x and high_y > low_y:
        image[low_y:high_y, low_x:high_x] = head[low_y - y : high_y - y, low_x - x : high_x - x]
