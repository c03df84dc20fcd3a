"""Strangers' heads put beside people of real footage, and what a still of these shows of them.

Where the stranger's face is, is known here exactly, whether a detector finds it or not: so it can
be looked for in the still, and compared, at its own place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmarks.bench_edge import BenchError
from benchmarks.bench_people import COUNTED, _images
from benchmarks.still_faces import Face, is_found
from edge_agent.stills.finishing import ENLARGED, LARGEST_LOOK_PX, finish
from edge_agent.stills.portrait import NoStill, Others, head_of, portray
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Doubles, Floats, Image
from edge_agent.vision.boxes import common_area
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.detector import FaceDetector
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import NO_BODY, faces_of_bodies, heads_of

HEIGHTS_PX = (20, 40, 80)
"""Of the stranger's face, in the frame of 480 x 270."""
PLACES = ((1.3, 0.0), (-1.3, 0.0), (1.2, 0.9), (-1.2, 0.9), (1.9, -0.2), (-1.9, 1.4), (0.2, 2.2))
"""Of its middle from the middle of the person's face, in widths and heights of both faces' mean."""


@dataclass(slots=True)
class Shown:
    """What the stills of some scenes show.

    `scenes` in which somebody stood, `refused` of them gave no still; in `own_found` the detector
    finds the person's own face. In `inside` of them the stranger's face lies in the picture by half
    or more, not on the person's; `found` of these show a face there to the detector; `vectors` are
    what the embedder makes of the place, and `people` who the strangers are.
    """

    scenes: int = 0
    refused: int = 0
    own_found: int = 0
    inside: int = 0
    found: int = 0
    vectors: list[Floats] = field(default_factory=list)
    people: list[int] = field(default_factory=list)


class _Eyes:
    """A camera's detectors, as its pipeline has them, and those that look at stills."""

    def __init__(self, models: VisionModels) -> None:
        config = VisionConfig()
        self.models = models
        self.faces = models.detector(
            config.detect_width, config.detect_height, config.continue_score
        )
        persons = models.person_detector(config.person_width, config.person_height)
        if persons is None:
            raise BenchError("the bundle has no person detector; run `make setup` again")
        self.persons = persons
        self.last = models.detector(LARGEST_LOOK_PX, LARGEST_LOOK_PX, config.continue_score)
        self.stills = models.detector(960, 960, config.continue_score)  # looks closer than that


def shown(
    models: VisionModels,
    faces: Sequence[Face],
    *,
    quick: bool = False,
    most: int | None = None,
) -> Shown:
    """Make the stills of scenes as a camera's pipeline does of one frame, and look at them.

    Args:
        models: of the bundle.
        faces: the strangers, and who they are.
        quick: fewer frames.
        most: scenes; None: all.

    Raises:
        BenchError: the bundle has no person detector.
    """
    eyes, result = _Eyes(models), Shown()
    strangers = [face for face in faces if face.source.endswith((".jpg", ".png"))]
    for scene in _scenes(eyes.faces, strangers, quick=quick):
        found, bodies = eyes.faces.detect(scene.image), eyes.persons.detect(scene.image)
        closer = eyes.faces.detect_in(scene.image, heads_of(bodies.boxes), found)
        found = found.and_these(closer)
        on_own = common_area(found.boxes, scene.own[None])[:, 0] / scene.own[2:].prod()
        if result.scenes == most:
            break
        if not (on_own > 0.5).any():
            continue
        row = int(np.argmax(on_own))
        body = int(faces_of_bodies(found.boxes, bodies.boxes)[row])
        others = Others(
            np.delete(found.boxes, row, axis=0).astype(np.float64),
            np.delete(bodies.boxes, [] if body == NO_BODY else [body], axis=0).astype(np.float64),
            np.zeros((0, 4)),
        )
        own = found.boxes[row].astype(np.float64)
        result.scenes += 1
        try:
            portrait = portray(
                scene.image, None if body == NO_BODY else bodies.boxes[body], own, others
            )
            data = finish(portrait, eyes.last)
        except NoStill:
            result.refused += 1
            continue
        picture = np.asarray(cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_COLOR))
        if portrait.face_box is not None:
            _look(np.asarray(picture, np.uint8), (own, portrait.face_box), scene, eyes, result)
    return result


@dataclass(frozen=True, slots=True)
class _Scene:
    image: Image
    own: Doubles
    stranger: Face
    box: Doubles
    points: Doubles


def _scenes(detector: FaceDetector, strangers: Sequence[Face], *, quick: bool) -> Iterator[_Scene]:
    number = 0
    for clip in COUNTED:
        for _, image in list(_images(clip))[:: 12 if quick else 6]:
            found = detector.detect(image)
            for own in found.boxes[found.scores > 0.8].astype(np.float64)[:2]:
                for height in HEIGHTS_PX:
                    for place in PLACES:
                        number += 1
                        yield _put(image, own, strangers[number % len(strangers)], height, place)


def _put(
    image: Image, own: Doubles, stranger: Face, height: int, place: tuple[float, float]
) -> _Scene:
    """Put a stranger's head, an ellipse around the face, into a frame."""
    patch, box, points = stranger.at(height)
    mean = (own[2:] + box[2:]) / 2
    middle = own[:2] + own[2:] / 2 + np.array(place) * mean
    corner = np.round(middle - box[:2] - box[2:] / 2).astype(int)
    head = head_of(box[None])[0]
    mask = np.zeros(patch.shape[:2], np.uint8)
    centre = head[:2] + head[2:] / 2
    cv2.ellipse(mask, (tuple(centre.tolist()), tuple(head[2:].tolist()), 0.0), 255, -1)
    made = image.copy()
    low = np.maximum(corner, 0)
    high = np.minimum(corner + patch.shape[1::-1], image.shape[1::-1])
    if (high > low).all():
        there = made[low[1] : high[1], low[0] : high[0]]
        rows = slice(low[1] - corner[1], high[1] - corner[1])
        columns = slice(low[0] - corner[0], high[0] - corner[0])
        chosen = mask[rows, columns] > 0
        there[chosen] = patch[rows, columns][chosen]
    offset = np.array([*corner, 0, 0])
    return _Scene(made, own, stranger, box + offset, points + corner)


def _look(
    picture: Image, own: tuple[Doubles, Doubles], scene: _Scene, eyes: _Eyes, result: Shown
) -> None:
    """Look where the stranger's face is in a still: `own` is the person's in frame and picture."""
    scale = own[1][2:] / own[0][2:]
    corner = own[1][:2]
    box = np.concatenate([(scene.box[:2] - own[0][:2]) * scale + corner, scene.box[2:] * scale])
    points = (scene.points - own[0][:2]) * scale + corner
    whole = np.array([[0.0, 0.0, picture.shape[1], picture.shape[0]]])
    result.own_found += is_found(picture, own[1], eyes.stills, ENLARGED)
    inside = common_area(box[None], whole)[0, 0] >= 0.5 * box[2:].prod()
    if not inside or common_area(box[None], own[1][None])[0, 0] > 0:
        return
    result.inside += 1
    result.found += is_found(picture, box, eyes.stills, ENLARGED)
    crop = align(picture, points[None].astype(np.float32))
    result.vectors.append(eyes.models.embedder.embed(crop, np.zeros(1, np.bool_))[0])
    result.people.append(scene.stranger.person)
