"""A request for what another process has is handed on, with who asked; nobody can pretend that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from laid_down import new_store
from serving import Serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from aggregator.processes.duties import Duty
from aggregator.processes.forwarding import CALLER, Forwarding
from aggregator.processes.members import Member, register
from aggregator.processes.shares import UPKEEP_NUMBER, share_of_query
from aggregator.store import Store
from aggregator.store.leases import DUTY, QUERY

QUERY_ID = "ab" * 16
LONG_MS = 60_000


class As:
    """Stands before an application as TLS does: says whose certificate was shown."""

    def __init__(self, app: ASGIApp, peer: str | None, *, is_box: bool = False) -> None:
        self._app, self._state = app, {"peer": peer, "peer_is_box": is_box}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": dict(self._state)}, receive, send)


async def tell(request: Request) -> JSONResponse:
    return JSONResponse({"peer": request.state.peer, "path": request.url.path})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = new_store(tmp_path / "aggregator.db")
    yield opened
    opened.close()


def forwarding(store: Store, us: Member) -> Forwarding:
    """The interface of one process, which answers everything that is its own."""
    everything = Starlette(routes=[Route("/{rest:path}", tell, methods=["GET", "POST", "PUT"])])
    return Forwarding(
        everything, ledger=store.ledger, member=lambda: us, name="aggregator", tls=None
    )


def asked(
    store: Store, us: Member, peer: str | None, method: str, path: str, **more: Any
) -> tuple[int, Any]:
    """Ask one process; return status and answer."""
    is_box = more.pop("is_box", False)
    with TestClient(As(forwarding(store, us), peer, is_box=is_box)) as http:
        answer = http.request(method, path, **more)
        return answer.status_code, answer.json()


def holding(store: Store, member: Member, kind: str, number: int) -> None:
    with store.writing() as unit:
        assert unit.ledger.take_lease(kind, number, member.name, for_ms=LONG_MS)
        assert register(unit.ledger, member, for_ms=LONG_MS)


def test_what_is_ours_or_in_the_ledger_is_answered_here(store: Store) -> None:
    us = Member.new(frozenset(Duty))
    holding(store, us, QUERY, share_of_query(bytes.fromhex(QUERY_ID)))
    path = f"/v1/queries/{QUERY_ID}/templates"
    assert asked(store, us, "ana", "PUT", path) == (200, {"peer": "ana", "path": path})
    other = f"/v1/queries/{'cd' * 16}/results"
    assert asked(store, us, "ana", "GET", other)[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/log/checkpoint"),
        ("POST", "/v1/witness"),
        ("POST", f"/v1/queries/{QUERY_ID}/matcher-key"),
    ],
)
def test_what_nobody_has_is_said_so_and_may_be_asked_again(
    store: Store, method: str, path: str
) -> None:
    us = Member.new(frozenset({Duty.API}))
    status, answer = asked(store, us, "ana", method, path)
    assert status == 503
    assert "--duty" in answer["detail"]


def test_the_answer_of_who_has_it_is_given_whole(store: Store) -> None:
    page = bytes(5 << 20)  # as large as a page of the log may be, and some more

    async def answer(request: Request) -> Response:
        said = f"{request.headers[CALLER]} {request.method} {request.url.query}"
        headers = {"x-other": "stays there"}
        return Response(said.encode() + page, 201, headers, media_type="application/cbor")

    app = Starlette(routes=[Route("/v1/log/entries", answer)])
    us = Member.new(frozenset({Duty.API}))
    with Serving(app, None) as other:
        holder = Member.new(frozenset({Duty.UPKEEP})).at(other.url)
        holding(store, holder, DUTY, UPKEEP_NUMBER)
        with TestClient(As(forwarding(store, us), "eve")) as http:
            got = http.get("/v1/log/entries?start=7")
    assert (got.status_code, got.headers["content-type"]) == (201, "application/cbor")
    assert got.content == b"eve GET start=7" + page
    assert "x-other" not in got.headers


def test_for_a_caller_without_a_name_nothing_is_handed_on(store: Store) -> None:
    handed_on: list[str] = []

    async def answer(request: Request) -> Response:
        handed_on.append(request.url.path)
        return Response(b"", 200)

    us = Member.new(frozenset({Duty.API}))
    with Serving(Starlette(routes=[Route("/{rest:path}", answer)]), None) as other:
        holder = Member.new(frozenset({Duty.UPKEEP})).at(other.url)
        holding(store, holder, DUTY, UPKEEP_NUMBER)
        path = "/v1/log/checkpoint"  # from there it would come with the aggregator's own name
        assert asked(store, us, None, "GET", path) == (200, {"peer": None, "path": path})
    assert not handed_on


@pytest.mark.parametrize(
    ("target", "host"),
    [("/v1/log/../queries?a=1", "here"), ("/v1/log/entries", "here/v1/queries?"),
     ("/v1/log/%2e%2e/queries", "here"), ("/v1/log/a%3Fb", "here")],
)  # fmt: skip
def test_what_is_handed_on_is_the_path_that_was_looked_at(
    store: Store, target: str, host: str
) -> None:
    paths: list[str] = []

    async def answer(request: Request) -> Response:
        paths.append(request.scope["path"])
        return Response(b"{}", 200, media_type="application/json")

    us = Member.new(frozenset({Duty.API}))
    scope = {
        "type": "http", "method": "GET", "path": unquote(target.partition("?")[0]),
        "query_string": target.partition("?")[2].encode(), "root_path": "", "scheme": "https",
        "headers": [(b"host", host.encode())], "state": {"peer": "eve", "peer_is_box": False},
        "server": ("here", 1),
    }  # fmt: skip
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    app = Starlette(routes=[Route("/{rest:path}", answer)])
    with Serving(app, None) as other:
        holder = Member.new(frozenset({Duty.UPKEEP})).at(other.url)
        holding(store, holder, DUTY, UPKEEP_NUMBER)
        asyncio.run(forwarding(store, us)(scope, receive, send))
    assert said[0]["status"] == 200
    assert paths in ([scope["path"]], []), "handed on as it is, or answered here"


def test_who_has_it_and_does_not_answer_is_not_waited_for(store: Store) -> None:
    us = Member.new(frozenset({Duty.API}))
    gone = Member.new(frozenset({Duty.UPKEEP})).at("http://127.0.0.1:9")
    holding(store, gone, DUTY, UPKEEP_NUMBER)
    status, answer = asked(store, us, "eve", "GET", "/v1/log/entries")
    assert status == 503
    assert "takes over within seconds" in answer["detail"]


def test_the_aggregators_own_certificate_speaks_for_who_asked(store: Store) -> None:
    us = Member.new(frozenset(Duty))
    path = f"/v1/queries/{QUERY_ID}/approvals"
    handed_on = asked(store, us, "aggregator", "POST", path, headers={CALLER: "bo"})
    assert handed_on == (200, {"peer": "bo", "path": path})


@pytest.mark.parametrize(("peer", "is_box"), [("ana", False), ("aggregator", True), (None, False)])
def test_nobody_else_can_say_that_another_asked(
    store: Store, peer: str | None, is_box: bool
) -> None:
    us = Member.new(frozenset(Duty))
    said = {CALLER: "bo"}
    status, answer = asked(store, us, peer, "GET", "/v1/queries", headers=said, is_box=is_box)
    assert (status, answer["peer"]) == (200, peer)
