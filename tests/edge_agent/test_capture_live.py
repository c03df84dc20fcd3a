"""Live sources: frames over RTSP, reconnection, no password anywhere, a prompt stop."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

import cv2
import numpy as np
import pytest

from edge_agent.capture import FrameSource

Wait = Callable[[Callable[[], bool]], None]
_QUALITY = 80


def scan_of(jpeg: bytes) -> bytes:
    """The entropy-coded part of a baseline JPEG, as RFC 2435 carries it."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") : -2]


class RtspCamera:
    """An RTSP server on loopback (RFC 2326; JPEG over RTP: RFC 2435) with a rising grey."""

    width, height = 128, 96

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.clients = 0
        self._sockets: list[socket.socket] = []
        self._closing = threading.Event()
        threading.Thread(target=self._accept, name="rtsp-test", daemon=True).start()

    def drop_clients(self) -> None:
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self) -> None:
        self._closing.set()
        self._listener.close()
        self.drop_clients()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                while request := self._request(lines):
                    method, headers = request
                    self._answer(connection, method, headers)
                    if method == "PLAY":
                        self.clients += 1
                        self._play(connection)
                        return
        except OSError:
            return

    def _request(self, lines: BinaryIO) -> tuple[str, dict[str, str]] | None:
        first = lines.readline().decode()
        headers: dict[str, str] = {}
        while line := lines.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return (first.split()[0], headers) if first.strip() else None

    def _answer(self, connection: socket.socket, method: str, headers: dict[str, str]) -> None:
        extra, body = "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 26\r\na=control:track1\r\na=framerate:20\r\n"
            )
            extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        connection.sendall(
            f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode()
        )

    def _play(self, connection: socket.socket) -> None:
        sequence = 0
        index = 0
        while not self._closing.wait(0.05):
            image = np.full((self.height, self.width, 3), 40 + index % 150, np.uint8)
            _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            scan = scan_of(jpeg.tobytes())
            for offset in range(0, len(scan), 1200):
                part = scan[offset : offset + 1200]
                last = offset + 1200 >= len(scan)
                kind = 26 | (0x80 if last else 0)
                rtp = struct.pack("!BBHII", 0x80, kind, sequence & 0xFFFF, index * 4500, 1)
                size = self.width // 8, self.height // 8
                head = struct.pack("!BBHBBBB", 0, offset >> 16, offset & 0xFFFF, 1, _QUALITY, *size)
                packet = rtp + head + part
                connection.sendall(b"$\x00" + struct.pack("!H", len(packet)) + packet)
                sequence += 1
            index += 1


@pytest.fixture
def rtsp_camera() -> Iterator[RtspCamera]:
    camera = RtspCamera()
    yield camera
    camera.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


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
