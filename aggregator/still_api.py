"""The routes of stills: asking boxes for them, their answers, and what custodians need to know.

For the officers who confirm a query's hits; what comes back is sealed to who asked.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from aggregator.queries import QueryDesk
from aggregator.query_api import Body, QueryId
from aggregator.stills import StillDesk
from aggregator.store.ledger import LedgerReading
from aggregator.store.rows import QueryRecord
from protocol.encoding import encode
from protocol.names import EPOCH_MS, NAME_PATTERN
from runtime.http import CborResponse, Problem, peer_of

RequestDigest = Annotated[
    str | None, Query(pattern=r"^[0-9a-f]{64}$", description="of the signed request, SHA-256")
]
Name = Annotated[str, Query(pattern=NAME_PATTERN)]
Epoch = Annotated[int, Query(ge=0, lt=1 << 31, description="UTC day number")]
Generation = Annotated[int, Query(ge=0, lt=1 << 63)]


def add_still_routes(
    app: FastAPI, desk: QueryDesk, stills: StillDesk, ledger: LedgerReading, known_caller: Any
) -> None:
    """Add the routes of stills."""

    def reader_of(query_id: str, request: Request) -> QueryRecord:
        record = desk.get(bytes.fromhex(query_id))
        if peer_of(request) not in record.readers:
            raise Problem(
                403,
                "not-a-reader",
                "Only who asked and who is named to confirm may do this",
                f"Hits of the query are confirmed by {', '.join(sorted(record.readers))}.",
            )
        return record

    @app.post("/v1/queries/{query_id}/stills", status_code=202, dependencies=[known_caller])
    def ask(query_id: QueryId, request: Request, body: Body) -> dict[str, str]:
        """Hand a box a confirming officer's signed request for stills (CBOR)."""
        record = reader_of(query_id, request)
        asked = stills.ask(record.query_id, body, caller=peer_of(request))
        return {"request": asked.hex()}

    @app.get(
        "/v1/queries/{query_id}/stills",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def answers(query_id: QueryId, request: Request, to: RequestDigest = None) -> Response:
        """Return what boxes answered the caller within the last hour (CBOR array, signed)."""
        record = reader_of(query_id, request)
        digest = None if to is None else bytes.fromhex(to)
        return CborResponse(encode(stills.answers(record, reader=peer_of(request), request=digest)))

    @app.get(
        "/v1/queries/{query_id}/announcements",
        dependencies=[known_caller],
        response_class=CborResponse,
    )
    def announcements(
        query_id: QueryId,
        request: Request,
        *,
        box: Name,
        camera: Name,
        epoch: Epoch,
        generation: Generation,
    ) -> Response:
        """Return a generation's signed announcement (CBOR array of one, or none).

        An officer brings it to custodians with a request for stills of it.
        """
        if camera not in reader_of(query_id, request).query.cameras:
            raise Problem(
                403,
                "not-in-the-query",
                "The query does not ask for this camera",
                f"It asks for other cameras than {camera}.",
            )
        day_ms = epoch * EPOCH_MS
        found = ledger.announcements([camera], from_ms=day_ms, to_ms=day_ms + EPOCH_MS)
        wanted = (box, camera, epoch, generation)
        return CborResponse(encode([one.signed for one in found if one.name == wanted]))
