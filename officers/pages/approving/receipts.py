"""After signing: what headquarters hold of this approver's word, its signature checked here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from officers import desk
from officers.desk.wording import short_id
from officers.pages.at import At, at

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/queries/{query_id}/approved")
def approved(query_id: str, here: Here) -> Response:
    """Show the receipt of an approval."""
    return _receipt(here, query_id, "approving/approved.html")


@router.get("/queries/{query_id}/refused")
def refused(query_id: str, here: Here) -> Response:
    """Show the receipt of a refusal."""
    return _receipt(here, query_id, "approving/refused.html")


def _receipt(here: At, query_id: str, template: str) -> Response:
    with here.session() as session:
        view = desk.look(session, query_id)
        voices = desk.voices_of(session, view)
    me = here.officer.name
    return here.page(
        template,
        title=here.text("Receipt of {id}", id=short_id(view.case.id)),
        case=view.case,
        short=short_id(view.case.id),
        voices=voices,
        withdrawals=view.summary.withdrawals,
        approval=next((one for one in voices.approvals if one.approver == me), None),
        refusal=next((one for one in voices.refusals if one.approver == me), None),
    )
