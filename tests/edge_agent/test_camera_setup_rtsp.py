"""Why an RTSP camera gives no video: faults are told apart, and no message has the password."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtsp_camera import RtspCamera

from edge_agent.camera_setup import rtsp
from edge_agent.camera_setup.errors import (
    CameraProblem,
    CameraRefused,
    CameraTimeout,
    HostUnknown,
    NotRtsp,
    NoVideo,
    PasswordNeeded,
    WrongPassword,
    WrongPath,
)

SECRET = "hunt%20er2"  # with an escape, as in an address
PLAIN_SECRET = "hunt er2"


@pytest.fixture
def answering() -> Iterator[list[bytes]]:
    """A server that says the same to whoever asks; the list holds what, then its port."""
    said: list[bytes] = [b""]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    if said[0]:
                        connection.sendall(said[0])
                    else:
                        connection.recv(4096)

        threading.Thread(target=serve, daemon=True).start()
        said.append(str(server.getsockname()[1]).encode())
        yield said
        server.shutdown(socket.SHUT_RDWR)


def address(answering: list[bytes]) -> str:
    return f"rtsp://viewer:{SECRET}@127.0.0.1:{answering[1].decode()}/ch1"


@pytest.mark.parametrize("login", ["", "Basic", "MD5", "SHA-256"])
def test_the_right_password_is_let_in(login: str) -> None:
    camera = RtspCamera(login, password=PLAIN_SECRET)
    try:
        offer = rtsp.ask(f"rtsp://viewer:{SECRET}@127.0.0.1:{camera.port}/ch1?x=1")
    finally:
        camera.close()
    expected = {"": "none", "Basic": "Basic"}.get(login, "Digest")
    assert offer == rtsp.Offer("jpeg", 20.0, expected)
    sent = str(camera.requests)
    assert "hunt" not in sent
    assert len(camera.requests) == (2 if login else 1)


@pytest.mark.parametrize("login", ["Basic", "MD5", "SHA-256"])
def test_a_wrong_password_is_tried_once_and_told(login: str) -> None:
    camera = RtspCamera(login, password="another")
    try:
        with pytest.raises(WrongPassword, match="401") as caught:
            rtsp.ask(f"rtsp://viewer:{SECRET}@127.0.0.1:{camera.port}/ch1")
        with pytest.raises(PasswordNeeded, match="--user"):
            rtsp.ask(f"rtsp://127.0.0.1:{camera.port}/ch1")
    finally:
        camera.close()
    assert "hunt" not in str(caught.value)
    assert len(camera.requests) == 3


def test_qop_auth_is_answered_as_rfc_7616_shows() -> None:
    # RFC 7616, 3.9.1, with its own method's hash replaced: computed here from the definition.
    challenge = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf", opaque="F"'
    )
    answer = rtsp.authorization([challenge], 'Mu"fasa', "Circle of Life", "rtsp://h/p")
    assert answer is not None
    assert 'username="Mu\\"fasa"' in answer
    assert ', qop=auth, nc=00000001, cnonce="' in answer
    assert 'opaque="F"' in answer
    assert "Circle" not in answer


def test_a_challenge_is_read_for_what_its_length_costs() -> None:
    """A camera may send 64 KiB of it; the square of that took half a minute."""
    began_s = time.process_time()
    for filler in ("a", "a-", 'a="', "a = ", "a,"):
        rtsp.authorization(
            ["Digest " + filler * (rtsp.MAX_HEAD_BYTES // len(filler))], "u", "p", ""
        )
    assert time.process_time() - began_s < 2


def test_digest_goes_before_basic_and_the_stronger_hash_first() -> None:
    offered = [
        'Basic realm="c"',
        'Digest realm="c", nonce="1"',
        'Digest realm="c", nonce="2", algorithm=SHA-256',
    ]
    strongest = rtsp.authorization(offered, "u", "p", "rtsp://h/")
    assert strongest is not None
    assert "algorithm=SHA-256" in strongest
    assert str(rtsp.authorization(offered[:2], "u", "p", "rtsp://h/")).startswith("Digest")
    assert str(rtsp.authorization(offered[:1], "u", "p", "rtsp://h/")).startswith("Basic")
    assert rtsp.authorization(["Negotiate"], "u", "p", "rtsp://h/") is None


@pytest.mark.parametrize(
    ("said", "problem", "words"),
    [
        (b"RTSP/1.0 404 Not Found\r\n\r\n", WrongPath, "no stream by that path"),
        (b"RTSP/1.0 403 Forbidden\r\n\r\n", WrongPassword, "right to view"),
        (b"RTSP/1.0 302 Moved\r\nLocation: rtsp://evil/\r\n\r\n", WrongPath, "has moved"),
        (b"RTSP/1.0 453 Not Enough Bandwidth\r\n\r\n", CameraProblem, "busy"),
        (b"RTSP/1.0 500 Error\r\n\r\n", CameraProblem, "error 500"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", NotRtsp, "RTSP port"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NotRtsp, "RTSP port"),
        (b"RTSP/1.0 401 No\r\nWWW-Authenticate: Kerberos\r\n\r\n", CameraProblem, "Digest in"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nv=0\r\n", NoVideo, "no video"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: x\r\n\r\n", NoVideo, "no video"),
    ],
)
def test_each_answer_says_what_to_do(
    answering: list[bytes], said: bytes, problem: type[CameraProblem], words: str
) -> None:
    answering[0] = said
    with pytest.raises(problem, match=words) as caught:
        rtsp.ask(address(answering))
    assert type(caught.value) is problem
    assert "hunt" not in str(caught.value)
    assert "evil" not in str(caught.value)


@pytest.mark.slow
def test_silence_ends_after_the_time_given(answering: list[bytes]) -> None:
    with pytest.raises(CameraTimeout, match="does not answer"):
        rtsp.ask(address(answering), timeout_s=0.3)


def test_a_camera_that_never_stops_talking_is_not_listened_to(answering: list[bytes]) -> None:
    answering[0] = b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 40_000
    with pytest.raises((NotRtsp, NoVideo)):
        rtsp.ask(address(answering))


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CameraRefused, match=f"port {port}"):
        rtsp.ask(f"rtsp://u:{SECRET}@127.0.0.1:{port}/")
    with pytest.raises(CameraRefused):
        rtsp.ask(f"rtsps://u:{SECRET}@127.0.0.1:{port}/")
    with pytest.raises(HostUnknown, match=r"camera\.invalid") as caught:
        rtsp.ask(f"rtsp://u:{SECRET}@camera.invalid/")
    assert "hunt" not in str(caught.value)


def test_video_is_found_in_a_real_looking_offer() -> None:
    sdp = (
        b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=x\r\nm=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=framerate:12.5\r\n"
        b"m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n"
    )
    assert rtsp.video_of(sdp) == ("h264", 12.5)
    with pytest.raises(NoVideo):
        rtsp.video_of(sdp[: sdp.index(b"m=video")])


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    for head in (data, b"RTSP/1.0 200 OK\r\n" + data):
        response = rtsp.parse_response(head)
        assert 0 <= rtsp.content_length(response) < 10**9
    try:
        codec, fps = rtsp.video_of(b"m=video 0 RTP/AVP 96\r\n" + data)
    except NoVideo:
        return
    assert codec.isascii()
    assert fps is None or 0 < fps <= 240


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=40))
def test_no_challenge_or_name_can_forge_a_header(challenge: str, user: str, password: str) -> None:
    answer = rtsp.authorization(["Digest " + challenge, challenge], user, password, "rtsp://h/")
    assert answer is None or not {"\r", "\n", "\0"} & set(answer)
