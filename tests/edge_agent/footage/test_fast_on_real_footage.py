"""What `--quality fast` finds on the real footage that is kept for tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from footage import BEGIN_MS, PEOPLE, footage

from edge_agent.capture import Frame
from edge_agent.footage.frames import STILL_S, Stir
from edge_agent.footage.quality import vision_for
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models


def see(
    models: VisionModels, clip: str, config: VisionConfig, wanted: Callable[[Frame], bool]
) -> list[Sighting]:
    pipeline = CameraPipeline(config, models)
    taken = [frame for frame in footage(clip) if wanted(frame)]
    return [one for frame in taken for one in pipeline.process(frame)] + pipeline.flush()


@pytest.mark.parametrize("clip", ["store-aisle", "classroom"])
def test_the_same_people_are_seen_for_as_long(models: VisionModels, clip: str) -> None:
    config, stir = VisionConfig(), Stir()
    full = see(models, clip, config, lambda frame: True)
    fast = see(
        models,
        clip,
        vision_for("fast", config),
        lambda frame: stir.is_due(frame.image, (frame.captured_at_ms - BEGIN_MS) / 1000),
    )
    assert len(fast) == len(full) == PEOPLE[clip]
    assert seconds(fast) == pytest.approx(seconds(full), rel=0.05)


def test_nobody_is_lost_where_hardly_anything_moves(models: VisionModels) -> None:
    last_ms = BEGIN_MS - 10_000

    def rarely(frame: Frame) -> bool:
        nonlocal last_ms
        if frame.captured_at_ms - last_ms < 1000 * STILL_S - 5:
            return False
        last_ms = frame.captured_at_ms
        return True

    found = see(models, "classroom", VisionConfig(), rarely)
    assert len(found) == PEOPLE["classroom"]


def seconds(found: list[Sighting]) -> float:
    """How long all of them were seen, together."""
    return sum(one.row.last_ms - one.row.first_ms for one in found) / 1000
