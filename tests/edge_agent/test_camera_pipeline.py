"""From frames of walking people to sightings: who, when, masked or not, and with whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.enrol import template_from_photos
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import EncounterConfig, VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from protocol.keytree import FACE
from protocol.sightings import MaskStatus, dequantise_template
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models

Face = Callable[[str, int], Image]
Vector = NDArray[np.float32]
SAME_PERSON = 0.6  # cosine far above the threshold and any stranger's here


@pytest.fixture(scope="module")
def references(photos_path: Path, models: VisionModels) -> dict[str, Vector]:
    """Templates of the three people, from photos other than those in the clips where possible."""
    photos = {"obama": "obama2.jpg", "biden": "biden.jpg", "astronaut": "astronaut.png"}
    return {
        name: template_from_photos([photos_path / photo], models).vector
        for name, photo in photos.items()
    }


def run(pipeline: CameraPipeline, clip: Any) -> list[Sighting]:
    sightings: list[Sighting] = []
    for frame in clip:
        sightings += pipeline.process(frame)
    return sightings + pipeline.flush()


def who(sighting: Sighting, references: dict[str, Vector]) -> str:
    template = dequantise_template(*sighting.templates[FACE])
    scores = {name: float(template @ vector) for name, vector in references.items()}
    best = max(scores, key=lambda name: scores[name])
    assert scores[best] > SAME_PERSON
    assert sorted(scores.values())[-2] < 0.36
    return best


def with_mask(head: Image, models: VisionModels) -> Image:
    """Draw a surgical mask over the lower half of a face."""
    height, width = head.shape[:2]
    padded = cv2.copyMakeBorder(head, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    found = models.detector(640, 640, 0.6).detect(np.asarray(padded, np.uint8))
    eyes, nose = found.landmarks[0, :2] - 40, found.landmarks[0, 2] - 40
    left, top, w, h = found.boxes[0]
    left, top = left - 40, top - 40
    middle = (eyes.mean(axis=0) + nose) / 2
    outline = np.array(
        [
            [left + 0.02 * w, middle[1]],
            [middle[0], middle[1] - 0.03 * h],
            [left + 0.98 * w, middle[1]],
            [left + 0.9 * w, top + 0.86 * h],
            [middle[0], top + 1.02 * h],
            [left + 0.1 * w, top + 0.86 * h],
        ]
    )
    masked = head.copy()
    cv2.fillPoly(masked, [np.round(outline).astype(np.int32)], (225, 190, 150), cv2.LINE_AA)
    for share in (0.3, 0.5, 0.7):
        y = round(middle[1] + share * (top + h - middle[1]))
        cv2.line(masked, (round(left + 0.1 * w), y), (round(left + 0.9 * w), y), (195, 160, 120), 1)
    assert masked.shape == (height, width, 3)
    return masked


def test_each_walker_is_one_sighting_that_names_its_person(
    models: VisionModels, face: Face, clip: Any, references: dict[str, Vector]
) -> None:
    scene = (
        clip(4.0)
        .add(face("obama.jpg", 55), (20, 30), (90, 0))
        .add(face("biden.jpg", 50), (500, 200), (-100, 0))
    )
    pipeline = CameraPipeline(VisionConfig(), models)
    sightings = run(pipeline, scene)
    assert sorted(who(s, references) for s in sightings) == ["biden", "obama"]
    assert len({s.sighting_id for s in sightings}) == 2
    for sighting in sightings:
        assert sighting.row.first_ms - scene.start_ms <= 400
        assert sighting.row.last_ms - sighting.row.first_ms >= 2500
        assert 0.4 < sighting.row.quality <= 1
        assert sighting.row.mask is MaskStatus.UNMASKED
        assert sighting.row.mask_confidence > 0.5
        assert sighting.row.networks[models.modality] == models.model_id
        assert sighting.row.networks == {one: models.models[one] for one in sighting.templates}
    stats = pipeline.stats
    assert stats.frames == 40
    assert 19 <= stats.processed <= 21
    assert stats.tracks_open == 0
    assert stats.stages["embed"].runs == 2  # once for a track, never for a frame


def test_a_mask_is_seen_and_the_person_may_still_be_known(
    models: VisionModels, face: Face, clip: Any
) -> None:
    scene = clip(3.0).add(with_mask(face("obama.jpg", 80), models), (60, 60), (100, 0))
    sightings = run(CameraPipeline(VisionConfig(), models), scene)
    assert [s.row.mask for s in sightings] == [MaskStatus.MASKED]
    network = sightings[0].row.networks[models.modality]
    assert network == models.embedder.networks(np.array([True]))
    assert network != models.model_id, "it was made by the network that knows masks"
    assert FACE in sightings[0].templates


def test_people_side_by_side_have_an_encounter_that_both_report(
    models: VisionModels, face: Face, clip: Any
) -> None:
    masked = with_mask(face("biden.jpg", 70), models)
    scene = (
        clip(4.0)
        .add(face("obama.jpg", 70), (40, 60), (40, 0))
        .add(masked, (220, 60), (40, 0), (0.0, 2.4))  # leaves first
    )
    first, last = run(CameraPipeline(VisionConfig(), models), scene)
    assert first.row.last_ms < last.row.last_ms
    (of_first,), (of_last,) = first.row.encounters, last.row.encounters
    assert of_first.other_id == last.sighting_id
    assert of_last.other_id == first.sighting_id
    # The first one's sighting was made while the other was still in view, and knows its mask.
    (of_other,) = of_first.other_masks
    assert of_other.status is MaskStatus.UNMASKED
    (of_other,) = of_last.other_masks
    assert of_other.status is MaskStatus.MASKED
    assert of_other.confidence == first.row.mask_confidence
    assert of_last.masks == of_first.other_masks
    for encounter in (of_first, of_last):
        assert encounter.nearest_m is not None
        assert encounter.median_m is not None
        assert 0.2 < encounter.nearest_m <= encounter.median_m < 1.5
        assert 1.4 <= encounter.within_s <= 2.4
        assert encounter.last_ms - encounter.first_ms == round(1000 * encounter.within_s)
    assert of_first.within_s == of_last.within_s
    assert (of_first.other_episode, of_last.other_episode) == (last.episode, first.episode)


def test_people_out_of_reach_have_no_encounter(models: VisionModels, face: Face, clip: Any) -> None:
    scene = clip(2.0).add(face("obama.jpg", 70), (20, 60)).add(face("biden.jpg", 70), (440, 60))
    config = VisionConfig(encounters=EncounterConfig(reach_m=0.5))
    sightings = run(CameraPipeline(config, models), scene)
    assert [s.row.encounters for s in sightings] == [(), ()]


def test_a_glimpse_is_discarded_and_counted(models: VisionModels, face: Face, clip: Any) -> None:
    scene = clip(2.0).add(face("obama.jpg", 60), (60, 60), (0, 0), (0.5, 0.75))
    pipeline = CameraPipeline(VisionConfig(), models)
    assert run(pipeline, scene) == []
    assert pipeline.stats.tracks_discarded == 1


def test_what_the_detector_is_never_sure_of_is_discarded(
    models: VisionModels, face: Face, clip: Any
) -> None:
    scene = clip(2.0).add(face("obama.jpg", 60), (60, 60), (30, 0))
    config = VisionConfig(confirm_score=0.99, person_confirm_score=0.99)
    pipeline = CameraPipeline(config, models)
    assert run(pipeline, scene) == []
    assert pipeline.stats.tracks_discarded == 1


def test_a_face_too_small_to_know_is_a_sighting_without_template(
    models: VisionModels, face: Face, clip: Any
) -> None:
    scene = clip(3.0).add(face("obama.jpg", 60), (60, 60), (60, 0))
    pipeline = CameraPipeline(VisionConfig(min_eyes_px=60), models)
    (sighting,) = run(pipeline, scene)
    assert sighting.templates == {}
    assert (sighting.row.mask, sighting.row.mask_confidence) == (MaskStatus.UNKNOWN, 0.0)
    assert pipeline.stats.without_template == 1


def test_who_stays_gives_several_sightings_of_bounded_length(
    models: VisionModels, face: Face, clip: Any, references: dict[str, Vector]
) -> None:
    scene = clip(7.0).add(face("astronaut.png", 60), (100, 60), (10, 0))
    sightings = run(CameraPipeline(VisionConfig(max_length_s=3), models), scene)
    assert len(sightings) >= 2
    assert {who(s, references) for s in sightings[:2]} == {"astronaut"}
    assert all(s.row.last_ms - s.row.first_ms <= 3000 for s in sightings)


def test_a_camera_that_falls_silent_still_gives_its_sightings(
    models: VisionModels, face: Face, clip: Any
) -> None:
    scene = clip(2.0).add(face("obama.jpg", 60), (60, 60), (60, 0))
    pipeline = CameraPipeline(VisionConfig(), models)
    frames = list(scene)
    assert [s for frame in frames for s in pipeline.process(frame)] == []
    assert pipeline.expire(frames[-1].captured_at_ms + 500) == []
    assert len(pipeline.expire(frames[-1].captured_at_ms + 1500)) == 1


def test_frames_of_changing_size_and_a_clock_set_back_do_no_harm(
    models: VisionModels, face: Face, clip: Any
) -> None:
    pipeline = CameraPipeline(VisionConfig(), models)
    large = clip(1.5, size=(720, 1280)).add(face("obama.jpg", 120), (60, 60))
    earlier = clip(1.5, start_ms=1_600_000_000_000).add(face("obama.jpg", 60), (30, 30))
    sightings = run(pipeline, [*large, *earlier])
    assert sightings
    assert all(s.row.first_ms <= s.row.last_ms for s in sightings)


def test_nothing_of_a_closed_track_is_left(models: VisionModels, face: Face, clip: Any) -> None:
    scene = (
        clip(3.0)
        .add(face("obama.jpg", 60), (60, 60), (30, 0), (0.0, 1.5))
        .add(face("biden.jpg", 60), (220, 60), (30, 0))
    )
    pipeline = CameraPipeline(VisionConfig(), models)
    galleries = []
    for frame in scene:
        galleries += [t.gallery for t in pipeline._tracks.values() if t.gallery not in galleries]
        pipeline.process(frame)
    assert len(galleries) == 2
    assert any(gallery._crops.any() for gallery in galleries)
    pipeline.flush()
    assert not any(gallery._crops.any() for gallery in galleries)
    assert not pipeline._tracks
    assert not pipeline._closed
    assert len(pipeline._book) == 0
