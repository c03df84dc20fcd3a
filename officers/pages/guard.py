"""Lets in the officer's own browser alone, and tells it what pages may not do.

Loopback keeps other machines out, and `callers` other accounts of this one. Pages of other origins
in the same browser, other programs and names that were made to point here are kept out by this: the
exact Host, the origin of whatever changes something, one session a one-time start token, a token in
every form, bounds on bodies, and a Content-Security-Policy without exceptions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlencode

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from officers.desk.moments import show_in
from officers.desk.phrases import phrase
from officers.pages.door import Door, FormRefused
from officers.pages.house import House
from officers.pages.statics import PREFIX

MAX_BODY_BYTES = 256 << 10
"""The most bytes that a request's body has, where no section says otherwise."""
SAFE = frozenset({"GET", "HEAD"})
OPEN_PATHS = frozenset({"/start", "/door"})
"""Paths that need no session: they have tokens of their own."""
TOKEN_HEADER = "x-desk-token"  # noqa: S105 - a header's name
_DRAIN_TIMES = 2
_MAX_FILES, _MAX_FIELDS = 64, 70_000
"""Of a form: a city's cameras may be ticked in one; its bytes are bounded besides."""

_HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'self'",
            "img-src 'self' data:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-src 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with that a browser says of our own forms that they come from nowhere.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": (
        "camera=(), microphone=(), geolocation=(), display-capture=(), usb=(), serial=(), "
        "publickey-credentials-get=(self), publickey-credentials-create=(self)"
    ),
    "x-dns-prefetch-control": "off",
}
_NEVER_STORED = "no-store"


class Guard:
    """Stands before the application; refuses in plain words.

    Args:
        app: the application.
        house: whose desk it is.
        large_bodies: beginnings of paths to the most bytes of a body there.
    """

    def __init__(self, app: ASGIApp, house: House, large_bodies: Mapping[str, int]) -> None:
        self._app = app
        self._house = house
        self._large = large_bodies
        self._host = f"localhost:{house.port}"
        self._cookie = cookie_name(house.port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the desk speaks no {scope['type']}")

        begin_s = time.perf_counter()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                _add_headers(answered)
                took_ms = (time.perf_counter() - begin_s) * 1000
                answered["server-timing"] = f"desk;dur={took_ms:.1f}"
            await send(message)

        show_in(self._house.zone)
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        limit = self._limit(scope["path"])
        declared = headers.get("content-length", "")
        if refusal is None and declared.isdigit() and int(declared[:20]) > limit:
            await _drain(receive, _DRAIN_TIMES * limit)
            refusal = PlainTextResponse(_too_large(limit), 413, {"connection": "close"})
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        session = session_of(headers, self._cookie)
        known = bool(session) and self._house.door.knows(session)
        scope.setdefault("state", {})["session"] = session if known else ""
        if not known and scope["path"] not in OPEN_PATHS and not _is_static(scope):
            await self._strange(scope, headers)(scope, receive, guarded)
            return
        await self._app(scope, _bounded(receive, limit), guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return why a request is not even looked at; None where it is."""
        if headers.getlist("host") != [self._host]:
            return PlainTextResponse(
                f"This desk answers at http://{self._host} only. Open that address.", 421
            )
        where = headers.get("sec-fetch-site")
        changes = scope["method"] not in SAFE
        if changes:
            origin = headers.get("origin")
            ours = origin == self._house.origin if origin is not None else where == "same-origin"
            if scope["path"] == "/door" and origin is None and where is None:
                return None  # another process of the officer's, with a secret of its own
            if not ours or where not in {None, "same-origin"}:
                return PlainTextResponse(
                    "Another page than the desk's own sent this; nothing was done.", 403
                )
        elif where in {"cross-site", "same-site"} and not (
            headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        ):
            return PlainTextResponse("Another page than the desk's own asked for this.", 403)
        return None

    def _strange(self, scope: Scope, headers: Headers) -> Response:
        """Return what is told to a browser without a session."""
        wants_page = headers.get("sec-fetch-dest", "document") == "document"
        if scope["method"] in SAFE and wants_page and scope["path"] != "/live":
            return RedirectResponse("/start", 303)
        return PlainTextResponse("This browser has no session at this desk; open /start.", 401)

    def _limit(self, path: str) -> int:
        limits = [size for start, size in self._large.items() if path.startswith(start)]
        return max([MAX_BODY_BYTES, *limits])


def cookie_name(port: int) -> str:
    """Return the session cookie's name: cookies know no ports, so the name does."""
    return f"sealtrace-{port}"


def session_of(headers: Headers, name: str) -> str:
    """Return the session's secret from the cookies; empty where there is none."""
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def set_session(response: Response, port: int, session: str) -> None:
    """Have the browser keep a session until it is closed."""
    response.set_cookie(
        cookie_name(port), session, path="/", httponly=True, samesite="strict", secure=False
    )


async def form_checked(request: Request) -> None:
    """Refuse whatever changes something without this session's token in form or header.

    A dependency of the whole application: no page can leave it out.

    Raises:
        FormRefused: the token is missing or another session's.
    """
    if request.method in SAFE or request.url.path in OPEN_PATHS:
        return
    door: Door = request.app.state.house.door
    session = request.state.session
    token = request.headers.get(TOKEN_HEADER)
    if token is None:
        form = await request.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS)
        given = form.get("csrf")
        token = given if isinstance(given, str) else ""
    if not session:
        raise FormRefused(phrase("this browser has no session at this desk"))
    door.check_form(session, token)


def start_path(token: str) -> str:
    """Return the path that starts a session."""
    return f"/start?{urlencode({'token': token})}"


def _is_static(scope: Scope) -> bool:
    return scope["method"] in SAFE and str(scope["path"]).startswith(PREFIX)


def _add_headers(headers: MutableHeaders) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    if "cache-control" not in headers:
        headers["cache-control"] = _NEVER_STORED


def _bounded(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:  # FastAPI lets only these through while it reads a body
            raise HTTPException(413, _too_large(limit), headers={"connection": "close"})
        return message

    return counted


def _too_large(limit: int) -> str:
    return f"What was sent is too large: at most {limit >> 10:,} KiB may be sent here."


async def _drain(receive: Receive, most_bytes: int) -> None:
    """Read on for a while, so that the browser has sent all of it and hears why it is refused."""
    drained = 0
    while drained < most_bytes:
        message = await receive()
        drained += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
