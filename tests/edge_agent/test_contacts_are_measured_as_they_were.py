"""A film whose truth is known goes through box and officer, and each contact comes out as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.bench_contacts import films, measure
from edge_agent.capture import Frame
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import Bodies
from edge_agent.vision.pipeline import CameraPipeline
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models

BEGIN_MS = 1_700_000_000_000


@pytest.mark.parametrize("seed", [1, 2002])
def test_130_seconds_beside_one_are_one_contact_though_others_pass_before(
    models: VisionModels, seed: int
) -> None:
    """The second film is one in which the tracker loses both more than once."""
    film = replace(films()["130 s, others pass before"], seed=seed)
    found = measure(film, models)
    assert (found.split, found.merged) == (0, 0)
    assert len(found.true_s) == 2
    assert found.worst < 0.05


class Blinking:
    """Sees two people stand side by side, but for some moments."""

    def __init__(self, *unseen: tuple[float, float]) -> None:
        self._unseen = unseen
        self.now_s = 0.0

    def detect(self, image: Image) -> Bodies:
        boxes = [(120.0, 20.0, 28.0, 90.0)]
        if not any(low <= self.now_s < high for low, high in self._unseen):
            boxes.append((180.0, 20.0, 28.0, 90.0))
        return Bodies(np.array(boxes, np.float32), np.full(len(boxes), 0.9, np.float32))


def watch(models: VisionModels, eyes: Blinking, seconds: float) -> Sequence[Sighting]:
    config = VisionConfig(detect_width=64, detect_height=64, detect_fps=2, person_fps=2)
    pipeline = CameraPipeline(config, models, person_detectors=[eyes])
    seen: list[Sighting] = []
    for number in range(round(seconds * 2)):
        eyes.now_s = number / 2
        image = np.full((128, 320, 3), 90, np.uint8)
        seen += pipeline.process(Frame(image, BEGIN_MS + 500 * number, number))
    return [*seen, *pipeline.flush()]


def test_who_is_lost_at_the_cut_of_a_minute_goes_on_as_the_same_person(
    models: VisionModels,
) -> None:
    seen = watch(models, Blinking((59.5, 61.0), (62.5, 64.5)), 90)
    assert len({one.episode for one in seen}) == 2
    companion = [one for one in seen if any(one.row.first_ms > o.row.first_ms for o in seen)]
    assert all(one.row.continues is not None for one in companion if one.row.first_ms > BEGIN_MS)
    met = [encounter for one in seen for encounter in one.row.encounters]
    assert {encounter.other_episode for encounter in met} == {one.episode for one in seen}
    assert sum(encounter.within_s for encounter in met) / 2 == pytest.approx(89.5, abs=2)


def test_who_is_away_for_longer_is_somebody_else_as_far_as_the_board_can_tell(
    models: VisionModels,
) -> None:
    seen = watch(models, Blinking((20.0, 26.0)), 40)
    assert len({one.episode for one in seen}) == 3
