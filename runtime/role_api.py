"""What every role's HTTP interface has: who calls, how the role is, whom it believes.

A role adds its own routes, and those of its audit log (`runtime.log_api`) if it keeps one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

import structlog
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from protocol.directory import BOX, DUTIES, Directory, Principal
from protocol.errors import PrincipalRevoked, UnknownSigner
from runtime.errors import OperationError
from runtime.http import CborResponse, cbor_body, peer_of
from runtime.problems import Problem, install_problem_handlers, problem_response

_log = structlog.get_logger()

Allow = Callable[[Request], object]
"""Raises for a caller who may not; what it returns is not looked at."""


class Believed(Protocol):
    """Whom a role believes (`runtime.trust.Trust`)."""

    @property
    def directory(self) -> Directory:
        """The directory in force."""

    def readable_in(self, form: int) -> bytes:
        """Return the same as the site's authority signed it, for who reads up to ``form``."""

    @property
    def signed_admissions(self) -> bytes | None:
        """The admissions in force as the registrar signed them."""


class Callers:
    """Tells by certificate and directory who calls and whether they may.

    Args:
        directory: gives the directory in force.
        boxes: whether boxes call here with certificates of their own CA.
    """

    def __init__(self, directory: Callable[[], Directory], *, boxes: bool = False) -> None:
        self._directory = directory
        self._boxes = boxes

    def listed(self, request: Request) -> Principal:
        """Return who calls, if the directory lists them and they are in force.

        Raises:
            Problem: 401 or 403, when they have no certificate that counts here.
            UnknownSigner, PrincipalRevoked: the directory does not list them, or no longer.
        """
        name = peer_of(request, boxes=self._boxes)
        principal = self._directory().principals.get(name)
        if principal is None:
            raise UnknownSigner(f"the directory does not list '{name}'")
        if principal.duties != {BOX}:
            peer_of(request)  # the boxes' CA vouches for boxes alone
        if principal.revoked_at_ms is not None:
            raise PrincipalRevoked(f"'{name}' has been revoked")
        return principal

    def with_duty(self, request: Request, *duties: str) -> Principal:
        """Return who calls, if they hold one of ``duties``.

        Raises:
            Problem, UnknownSigner, PrincipalRevoked: they do not, or as `listed`.
        """
        principal = self.listed(request)
        if not principal.duties & set(duties):
            raise Problem(
                403,
                "duty-required",
                "Another duty is required",
                f"Only {' or '.join(sorted(duties))} may do that; '{principal.name}' is "
                f"{' and '.join(sorted(principal.duties))}.",
            )
        return principal

    def known(self, request: Request) -> Principal:
        """Let in every principal in force but boxes, which speak over MQTT alone.

        Raises:
            Problem, UnknownSigner, PrincipalRevoked: as `with_duty`.
        """
        return self.with_duty(request, *(DUTIES - {BOX}))

    def bringer(self, request: Request) -> str:
        """Return the name of who calls, if they may bring a signed directory.

        Somebody whom a newer directory than ours lists may; whom ours has revoked may not, nor may
        a box, which is told its directory and tells nobody.

        Raises:
            Problem, UnknownSigner, PrincipalRevoked: as `with_duty`.
        """
        name = peer_of(request)
        return name if name not in self._directory().principals else self.known(request).name


def role_app(role: str, called: str, **about: Any) -> FastAPI:
    """Return a role's application, without routes: every error it answers is a problem.

    What only the role's operator can mend (an OperationError) is logged, and told as 503 without
    what is inside.

    Args:
        role: names the problem, ``<role>-unable``.
        called: what people call it.
        about: ``version`` and ``description`` for the OpenAPI document.
    """
    app = FastAPI(
        title=f"Sealtrace {called}",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        **about,
    )
    install_problem_handlers(app)

    @app.exception_handler(OperationError)
    async def on_operation_error(request: Request, error: OperationError) -> JSONResponse:
        _log.error("request_failed", path=request.url.path, reason=str(error))
        return problem_response(
            Problem(
                503,
                f"{role}-unable",
                f"The {called} cannot do that now",
                "Its disk or its files need its operator, whose log says more; try again later.",
            )
        )

    return app


def site_routes(
    trust: Believed,
    *,
    tell_status: Callable[[], Mapping[str, object]],
    about_status: str,
    accept: Callable[[bytes], bool],
    known: Allow,
    bringer: Allow,
) -> APIRouter:
    """Return the routes ``/v1/status``, ``/v1/directory`` and ``/v1/admissions``.

    Args:
        trust: whom the role believes.
        tell_status: how it is, as JSON values.
        about_status: says of it, in the OpenAPI document, what is in there.
        accept: takes in a signed directory or admissions; tells whether they were newer.
        known: lets in who may read.
        bringer: lets in who may bring a directory.
    """
    router = APIRouter(prefix="/v1")
    reading = [Depends(checked(known))]

    @router.get("/status", dependencies=reading, description=about_status)
    def status() -> dict[str, object]:
        return dict(tell_status())

    @router.get("/directory", dependencies=reading, response_class=CborResponse)
    def directory(form: Annotated[int, Query(ge=1, le=64)] = 1) -> Response:
        """The directory in force here, as the site's authority signed it (CBOR).

        ``form`` is the highest that the caller reads; one that says none reads the first.
        """
        return CborResponse(trust.readable_in(form))

    @router.get("/admissions", dependencies=reading, response_class=CborResponse)
    def admissions() -> Response:
        """The registrar's signed admissions in force here (CBOR); 404 while there are none."""
        signed = trust.signed_admissions
        if signed is None:
            raise Problem(404, "no-admissions", "There are no admissions", "None has come yet.")
        return CborResponse(signed)

    @router.put("/directory", dependencies=[Depends(checked(bringer))])
    async def put_directory(request: Request) -> dict[str, object]:
        """Take in a newer signed directory or admissions (CBOR), whoever brings them."""
        changed = await run_in_threadpool(accept, await cbor_body(request))
        return {"version": trust.directory.version, "changed": changed}

    return router


def checked(allow: Allow) -> Callable[[Request], None]:
    """Return ``allow`` as FastAPI's dependencies want it."""

    def check(request: Request) -> None:
        allow(request)

    return check
