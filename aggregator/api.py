"""The aggregator's HTTP interface ``/v1``: what officers, auditors and custodians may ask of it.

Who calls is the name in the client's certificate; that decides what may be read. What may be
opened is decided by signatures alone. Errors are problem details (RFC 9457), messages CBOR.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from aggregator.ingest import quarantine
from aggregator.ingest.boxes import statuses
from aggregator.ingest.checks import Rejected
from aggregator.ingest.intake import Intake
from aggregator.places import PlacesShelf
from aggregator.queries import QueryConflict, QueryDesk, QueryUnknown
from aggregator.store import Store
from aggregator.store.rows import QueryRecord
from aggregator.views import box_view, false_grants_view, query_view
from protocol.directory import AGGREGATOR, BOX
from protocol.encoding import encode
from protocol.names import SLOT_MS
from protocol.policy import SCHEMA, Policy
from protocol.sealing import model_dimension
from runtime.auditlog import AuditLog
from runtime.calibration import Calibration
from runtime.clock import system_ms
from runtime.config import Name
from runtime.http import CborResponse, Problem, cbor_body, peer_of
from runtime.log_api import log_router
from runtime.problems import problem_response
from runtime.role_api import Callers, role_app, site_routes
from runtime.trust import Trust
from runtime.witness import Witness

VERSION = "1"
_LAST_MS = 9999 * 366 * 24 * 3_600_000 // SLOT_MS * SLOT_MS  # no date is later
_MAX_ESTIMATE_MS = 366 * 24 * 3_600_000
QueryId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="query id, 32 hex digits")]
Body = Annotated[bytes, Depends(cbor_body)]
Number = Annotated[int, Path(ge=1, lt=2**63, description="as the list of the quarantine gives it")]
_Moment = Annotated[int, Field(ge=0, le=_LAST_MS, multiple_of=SLOT_MS)]
_ModelId = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the interface stands on."""

    site: str
    store: Store
    trust: Trust
    log: AuditLog
    witness: Witness
    policy: Policy
    policy_text: bytes
    policy_signature: bytes
    desk: QueryDesk
    intake: Intake
    calibrations: Mapping[str, Calibration]
    default_thresholds: Mapping[str, float]
    clock_skew_ms: int
    places: PlacesShelf


class EstimateRequest(BaseModel):
    """A scope to estimate: cameras, whole quarter hours in ms UTC, thresholds by model id."""

    model_config = ConfigDict(extra="forbid")
    cameras: Annotated[list[Name], Field(min_length=1, max_length=65_536)]
    from_ms: _Moment
    to_ms: _Moment
    thresholds: Annotated[
        dict[_ModelId, Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]],
        Field(max_length=16),
    ] = {}
    templates: Annotated[int, Field(ge=1, le=80)] = 1
    subjects: Annotated[int, Field(ge=1, le=10)] = 1


class EstimateAnswer(BaseModel):
    """What a scope holds by now, and how many strangers would be candidates by chance.

    With ``at_most`` the sightings are bounds: boxes say in the clear only how many there is room
    for. ``version_1_generations``: days of cameras whose metadata opens by whole quarter hours to
    whoever is granted them. ``told_twice``: quarter hours of cameras of which a box watched and a
    film was imported, or two films: who passed there is counted twice.
    ``default_thresholds``: by model, at which no more strangers are expected for each subject than
    the policy says, over the window's whole length: ``raised`` for some; for those in
    ``beyond_counts`` too few strangers were ever compared to count that, and an upper bound
    stands in.
    """

    segments: int
    live_envelopes: int
    sightings: int
    sightings_by_model: dict[str, int]
    at_most: bool
    version_1_generations: int
    told_twice: int
    expected_false: float | None
    default_thresholds: dict[str, float]
    raised: list[str]
    beyond_counts: list[str]


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
    _add_queries(app, parts, known_caller)
    _add_quarantine(app, parts, callers, known_caller)
    app.include_router(
        log_router(parts.log, parts.witness, directory=lambda: parts.trust.directory, allow=caller)
    )
    return app


def _add_site(app: FastAPI, parts: Parts, known_caller: Any) -> None:
    """What is known of the site: policy, cameras, boxes, estimates."""

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

    @app.get("/v1/boxes", dependencies=[known_caller])
    def boxes() -> list[Mapping[str, Any]]:
        """Tell how each box is: last seen, health, clock, gaps, rejects, quarantine."""
        listed = statuses(parts.store, parts.trust.directory, clock_skew_ms=parts.clock_skew_ms)
        return [box_view(box) for box in listed]

    @app.post("/v1/estimates", dependencies=[known_caller])
    def estimate(request: EstimateRequest) -> EstimateAnswer:
        """Count what a scope holds, from clear counters, before anyone signs."""
        if request.to_ms <= request.from_ms:
            raise Problem(422, "window-empty", "The window is empty", "to_ms must be after from_ms")
        if request.to_ms - request.from_ms > _MAX_ESTIMATE_MS:
            raise Problem(422, "window-long", "The window is too long", "At most 366 days.")
        held = parts.store.ledger.count_scope(
            request.cameras, from_ms=request.from_ms, to_ms=request.to_ms
        )
        old = parts.store.ledger.count_generations(
            request.cameras, from_ms=request.from_ms, to_ms=request.to_ms, version=1
        )
        default, beyond = _defaults(request, parts, held.by_model)
        thresholds = request.thresholds or default
        return EstimateAnswer(
            segments=held.segments,
            live_envelopes=held.live_envelopes,
            sightings=held.sightings,
            sightings_by_model=dict(held.by_model),
            at_most=held.at_most,
            version_1_generations=old,
            told_twice=held.told_twice,
            expected_false=_expected_false(
                held.by_model, thresholds, parts.calibrations, request.templates
            ),
            default_thresholds=default,
            raised=[model for model, at in parts.default_thresholds.items() if default[model] > at],
            beyond_counts=beyond,
        )


def _add_queries(app: FastAPI, parts: Parts, known_caller: Any) -> None:
    """Queries from filing to decisions."""
    desk = parts.desk

    def found(query_id: str) -> QueryRecord:
        return desk.get(bytes.fromhex(query_id))

    def view(record: QueryRecord) -> dict[str, Any]:
        return query_view(desk, record, parts.policy)

    def requester_of(query_id: str, request: Request) -> QueryRecord:
        record = found(query_id)
        if peer_of(request) != record.requester:
            raise Problem(
                403,
                "not-the-requester",
                "Only the investigator who asked may do this",
                f"The query is {record.requester}'s.",
            )
        return record

    def reader_of(query_id: str, request: Request) -> QueryRecord:
        record = found(query_id)
        if peer_of(request) not in record.readers:
            raise Problem(
                403,
                "not-a-reader",
                "Only who asked and who is named to confirm may read this",
                f"The results are sealed to {', '.join(sorted(record.readers))}.",
            )
        return record

    @app.post("/v1/queries", status_code=201, dependencies=[known_caller])
    def file(body: Body) -> dict[str, Any]:
        """File a signed subject query."""
        return view(desk.file(body))

    @app.get("/v1/queries", dependencies=[known_caller])
    def list_queries() -> list[dict[str, Any]]:
        """List all queries, newest first."""
        return [view(record) for record in desk.everything()]

    @app.get("/v1/queries/{query_id}", dependencies=[known_caller])
    def show(query_id: QueryId) -> dict[str, Any]:
        """Tell where a query stands."""
        return view(found(query_id))

    @app.get(
        "/v1/queries/{query_id}/signed",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def signed(query_id: QueryId) -> Response:
        """Return the signed query: what an approver reads and signs."""
        return CborResponse(found(query_id).signed)

    @app.post(
        "/v1/queries/{query_id}/matcher-key",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def matcher_key(query_id: QueryId, request: Request) -> Response:
        """Make a fresh key for the subjects' templates to be sealed to."""
        return CborResponse(desk.matcher_key(requester_of(query_id, request).query_id))

    @app.put("/v1/queries/{query_id}/templates", dependencies=[known_caller])
    def templates(query_id: QueryId, request: Request, body: Body) -> dict[str, Any]:
        """Take the sealed templates."""
        return view(desk.put_templates(requester_of(query_id, request).query_id, body))

    @app.get(
        "/v1/queries/{query_id}/approvals",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def approvals(query_id: QueryId) -> Response:
        """Return the signed approvals, for whoever wants to check them."""
        listed = desk.approvals(found(query_id).digest)
        return CborResponse(encode([approval.to_bytes() for approval in listed]))

    @app.post("/v1/queries/{query_id}/approvals", dependencies=[known_caller])
    def approve(query_id: QueryId, body: Body) -> dict[str, Any]:
        """Take a signed approval."""
        return view(desk.approve(bytes.fromhex(query_id), body))

    @app.post("/v1/queries/{query_id}/withdrawals", dependencies=[known_caller])
    def withdraw(query_id: QueryId, body: Body) -> dict[str, Any]:
        """Take a signed withdrawal."""
        return view(desk.withdraw(bytes.fromhex(query_id), body))

    @app.get(
        "/v1/queries/{query_id}/results",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def results(query_id: QueryId, request: Request) -> Response:
        """Return the candidates, sealed to the caller, each with the caller's own decision."""
        record = reader_of(query_id, request)
        listed = desk.results(record, reader=peer_of(request))
        return CborResponse(encode([list(item) for item in listed]))

    @app.get(
        "/v1/queries/{query_id}/openings",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def openings(query_id: QueryId, request: Request) -> Response:
        """Return which rows custodians opened, with their receipts, sealed to the caller."""
        record = reader_of(query_id, request)
        return CborResponse(encode(list(desk.openings(record, reader=peer_of(request)))))

    @app.get(
        "/v1/queries/{query_id}/watching",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def watching(query_id: QueryId, request: Request) -> Response:
        """Return what the cameras watched and counted, sealed to the caller; empty if nothing."""
        sealed = desk.watching(reader_of(query_id, request), reader=peer_of(request))
        return CborResponse(encode([] if sealed is None else [sealed]))

    @app.get(
        "/v1/queries/{query_id}/links",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def links(query_id: QueryId, request: Request) -> Response:
        """Return which companions are one person, sealed to the caller; empty if nothing."""
        sealed = desk.links(reader_of(query_id, request), reader=peer_of(request))
        return CborResponse(encode([] if sealed is None else [sealed]))

    @app.get(
        "/v1/queries/{query_id}/decisions",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def decisions(query_id: QueryId, request: Request) -> Response:
        """Return the signed decisions of all officers on the candidates."""
        return CborResponse(encode(list(desk.decisions(reader_of(query_id, request)))))

    @app.post("/v1/queries/{query_id}/decisions", status_code=204, dependencies=[known_caller])
    def decide(query_id: QueryId, body: Body) -> None:
        """Take a signed decision on one candidate."""
        desk.decide(bytes.fromhex(query_id), body)

    @app.post("/v1/queries/{query_id}/exports", status_code=204, dependencies=[known_caller])
    def export(query_id: QueryId, body: Body) -> None:
        """Take an officer's signed word that they write results to files; it is logged."""
        desk.export(bytes.fromhex(query_id), body)


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


def _expected_false(
    by_model: Mapping[str, int],
    thresholds: Mapping[str, float],
    calibrations: Mapping[str, Calibration],
    templates: int,
) -> float | None:
    """Sightings in scope x the model's false match rate x templates; None without calibration."""
    expected = 0.0
    for model, count in by_model.items():
        if model not in thresholds:
            continue
        if model not in calibrations:
            return None
        model_dimension(model)
        expected += count * templates * calibrations[model].false_match_rate(thresholds[model])
    return expected


def _defaults(
    request: EstimateRequest, parts: Parts, stored: Mapping[str, int]
) -> tuple[dict[str, float], list[str]]:
    """As `quiet_thresholds`, for a scope: over its window's whole length.

    What is not over is taken to bring as much as the hours just past did.
    """
    now_ms = system_ms()
    ahead_ms = min(request.to_ms - now_ms, request.to_ms - request.from_ms)
    expected = Counter(stored)
    if ahead_ms > 0:
        slots = -(-ahead_ms // SLOT_MS)
        to_ms = now_ms // SLOT_MS * SLOT_MS
        before = parts.store.ledger.count_scope(
            request.cameras, from_ms=max(0, to_ms - slots * SLOT_MS), to_ms=to_ms
        )
        expected.update(before.by_model)
    return quiet_thresholds(
        parts.default_thresholds,
        parts.calibrations,
        {model: count * request.templates / request.subjects for model, count in expected.items()},
        parts.policy.expected_false,
    )


def quiet_thresholds(
    defaults: Mapping[str, float],
    calibrations: Mapping[str, Calibration],
    compared: Mapping[str, float],
    expected_false: float,
) -> tuple[dict[str, float], list[str]]:
    """Raise default thresholds until so few strangers are expected among what is compared.

    Args:
        defaults: by model; none becomes lower.
        calibrations: by model; without one the default stays.
        compared: comparisons for each subject, by model.
        expected_false: strangers for each subject.

    Returns:
        Thresholds by model, and the models whose counts of strangers do not reach there.
    """
    raised, beyond = dict(defaults), []
    for model, floor in defaults.items():
        calibration = calibrations.get(model)
        if calibration is None or not compared.get(model):
            continue
        advised = calibration.quiet_threshold(expected_false / compared[model], floor)
        raised[model] = advised.threshold
        if not advised.counted:
            beyond.append(model)
    return raised, beyond


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
