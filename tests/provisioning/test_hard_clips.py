"""What the demo shows of masks, darkness and backs turned, and that its promises can break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from demo.checks import Checks
from demo.clips import compose
from demo.hard_cases import (
    check_dark,
    check_followed,
    check_masked,
    check_turned_away,
    hard_scenario,
)
from demo.scenario import FROM_BEHIND, ClipTruth, Scenario, Scene, Step, Walker, truth_of
from edge_agent.capture import Frame
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import load_models
from edge_agent.vision.pipeline import CameraPipeline
from protocol.keytree import FACE
from protocol.sightings import MaskStatus
from protocol.v2.counts import Counts
from runtime.bundle import load_bundle

TRUTH = truth_of(hard_scenario(), Path("clips"))
TURNED = {"mask": "unknown", "distance_m": 0.8, "seconds": 9.5}
HIT = {"camera": "cam-4", "mask": "masked", "score": 0.7, "contacts": [TURNED]}
TWO_IN_THE_DARK = Counts(2, unmasked=1, unknown=1, at_once=(1, 0, 0))


def broken(checks: Checks) -> list[str]:
    """What was seen of the promises that did not hold."""
    return [check.seen for check in checks.listed if not check.held]


def test_the_hard_cases_are_what_the_demo_promises_of_them() -> None:
    masked, dark, faceless = TRUTH
    (met,) = masked.contacts
    assert met.who == ("turned away", "obama")
    assert met.masked == (None, True)
    assert met.nearest_m < 1.5
    assert met.to_s - met.from_s > 5
    assert "obama" not in {seen.who for seen in dark.sightings}
    assert [seen.masked for seen in dark.sightings] == [False, False]
    assert dark.contacts == ()
    assert [(seen.who, seen.masked) for seen in faceless.sightings] == [
        ("obama", None),
        ("astronaut", False),
    ]


@pytest.mark.parametrize(
    ("hits", "seen"),
    [([HIT], []), ([], ["not found"]), ([{**HIT, "mask": "unmasked"}], ["unmasked, score 0.70"])],
)
def test_a_patient_who_is_missed_or_called_bare_breaks_the_promise(hits: Any, seen: Any) -> None:
    checks = Checks()
    check_masked(checks, hits)
    assert broken(checks) == seen


@pytest.mark.parametrize(
    "contacts",
    [[], [{**TURNED, "mask": "masked"}], [{**TURNED, "distance_m": 3.0}], [TURNED, TURNED]],
)
def test_who_turns_away_and_is_no_contact_or_another_breaks_the_promise(contacts: Any) -> None:
    checks = Checks()
    check_turned_away(checks, [HIT], TRUTH)
    assert broken(checks) == []
    check_turned_away(checks, [{**HIT, "contacts": contacts}], TRUTH)
    assert len(broken(checks)) == 1


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


ALIKE = {"camera": "cam-6", "mask": "unknown", "score": 0.6}


@pytest.mark.parametrize(
    ("hits", "continuations"),
    [
        ([HIT], []),
        ([HIT], [ALIKE, {**ALIKE, "mask": "unmasked"}]),
        ([HIT], [{**ALIKE, "camera": "cam-5"}]),
        ([HIT, {**HIT, "camera": "cam-6"}], [ALIKE]),
    ],
)
def test_clothes_that_lead_nowhere_or_astray_break_the_promise(
    hits: Any, continuations: Any
) -> None:
    checks = Checks()
    check_followed(checks, {"subjects": [{"hits": [HIT], "continuations": [ALIKE]}]})
    assert broken(checks) == []
    check_followed(checks, {"subjects": [{"hits": hits, "continuations": continuations}]})
    assert len(broken(checks)) == 1


def frames_of(scene: Scene, photos: Path, folder: Path) -> list[NDArray[np.uint8]]:
    """Compose a scene and read it again."""
    clips: list[ClipTruth] = compose(Scenario("obama", "obama.jpg", (scene,)), photos, folder)
    video, frames = cv2.VideoCapture(str(clips[0].path)), []
    while (read := video.read())[0]:
        frames.append(read[1].astype(np.uint8))
    return frames


@pytest.mark.models
def test_who_turns_away_is_one_person_of_whose_face_nothing_is_known(
    photos_path: Path, model_bundle_path: Path, model_bundle_key: bytes, tmp_path: Path
) -> None:
    shifts = (Step(0.0, 640, 112, 88), Step(1.9, 660, 112, 88))
    scene = Scene("cam-1", 1.9, (Walker(FROM_BEHIND, None, shifts),))
    models = load_models(load_bundle(model_bundle_path, [model_bundle_key]))
    pipeline = CameraPipeline(VisionConfig(), models)
    frames = frames_of(scene, photos_path, tmp_path)
    seen = [one for n, image in enumerate(frames) for one in pipeline.process(at(n, image))]
    (sighting,) = seen + pipeline.flush()
    assert FACE not in sighting.templates
    assert sighting.row.mask is MaskStatus.UNKNOWN


def at(number: int, image: NDArray[np.uint8]) -> Frame:
    """A frame of ten in a second."""
    return Frame(image, 1_700_000_000_000 + 100 * number, number)


@pytest.mark.models
def test_a_scene_has_as_much_light_as_it_says(photos_path: Path, tmp_path: Path) -> None:
    walker = Walker("obama2.jpg", False, (Step(0.0, 600, 300, 120), Step(0.4, 600, 300, 120)))
    bright, dim = (
        frames_of(Scene("cam-1", 0.4, (walker,), light), photos_path, tmp_path / str(light))
        for light in ((1.0, 1.0), (0.5, 0.2))
    )
    of_day = [float(a.mean() / b.mean()) for a, b in zip(dim, bright, strict=True)]
    assert of_day == pytest.approx([0.5, 0.5, 0.2, 0.2], rel=0.12)
