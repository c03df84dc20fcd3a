"""The routes of queries: filing and signatures, results and decisions.

Who asked, and who is named to confirm, reads results; what may be opened is decided by signatures.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from starlette.responses import JSONResponse, Response

from aggregator.queries import QueryDesk
from aggregator.store.rows import QueryRecord
from aggregator.views import query_view
from protocol.encoding import encode
from protocol.policy import Policy
from runtime.http import CborResponse, Problem, cbor_body, peer_of

QueryId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="query id, 32 hex digits")]
Body = Annotated[bytes, Depends(cbor_body)]


def add_query_routes(app: FastAPI, desk: QueryDesk, policy: Policy, known_caller: Any) -> None:
    """Add the routes of queries, from filing to decisions."""
    _add_filing(app, desk, policy, known_caller)
    _add_results(app, desk, known_caller)


def _add_filing(app: FastAPI, desk: QueryDesk, policy: Policy, known_caller: Any) -> None:
    """Queries, their templates and signatures."""

    def found(query_id: str) -> QueryRecord:
        return desk.get(bytes.fromhex(query_id))

    def view(record: QueryRecord) -> dict[str, Any]:
        return query_view(desk, record, policy)

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

    @app.post("/v1/queries", status_code=201, dependencies=[known_caller])
    def file(body: Body) -> dict[str, Any]:
        """File a signed subject query."""
        return view(desk.file(body))

    @app.get("/v1/queries", dependencies=[known_caller], response_model=list[dict[str, Any]])
    def list_queries() -> Response:
        """List all queries, newest first."""
        # Every open page asks for it: values that are JSON already are not looked through again.
        return JSONResponse([view(record) for record in desk.everything()])

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

    @app.get(
        "/v1/queries/{query_id}/refusals",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def refusals(query_id: QueryId) -> Response:
        """Return the signed refusals of approvers, for whoever wants to check them."""
        listed = desk.refusals(found(query_id).digest)
        return CborResponse(encode([refusal.to_bytes() for refusal in listed]))

    @app.post("/v1/queries/{query_id}/refusals", dependencies=[known_caller])
    def refuse(query_id: QueryId, body: Body) -> dict[str, Any]:
        """Take an approver's signed refusal."""
        return view(desk.refuse(bytes.fromhex(query_id), body))

    @app.post("/v1/queries/{query_id}/withdrawals", dependencies=[known_caller])
    def withdraw(query_id: QueryId, body: Body) -> dict[str, Any]:
        """Take a signed withdrawal."""
        return view(desk.withdraw(bytes.fromhex(query_id), body))


def _add_results(app: FastAPI, desk: QueryDesk, known_caller: Any) -> None:
    """What a query found, sealed to who reads it; decisions; what is written to files."""

    def reader_of(query_id: str, request: Request) -> QueryRecord:
        record = desk.get(bytes.fromhex(query_id))
        if peer_of(request) not in record.readers:
            raise Problem(
                403,
                "not-a-reader",
                "Only who asked and who is named to confirm may read this",
                f"The results are sealed to {', '.join(sorted(record.readers))}.",
            )
        return record

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
