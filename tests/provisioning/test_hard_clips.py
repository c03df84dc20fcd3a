"""What the demo shows of masks and darkness, and that its promises can break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from demo.checks import Checks
from demo.clips import compose
from demo.hard_cases import check_dark, check_masked, hard_scenario
from demo.scenario import ClipTruth, Scenario, Scene, Step, Walker, truth_of
from protocol.v2.counts import Counts

TRUTH = truth_of(hard_scenario(), Path("clips"))
HIT = {"camera": "cam-4", "mask": "masked", "score": 0.7}
TWO_IN_THE_DARK = Counts(2, unmasked=1, unknown=1, at_once=(1, 0, 0))


def broken(checks: Checks) -> list[str]:
    """What was seen of the promises that did not hold."""
    return [check.seen for check in checks.listed if not check.held]


def test_the_hard_cases_are_what_the_demo_promises_of_them() -> None:
    masked, dark = TRUTH
    assert [(seen.who, seen.masked) for seen in masked.sightings] == [("obama", True)]
    assert "obama" not in {seen.who for seen in dark.sightings}
    assert [seen.masked for seen in dark.sightings] == [False, False]
    assert dark.contacts == ()


@pytest.mark.parametrize(
    ("hits", "seen"),
    [([HIT], []), ([], ["not found"]), ([{**HIT, "mask": "unmasked"}], ["unmasked, score 0.70"])],
)
def test_a_patient_who_is_missed_or_called_bare_breaks_the_promise(hits: Any, seen: Any) -> None:
    checks = Checks()
    check_masked(checks, hits)
    assert broken(checks) == seen


@pytest.mark.parametrize(
    ("hits", "counts"),
    [
        ([{**HIT, "camera": "cam-5"}], TWO_IN_THE_DARK),
        ([], Counts(1, unknown=1, at_once=(1, 0, 0))),
        ([], Counts(2, masked=1, unknown=1, at_once=(1, 0, 0))),
        ([], Counts(2, unmasked=2, at_once=(1, 0, 0))),
    ],
)
def test_a_match_or_a_mask_out_of_the_dark_breaks_the_promise(hits: Any, counts: Counts) -> None:
    checks = Checks()
    check_dark(checks, [HIT], {"cam-5": TWO_IN_THE_DARK}, TRUTH)
    assert broken(checks) == []
    check_dark(checks, hits, {"cam-5": counts}, TRUTH)
    assert len(broken(checks)) == 1


def frames_of(scene: Scene, photos: Path, folder: Path) -> list[NDArray[np.uint8]]:
    """Compose a scene and read it again."""
    clips: list[ClipTruth] = compose(Scenario("obama", "obama.jpg", (scene,)), photos, folder)
    video, frames = cv2.VideoCapture(str(clips[0].path)), []
    while (read := video.read())[0]:
        frames.append(read[1].astype(np.uint8))
    return frames


@pytest.mark.models
def test_a_scene_has_as_much_light_as_it_says(photos_path: Path, tmp_path: Path) -> None:
    walker = Walker("obama2.jpg", False, (Step(0.0, 600, 300, 120), Step(0.4, 600, 300, 120)))
    bright, dim = (
        frames_of(Scene("cam-1", 0.4, (walker,), light), photos_path, tmp_path / str(light))
        for light in ((1.0, 1.0), (0.5, 0.2))
    )
    of_day = [float(a.mean() / b.mean()) for a, b in zip(dim, bright, strict=True)]
    assert of_day == pytest.approx([0.5, 0.5, 0.2, 0.2], rel=0.12)
