"""What `--quality fast` finds on the real footage that is kept for tests."""

from __future__ import annotations

import pytest
from footage import PEOPLE, footage

from edge_agent.footage.quality import vision_for
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models


def see(models: VisionModels, clip: str, config: VisionConfig) -> list[Sighting]:
    pipeline = CameraPipeline(config, models)
    return [one for frame in footage(clip) for one in pipeline.process(frame)] + pipeline.flush()


@pytest.mark.parametrize("clip", ["store-aisle", "classroom"])
def test_the_same_people_are_seen_for_as_long(models: VisionModels, clip: str) -> None:
    full = see(models, clip, VisionConfig())
    fast = see(models, clip, vision_for("fast", VisionConfig()))
    assert len(fast) == len(full) == PEOPLE[clip]
    assert seconds(fast) == pytest.approx(seconds(full), rel=0.05)


def seconds(found: list[Sighting]) -> float:
    """How long all of them were seen, together."""
    return sum(one.row.last_ms - one.row.first_ms for one in found) / 1000
