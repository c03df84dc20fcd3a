"""One query: as it was signed, verified here; what approvers said; where it stands; ways on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from officers import desk
from officers.desk.api_client import ENDED
from officers.desk.reading import in_order
from officers.desk.standings import standing_of
from officers.desk.wording import short_id
from officers.pages.at import At, at
from officers.pages.cases.custodians import may_ask
from officers.pages.cases.ways import ways_on
from runtime.clock import system_ms

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/queries/{query_id}")
def query(query_id: str, here: Here) -> Response:
    """Show a query."""
    with here.session() as session:
        view = desk.look(session, query_id)
        voices = desk.voices_of(session, view)
        facts = desk.facts_of(session, view, voices)
    if view.case.id != query_id:
        return here.to(f"/queries/{view.case.id}")
    return here.page(
        "cases/one.html",
        title=here.text("Query {id}", id=short_id(view.case.id)),
        case=view.case,
        short=short_id(view.case.id),
        standing=standing_of(view.summary, here.officer.name, here.duties, system_ms()),
        ended=view.summary.state in ENDED,
        voices=voices,
        reading=in_order(facts),
        withdrawals=view.summary.withdrawals,
        ways=ways_on(here, view, voices),
        receipts=may_ask(here, view),
    )
