"""The aggregator's HTTP interface ``/v1``: what officers, auditors and custodians may ask of it.

Who calls is the name in the client's certificate; that decides what may be read. What may be
opened is decided by signatures alone. Errors are problem details (RFC 9457), messages CBOR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from starlette.responses import Response

from aggregator.box_api import add_box_routes
from aggregator.estimates import EstimateAnswer, EstimateRequest, Estimator
from aggregator.ingest import quarantine
from aggregator.ingest.checks import Rejected
from aggregator.ingest.intake import Intake
from aggregator.places import PlacesShelf
from aggregator.queries import QueryConflict, QueryDesk, QueryUnknown
from aggregator.query_api import Body, add_query_routes
from aggregator.still_api import add_still_routes
from aggregator.stills import StillDesk
from aggregator.store import Store
from aggregator.views import false_grants_view
from protocol.directory import AGGREGATOR, BOX
from protocol.policy import SCHEMA, Policy
from runtime.auditlog import AuditLog
from runtime.calibration import Calibration
from runtime.http import CborResponse, Problem
from runtime.log_api import log_router
from runtime.problems import problem_response
from runtime.role_api import Callers, role_app, site_routes
from runtime.trust import Trust
from runtime.witness import Witness

VERSION = "1"
Number = Annotated[int, Path(ge=1, lt=2**63, description="as the list of the quarantine gives it")]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the interface stands on; ``log`` and ``witness`` are None where others have them."""

    site: str
    store: Store
    trust: Trust
    log: AuditLog | None
    witness: Witness | None
    policy: Policy
    policy_text: bytes
    policy_signature: bytes
    desk: QueryDesk
    stills: StillDesk
    intake: Intake
    calibrations: Mapping[str, Calibration]
    default_thresholds: Mapping[str, float]
    clock_skew_ms: int
    places: PlacesShelf


def make_app(parts: Parts) -> FastAPI:
    """Return the application."""
    app = role_app(
        "aggregator",
        "aggregator",
        version=VERSION,
        description="Queries, their approvals and sealed results; boxes; the audit log.",
    )
    _add_errors(app)
    callers = Callers(lambda: parts.trust.directory)

    def caller(request: Request) -> None:
        """Let in officers and custodians in force."""
        if BOX in callers.listed(request).duties:
            raise Problem(
                403,
                "not-an-officer",
                "This interface is for the site's officers and custodians",
                "Use the certificate of a person or custodian whom the directory lists.",
            )

    def status() -> dict[str, object]:
        return {
            "site": parts.site,
            "directory_version": parts.trust.directory.version,
            "policy_version": parts.policy.version,
            "policy_digest": parts.policy.digest.hex(),
            "policy_schema": parts.policy.schema,
            "reads_policy_schema": SCHEMA,
            "newest_envelope": parts.store.ledger.newest_envelope(),
            "false_grants": false_grants_view(parts.desk),
        }

    app.include_router(
        site_routes(
            parts.trust,
            tell_status=status,
            about_status="Tell that the aggregator runs, and which directory and policy it holds.",
            accept=parts.trust.accept,
            known=caller,
            bringer=caller,
        )
    )
    known_caller = Depends(caller)
    _add_site(app, parts, known_caller)
    add_box_routes(
        app,
        parts.store,
        lambda: parts.trust.directory,
        known_caller,
        clock_skew_ms=parts.clock_skew_ms,
    )
    add_query_routes(app, parts.desk, parts.policy, known_caller)
    add_still_routes(app, parts.desk, parts.stills, parts.store.ledger, known_caller)
    _add_quarantine(app, parts, callers, known_caller)
    if parts.log is not None and parts.witness is not None:
        app.include_router(
            log_router(
                parts.log, parts.witness, directory=lambda: parts.trust.directory, allow=caller
            )
        )
    return app


def _add_site(app: FastAPI, parts: Parts, known_caller: Any) -> None:
    """What is known of the site: policy, cameras, estimates."""
    estimator = Estimator(
        parts.store.ledger, parts.policy, parts.calibrations, parts.default_thresholds
    )

    @app.get("/v1/policy", dependencies=[known_caller])
    def policy() -> Response:
        """Return the policy's TOML."""
        return Response(parts.policy_text, media_type="application/toml")

    @app.get("/v1/policy/signature", dependencies=[known_caller], response_class=CborResponse)
    def policy_signature() -> Response:
        """Return the authority's signature over the policy."""
        return CborResponse(parts.policy_signature)

    @app.get("/v1/places", dependencies=[known_caller])
    def places() -> Response:
        """Return the register of places that the directory names; 404 while it is not here."""
        register = parts.places.current()
        if register is None:
            raise Problem(
                404,
                "no-places",
                "There is no register of places here",
                "The directory names none, or nobody has brought it "
                "(`sealtrace site update SITE --push`).",
            )
        return Response(register, media_type="application/octet-stream")

    @app.put("/v1/places", dependencies=[known_caller])
    def put_places(body: Body) -> dict[str, bool]:
        """Keep the register of places that the directory in force names, whoever brings it."""
        return {"changed": parts.places.take(body)}

    @app.get("/v1/cameras", dependencies=[known_caller])
    def cameras() -> list[dict[str, Any]]:
        """List the cameras of the boxes in force, those whose films they may import too."""
        listed = parts.trust.directory.with_duty(BOX)
        return [{"camera": c, "box": box.name} for box in listed for c in box.tells_of]

    @app.post("/v1/estimates", dependencies=[known_caller])
    def estimate(request: EstimateRequest) -> EstimateAnswer:
        """Count what a scope holds, from clear counters, before anyone signs."""
        return estimator.of(request)


def _add_quarantine(app: FastAPI, parts: Parts, callers: Callers, known_caller: Any) -> None:
    """What waits for the operator's word."""

    def operator(request: Request) -> None:
        """Let in the aggregator's operator alone."""
        if AGGREGATOR not in callers.listed(request).duties:
            raise Problem(
                403,
                "not-the-operator",
                "Only the aggregator's operator may do this",
                "Run it on the aggregator's machine, with the aggregator's certificate.",
            )

    the_operator = Depends(operator)

    @app.get("/v1/quarantine", dependencies=[known_caller])
    def quarantined() -> list[dict[str, Any]]:
        """List the messages that wait for an operator's word."""
        return [
            {
                "number": item.number,
                "topic": item.topic,
                "reason": item.reason,
                "detail": item.detail,
                "received_ms": item.received_ms,
                "bytes": item.size_bytes,
            }
            for item in parts.store.ledger.quarantined()
        ]

    @app.post("/v1/quarantine/{number}/admit", status_code=204, dependencies=[the_operator])
    def admit(number: Number) -> None:
        """Store a quarantined message after all (the aggregator's operator only)."""
        parts.intake.admit(number)

    @app.delete("/v1/quarantine/{number}", status_code=204, dependencies=[the_operator])
    def drop(number: Number) -> None:
        """Drop a quarantined message for good (the aggregator's operator only)."""
        quarantine.drop(parts.store, number)


def _add_errors(app: FastAPI) -> None:
    """Give this package's own errors their HTTP answers."""

    @app.exception_handler(QueryUnknown)
    async def unknown(_request: Request, error: QueryUnknown) -> Response:
        return _problem(404, "query-unknown", "No such query", error)

    @app.exception_handler(QueryConflict)
    async def conflict(_request: Request, error: QueryConflict) -> Response:
        return _problem(409, "query-conflict", "That does not fit where the query stands", error)

    @app.exception_handler(Rejected)
    async def rejected(_request: Request, error: Rejected) -> Response:
        return _problem(409, "message-rejected", "The message does not pass the checks", error)

    @app.exception_handler(KeyError)
    async def missing(_request: Request, error: KeyError) -> Response:
        return _problem(404, "not-found", "There is none of that number", error)


def _problem(status: int, type: str, title: str, error: Exception) -> Response:
    return problem_response(Problem(status, type, title, str(error)))
