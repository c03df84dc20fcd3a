"""Live sources: frames over RTSP, reconnection, no password anywhere, a prompt stop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from rtsp_camera import RtspCamera

from edge_agent.capture import FrameSource

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def rtsp_camera() -> Iterator[RtspCamera]:
    camera = RtspCamera()
    yield camera
    camera.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.slow
def test_rtsp_frames_come_and_come_again_after_the_camera_hung_up(
    rtsp_camera: RtspCamera, wait_until: Wait
) -> None:
    url = f"rtsp://admin:hunter2@127.0.0.1:{rtsp_camera.port}/ch1"
    with FrameSource(url, backoff_first_s=0.05) as source:
        frame = source.next_frame(30)
        assert frame is not None
        assert frame.image.shape == (rtsp_camera.height, rtsp_camera.width, 3)
        assert 30 < frame.image.mean() < 200
        assert source.stats.connected
        rtsp_camera.drop_clients()
        wait_until(lambda: rtsp_camera.clients >= 2)
        before = source.stats.read
        wait_until(lambda: source.stats.read > before)
        assert source.stats.reconnects >= 1
        assert not source.ended
    assert source.ended
    assert not source.stats.connected


def test_a_camera_that_does_not_answer_is_tried_again_without_showing_its_password(
    wait_until: Wait, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"rtsp://admin:hunter2@127.0.0.1:{closed_port()}/ch1"
    with FrameSource(url, backoff_first_s=0.01, backoff_max_s=0.02) as source:
        wait_until(lambda: source.stats.reconnects >= 3)
        assert source.next_frame(0.01) is None
        assert not source.ended
        assert not source.stats.connected
    printed = "".join(capfd.readouterr())
    assert "capture.unreachable" in printed
    assert "hunter2" not in printed


def test_a_device_that_is_not_there_is_waited_for(wait_until: Wait) -> None:
    with FrameSource("v4l2:/dev/video-of-no-camera", backoff_first_s=0.01) as source:
        wait_until(lambda: source.stats.reconnects >= 2)
        assert not source.ended


def test_stop_does_not_wait_for_the_backoff(wait_until: Wait) -> None:
    source = FrameSource("v4l2:/dev/video-of-no-camera", backoff_first_s=3600, backoff_max_s=3600)
    source.start()
    source.stop(timeout_s=30)
    names = [thread.name for thread in threading.enumerate()]
    assert "capture-camera" not in names


@pytest.mark.slow
def test_a_stream_that_a_library_stumbles_over_is_opened_again(
    rtsp_camera: RtspCamera, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumbles: list[str] = []

    def stumble(capture: object) -> None:
        stumbles.append("read")
        raise RuntimeError(f"assertion failed in {capture}")

    url = f"rtsp://admin:hunter2@127.0.0.1:{rtsp_camera.port}/ch1"
    with monkeypatch.context() as broken:
        broken.setattr("edge_agent.video.decoder.retrieve", stumble)
        with FrameSource(url, backoff_first_s=0.01, backoff_max_s=0.02) as source:
            wait_until(lambda: len(stumbles) >= 2)
            assert not source.ended
            broken.undo()
            assert source.next_frame(30) is not None
