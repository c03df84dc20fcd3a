"""What an HTTP camera, or who answers in its place, says is believed as far as it goes."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from edge_agent.camera_setup import http
from edge_agent.camera_setup.errors import CameraProblem, CameraTimeout

OK = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n"
Answer = Callable[[socket.socket, bytes], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """Have each connection answered; give the address, with a user and a password."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller, suppress(OSError):
                        while asked := caller.recv(8192):
                            answer(caller, asked)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://viewer:hunter2@127.0.0.1:{server.getsockname()[1]}/mjpg"
        server.shutdown(socket.SHUT_RDWR)


def refusal(*challenges: str) -> bytes:
    """Refuse, asking for a login."""
    lines = "".join(f"WWW-Authenticate: {one}\r\n" for one in challenges)
    return f"HTTP/1.1 401 Unauthorized\r\n{lines}Content-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="c", nonce="1", algorithm=WHIRLPOOL',
        'Digest realm="c", nonce="1", qop="auth-int"',
        'Digest realm="c", nonce="1", qop="none"',
        'Digest realm="c", nonce',
        'Digest realm="c"',
        "Digest",
        "Negotiate",
        "",
    ],
)
def test_a_login_of_no_known_kind_is_a_problem_and_the_password_goes_nowhere(
    challenge: str,
) -> None:
    asked: list[bytes] = []

    def answer(caller: socket.socket, request: bytes) -> None:
        asked.append(request)
        caller.sendall(refusal(challenge))

    with answering(answer) as url, pytest.raises(CameraProblem, match="login of a kind") as caught:
        http.ask(url)
    assert "hunter2" not in str(caught.value)
    assert not any(b"authorization" in one.lower() for one in asked)


@pytest.mark.parametrize("realm", ["c", "정문"])
def test_digest_goes_before_basic_and_the_password_is_tried_once(realm: str) -> None:
    asked: list[bytes] = []

    def answer(caller: socket.socket, request: bytes) -> None:
        asked.append(request)
        first = len(asked) == 1
        caller.sendall(
            refusal('Basic realm="c"', f'Digest realm="{realm}", nonce="1", qop="auth"')
            if first
            else OK
        )
        if not first:
            caller.shutdown(socket.SHUT_RDWR)

    with answering(answer) as url:
        assert http.ask(url) == "Digest"
    assert len(asked) == 2
    reply = f'Digest username="viewer", realm="{realm}", nonce="1", uri="/mjpg"'
    assert reply.encode() in asked[1]
    assert base64.b64encode(b"viewer:hunter2") not in asked[1]


def test_a_refusal_without_end_is_not_read() -> None:
    sent: list[int] = []

    def answer(caller: socket.socket, _request: bytes) -> None:
        caller.sendall(b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="c", nonce="1"\r\n\r\n')
        with suppress(OSError):
            for _ in range(256):
                caller.sendall(bytes(1 << 20))
                sent.append(1 << 20)

    with answering(answer) as url, pytest.raises(CameraProblem):
        http.ask(url)
    assert sum(sent) < 64 << 20


@pytest.mark.slow
@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", b""])
def test_an_answer_a_byte_at_a_time_comes_to_an_end(start: bytes) -> None:
    def answer(caller: socket.socket, _request: bytes) -> None:
        caller.sendall(start)
        ends_s = time.monotonic() + 10
        with suppress(OSError):
            while time.monotonic() < ends_s:
                caller.sendall(b"H" if start else b"HTTP/1.1 100 Continue\r\n\r\n")
                time.sleep(0.02)

    began_s = time.monotonic()
    with answering(answer) as url, pytest.raises(CameraTimeout):
        http.ask(url, timeout_s=0.3)
    assert time.monotonic() - began_s < 5
