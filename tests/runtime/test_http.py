"""HTTP between roles: who calls is known from TLS alone, and errors are told without leaks."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from runtime.config import TlsConfig
from runtime.http import (
    CBOR,
    CborResponse,
    HttpError,
    PeerUnreachable,
    Problem,
    ProblemError,
    Ready,
    cbor_body,
    client,
    install_problem_handlers,
    peer_of,
    raise_for_problem,
    serve,
)
from runtime.lifecycle import Stop

DEADLINE_S = 60.0
LIMIT = 100_000


class Order(BaseModel):
    count: int


def make_app() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/who")
    def who(request: Request) -> dict[str, Any]:
        return {"peer": peer_of(request), "fingerprint": request.state.peer_fingerprint}

    @app.get("/refused")
    def refused() -> None:
        raise Problem(
            409, "approvals-missing", "Approvals are missing", "Two are needed.", needed=2
        )

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError("the password is swordfish")

    @app.post("/order")
    def order(order: Order) -> int:
        return order.count

    @app.post("/echo")
    async def echo(request: Request) -> CborResponse:
        return CborResponse(await cbor_body(request))

    return app


class Running:
    def __init__(self, app: Any, tls: TlsConfig | None) -> None:
        self.stop = Stop()
        ready = Ready()
        self._thread = threading.Thread(
            target=serve,
            args=(app, "127.0.0.1", 0, tls, self.stop),
            kwargs={"ready": ready, "max_body_bytes": LIMIT},
        )
        self._thread.start()
        self.port = ready.wait(DEADLINE_S)
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}"

    def end(self) -> None:
        self.stop.set("test over")
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def server(authority: Any) -> Iterator[Running]:
    running = Running(make_app(), authority.issue("custodian-1"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def plain() -> Iterator[Running]:
    running = Running(make_app(), None)
    yield running
    running.end()


@pytest.fixture(scope="module")
def caller(server: Running, authority: Any) -> Iterator[httpx.Client]:
    with client(server.url, authority.issue("hq"), DEADLINE_S) as one:
        yield one


def test_the_peer_is_the_certificates_common_name(
    server: Running, caller: httpx.Client, authority: Any
) -> None:
    answer = raise_for_problem(caller.get("/who")).json()
    assert answer["peer"] == "hq"
    assert len(answer["fingerprint"]) == 64
    with client(server.url, authority.issue("box-1"), DEADLINE_S) as other:
        assert other.get("/who").json()["peer"] == "box-1"
    assert caller.get("/who").json() == answer


def test_no_answer_waits_for_the_callers_acknowledgement(caller: httpx.Client) -> None:
    delayed_acknowledgement_s = 0.04
    took_s = []
    for _ in range(20):
        began_s = time.monotonic()
        caller.get("/who")
        took_s.append(time.monotonic() - began_s)
    assert min(took_s) < delayed_acknowledgement_s / 2


@pytest.mark.parametrize(
    "header",
    ["peer", "x-peer", "state", "x-client-cert", "x-forwarded-for", "forwarded", "x-ssl-client-cn"],
)
def test_no_header_changes_who_the_peer_is(caller: httpx.Client, header: str) -> None:
    assert caller.get("/who", headers={header: "box-1"}).json()["peer"] == "hq"


def test_a_certificate_with_two_common_names_is_nobody(server: Running, authority: Any) -> None:
    with client(server.url, authority.issue("hq", "admin"), DEADLINE_S) as one:
        response = one.get("/who")
    assert response.status_code == 401
    with pytest.raises(ProblemError) as caught:
        raise_for_problem(response)
    assert caught.value.type == "certificate-required"


def test_without_tls_nobody_is_anybody(plain: Running) -> None:
    with client(plain.url, None, DEADLINE_S) as one:
        assert one.get("/who", headers={"peer": "hq"}).status_code == 401


def test_strangers_do_not_get_in(server: Running, authority: Any, other_authority: Any) -> None:
    foreign = other_authority.issue("hq")
    stranger = TlsConfig(
        ca=authority.folder / "ca.pem",
        certificate=foreign.certificate,
        private_key=foreign.private_key,
    )
    with client(server.url, stranger, DEADLINE_S) as one, pytest.raises(PeerUnreachable):
        one.get("/who")
    context = ssl.create_default_context(cafile=str(authority.folder / "ca.pem"))
    with (
        httpx.Client(base_url=server.url, verify=context) as bare,
        pytest.raises(httpx.TransportError),
    ):
        bare.get("/who")


def test_older_tls_is_refused(server: Running, authority: Any) -> None:
    ours = authority.issue("hq")
    context = ssl.create_default_context(cafile=str(ours.ca))
    context.load_cert_chain(ours.certificate, ours.private_key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("localhost", server.port), DEADLINE_S) as sock,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(sock, server_hostname="localhost")


def test_a_server_of_another_authority_is_not_talked_to(
    server: Running, other_authority: Any
) -> None:
    with (
        client(server.url, other_authority.issue("hq"), DEADLINE_S) as one,
        pytest.raises(PeerUnreachable, match="certificate is not acceptable"),
    ):
        one.get("/who")


def test_a_problem_arrives_as_it_was_raised(caller: httpx.Client) -> None:
    response = caller.get("/refused")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:sealtrace:problem:approvals-missing",
        "title": "Approvals are missing",
        "status": 409,
        "detail": "Two are needed.",
        "needed": 2,
    }
    with pytest.raises(ProblemError, match=r"^Approvals are missing: Two are needed\.$") as caught:
        raise_for_problem(response)
    assert (caught.value.status, caught.value.type) == (409, "approvals-missing")


def test_a_bug_tells_an_incident_number_and_nothing_else(caller: httpx.Client) -> None:
    response = caller.get("/bug")
    assert response.status_code == 500
    assert "swordfish" not in response.text
    assert "RuntimeError" not in response.text
    assert response.json()["incident"] in response.json()["detail"]
    assert caller.get("/who").status_code == 200


def test_a_wrong_request_hears_where_but_not_its_own_values(caller: httpx.Client) -> None:
    response = caller.post("/order", json={"count": "very-private"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"] == "body.count"
    assert "very-private" not in response.text
    assert caller.post("/order", content=b"{broken").status_code == 422
    missing = caller.get("/nowhere")
    assert (missing.status_code, missing.json()["title"]) == (404, "Not Found")
    assert caller.get("/order").json()["title"] == "Method Not Allowed"


def test_cbor_bodies_pass_and_others_are_refused(caller: httpx.Client) -> None:
    response = caller.post("/echo", content=b"\xa0", headers={"content-type": CBOR})
    assert response.content == b"\xa0"
    assert response.headers["content-type"] == CBOR
    refused = caller.post("/echo", content=b"{}", headers={"content-type": "application/json"})
    assert refused.status_code == 415


def test_bodies_over_the_limit_are_refused_declared_or_not(caller: httpx.Client) -> None:
    headers = {"content-type": CBOR}
    assert caller.post("/echo", content=b"x" * LIMIT, headers=headers).status_code == 200
    declared = caller.post("/echo", content=b"x" * (LIMIT + 1), headers=headers)
    assert declared.status_code == 413
    assert declared.json()["type"].endswith("body-too-large")
    chunks = (b"x" * 10_000 for _ in range(11))
    streamed = caller.post("/echo", content=chunks, headers=headers)
    assert streamed.status_code == 413
    json_body = (b" " * 10_000 for _ in range(11))
    assert caller.post("/order", content=json_body).status_code == 413
    assert caller.get("/who").status_code == 200


def test_an_answer_that_is_no_problem_is_still_an_error() -> None:
    for content in (b"<html>", b"[]", b"\xff"):
        response = httpx.Response(
            502, content=content, headers={"content-type": "application/problem+json"}
        )
        with pytest.raises(ProblemError, match="502 Bad Gateway"):
            raise_for_problem(response)


def test_stopping_lets_a_request_under_way_finish(
    authority: Any, until: Callable[..., None]
) -> None:
    app = FastAPI()
    entered, release = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow() -> str:
        entered.set()
        release.wait(DEADLINE_S)
        return "finished"

    running = Running(app, authority.issue("server"))
    answers: list[str] = []

    def call() -> None:
        with client(running.url, authority.issue("hq"), DEADLINE_S) as one:
            answers.append(one.get("/slow").json())

    thread = threading.Thread(target=call)
    thread.start()
    assert entered.wait(DEADLINE_S)
    running.stop.set("now")

    def closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", running.port)) != 0

    until(closed)
    release.set()
    thread.join(DEADLINE_S)
    assert answers == ["finished"]
    running.end()


def test_a_taken_port_and_a_plain_public_address_are_clear_errors() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HttpError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            serve(make_app(), "127.0.0.1", port, None, Stop())
    with pytest.raises(HttpError, match="not a loopback address"):
        serve(make_app(), "0.0.0.0", 0, None, Stop())  # noqa: S104 - it is refused
    with pytest.raises(HttpError, match="did not come up"):
        Ready().wait(0)


@pytest.mark.slow
def test_nobody_there_is_a_clear_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with client(url, None, 5) as one, pytest.raises(PeerUnreachable, match="refused"):
            one.get("/")


@pytest.mark.processes
def test_who_only_calls_does_not_load_what_serves() -> None:
    asks = (
        "import sys; import officers.desk, runtime.http\n"
        "heavy = {'fastapi', 'uvicorn', 'confusable_homoglyphs'}\n"
        "print(sorted(heavy & set(sys.modules)), callable(runtime.http.serve))"
    )
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"
