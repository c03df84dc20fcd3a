"""Stream addresses from one ONVIF camera: its login, its lies, its faults."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from dripping import dripping
from hypothesis import given
from hypothesis import strategies as st
from onvif_camera import FAULT, SOAP, OnvifServer

from edge_agent.camera_setup import onvif
from edge_agent.camera_setup.errors import (
    CameraProblem,
    CameraRefused,
    CameraTimeout,
    HostUnknown,
    PasswordNeeded,
    WrongPassword,
)
from edge_agent.camera_setup.onvif import OnvifCamera, Stream, password_digest, service_address


@pytest.fixture
def server() -> Iterator[OnvifServer]:
    camera = OnvifServer()
    yield camera
    camera.close()


def ask(server: OnvifServer, password: str = OnvifServer.password) -> list[Stream]:
    with OnvifCamera(server.address, "viewer", password) as camera:
        return camera.streams()


def test_streams_come_without_their_password(server: OnvifServer) -> None:
    url = "rtsp://10.0.0.11:554/Streaming/Channels/{}?transportmode=unicast"
    assert ask(server) == [
        Stream("main", "H264", 1920, 1080, 25.0, url.format("p&1")),
        Stream("sub?", "H264", 0, 1080, 25.0, url.format("p2")),
    ]
    bodies = "".join(body for _, body in server.asked)
    assert server.password not in bodies
    assert "p&amp;1" in bodies
    assert len(set(re.findall("<w:Nonce>(.*?)</w:Nonce>", bodies))) == 4
    assert "<w:Nonce>" not in server.asked[0][1]


def test_the_login_goes_to_the_machine_that_was_named_alone(server: OnvifServer) -> None:
    ask(server)  # the camera gave 10.99.99.99 as its media service
    assert [path for path, _ in server.asked[2:]] == ["/onvif/media_service"] * 3


def test_a_wrong_or_missing_password_is_told(server: OnvifServer) -> None:
    with pytest.raises(WrongPassword, match="users") as caught:
        ask(server, "guess")
    assert "guess" not in str(caught.value)
    with OnvifCamera(server.address) as camera, pytest.raises(PasswordNeeded, match="--user"):
        camera.streams()
    server.raw = lambda _: (401, b"")
    with pytest.raises(WrongPassword):
        ask(server)


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="c", nonce="1", algorithm=WHIRLPOOL',
        'Digest realm="c", nonce="1", qop="auth-int"',
        'Digest realm="c", nonce',
    ],
)
def test_a_login_of_no_known_kind_is_told(challenge: str) -> None:
    class Web(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", challenge)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Web) as web:
        threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
        with (
            OnvifCamera(f"127.0.0.1:{web.server_address[1]}", "viewer", "hunter2") as camera,
            pytest.raises(CameraProblem, match="login of a kind"),
        ):
            camera.streams()
        web.shutdown()


def test_a_camera_without_a_login_needs_none(server: OnvifServer) -> None:
    server.login = False
    with OnvifCamera(f"http://{server.address}/") as camera:
        assert len(camera.streams()) == 2
    assert "<w:" not in "".join(body for _, body in server.asked)


@pytest.mark.parametrize(
    "uri",
    ["http://10.0.0.1/", "rtsp://", "rtsp://h:99999/", "file:///etc/passwd", "", "rtsp://a&#133;b"],
)
def test_what_is_no_stream_is_left_out(server: OnvifServer, uri: str) -> None:
    server.uri = uri
    with pytest.raises(CameraProblem, match="no video stream"):
        ask(server)


@pytest.mark.parametrize(
    ("status", "data", "words"),
    [
        (404, b"<html><body>Not found</body></html>", "port and path"),
        (200, b"not xml", "port and path"),
        (200, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "document type"),
        (200, b"<a>" + b"x" * (2 << 20), "does not answer as an ONVIF camera"),
        (500, b'<s:Envelope xmlns:s="%s"><s:Body/></s:Envelope>' % SOAP.encode(), "HTTP 500"),
        (
            500,
            f'<s:Envelope xmlns:s="{SOAP}"><s:Body>{FAULT.format("NoEntity", "gone")}</s:Body>'
            "</s:Envelope>".encode(),
            "refuses.*NoEntity.*gone",
        ),
    ],
)
def test_each_odd_answer_says_what_to_do(
    server: OnvifServer, status: int, data: bytes, words: str
) -> None:
    server.raw = lambda _: (status, data)
    with pytest.raises(CameraProblem, match=words):
        ask(server)


def test_nobody_there() -> None:
    with OnvifCamera("127.0.0.1:9", "viewer", "x") as camera, pytest.raises(CameraRefused):
        camera.streams()
    with OnvifCamera("camera.invalid") as camera, pytest.raises(HostUnknown):
        camera.streams()


def test_the_digest_is_that_of_the_standard() -> None:
    # The example of ONVIF's Application Programmer's Guide, section 6.1.1.3.
    nonce = base64.b64decode("LKqI6G/AikKCQrN0zqZFlg==")
    digest = password_digest(nonce, "2010-09-16T07:50:45Z", "userpassword")
    assert digest == "tuOSpGlFlIXsozq4HFNeeGeFLEI="


def test_addresses_are_completed() -> None:
    assert service_address("10.0.0.1") == "http://10.0.0.1/onvif/device_service"
    assert service_address("10.0.0.1:8000") == "http://10.0.0.1:8000/onvif/device_service"
    assert service_address("https://cam/x?y#z") == "https://cam/x"
    for wrong in ("", "ftp://x", "rtsp://x", "http://", "http://[x", "a b", "http://x:99999"):
        with pytest.raises(CameraProblem, match="discover"):
            service_address(wrong)
    with pytest.raises(CameraProblem, match="--user") as caught:
        service_address("http://me:hunter2@10.0.0.1")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_address_is_completed_or_refused(text: str) -> None:
    try:
        whole = service_address(text)
    except CameraProblem as error:
        assert str(error).isprintable()
    else:
        assert whole.startswith(("http://", "https://"))
        assert "@" not in whole.split("/")[2]


def test_a_camera_that_says_too_much_is_not_read_to_its_end(server: OnvifServer) -> None:
    server.raw = lambda _: (200, b"<a>" + b"y" * 5_000_000 + b"</a>")
    with pytest.raises(CameraProblem, match="does not answer as an ONVIF camera"):
        ask(server)


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nx: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;",
    ],
    ids=["headers", "body", "parts"],
)
def test_a_camera_that_drips_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(onvif, "ANSWER_S", 1.0)
    with dripping(begin) as port, OnvifCamera(f"127.0.0.1:{port}") as camera:
        began_s = time.monotonic()
        with pytest.raises(CameraTimeout):
            camera.streams()
        assert time.monotonic() - began_s < 15
