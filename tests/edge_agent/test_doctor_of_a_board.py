"""The doctor knocks at cameras, takes no picture, and shows no password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rtsp_camera import RtspCamera

from edge_agent.config import CameraConfig
from edge_agent.doctor import look_at_camera
from runtime.doctor import Findings, Level


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    one = RtspCamera("SHA-256", password="geheim")
    yield one
    one.close()


def looked_at(source: str, *, network: bool = True) -> Findings:
    found = Findings(network=network)
    look_at_camera(found, CameraConfig(name="cam-1", source=source))
    assert "geheim" not in str(found.found)
    return found


def test_a_camera_that_lets_us_in_is_well_and_plays_nothing(camera: RtspCamera) -> None:
    found = looked_at(f"rtsp://viewer:geheim@127.0.0.1:{camera.port}/s")
    assert found.worst is Level.WELL
    assert {method for method, _ in camera.requests} == {"DESCRIBE"}


def test_a_wrong_password_is_wrong_and_is_not_shown(camera: RtspCamera) -> None:
    found = looked_at(f"rtsp://viewer:falschgeheim@127.0.0.1:{camera.port}/s")
    assert found.worst is Level.WRONG
    assert "falsch" not in str(found.found)


def test_a_camera_that_is_away_is_wrong(camera: RtspCamera) -> None:
    camera.close()
    assert looked_at(f"rtsp://viewer:geheim@127.0.0.1:{camera.port}/s").worst is Level.WRONG


def test_a_recording_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    assert looked_at(f"file:{tmp_path / 'a.mp4'}").worst is Level.WRONG
    (tmp_path / "a.mp4").touch()
    assert looked_at(f"file:{tmp_path / 'a.mp4'}").worst is Level.WELL


def test_no_camera_is_connected_to_when_this_machine_alone_is_looked_at(camera: RtspCamera) -> None:
    assert looked_at(f"rtsp://x@127.0.0.1:{camera.port}/s", network=False).found == []
    assert camera.requests == []
