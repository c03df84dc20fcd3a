"""The custodian's HTTP interface: who may ask for what, by certificate and directory duty."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from fastapi import Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from custodian.service import Custodian
from protocol.directory import (
    AGGREGATOR,
    APPROVER,
    BOX,
    DUTIES,
    INVESTIGATOR,
    Principal,
)
from protocol.errors import PrincipalRevoked, UnknownSigner
from runtime.errors import OperationError
from runtime.http import CborResponse, cbor_body, peer_of
from runtime.log_api import log_router
from runtime.problems import Problem, install_problem_handlers, problem_response

_log = structlog.get_logger()


class RateLimit:
    """At most so many calls a minute for each caller; a full bucket may be used at once."""

    def __init__(self, per_minute: int, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._now_s = now_s
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Count a call.

        Raises:
            Problem: 429, when the caller has used up its calls.
        """
        with self._lock:
            now_s = self._now_s()
            left, since_s = self._buckets.get(caller, (self._size, now_s))
            left = min(self._size, left + (now_s - since_s) * self._size / 60)
            if left < 1:
                raise Problem(
                    429,
                    "too-many-requests",
                    "Too many requests",
                    f"At most {self._size:g} a minute are taken; wait a little, then go on.",
                )
            self._buckets[caller] = (left - 1, now_s)


class _Callers:
    """Tells by certificate and directory who calls and whether they may."""

    def __init__(self, custodian: Custodian) -> None:
        self._trust = custodian.trust

    def listed(self, request: Request) -> Principal:
        """Return who calls, if the directory lists them and they are in force."""
        name = peer_of(request)
        principal = self._trust.site.directory.principals.get(name)
        if principal is None:
            raise UnknownSigner(f"the directory does not list '{name}'")
        if principal.revoked_at_ms is not None:
            raise PrincipalRevoked(f"'{name}' has been revoked")
        return principal

    def with_duty(self, request: Request, *duties: str) -> str:
        """Return the name of who calls, if they hold one of ``duties``."""
        principal = self.listed(request)
        if not principal.duties & set(duties):
            raise Problem(
                403,
                "duty-required",
                "Another duty is required",
                f"Only {' or '.join(sorted(duties))} may do that; '{principal.name}' is "
                f"{' and '.join(sorted(principal.duties))}.",
            )
        return principal.name

    def may_bring(self, request: Request) -> str:
        """Return the name of who calls, if they may bring a signed directory.

        Somebody whom a newer directory than ours lists may; whom ours has revoked may not, nor may
        a box, which is told its directory and tells nobody.
        """
        name = peer_of(request)
        if name not in self._trust.site.directory.principals:
            return name
        return self.with_duty(request, *(DUTIES - {BOX}))

    def known(self, request: Request) -> None:
        """Let in every principal in force but boxes, which speak over MQTT alone."""
        self.with_duty(request, *(DUTIES - {BOX}))


def make_app(custodian: Custodian) -> FastAPI:
    """Return the application that serves ``custodian``."""
    app = FastAPI(
        title="Sealtrace custodian",
        version=str(custodian.status()["version"]),
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    install_problem_handlers(app)

    @app.exception_handler(OperationError)
    async def on_operation_error(request: Request, error: OperationError) -> JSONResponse:
        _log.error("request_failed", path=request.url.path, reason=str(error))
        return problem_response(
            Problem(
                503,
                "custodian-unable",
                "The custodian cannot do that now",
                "Its disk or its files need its operator, whose log says more; try again later.",
            )
        )

    callers = _Callers(custodian)
    _add_reading(app, custodian, callers)
    _add_asking(app, custodian, callers)
    app.include_router(
        log_router(
            custodian.log,
            custodian.witness,
            directory=lambda: custodian.trust.site.directory,
            allow=callers.known,
            time_s=lambda: custodian.clock.now_ms() // 1000,
            on_cosigned=custodian.cosigned,
        )
    )
    return app


def _add_reading(app: FastAPI, custodian: Custodian, callers: _Callers) -> None:
    """What may be looked at: status, day keys, directory, admissions."""
    known = [Depends(callers.known)]

    @app.get("/v1/status", dependencies=known)
    def status() -> dict[str, object]:
        """How this custodian is: keys, clock, policy, log."""
        return custodian.status()

    @app.get("/v1/day-keys", dependencies=known, response_class=CborResponse)
    def day_keys() -> CborResponse:
        """The signed public day keys (CBOR, `protocol.daykeys`)."""
        return CborResponse(custodian.rounds.day_keys)

    @app.get("/v1/directory", dependencies=known, response_class=CborResponse)
    def directory() -> CborResponse:
        """The directory in force here, as the site's authority signed it (CBOR)."""
        return CborResponse(custodian.trust.signed)

    @app.get("/v1/admissions", dependencies=known, response_class=CborResponse)
    def admissions() -> CborResponse:
        """The registrar's signed admissions in force here (CBOR)."""
        signed = custodian.trust.signed_admissions
        if signed is None:
            raise Problem(404, "no-admissions", "There are no admissions", "None has come yet.")
        return CborResponse(signed)


def _add_asking(app: FastAPI, custodian: Custodian, callers: _Callers) -> None:
    """What may be asked for: grants, withdrawals, a newer directory."""
    limits = custodian.config.limits
    grants = RateLimit(limits.grants_per_minute)
    changes = RateLimit(limits.changes_per_minute)

    @app.post("/v1/grants", response_class=CborResponse)
    async def grant(request: Request) -> CborResponse:
        """Answer the aggregator's signed grant request (CBOR) with a signed grant."""
        grants.take(callers.with_duty(request, AGGREGATOR))
        body = await cbor_body(request)
        return CborResponse(await run_in_threadpool(custodian.granter.grant, body))

    @app.post("/v1/withdrawals")
    async def withdraw(request: Request) -> dict[str, bool]:
        """Take in an officer's signed withdrawal (CBOR); it is in force when this answers."""
        changes.take(callers.with_duty(request, APPROVER, INVESTIGATOR, AGGREGATOR))
        body = await cbor_body(request)
        directory = custodian.trust.site.directory
        new = await run_in_threadpool(custodian.withdrawals.submit, body, directory)
        return {"new": new}

    @app.put("/v1/directory")
    async def put_directory(request: Request) -> dict[str, object]:
        """Take in a newer signed directory or admissions (CBOR), whoever brings them."""
        changes.take(callers.may_bring(request))
        body = await cbor_body(request)
        changed = await run_in_threadpool(custodian.accept_directory, body)
        return {"version": custodian.trust.site.directory.version, "changed": changed}
