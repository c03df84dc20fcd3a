"""Refuse a query: what a refusal does and does not, and why it is given."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers import desk
from officers.desk.phrases import words_of
from officers.desk.wording import short_id
from officers.pages.approving.shown import check_shown
from officers.pages.at import At, Wrong, at
from protocol.signing import Signed

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/queries/{query_id}/refuse")
def reason(query_id: str, here: Here) -> Response:
    """Ask why."""
    with here.session() as session:
        reviewed = desk.review(session, query_id)
        if reviewed.voices.refusal_of(here.officer.name):
            return here.to(f"/queries/{reviewed.view.case.id}/refused")
        desk.check_refusable(session, reviewed)
    return _page(here, reviewed)


@router.post("/queries/{query_id}/refuse")
def refuse(
    query_id: str,
    here: Here,
    shown: Annotated[str, Form(max_length=128)] = "",
    reason: Annotated[str, Form(max_length=20_000)] = "",
) -> Response:
    """Go and sign the refusal of what was shown."""
    with here.session() as session:
        reviewed = desk.review(session, query_id)
        check_shown(reviewed, shown)
        case = reviewed.view.case
        if reviewed.voices.refusal_of(here.officer.name):
            return here.to(f"/queries/{case.id}/refused")
        try:
            unsigned = desk.to_refuse(session, reviewed, reason)
        except desk.ReasonInvalid as error:
            return _page(here, reviewed, Wrong("reason", here.say(words_of(error))), reason)
    house = here.house

    def hand_in(signed: Signed) -> str:
        with house.session() as session:
            desk.refuse(session, reviewed, signed)
        return f"/queries/{case.id}/refused"

    return here.ask_signature(
        unsigned,
        statement=[
            here.text(
                "I do not approve query {id}, asked by {name}.",
                id=short_id(case.id),
                name=case.requester,
            ),
            here.text("My reason: “{reason}”", reason=desk.reason_of(reason)),
        ],
        then=hand_in,
        back=f"/queries/{case.id}/refuse",
    )


def _page(here: At, reviewed: desk.Review, wrong: Wrong | None = None, given: str = "") -> Response:
    case = reviewed.view.case
    return here.page(
        "approving/refuse.html",
        errors=[] if wrong is None else [wrong],
        title=here.text("Refuse {id}", id=short_id(case.id)),
        case=case,
        short=short_id(case.id),
        given=given,
    )
