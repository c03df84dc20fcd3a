"""Errors as pages: what happened, what it means, what to do."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from officers.desk import ReceiptsContradict
from officers.desk.case import CaseInvalid
from officers.desk.phrases import words_of
from officers.desk.session import QueryNotFound
from officers.pages.at import At
from officers.pages.door import FormRefused
from officers.pages.signatures import ShownIsNotSigned, SigningGone
from protocol.errors import ProtocolError
from runtime.errors import OperationError
from runtime.http import PeerUnreachable
from runtime.problems import problem_type

_TELL_THE_AUDITOR = (CaseInvalid, ReceiptsContradict, ShownIsNotSigned)
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (PeerUnreachable, 503),
    (QueryNotFound, 404),
    (FormRefused, 403),
    (SigningGone, 410),
    (RequestValidationError, 422),
    (OperationError, 409),
    (ProtocolError, 409),
)


@dataclass(frozen=True, slots=True)
class Told:
    """An error for its reader: what happened, what it means, what to do, and a small code."""

    what: str
    meaning: str
    todo: str
    code: str


def error_page(here: At, error: Exception, *, incident: str = "") -> Response:
    """Return the page that tells of an error."""
    told = _told(here, error, incident)
    contradicts = isinstance(error, _TELL_THE_AUDITOR)
    template = "frame/contradiction.html" if contradicts else "frame/error.html"
    return here.page(template, status=_status(error), told=told, title=told.what)


def _told(here: At, error: Exception, incident: str) -> Told:
    code = incident or problem_type(type(error))
    if isinstance(error, HTTPException) and error.status_code == 404:
        return Told(
            here.text("There is no such page."),
            here.text("The address is mistyped, or what it named is no longer here."),
            here.text("Go back to your tasks."),
            "404",
        )
    if isinstance(error, HTTPException):
        return Told(
            here.text("This was not done."),
            str(error.detail),
            here.text("Go back and try again."),
            str(error.status_code),
        )
    if isinstance(error, RequestValidationError):
        return Told(
            here.text("The form does not fit."),
            here.text("A field is missing, or too long. Nothing was done."),
            here.text("Go back and fill it in again."),
            code,
        )
    if isinstance(error, PeerUnreachable):
        return Told(
            here.text("Headquarters do not answer."),
            here.say(words_of(error)),
            here.text(
                "Nothing was handed in. What is on this machine can still be read; try again in a "
                "minute, and tell headquarters if it stays so."
            ),
            code,
        )
    if isinstance(error, OperationError | ProtocolError):
        return Told(here.text("This was not done."), here.say(words_of(error)), "", code)
    return Told(
        here.text("Something went wrong in the desk itself."),
        here.text("This is a fault of the program. Nothing was signed by it."),
        here.text("Go back and try again. If it happens again, tell who looks after the desk."),
        code,
    )


def _status(error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
