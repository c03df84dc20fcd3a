"""Who is slow, silent or many at an HTTP interface is put out; who is honest is served."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from fastapi import FastAPI, Request
from serving import DEADLINE_S, Serving
from throwaway_ca import ThrowawayCa
from waiting import wait_for

from runtime.config import HttpConfig, TlsConfig
from runtime.http import CBOR, client, install_problem_handlers, peer_of

FAST = HttpConfig(handshake_s=0.4, request_s=0.4, min_bytes_per_s=20_000)
CLOSED_WITHIN_S = 10.0
LARGE = 16 << 20


def make_app(entered: threading.Event, release: threading.Event) -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/who")
    def who(request: Request) -> str:
        return peer_of(request)

    @app.get("/wait")
    def wait() -> str:
        entered.set()
        release.wait(DEADLINE_S)
        return "done"

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/unread")
    async def unread() -> str:
        return "not looked at"

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError("nobody foresaw it")

    @app.get("/large")
    def large() -> str:
        return "x" * LARGE

    return app


@pytest.fixture
def entered() -> threading.Event:
    return threading.Event()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def app(entered: threading.Event, release: threading.Event) -> FastAPI:
    return make_app(entered, release)


def connect(port: int, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE_S, source_address=(address, 0))


def speak(port: int, tls: TlsConfig) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(tls.ca))
    assert tls.private_key is not None
    context.load_cert_chain(tls.certificate, tls.private_key)
    return context.wrap_socket(connect(port), server_hostname="localhost")


def is_closed(connection: socket.socket) -> bool:
    """Tell whether the other side has hung up; what it said before is read and dropped."""
    connection.settimeout(0.0)
    try:
        while connection.recv(1 << 20):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


def closed_in_time(connection: socket.socket, feed: Callable[[], object] | None = None) -> bool:
    """Wait until the other side hangs up, feeding it meanwhile; False when it does not."""
    ends = time.monotonic() + CLOSED_WITHIN_S
    while time.monotonic() < ends:
        if feed is not None:
            connection.settimeout(DEADLINE_S)
            try:
                feed()
            except OSError:
                return True
        if is_closed(connection):
            return True
        time.sleep(0.05)
    return False


def assert_open_at_most(most: int, connections: Sequence[socket.socket]) -> None:
    wait_for(
        lambda: sum(not is_closed(each) for each in connections) <= most,
        f"all but {most} connections to be closed",
        timeout_s=CLOSED_WITHIN_S,
    )


def works(serving: Serving, tls: TlsConfig) -> bool:
    with client(serving.url, tls, DEADLINE_S) as http:
        return bool(http.get("/who").json() == "hq")


@pytest.mark.slow
def test_who_does_not_take_leave_after_a_bug_takes_nobody_along(
    app: FastAPI, authority: ThrowawayCa
) -> None:
    hq = authority.issue("hq")
    with Serving(app, authority.issue("server"), FAST) as serving, speak(serving.port, hq) as rude:
        rude.sendall(b"GET /bug HTTP/1.1\r\nhost: localhost\r\n\r\n")
        ends = time.monotonic() + 1.5  # the server looks at its connections five times a second
        while time.monotonic() < ends:
            assert works(serving, hq)
        assert closed_in_time(rude)


@pytest.mark.slow
def test_who_says_nothing_is_cut_before_and_after_the_handshake(
    app: FastAPI, authority: ThrowawayCa
) -> None:
    hq = authority.issue("hq")
    with Serving(app, authority.issue("server"), FAST) as serving:
        with connect(serving.port) as silent, speak(serving.port, hq) as idle:
            assert closed_in_time(silent)
            assert closed_in_time(idle)
        assert works(serving, hq)


@pytest.mark.slow
def test_a_handshake_that_drips_is_cut(app: FastAPI, authority: ThrowawayCa) -> None:
    hello = b"\x16\x03\x01\x02\x00" + bytes(4000)
    with Serving(app, authority.issue("server"), FAST) as serving:
        sent = iter(hello)
        with connect(serving.port) as slow:
            assert closed_in_time(slow, lambda: slow.send(bytes([next(sent)])))
        assert works(serving, authority.issue("hq"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [
        b"GET /who HTTP/1.1\r\nhost: x\r\nx: ",
        b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 90000\r\n\r\n",
        b"POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2000\r\n",
        b"POST /unread HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffff\r\n",
        b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 90000\r\n\r\n",
    ],
    ids=["head", "body", "chunk", "unread", "refused"],
)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_request_that_drips_is_cut(
    app: FastAPI, authority: ThrowawayCa, begin: bytes, secure: bool
) -> None:
    hq = authority.issue("hq")
    with Serving(app, authority.issue("server") if secure else None, FAST) as serving:
        with speak(serving.port, hq) if secure else connect(serving.port) as slow:
            slow.sendall(begin)
            assert closed_in_time(slow, lambda: slow.send(b"x"))
        if secure:
            assert works(serving, hq)


@pytest.mark.slow
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_who_does_not_take_an_answer_is_cut(
    app: FastAPI, authority: ThrowawayCa, secure: bool
) -> None:
    tls = authority.issue("server") if secure else None
    with Serving(app, tls, FAST) as serving:
        with (
            speak(serving.port, authority.issue("hq")) if secure else connect(serving.port) as slow
        ):
            slow.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
            slow.recv(1)
            time.sleep(FAST.request_s * 6)
            slow.settimeout(DEADLINE_S)
            got = 1
            with contextlib.suppress(OSError):
                while part := slow.recv(1 << 16):
                    got += len(part)
        assert got < LARGE


@pytest.mark.slow
def test_a_steady_body_and_a_long_answer_are_not_cut(app: FastAPI, authority: ThrowawayCa) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(12):
            time.sleep(0.1)
            yield bytes(8_000)

    limits = FAST.model_copy(update={"request_s": 1.0})  # the body takes longer
    with (
        Serving(app, authority.issue("server"), limits) as serving,
        client(serving.url, authority.issue("hq"), DEADLINE_S, max_answer_bytes=2 * LARGE) as http,
    ):
        answer = http.post("/length", content=parts(), headers={"content-type": CBOR})
        assert answer.json() == 96_000
        assert len(http.get("/large").json()) == LARGE


@pytest.mark.slow
def test_a_caller_that_waits_for_its_answer_is_not_cut(
    app: FastAPI, authority: ThrowawayCa, entered: threading.Event, release: threading.Event
) -> None:
    with Serving(app, authority.issue("server"), FAST) as serving:
        threading.Timer(FAST.request_s * 4, release.set).start()
        with client(serving.url, authority.issue("hq"), DEADLINE_S) as http:
            assert http.get("/wait").json() == "done"
        assert entered.is_set()


def test_the_silent_of_one_address_make_way_for_the_honest_of_all(
    app: FastAPI, authority: ThrowawayCa
) -> None:
    limits = HttpConfig(max_connections=40, max_strangers_per_address=10)
    hq = authority.issue("hq")
    with Serving(app, authority.issue("server"), limits) as serving, contextlib.ExitStack() as open:
        silent = [open.enter_context(connect(serving.port)) for _ in range(60)]
        assert works(serving, hq)
        assert_open_at_most(10, silent)


@pytest.mark.slow
def test_the_silent_of_many_addresses_make_way_for_the_honest(
    app: FastAPI, authority: ThrowawayCa
) -> None:
    limits = HttpConfig(max_connections=40, max_strangers_per_address=10)
    hq = authority.issue("hq")
    with Serving(app, authority.issue("server"), limits) as serving, contextlib.ExitStack() as open:
        silent = [
            open.enter_context(connect(serving.port, f"127.0.1.{number % 50 + 1}"))
            for number in range(200)
        ]
        assert works(serving, hq)
        assert_open_at_most(40, silent)


@pytest.mark.slow
def test_a_peer_with_a_certificate_takes_no_more_than_its_share(
    app: FastAPI, authority: ThrowawayCa
) -> None:
    limits = HttpConfig(max_connections=40, max_connections_per_peer=5)
    box, hq = authority.issue("box-1"), authority.issue("hq")
    with Serving(app, authority.issue("server"), limits) as serving, contextlib.ExitStack() as open:
        held = [open.enter_context(speak(serving.port, box)) for _ in range(20)]
        assert works(serving, hq)
        assert_open_at_most(5, held)


def test_a_request_that_is_being_answered_is_not_cut_for_others(
    app: FastAPI, authority: ThrowawayCa, entered: threading.Event, release: threading.Event
) -> None:
    limits = HttpConfig(max_connections=20, max_strangers_per_address=10)
    answers: list[Any] = []
    with Serving(app, authority.issue("server"), limits) as serving, contextlib.ExitStack() as open:

        def wait() -> None:
            with client(serving.url, authority.issue("hq"), DEADLINE_S) as http:
                answers.append(http.get("/wait").json())

        caller = threading.Thread(target=wait)
        caller.start()
        assert entered.wait(DEADLINE_S)
        for number in range(60):
            open.enter_context(connect(serving.port, f"127.0.1.{number + 1}"))
        release.set()
        caller.join(DEADLINE_S)
    assert answers == ["done"]


def test_more_requests_than_are_worked_at_at_once_are_told_to_ask_again(
    app: FastAPI, authority: ThrowawayCa, entered: threading.Event, release: threading.Event
) -> None:
    limits = HttpConfig(max_requests=2)
    box, hq = authority.issue("box-1"), authority.issue("hq")
    with Serving(app, authority.issue("server"), limits) as serving:

        def wait() -> None:
            with client(serving.url, box, DEADLINE_S) as http:
                http.get("/wait")

        caller = threading.Thread(target=wait)
        caller.start()
        assert entered.wait(DEADLINE_S)
        with client(serving.url, box, DEADLINE_S) as again:
            refused = again.get("/who")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert works(serving, hq)
        release.set()
        caller.join(DEADLINE_S)
        with client(serving.url, box, DEADLINE_S) as again:
            assert again.get("/who").status_code == 200


@pytest.mark.slow
def test_bodies_that_wait_together_take_no_more_than_their_room(
    app: FastAPI, authority: ThrowawayCa
) -> None:
    limits = HttpConfig(max_bodies_mb=2)
    hq = authority.issue("hq")
    head = b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n"
    options = {"max_body_bytes": 1 << 20}
    with (
        Serving(app, authority.issue("server"), limits, **options) as serving,
        contextlib.ExitStack() as open,
    ):
        box = authority.issue("box-1")
        held = [open.enter_context(speak(serving.port, box)) for _ in range(5)]
        for each in held:
            each.sendall(head + bytes(800_000))
        refused = [each for each in held if closed_in_time_or_waits(each)]
        assert len(refused) >= 4
        with client(serving.url, hq, DEADLINE_S) as http:
            answer = http.post("/length", content=bytes(900_000))
        assert answer.json() == 900_000


def closed_in_time_or_waits(connection: socket.socket) -> bool:
    """Tell whether an answer comes soon: one that is let in waits for the rest of its body."""
    connection.settimeout(2.0)
    try:
        return connection.recv(64).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False
