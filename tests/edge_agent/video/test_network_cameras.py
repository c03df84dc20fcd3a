"""Cameras behind an address: MJPEG over HTTP, logins with odd characters."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from http_camera import HttpCamera
from rtsp_camera import RtspCamera

from edge_agent.camera_setup.advice import advise
from edge_agent.camera_setup.errors import (
    CameraProblem,
    CameraRefused,
    NoVideo,
    PasswordNeeded,
    WrongPassword,
    WrongPath,
)
from edge_agent.camera_setup.probe import probe
from edge_agent.capture import FrameSource
from edge_agent.sources import SourceError, parse_source_url
from edge_agent.vision.config import VisionConfig


@pytest.fixture
def http_camera() -> Iterator[HttpCamera]:
    camera = HttpCamera(password="hunter2#")
    yield camera
    camera.close()


@pytest.mark.slow
def test_an_http_camera_gives_pictures_to_who_has_its_password(http_camera: HttpCamera) -> None:
    url = f"http://viewer:hunter2%23@127.0.0.1:{http_camera.port}/mjpg"
    with FrameSource(url) as source:
        frames = [source.next_frame(30) for _ in range(3)]
    assert all(frame is not None and frame.image.shape == (96, 160, 3) for frame in frames)
    assert http_camera.clients == 1


@pytest.mark.slow
def test_an_http_camera_that_refuses_us_is_tried_again_without_showing_its_password(
    http_camera: HttpCamera,
    wait_until: Callable[[Callable[[], bool]], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = f"http://viewer:guess42@127.0.0.1:{http_camera.port}/mjpg"
    with FrameSource(url, backoff_first_s=0.01, backoff_max_s=0.02) as source:
        wait_until(lambda: source.stats.reconnects >= 2)
    assert http_camera.clients == 0
    printed = "".join(capfd.readouterr())
    assert "capture.unreachable" in printed
    assert "guess42" not in printed


@pytest.mark.slow
def test_a_password_with_a_hash_is_taken_escaped() -> None:
    camera = RtspCamera("MD5", password="pass#/?@word")
    try:
        url = f"rtsp://viewer:pass%23%2F%3F%40word@127.0.0.1:{camera.port}/ch1"
        with FrameSource(url) as source:
            assert source.next_frame(30) is not None
    finally:
        camera.close()


@pytest.mark.parametrize(
    ("login", "escape"),
    [
        ("admin:pa#ss", "%23"),
        ("admin:#", "%23"),
        ("ad#min:pass", "%23"),
        ("admin:pa/ss", "%2F"),
        ("admin:pa?ss", "%3F"),
    ],
)
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_password_with_a_bare_mark_says_what_to_write(
    login: str, escape: str, scheme: str
) -> None:
    with pytest.raises(SourceError, match=f"Write {escape} instead") as caught:
        parse_source_url(f"{scheme}://{login}@10.0.0.7:554/ch1")
    assert "ss" not in str(caught.value).replace("password", "").replace("address", "")


@pytest.mark.parametrize(
    "url", ["rtsp://cam/ch1@2x", "rtsp://cam:554/a?token=x@y", "http://[::1]:80/a@b"]
)
def test_an_address_that_merely_holds_such_marks_is_taken(url: str) -> None:
    assert parse_source_url(url).target == url


@pytest.mark.slow
@pytest.mark.parametrize(
    ("login", "path", "problem", "words"),
    [
        ("", "/mjpg", PasswordNeeded, "http://USER:PASSWORD@HOST"),
        ("viewer:guess42@", "/mjpg", WrongPassword, "%23"),
        ("viewer:hunter2%23@", "/nothing", WrongPath, "404"),
        ("viewer:hunter2%23@", "/still", NoVideo, "single picture"),
    ],
)
def test_a_probe_says_what_is_wrong_with_an_http_camera(
    http_camera: HttpCamera, login: str, path: str, problem: type[CameraProblem], words: str
) -> None:
    with pytest.raises(problem, match=words) as caught:
        probe(f"http://{login}127.0.0.1:{http_camera.port}{path}")
    assert "guess42" not in str(caught.value)


@pytest.mark.slow
def test_a_probe_of_an_http_camera_tells_how_it_let_us_in(http_camera: HttpCamera) -> None:
    seen = probe(f"http://viewer:hunter2%23@127.0.0.1:{http_camera.port}/mjpg", seconds=0.5)
    assert (seen.result.login, seen.result.live) == ("Basic", True)
    assert "Basic" in " ".join(each.text for each in advise(seen.result, VisionConfig()))
    seen.wipe()


def test_a_probe_names_what_does_not_answer_over_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CameraRefused, match="Switch HTTP on"):
        probe(f"http://127.0.0.1:{port}/mjpg")
