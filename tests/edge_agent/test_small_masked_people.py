"""Somebody far away with a mask, whose body is seen, is looked at closer: masked, not unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_detection import small_faces
from edge_agent.capture import Frame
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import BODY_HEADS, Bodies
from edge_agent.vision.pipeline import CameraPipeline
from models.mask_classifier.crops import load_crops
from protocol.sightings import MaskStatus

pytestmark = pytest.mark.models

HEIGHT_PX = 28
SEEN = 0.9


class SeesOne:
    """Says that somebody walks so that the face is where it was put, and looks at no picture."""

    face: tuple[float, float, float, float] = (0, 0, 1, 1)

    def detect(self, image: Image) -> Bodies:
        left, top, width, height = self.face
        body = [left - width, top - 0.35 * height, 3 * width, BODY_HEADS * height]
        return Bodies(np.array([body], np.float32), np.full(1, SEEN, np.float32))


def walk(crop: Image) -> Iterator[tuple[Frame, tuple[float, float, float, float]]]:
    """Two seconds of a small face that goes to the right, and where it is."""
    (scene,) = small_faces(crop[None], HEIGHT_PX)
    left, top, width, height = scene.boxes[0].tolist()
    for number in range(20):
        image = np.roll(scene.image, 3 * number, axis=1)
        yield (
            Frame(image, 1_700_000_000_000 + 100 * number, number),
            (
                left + 3 * number,
                top,
                width,
                height,
            ),
        )


def statuses(models: VisionModels, crops: list[Image], *, bodies: bool) -> list[MaskStatus]:
    found = []
    for crop in crops:
        person = SeesOne()
        detectors = [person] if bodies else []
        pipeline = CameraPipeline(VisionConfig(person_fps=5), models, person_detectors=detectors)
        sightings = []
        for frame, person.face in walk(crop):
            sightings += pipeline.process(frame)
        sightings += pipeline.flush()
        found += [one.row.mask for one in sightings]
    return found


def test_small_masked_faces_are_seen_to_be_masked_where_bodies_are(models: VisionModels) -> None:
    held_out = load_crops(Path(__file__).parents[1] / "data" / "mask_holdout.npz")
    masked = list(held_out.images[held_out.labels == 1][:8])
    by_faces = statuses(models, masked, bodies=False)
    by_bodies = statuses(models, masked, bodies=True)
    assert len(by_bodies) == len(masked)
    assert MaskStatus.UNMASKED not in by_bodies
    assert by_bodies.count(MaskStatus.MASKED) >= by_faces.count(MaskStatus.MASKED) + 3
