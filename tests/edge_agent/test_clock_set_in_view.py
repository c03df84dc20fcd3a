"""A camera whose clock is set goes on seeing: everybody who walks past is a sighting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.capture import Frame
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models

HOUR, DAY = 3_600_000, 86_400_000
WALK_MS = 3_000  # somebody is in view for two seconds, then nobody for one
WALKS = 5
STEPS = {
    "an hour ahead for a while": {5_500: HOUR, 11_500: -HOUR},
    "an hour back": {5_500: -HOUR},
    "a day back": {8_500: -DAY},
    "a day ahead and back": {5_500: DAY, 8_500: -DAY},
    "to 1970 and on": {5_500: -1_700_000_000_000 + 60_000, 11_500: 1_700_000_000_000},
    "three seconds back": {5_500: -3_000},
}
IN_VIEW = {"ahead while somebody is in view": {4_000: HOUR}, "back then": {4_000: -HOUR}}


@pytest.fixture
def walks(clip: Any, face: Callable[[str, int], Image]) -> Callable[[dict[int, int]], Any]:
    """Frames of people who walk past one after the other, stamped by a clock that is set."""

    def film(steps: dict[int, int]) -> Iterator[Frame]:
        scene = clip(WALKS * WALK_MS / 1000)
        for number in range(WALKS):
            begin_s = number * WALK_MS / 1000
            patch = face(("obama.jpg", "biden.jpg")[number % 2], 70)
            scene.add(patch, (60 - begin_s * 60, 60), (60, 0), (begin_s, begin_s + 2))
        for frame in scene:
            true_ms = frame.captured_at_ms - scene.start_ms
            offset = sum(by for at, by in steps.items() if at <= true_ms)
            yield replace(frame, captured_at_ms=frame.captured_at_ms + offset)

    return film


def see(models: VisionModels, frames: Iterator[Frame]) -> list[Sighting]:
    pipeline = CameraPipeline(VisionConfig(), models, person_detectors=())
    found = [s for frame in frames for s in pipeline.process(frame)]
    open_tracks = pipeline.stats.tracks_open
    assert open_tracks <= 1, "tracks that never end are people who are never sealed"
    return found + pipeline.flush()


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_everybody_is_a_sighting_once(
    models: VisionModels, walks: Any, steps: dict[int, int]
) -> None:
    found = see(models, walks(steps))
    assert len(found) == WALKS
    assert all(s.templates for s in found)
    assert all(1_000 <= s.row.last_ms - s.row.first_ms <= 2_500 for s in found)


@pytest.mark.parametrize("steps", IN_VIEW.values(), ids=IN_VIEW)
def test_who_is_in_view_at_the_step_is_two_sightings(
    models: VisionModels, walks: Any, steps: dict[int, int]
) -> None:
    found = see(models, walks(steps))
    assert len(found) == WALKS + 1
    assert all(0 < s.row.last_ms - s.row.first_ms <= 2_500 for s in found)
