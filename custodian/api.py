"""The custodian's HTTP interface: who may ask for what, by certificate and directory duty."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from custodian.errors import TrustError
from custodian.service import Custodian
from protocol.directory import AGGREGATOR, APPROVER, INVESTIGATOR
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
    limits = custodian.config.limits
    grants = RateLimit(limits.grants_per_minute)
    changes = RateLimit(limits.changes_per_minute)

    @app.exception_handler(OperationError)
    async def on_operation_error(request: Request, error: OperationError) -> JSONResponse:
        _log.error("request_failed", path=request.url.path, reason=str(error))
        return problem_response(
            Problem(503, "custodian-unable", "The custodian cannot do that now", str(error))
        )

    def listed(request: Request) -> str:
        """Return who calls, if the directory lists them and they are in force."""
        name = peer_of(request)
        principal = custodian.trust.site.directory.principals.get(name)
        if principal is None:
            raise UnknownSigner(f"the directory does not list '{name}'")
        if principal.revoked_at_ms is not None:
            raise PrincipalRevoked(f"'{name}' has been revoked")
        return name

    def with_duty(request: Request, *duties: str) -> str:
        name = listed(request)
        principal = custodian.trust.site.directory.principals[name]
        if not principal.duties & set(duties):
            raise Problem(
                403,
                "duty-required",
                "Another duty is required",
                f"Only {' or '.join(duties)} may do that; '{name}' is "
                f"{' and '.join(sorted(principal.duties))}.",
            )
        return name

    @app.get("/v1/status")
    def status(request: Request) -> dict[str, object]:
        """How this custodian is: keys, clock, policy, log."""
        listed(request)
        return custodian.status()

    @app.get("/v1/day-keys")
    def day_keys(request: Request) -> CborResponse:
        """The signed public day keys (CBOR, `protocol.daykeys`)."""
        listed(request)
        return CborResponse(custodian.rounds.day_keys)

    @app.post("/v1/grants")
    async def grant(request: Request) -> CborResponse:
        """Answer the aggregator's signed grant request (CBOR) with a signed grant."""
        grants.take(with_duty(request, AGGREGATOR))
        body = await cbor_body(request)
        return CborResponse(await run_in_threadpool(custodian.granter.grant, body))

    @app.post("/v1/withdrawals")
    async def withdraw(request: Request) -> dict[str, bool]:
        """Take in an officer's signed withdrawal (CBOR); it is in force when this answers."""
        changes.take(with_duty(request, APPROVER, INVESTIGATOR, AGGREGATOR))
        body = await cbor_body(request)
        directory = custodian.trust.site.directory
        new = await run_in_threadpool(custodian.withdrawals.submit, body, directory)
        return {"new": new}

    @app.put("/v1/directory")
    async def put_directory(request: Request) -> dict[str, object]:
        """Take in a newer directory signed by the site's authority (CBOR), whoever brings it."""
        changes.take(peer_of(request))
        body = await cbor_body(request)
        try:
            changed = await run_in_threadpool(custodian.accept_directory, body)
        except TrustError as error:
            raise Problem(
                422, "directory-unusable", "The directory cannot be used", str(error)
            ) from error
        return {"version": custodian.trust.site.directory.version, "changed": changed}

    app.include_router(
        log_router(
            custodian.log,
            custodian.witness,
            directory=lambda: custodian.trust.site.directory,
            allow=listed,
            time_s=lambda: custodian.clock.now_ms() // 1000,
        )
    )
    return app
