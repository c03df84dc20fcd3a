"""Puts the desk together: guard, sections, files, errors as pages."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from officers.pages.assets import Vendor
from officers.pages.at import At, local
from officers.pages.frame.errors import error_page
from officers.pages.guard import MAX_BODY_BYTES, SAFE, Guard, form_checked
from officers.pages.house import House, Locked
from officers.pages.rendering import Renderer
from officers.pages.sections import sections
from officers.pages.statics import PREFIX, Statics
from officers.pages.words import FRAME
from protocol.errors import ProtocolError
from runtime.errors import OperationError

_log = structlog.get_logger()


def make_app(house: House, vendor: Vendor | None = None) -> ASGIApp:
    """Return the desk as an application.

    Args:
        house: whose desk it is.
        vendor: others' files; where this installation keeps them if None.

    Raises:
        AssetsMissing: they are not set up.
    """
    vendor = vendor or Vendor()
    vendor.check()
    found = sections()
    # What is sent here may be a photograph: it stays in memory, and goes to no temporary file.
    large = {path: size for one in found.values() for path, size in one.large_bodies.items()}
    MultiPartParser.spool_max_size = max([MAX_BODY_BYTES, *large.values()])
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(form_checked)]
    )
    statics = Statics(found, vendor)
    app.state.house = house
    app.state.renderer = Renderer(found, statics, vendor)
    app.state.section_names = tuple(found)
    app.state.home_tasks = tuple(one.home_tasks for one in found.values() if one.home_tasks)

    @app.get(PREFIX + "{name:path}", include_in_schema=False)
    def static(name: str, v: str = "") -> Response:
        return statics.answer(name, v)

    for section in found.values():
        app.include_router(section.router)
    _errors_are_pages(app)
    return Guard(app, house, large)


def largest_body(app: ASGIApp) -> int:
    """Return the most bytes that any page takes."""
    return int(MultiPartParser.spool_max_size) if isinstance(app, Guard) else MAX_BODY_BYTES


def _errors_are_pages(app: FastAPI) -> None:
    @app.exception_handler(Locked)
    async def on_locked(request: Request, _error: Locked) -> Response:
        return _to_lock(request)

    async def on_explained(request: Request, error: Exception) -> Response:
        return error_page(At(request, FRAME), error)

    for kind in (OperationError, ProtocolError, HTTPException, RequestValidationError):
        app.exception_handler(kind)(on_explained)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        incident = uuid.uuid4().hex[:12]
        _log.error(
            "desk_unexpected_error",
            incident=incident,
            method=request.method,
            route=_route(request),
            error=type(error).__name__,
            exc_info=error,
        )
        return error_page(At(request, FRAME), error, incident=incident)


def _route(request: Request) -> str:
    """Return the pattern of a path, which holds nothing of anybody."""
    route: Any = request.scope.get("route")
    return str(getattr(route, "path", "-"))


def _to_lock(request: Request) -> Response:
    """Send to the lock, and back here after it; what was sent in a form has to be sent again."""
    back = request.url.path
    if request.method not in SAFE:
        back = local(
            request.headers.get("referer", "").removeprefix(request.app.state.house.origin)
        )
    lock = f"/lock?{urlencode({'back': back})}"
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"hx-redirect": lock})
    return RedirectResponse(lock, 303)
