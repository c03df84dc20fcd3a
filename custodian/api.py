"""The custodian's HTTP interface: who may ask for what, by certificate and directory duty."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from custodian.custodian import Custodian
from protocol.directory import AGGREGATOR, APPROVER, AUDITOR, INVESTIGATOR
from runtime.http import CborResponse, cbor_body
from runtime.log_api import log_router
from runtime.problems import Problem
from runtime.role_api import Callers, checked, role_app, site_routes

QueryDigest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="of the signed query")]
DayKeysForm = Annotated[int, Query(ge=1, le=2, description="in which they are wanted")]
FromEntry = Annotated[int, Query(ge=0, lt=1 << 63, description="an entry of this log")]


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
    app = role_app("custodian", "custodian", version=str(custodian.status()["version"]))
    trust, limits = custodian.trust, custodian.config.limits
    callers = Callers(lambda: trust.directory)
    changes = RateLimit(limits.changes_per_minute)
    app.include_router(
        site_routes(
            trust,
            tell_status=custodian.status,
            about_status="How this custodian is: keys, clock, policy, log.",
            accept=custodian.accept_directory,
            known=callers.known,
            bringer=lambda request: changes.take(callers.bringer(request)),
        )
    )
    _add_keys(app, custodian, callers)
    _add_rows(app, custodian, callers)
    _add_withdrawals(app, custodian, callers, changes)
    app.include_router(
        log_router(
            custodian.log,
            custodian.witness,
            directory=lambda: trust.directory,
            allow=callers.known,
            time_s=lambda: custodian.clock.now_ms() // 1000,
            on_cosigned=custodian.cosigned,
        )
    )
    return app


def _add_keys(app: FastAPI, custodian: Custodian, callers: Callers) -> None:
    """Public day keys, and grants of what opens them."""
    grants = RateLimit(custodian.config.limits.grants_per_minute)

    @app.get(
        "/v1/day-keys",
        dependencies=[Depends(checked(callers.known))],
        response_class=CborResponse,
    )
    def day_keys(form: DayKeysForm = 1) -> CborResponse:
        """The signed public day keys (CBOR, `protocol.daykeys`); form 2 lists past days too."""
        rounds = custodian.rounds
        return CborResponse(rounds.day_keys if form == 1 else rounds.day_keys_2)

    @app.post("/v1/grants", response_class=CborResponse)
    async def grant(request: Request) -> CborResponse:
        """Answer the aggregator's signed grant request (CBOR) with a signed grant."""
        grants.take(callers.with_duty(request, AGGREGATOR).name)
        body = await cbor_body(request)
        return CborResponse(await run_in_threadpool(custodian.granter.grant, body))


def _add_rows(app: FastAPI, custodian: Custodian, callers: Callers) -> None:
    """Rows and stills of what was found, one by one, and receipts of the rows."""
    limits = custodian.config.limits
    rows, evidence = RateLimit(limits.rows_per_minute), RateLimit(limits.evidence_per_minute)

    @app.post("/v1/rows", response_class=CborResponse)
    async def open_rows(request: Request) -> CborResponse:
        """Answer the aggregator's signed request for rows (CBOR) with a signed release."""
        rows.take(callers.with_duty(request, AGGREGATOR).name)
        body = await cbor_body(request)
        return CborResponse(await run_in_threadpool(custodian.rows.open, body))

    @app.get("/v1/rows/{query_digest}", response_class=CborResponse)
    async def receipts(
        request: Request, query_digest: QueryDigest, from_entry: FromEntry = 0
    ) -> CborResponse:
        """The signed releases of a query's rows, oldest first (CBOR array, `protocol.v2.release`).

        For the officers who confirm its hits, and for auditors. An answer ends after about 4 MiB:
        ask again from behind the last one's ``entry_index`` until it is empty.
        """
        caller = callers.with_duty(request, INVESTIGATOR, AUDITOR)
        evidence.take(caller.name)
        digest = bytes.fromhex(query_digest)
        readers = await run_in_threadpool(custodian.store.readers, digest)
        if AUDITOR not in caller.duties and readers and caller.name not in readers:
            raise Problem(
                403,
                "not-your-query",
                "The query is somebody else's",
                "Only officers who confirm its hits, and auditors, may read what was opened.",
            )
        found = await run_in_threadpool(custodian.rows.receipts, digest, from_entry=from_entry)
        return CborResponse(found)

    @app.post("/v1/evidence", response_class=CborResponse)
    async def open_stills(request: Request) -> CborResponse:
        """Answer a confirming officer's signed request for stills (CBOR) with a signed release."""
        evidence.take(callers.with_duty(request, INVESTIGATOR).name)
        body = await cbor_body(request)
        return CborResponse(await run_in_threadpool(custodian.evidence.open, body))


def _add_withdrawals(
    app: FastAPI, custodian: Custodian, callers: Callers, changes: RateLimit
) -> None:
    @app.post("/v1/withdrawals")
    async def withdraw(request: Request) -> dict[str, bool]:
        """Take in an officer's signed withdrawal (CBOR); it is in force when this answers."""
        changes.take(callers.with_duty(request, APPROVER, INVESTIGATOR, AGGREGATOR).name)
        body = await cbor_body(request)
        directory = custodian.trust.directory
        new = await run_in_threadpool(custodian.withdrawals.submit, body, directory)
        return {"new": new}
