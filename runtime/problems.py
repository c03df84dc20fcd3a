"""Say over HTTP what went wrong, as RFC 9457 problem details, without leaking what is inside."""

from __future__ import annotations

import http
import re
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import structlog

from protocol import errors
from protocol.errors import ProtocolError
from protocol.textformats import parse_json
from runtime.errors import OperationError

if TYPE_CHECKING:  # who only calls is told of problems too, and does not load what serves
    from fastapi import FastAPI, Request
    from starlette.responses import JSONResponse

CBOR = "application/cbor"
PROBLEM = "application/problem+json"
TYPE_PREFIX = "urn:sealtrace:problem:"
_log = structlog.get_logger()


class Problem(Exception):
    """Raise in a request handler to answer with problem details.

    Args:
        status: HTTP status, 400 to 599.
        type: a short name of the kind of problem for programs, such as ``approvals-missing``.
        title: what kind of problem it is, for people; the same at each occurrence.
        detail: what happened this time and what to do next.
        extra: more members of the answer, JSON values.
    """

    def __init__(self, status: int, type: str, title: str, detail: str = "", **extra: Any) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.extra = extra


class ProblemError(OperationError):
    """The other side answered with a problem; ``status`` is 0 to 599, ``type`` its short name."""

    def __init__(self, title: str, detail: str, status: int, type: str) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.title = title
        self.detail = detail
        self.status = status
        self.type = type


def problem_response(problem: Problem) -> JSONResponse:
    """Return the answer that tells ``problem``."""
    from starlette.responses import JSONResponse  # noqa: PLC0415

    body = {
        **problem.extra,
        "type": TYPE_PREFIX + problem.type if problem.type != "about:blank" else problem.type,
        "title": problem.title,
        "status": problem.status,
    }
    if problem.detail:
        body["detail"] = problem.detail
    return JSONResponse(body, problem.status, media_type=PROBLEM)


_STATUSES: tuple[tuple[type[ProtocolError], int], ...] = (
    (errors.MessageTooLarge, 413),
    (errors.MalformedMessage, 400),
    (errors.SignatureInvalid, 403),
    (errors.RetentionEnded, 410),
    (errors.NotAuthorized, 403),
    (errors.ScopeExceeded, 403),
    (errors.DirectoryRollback, 409),
    (errors.SharesMissing, 409),
    (errors.LogError, 409),
)


def problem_of(error: ProtocolError) -> Problem:
    """Return the problem that tells a refusal of the protocol.

    Its type is the exception's name in kebab case (``ApprovalsMissing``: ``approvals-missing``),
    its title the first line of the exception's docstring, its detail the message.
    """
    kind = type(error)
    status = next((status for family, status in _STATUSES if isinstance(error, family)), 422)
    title = (kind.__doc__ or kind.__name__).strip().splitlines()[0].rstrip(".")
    return Problem(status, problem_type(kind), title, str(error))


def problem_type(kind: type[Exception]) -> str:
    """Return an exception's name in kebab case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.__name__).lower()


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error answer of ``app`` a problem: ours, wrong requests, unknown paths, bugs.

    A wrong request is told where and what is wrong, never given its own values back. An unexpected
    error is logged under an incident number, and only that number is told.
    """
    from fastapi.exceptions import RequestValidationError  # noqa: PLC0415
    from starlette.exceptions import HTTPException  # noqa: PLC0415

    @app.exception_handler(Problem)
    async def on_problem(_request: Request, problem: Problem) -> JSONResponse:
        return problem_response(problem)

    @app.exception_handler(ProtocolError)
    async def on_refusal(request: Request, error: ProtocolError) -> JSONResponse:
        problem = problem_of(error)
        _log.info(
            "http_refused", path=request.url.path, problem=problem.type, reason=problem.detail
        )
        return problem_response(problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"where": ".".join(str(part) for part in item["loc"]), "what": str(item["msg"])}
            for item in error.errors()
        ]
        detail = "; ".join(f"{item['where']}: {item['what']}" for item in errors)
        return problem_response(
            Problem(
                422, "invalid-request", "The request does not fit", detail[:2000], errors=errors
            )
        )

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
        title = http.HTTPStatus(error.status_code).phrase
        detail = "" if error.detail == title else str(error.detail)
        response = problem_response(Problem(error.status_code, "about:blank", title, detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        incident = str(uuid.uuid4())
        _log.error(
            "http_unexpected_error",
            incident=incident,
            method=request.method,
            path=request.url.path,
            error=type(error).__name__,
        )
        response = problem_response(
            Problem(
                500,
                "internal-error",
                "Something went wrong on the server",
                f"Its log says more under incident {incident}.",
                incident=incident,
            )
        )
        response.headers["connection"] = "close"  # the server hangs up: nobody is to go on with it
        return response


def raise_for_problem(response: httpx.Response) -> httpx.Response:
    """Return ``response`` if it is a success.

    Raises:
        ProblemError: it is not; carries the problem told, or the bare status if none was.
    """
    if response.is_success:
        return response
    status = response.status_code
    title, detail, kind = f"the server answered {status} {response.reason_phrase}", "", ""
    if response.headers.get("content-type", "").partition(";")[0] == PROBLEM:
        try:
            told = parse_json(response.content)
        except ValueError:
            told = None
        if isinstance(told, dict):
            title = _told(told, "title", title)[:200]
            detail = _told(told, "detail", "")[:2000]
            kind = _told(told, "type", "").removeprefix(TYPE_PREFIX)[:200]
    raise ProblemError(title, detail, status, kind)


def json_of(response: httpx.Response) -> Any:
    """Return what a server answered as JSON, once :func:`raise_for_problem` let it pass.

    Raises:
        ProblemError: as `raise_for_problem`, or the answer is not JSON.
    """
    try:
        return parse_json(raise_for_problem(response).content)
    except ValueError as error:
        raise ProblemError(
            "the server answered with what is no JSON",
            "check its address, and that it is of the same version",
            response.status_code,
            "",
        ) from error


def _told(problem: dict[str, Any], name: str, otherwise: str) -> str:
    value = problem.get(name, otherwise)
    return value if isinstance(value, str) else otherwise
