"""In the dark nobody is taken for somebody else, and no bare face for a masked one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.camera import CameraWorker
from edge_agent.capture import Frame
from edge_agent.config import CameraConfig
from edge_agent.coverage import View
from edge_agent.seal import SealerStats
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from protocol.keytree import FACE
from protocol.sightings import MaskStatus, dequantise_template
from protocol.v2.sightings import Sighting
from runtime.bundle import Bundle

pytestmark = pytest.mark.models

WALKERS = ("obama.jpg", "biden.jpg", "astronaut.png")


def seen_at(
    light: float, models: VisionModels, face: Callable[[str, int], Image], clip: Any
) -> list[Sighting]:
    """Three strangers pass one after the other in so much of the light."""
    sightings: list[Sighting] = []
    for name in WALKERS:
        pipeline = CameraPipeline(VisionConfig(), models)
        scene = clip(2.0).add(face(name, 90), (60, 60), (60, 0))
        for frame in in_the_dark(scene, light):
            sightings += pipeline.process(frame)
        sightings += pipeline.flush()
    return sightings


def in_the_dark(scene: Any, light: float) -> Iterator[Frame]:
    rng = np.random.default_rng(9)
    for frame in scene:
        seen = frame.image * np.float32(light) + rng.normal(0, 2, frame.image.shape)
        yield replace(frame, image=np.clip(np.rint(seen), 0, 255).astype(np.uint8))


def test_at_a_quarter_of_the_light_strangers_stay_strangers_and_bare_faces_bare(
    models: VisionModels, bundle: Bundle, face: Callable[[str, int], Image], clip: Any
) -> None:
    sightings = seen_at(0.25, models, face, clip)
    assert len(sightings) == len(WALKERS)
    assert MaskStatus.MASKED not in {one.row.mask for one in sightings}
    templates = [
        dequantise_template(*one.templates[FACE]) for one in sightings if FACE in one.templates
    ]
    assert len(templates) >= 2
    threshold = bundle.entries("face_embedder")[0].threshold
    assert threshold is not None
    scores = np.array(templates) @ np.array(templates).T
    assert scores[np.triu_indices(len(templates), 1)].max() < threshold


def test_at_seven_percent_nothing_is_known_of_anybody(
    models: VisionModels, face: Callable[[str, int], Image], clip: Any
) -> None:
    for sighting in seen_at(0.07, models, face, clip):
        assert sighting.row.mask is MaskStatus.UNKNOWN
        assert sighting.templates == {}


class Taking:
    """Takes sightings and what was covered, as a sealer does."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self.covered_ms: Counter[View] = Counter()

    def add(
        self, sightings: list[Sighting], _now_ms: int, *, origin_ms: int | None, stills: object
    ) -> None:
        assert origin_ms is None
        self.sightings += sightings

    def cover(self, view: View, from_ms: int, until_ms: int, *, origin_ms: int | None) -> None:
        self.covered_ms[view] += until_ms - from_ms

    def stats(self) -> SealerStats:
        return SealerStats(0, 0, 0, "")


def test_a_camera_whose_light_goes_out_gives_no_sightings_until_it_is_back(
    models: VisionModels, face: Callable[[str, int], Image], clip: Any, tmp_path: Path
) -> None:
    scene = clip(6.0, fps=5, size=(240, 320)).add(face("obama.jpg", 90), (60, 20), (4, 0))
    for number, frame in enumerate(scene):
        dark = 10 <= number < 20
        image = np.minimum(frame.image // 6, 11) if dark else frame.image
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), image)
    taken: Any = Taking()
    worker = CameraWorker(
        CameraConfig(name="cam-1", source=f"folder:{tmp_path}?fps=5", pace="fast"),
        vision=VisionConfig(),
        models=models,
        sealer=taken,
    )
    worker.run()
    assert worker.failure == ""
    assert taken.covered_ms[View.DARK] == pytest.approx(2000, abs=1000)  # looked at each second
    first, second = taken.sightings
    assert second.row.first_ms - first.row.last_ms == pytest.approx(2200, abs=1000)
