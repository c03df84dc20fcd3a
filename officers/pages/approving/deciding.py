"""Before an approver signs: what would open first, then all else; three buttons end the text."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers import desk
from officers.desk.phrases import words_of
from officers.desk.reading import in_order
from officers.desk.site_map import site_map
from officers.desk.standings import standing_of
from officers.desk.wording import short_id
from officers.pages.approving.shown import check_shown
from officers.pages.at import At, at
from officers.pages.map import MapView, map_view
from protocol.errors import ProtocolError
from protocol.names import SLOT_MS
from protocol.query import Query
from protocol.signing import Signed
from runtime.clock import system_ms
from runtime.errors import OperationError

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/queries/{query_id}/decide")
def decide(query_id: str, here: Here) -> Response:
    """Show all that an approval answers for."""
    with here.session() as session:
        reviewed = desk.review(session, query_id)
        case = reviewed.view.case
        if case.id != query_id:
            return here.to(f"/queries/{case.id}/decide")
        if reviewed.given:
            return here.to(f"/queries/{case.id}/approved")
        compared, trouble = _compared(here, session, case)
    return here.page(
        "approving/decide.html",
        title=here.text("Decide on {id}", id=short_id(case.id)),
        case=case,
        short=short_id(case.id),
        standing=standing_of(reviewed.view.summary, here.officer.name, here.duties, system_ms()),
        reviewed=reviewed,
        voices=reviewed.voices,
        mine=reviewed.voices.refusal_of(here.officer.name),
        reading=in_order(reviewed.facts),
        documents=any(one.consent_document or one.witnessed for one in case.query.subjects),
        compared=compared,
        trouble=trouble,
        map=_map(here, case.query, compared),
    )


@router.post("/queries/{query_id}/decide")
def approve(
    query_id: str, here: Here, shown: Annotated[str, Form(max_length=128)] = ""
) -> Response:
    """Go and sign the approval of what was shown."""
    with here.session() as session:
        reviewed = desk.review(session, query_id)
        check_shown(reviewed, shown)
        case = reviewed.view.case
        if reviewed.given:
            return here.to(f"/queries/{case.id}/approved")
        unsigned = desk.to_approve(session, reviewed)
    house = here.house

    def hand_in(signed: Signed) -> str:
        with house.session() as session:
            desk.approve(session, reviewed, signed)
        return f"/queries/{case.id}/approved"

    return here.ask_signature(
        unsigned,
        statement=_statement(here, case),
        then=hand_in,
        back=f"/queries/{case.id}/decide",
    )


def _statement(here: At, case: desk.Case) -> list[str]:
    query = case.query
    quarters = (query.window_to_ms - query.window_from_ms) // SLOT_MS * len(query.cameras)
    return [
        here.ntext(
            "I let 1 camera quarter hour of everybody who was there be opened for {name}.",
            "I let {n} camera quarter hours of everybody who was there be opened for {name}.",
            quarters,
            name=case.requester,
        ),
        here.ntext(
            "It is query {id}, over 1 camera.",
            "It is query {id}, over {n} cameras.",
            len(query.cameras),
            id=short_id(case.id),
        ),
        here.text("What has been opened stays known, whatever is withdrawn afterwards."),
    ]


def _compared(here: At, session: desk.Session, case: desk.Case) -> tuple[desk.Compared | None, str]:
    """Return what differs from the last query of the same case, or why that cannot be said."""
    try:
        return desk.compare_with_last(session, case), ""
    except (OperationError, ProtocolError) as error:
        return None, here.say(words_of(error))


def _map(here: At, query: Query, compared: desk.Compared | None) -> MapView:
    earlier = compared.earlier.query.cameras if compared and compared.earlier else query.cameras
    gone = [camera for camera in earlier if camera not in query.cameras]
    states = {camera: "asked" if camera in earlier else "new" for camera in query.cameras}
    states |= dict.fromkeys(gone, "gone")
    return map_view(
        site_map(here.officer),
        language=here.words.language,
        states=states,  # type: ignore[arg-type]
        only=[*query.cameras, *gone],
    )
