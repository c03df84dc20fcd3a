"""A server that is hostile, or broken, gets little of a client's time and memory."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from runtime.http import PeerUnreachable, client

DEADLINE_S = 60.0
MAX = 64 << 10
Talk = Callable[[socket.socket], None]


class Hostile:
    """Accepts connections and lets ``talk`` say whatever it likes on each."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            connection.settimeout(DEADLINE_S)
            with connection, contextlib.suppress(OSError):
                if connection.recv(65_536):
                    self._talk(connection)

    def end(self) -> None:
        self._over.set()
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(DEADLINE_S)
        self._listener.close()
        assert not self._thread.is_alive()


@contextlib.contextmanager
def hostile(talk: Talk) -> Iterator[str]:
    server = Hostile(talk)
    try:
        yield server.url
    finally:
        server.end()


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""])


def endless_body(connection: socket.socket) -> None:
    connection.sendall(head(b"transfer-encoding: chunked"))
    while True:
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def body_until_close(connection: socket.socket) -> None:
    connection.sendall(head())
    while True:
        connection.sendall(bytes(65_536))


def large_declared_body(connection: socket.socket) -> None:
    connection.sendall(head(b"content-length: 1000000000000"))
    while True:
        connection.sendall(bytes(65_536))


def parts_of_one_byte(connection: socket.socket) -> None:
    connection.sendall(head(b"transfer-encoding: chunked"))
    while True:
        connection.sendall(b"000000001;x=yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\nz\r\n" * 1000)


def interim_answers(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 1000)


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x: " + b"y" * 1000 + b"\r\n")


def one_endless_header(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        connection.sendall(b"y" * 65_536)


@pytest.mark.slow
@pytest.mark.parametrize(
    "talk",
    [
        endless_body,
        body_until_close,
        large_declared_body,
        parts_of_one_byte,
        interim_answers,
        endless_headers,
        one_endless_header,
    ],
)
def test_an_answer_that_does_not_end_is_given_up_early(talk: Talk) -> None:
    tracemalloc.start()
    with (
        hostile(talk) as url,
        client(url, None, 30.0, max_answer_bytes=MAX, within_s=120.0) as http,
    ):
        began = time.monotonic()
        with pytest.raises(PeerUnreachable):
            http.get("/")
        assert time.monotonic() - began < 60
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [b"", b"HTTP/1.1 200 OK\r\nx: ", head(b"content-length: 1000"), b"HTTP/1.1 100 Continue\r\n"],
    ids=["status", "header", "body", "interim"],
)
def test_an_answer_that_drips_is_given_up_at_its_deadline(begin: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(begin)
        for letter in b"HTTP/1.1 200 " + b"x" * 10_000:
            connection.sendall(bytes([letter]))
            time.sleep(0.05)

    with hostile(drip) as url, client(url, None, 2.0, within_s=0.5) as http:
        began = time.monotonic()
        with pytest.raises(PeerUnreachable, match="no answer in time"):
            http.get("/")
        assert time.monotonic() - began < 2


@pytest.mark.slow
def test_a_request_that_is_taken_by_drips_is_given_up_at_its_deadline() -> None:
    def sip(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(20):
            connection.recv(512)
            time.sleep(0.05)

    with hostile(sip) as url, client(url, None, 2.0, within_s=0.5) as http:
        began = time.monotonic()
        with pytest.raises(PeerUnreachable):
            http.post("/", content=bytes(32 << 20))
        assert time.monotonic() - began < 5


@cache
def gzip_bomb() -> bytes:
    return gzip.compress(bytes(64 << 20), 1)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"zstd", b"identity, gzip"])
def test_a_compressed_answer_is_not_unpacked(encoding: bytes) -> None:
    bomb = gzip_bomb()

    def send(connection: socket.socket) -> None:
        length = b"content-length: %d" % len(bomb)
        connection.sendall(head(b"content-encoding: " + encoding, length) + bomb)

    tracemalloc.start()
    with (
        hostile(send) as url,
        client(url, None, max_answer_bytes=1 << 20) as http,
        pytest.raises(PeerUnreachable, match="compressed"),
    ):
        http.get("/")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_redirects_are_not_followed() -> None:
    def send(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n")

    with hostile(send) as url, client(url, None) as http:
        assert http.get("/").status_code == 302


def test_an_answer_of_the_agreed_size_is_taken_and_one_byte_more_is_not() -> None:
    def send(connection: socket.socket) -> None:
        size = MAX + asked.pop()
        lines = head(b"content-length: %d" % size, b"connection: close")
        connection.sendall(lines + bytes(size))

    asked = [1, 0]
    with hostile(send) as url, client(url, None, max_answer_bytes=MAX) as http:
        answer = http.get("/")
        assert len(answer.content) == MAX
        with pytest.raises(PeerUnreachable, match=f"longer than {MAX} bytes"):
            http.get("/")


@pytest.mark.parametrize("charset", ["zlib", "bz2", "hex", "idna", "punycode", "utf-7", "unknown"])
def test_no_answer_chooses_how_its_text_is_decoded(charset: str) -> None:
    bomb = zlib.compress(bytes(20 << 20)) if charset == "zlib" else b"text that is none"

    def talk(connection: socket.socket) -> None:
        length = b"content-length: %d" % len(bomb)
        kind = f"content-type: text/plain; charset={charset}".encode()
        connection.sendall(head(length, kind) + bomb)

    with hostile(talk) as url, client(url, None, 10.0, max_answer_bytes=MAX) as http:
        assert http.get("/").text == bomb.decode("utf-8", "replace")
