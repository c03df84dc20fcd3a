"""The demo's clips show what their truth says, to the detector, the embedder and the classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from demo.clips import compose
from demo.scenario import (
    ClipTruth,
    Scenario,
    Scene,
    SightingTruth,
    Step,
    Walker,
    demo_scenario,
    truth_of,
)
from edge_agent.vision.alignment import align
from edge_agent.vision.models import load_models
from models.photos import fetch_photos, photograph, photographs, read_photo
from runtime.bundle import Bundle, load_bundle
from runtime.registries import FileAltered

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def clips(photos_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ClipTruth]:
    return compose(demo_scenario(), photos_path, tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def bundle(model_bundle_path: Path, model_bundle_key: bytes) -> Bundle:
    return load_bundle(model_bundle_path, [model_bundle_key])


def _short(seed: int = 1) -> Scenario:
    path = (Step(0.0, 300, 250, 120), Step(0.6, 420, 250, 130))
    scene = Scene("cam-1", 0.6, (Walker("obama2.jpg", False, path),))
    return Scenario("obama", "obama.jpg", (scene,), seed=seed)


def _frames(path: Path) -> list[Image]:
    video = cv2.VideoCapture(str(path))
    frames: list[Image] = []
    while True:
        there, frame = video.read()
        if not there:
            return frames
        frames.append(frame.astype(np.uint8))


def test_the_story_holds_what_the_demo_promises() -> None:
    scenario = demo_scenario()
    one, two, three = truth_of(scenario, Path("clips"))
    assert photograph(scenario.enrolment_photo).who == scenario.subject
    used = {walker.photo for scene in scenario.scenes for walker in scene.walkers}
    assert scenario.enrolment_photo not in used
    for clip in (one, two):
        assert scenario.subject in {sighting.who for sighting in clip.sightings}
    assert scenario.subject not in {sighting.who for sighting in three.sightings}
    (companion,) = one.contacts
    assert companion.who == ("biden", scenario.subject)
    assert companion.masked == (True, False)
    assert companion.to_s - companion.from_s > 4
    (met,) = two.contacts
    assert met.who == ("astronaut", scenario.subject)
    assert met.masked == (False, False)
    assert met.nearest_m < 1
    assert [clip.duration_s for clip in (one, two, three)] == [13.0, 13.5, 11.0]


def test_somebody_far_behind_is_no_contact() -> None:
    near = Walker("obama2.jpg", False, (Step(0, 600, 300, 150), Step(2, 600, 300, 150)))
    far = Walker("biden.jpg", False, (Step(0, 700, 200, 40), Step(2, 700, 200, 40)))
    (clip,) = truth_of(
        Scenario("obama", "obama.jpg", (Scene("cam-9", 2.0, (near, far)),)), Path("clips")
    )
    assert clip.contacts == ()
    assert {sighting.who for sighting in clip.sightings} == {"obama", "biden"}


@pytest.mark.models
def test_the_same_seed_gives_the_same_clip_and_another_does_not(
    photos_path: Path, tmp_path: Path
) -> None:
    pictures = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (clip,) = compose(_short(seed), photos_path, tmp_path / name)
        pictures.append(_frames(clip.path))
    assert len(pictures[0]) == 6
    assert pictures[0][0].shape == (720, 1280, 3)
    assert all(np.array_equal(a, b) for a, b in zip(*pictures[:2], strict=True))
    assert not np.array_equal(pictures[0][0], pictures[2][0])


@pytest.mark.models
def test_composed_clips_are_kept_until_the_scenario_changes(
    photos_path: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    (clip,) = compose(_short(), photos_path, tmp_path, lambda done, of: told.append((done, of)))
    assert told[-1] == (6, 6)
    first = clip.path.stat().st_mtime_ns
    compose(_short(), photos_path, tmp_path)
    assert clip.path.stat().st_mtime_ns == first
    compose(replace(_short(), seed=3), photos_path, tmp_path)
    assert clip.path.stat().st_mtime_ns != first
    assert {path.name for path in tmp_path.iterdir()} == {"cam-1.mp4", "scenario.sha256"}


@pytest.mark.models
def test_an_altered_photograph_is_refused(photos_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in photographs():
        (folder / photo.name).write_bytes(read_photo(photos_path, photo))
    assert fetch_photos(folder, tmp_path / "cache") == 0
    (folder / "obama2.jpg").write_bytes(b"somebody else")
    with pytest.raises(FileAltered, match=r"obama2\.jpg"):
        compose(_short(), folder, tmp_path / "clips")


def _crop(detector: cv2.FaceDetectorYN, frame: Image, x: float, y: float) -> Image | None:
    """The aligned face nearest to (x, y), if one is within 50 pixels."""
    _, faces = detector.detect(frame)
    best = None
    for face in [] if faces is None else faces:
        away = float(np.hypot(face[0] + face[2] / 2 - x, face[1] + face[3] / 2 - y))
        if away < 50 and (best is None or away < best[0]):
            best = (away, face)
    if best is None:
        return None
    crop: Image = align(frame, best[1][4:14].reshape(1, 5, 2))[0]
    return crop


def _crops(
    detector: cv2.FaceDetectorYN, clip: ClipTruth, scene: Scene, sighting: SightingTruth
) -> list[Image]:
    frames = _frames(clip.path)
    walker = next(walker for walker in scene.walkers if walker.who == sighting.who)
    crops = []
    for time_s in np.linspace(sighting.from_s + 0.5, sighting.to_s - 0.5, 5):
        number = round(float(time_s) * clip.fps)
        step = walker.at(number / clip.fps)
        assert step is not None
        crop = _crop(detector, frames[number], step.x, step.y)
        if crop is not None:
            crops.append(crop)
    return crops


@pytest.mark.models
def test_models_see_the_clips_as_the_truth_says(
    clips: list[ClipTruth], bundle: Bundle, photos_path: Path
) -> None:
    scenario = demo_scenario()
    detector = cv2.FaceDetectorYN.create(
        str(bundle.path(bundle.entry("face_detector"))), "", (1280, 720), 0.6
    )
    models = load_models(bundle)
    enrolment = photograph(scenario.enrolment_photo)
    image = cv2.imread(str(photos_path / enrolment.name))
    assert image is not None
    face = align(image.astype(np.uint8), np.array([enrolment.landmarks], np.float32))
    reference = models.embedder.embed(face)[0]
    threshold = bundle.entry("face_embedder").threshold
    assert threshold is not None
    for scene, clip in zip(scenario.scenes, clips, strict=True):
        for sighting in clip.sightings:
            crops = _crops(detector, clip, scene, sighting)
            assert len(crops) >= 4, (clip.camera, sighting.who)
            seen = np.stack(crops)
            fused = models.embedder.embed(seen, models.mask.shows_mask(seen)).mean(0)
            score = float(fused @ reference / np.linalg.norm(fused))
            if sighting.who == scenario.subject:
                assert score > threshold, (clip.camera, sighting.who)
            else:
                assert score < threshold - 0.15, (clip.camera, sighting.who)
            masked = np.median(models.mask.probabilities(seen))
            assert (masked > 0.85) if sighting.masked else (masked < 0.15), sighting
