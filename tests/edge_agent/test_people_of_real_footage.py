"""On real footage everybody who is seen by eye is one sighting, from whatever side."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import cv2
import numpy as np
import pytest
from footage import BEGIN_MS, PEOPLE, footage

from edge_agent.capture import Frame
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models


def see(models: VisionModels, *frames: Frame) -> list[Sighting]:
    pipeline = CameraPipeline(VisionConfig(), models)
    found = [sighting for frame in frames for sighting in pipeline.process(frame)]
    return sorted(found + pipeline.flush(), key=lambda one: one.row.first_ms)


@pytest.mark.parametrize("clip", sorted(PEOPLE))
def test_everybody_counted_by_eye_is_one_sighting(models: VisionModels, clip: str) -> None:
    found = see(models, *footage(clip))
    assert len(found) == PEOPLE[clip]
    for one in found:
        others = {met.other_id for met in one.row.encounters}
        assert one.sighting_id not in others, "nobody is their own contact"
        assert len(others) == len(one.row.encounters)
        assert all(met.within_s >= 1 for met in one.row.encounters)


def test_a_pattern_on_a_shirt_is_nobody_and_no_contact(models: VisionModels) -> None:
    """Enlarged to 720 lines, a strip of a man's shirt is a face to the detector, now and then."""
    walk = [cv2.resize(frame.image, (1280, 720)) for frame in footage("face-walking")]
    there_and_back = (walk + walk[-2:0:-1] + walk)[:30]
    found = see(
        models,
        *(
            Frame(np.asarray(image, np.uint8).copy(), BEGIN_MS + 200 * index, index)
            for index, image in enumerate(there_and_back)
        ),
    )
    assert len(found) == PEOPLE["face-walking"]
    assert all(one.templates for one in found)
    assert all(len(one.row.encounters) <= 1 for one in found)


def test_who_shows_only_the_back_is_a_contact_of_who_stands_beside(models: VisionModels) -> None:
    first, second, third = see(models, *footage("store-aisle"))
    beside = {met.other_id for met in first.row.encounters}
    assert second.sighting_id in beside
    assert third.row.first_ms - first.row.first_ms > 1000, "the third comes later"


def test_a_cut_to_another_scene_ends_everybody(models: VisionModels) -> None:
    one, other = list(footage("walking-and-pause")), list(footage("head-pose-two-people"))
    later_ms = one[-1].captured_at_ms + 200 - other[0].captured_at_ms
    moved = (replace(frame, captured_at_ms=frame.captured_at_ms + later_ms) for frame in other)
    found = see(models, *chain(one, moved))
    assert len(found) == PEOPLE["walking-and-pause"] + PEOPLE["head-pose-two-people"]
    cut_ms = one[-1].captured_at_ms
    assert all(one.row.last_ms <= cut_ms or one.row.first_ms > cut_ms for one in found)


def test_a_poster_is_nobody_though_it_shows_a_person(models: VisionModels) -> None:
    """A frame of the footage, hung up: it has a camera's noise, light that changes, no movement."""
    rng = np.random.default_rng(4)
    picture = next(footage("walking-and-pause")).image.astype(np.float64)
    wall = np.full((540, 960, 3), 120.0)
    wall[150:420, 240:720] = picture
    frames = []
    for index in range(40):
        light = 1 + 0.05 * np.sin(index / 9)
        image = wall * light + rng.normal(0, 4, wall.shape)
        frames.append(Frame(np.clip(image, 0, 255).astype(np.uint8), BEGIN_MS + 200 * index, index))
    assert see(models, *frames) == []
    swaying = [
        replace(frame, image=np.roll(frame.image, round(8 * np.sin(index / 3)), axis=1))
        for index, frame in enumerate(frames)
    ]
    assert len(see(models, *swaying)) == PEOPLE["walking-and-pause"]


def test_light_that_is_switched_off_ends_nobody(models: VisionModels) -> None:
    frames = list(footage("face-walking"))
    half = len(frames) // 2
    dimmed = [replace(frame, image=(0.6 * frame.image).astype(np.uint8)) for frame in frames[half:]]
    assert len(see(models, *frames[:half], *dimmed)) == PEOPLE["face-walking"]
