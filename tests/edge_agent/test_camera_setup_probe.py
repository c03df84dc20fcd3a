"""What a probe measures and advises: rates, gaps, light, faces, and what an installer is told."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtsp_camera import RtspCamera

from edge_agent.camera_setup import probe as probing
from edge_agent.camera_setup.advice import Advice, advise
from edge_agent.camera_setup.errors import CameraProblem, WrongPassword
from edge_agent.camera_setup.faces import FaceFinder, FaceSurvey, load_finder
from edge_agent.camera_setup.probe import Light, ProbeResult, measure_light, probe
from edge_agent.sources import SourceError, StreamFacts
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from runtime.bundle import BundleSignatureInvalid

GOOD = ProbeResult(
    address="rtsp://***@10.0.0.1/1",
    live=True,
    facts=StreamFacts("h264", 1920, 1080, 25.0),
    width=1920,
    height=1080,
    frames=125,
    lasted_s=5.0,
    opened_s=0.5,
    first_frame_s=0.8,
    fps=25.0,
    longest_gap_s=0.05,
    missed=0,
    bad=0,
    truncated=False,
    broke_off=False,
    login="Digest",
    light=Light(brightness=120.0, clipped=0.01, sharpness=200.0, moving=True),
    faces=FaceSurvey(8, faces=9, most=2, eyes_px=30.0, height_px=90.0, working_px=45.0),
)


@pytest.fixture(scope="module")
def finder(model_bundle_path: Path, model_bundle_key: bytes) -> FaceFinder:
    found = load_finder(model_bundle_path, [model_bundle_key], VisionConfig())
    assert found is not None
    return found


def film(path: Path, frames: int, fps: float = 10.0, grey: int = 60) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (160, 120))
    for number in range(frames):
        image = np.full((120, 160, 3), grey, np.uint8)
        cv2.circle(image, (20 + number * 3 % 120, 60), 20, (250, 200, 240), -1)
        writer.write(image)
    writer.release()
    return path


def texts(advice: list[Advice], level: str) -> str:
    return "\n".join(each.text for each in advice if each.level == level)


def test_a_recording_is_read_for_as_long_as_asked(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi", 60)
    told: list[float] = []
    seen = probe(str(path), seconds=2.0, on_progress=told.append)
    result = seen.result
    assert (result.frames, result.width, result.height) == (21, 160, 120)
    assert result.facts == StreamFacts("mjpg", 160, 120, 10.0, seconds=6.0)
    assert not result.live
    assert result.faces is None
    assert result.missed == result.bad == 0
    assert result.light.moving
    assert told == sorted(told)
    assert told[-1] == 2.0
    assert len(seen.pictures) == probing.SAMPLES
    assert seen.picture.any()
    seen.wipe()
    assert not any(picture.any() for picture in seen.pictures)


def test_a_short_recording_ends_without_a_fault(tmp_path: Path) -> None:
    seen = probe(str(film(tmp_path / "film.avi", 3)), seconds=30.0)
    assert seen.result.frames == 3
    assert not seen.result.broke_off


def test_a_folder_with_pictures_and_rubbish(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no picture")
    for name in ("b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), np.full((90, 120, 3), 128, np.uint8))
    result = probe(f"folder:{tmp_path}?fps=2").result
    assert (result.frames, result.bad, result.facts.codec) == (2, 1, "images")
    assert "no images were skipped: 1" in texts(advise(result, VisionConfig()), "note")


@pytest.mark.parametrize("name", ["missing.mp4", "empty.mp4", "rubbish.mp4"])
def test_a_file_that_is_no_video_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "rubbish.mp4").write_bytes(os.urandom(5000))
    with pytest.raises(SourceError, match=name):
        probe(str(tmp_path / name))


@pytest.mark.slow
def test_a_live_camera_is_timed_by_its_arrivals() -> None:
    camera = RtspCamera("MD5", password="hunter2")
    url = f"rtsp://viewer:hunter2@127.0.0.1:{camera.port}/ch1"
    try:
        result = probe(url, seconds=1.0).result
        with pytest.raises(WrongPassword):
            probe(url.replace("hunter2", "guess"))
    finally:
        camera.close()
    assert result.live
    assert result.login == "Digest"
    assert (result.width, result.height) == (camera.width, camera.height)
    assert result.frames > 3
    assert result.lasted_s >= 1.0
    assert result.first_frame_s >= result.opened_s > 0
    assert result.light.moving
    assert "hunter2" not in repr(result)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="plugged in"):
        probe("v4l2:/dev/video99")
    with pytest.raises(SourceError, match="file, a folder"):
        probe("")


def test_a_device_of_others_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may use every device
    with pytest.raises(CameraProblem, match="usermod -aG video"):
        probe("v4l2:/dev/null")


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=60))
def test_gaps_are_counted_in_frames(intervals: list[float]) -> None:
    arrivals = [0.0, *np.cumsum(intervals).tolist()]
    assert probing._missed(arrivals) >= 0
    even = [0.04 * number for number in range(20)]
    assert probing._missed(even) == 0
    assert probing._missed([at for at in even if at not in even[7:10]]) == 3


def test_light_is_measured() -> None:
    dark = np.full((720, 1280, 3), 10, np.uint8)
    light = measure_light([dark, dark.copy()])
    assert light.brightness == pytest.approx(10, abs=1)
    assert not light.moving
    assert light.sharpness < 1
    noisy = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), np.uint8)
    other = measure_light([dark, noisy])
    assert other.moving
    assert measure_light([noisy]).sharpness > light.sharpness
    assert measure_light([np.full((9, 9, 3), 255, np.uint8)]).clipped == 1.0


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"broke_off": True}, "poor", "broke off"),
        ({"fps": 3.0}, "poor", "raise the camera's frame rate"),
        ({"missed": 40}, "poor", "24% of the frames"),
        ({"longest_gap_s": 3.0}, "note", "3.0 s nothing came"),
        ({"first_frame_s": 6.0}, "note", "key frame"),
        ({"login": "Basic"}, "poor", "Digest"),
        ({"login": "none"}, "note", "set a password"),
        ({"height": 240}, "note", "small picture"),
        ({"light": Light(10.0, 0.0, 200.0, True)}, "poor", "add light"),
        ({"light": Light(240.0, 0.6, 200.0, True)}, "poor", "60% of the picture"),
        ({"light": Light(120.0, 0.0, 3.0, True)}, "note", "clean the lens"),
        ({"light": Light(120.0, 0.0, 200.0, False)}, "poor", "hangs"),
        ({"faces": None}, "note", "no model bundle"),
        ({"faces": FaceSurvey(8)}, "note", "no face was seen"),
        ({"faces": FaceSurvey(8, 4, 1, 6.0, 18.0, 9.0)}, "poor", "18 px high.*too small for rec"),
        ({"faces": FaceSurvey(8, 4, 1, 12.0, 36.0, 30.0)}, "note", "at least 50 px"),
        ({"faces": FaceSurvey(8, 4, 1, 20.0, 60.0, 30.0)}, "note", "with masks"),
    ],
)
def test_each_fault_brings_its_advice(change: dict[str, object], level: str, words: str) -> None:
    vision = VisionConfig()
    assert [each.level for each in advise(GOOD, vision)] == ["good"]
    advice = advise(dataclasses.replace(GOOD, **change), vision)  # type: ignore[arg-type]
    assert re.search(words, texts(advice, level))


@pytest.mark.models
def test_faces_are_counted_and_measured(
    face: Callable[[str, int], Image], finder: FaceFinder
) -> None:
    picture = np.full((720, 1280, 3), 90, np.uint8)
    for at, name in ((100, "obama.jpg"), (700, "biden.jpg")):
        head = face(name, 120)
        picture[100 : 100 + head.shape[0], at : at + head.shape[1]] = head
    survey = finder.survey([picture, np.full_like(picture, 90)])
    assert (survey.pictures, survey.faces, survey.most) == (2, 2, 2)
    assert 90 < survey.height_px < 150
    assert survey.working_px == pytest.approx(survey.height_px * 0.75)
    assert 25 < survey.eyes_px < survey.height_px / 2


@pytest.mark.models
def test_a_bundle_is_believed_or_absent_never_guessed(
    model_bundle_path: Path, tmp_path: Path
) -> None:
    assert load_finder(tmp_path, [], VisionConfig()) is None
    with pytest.raises(BundleSignatureInvalid):
        load_finder(model_bundle_path, [bytes(32)], VisionConfig())
