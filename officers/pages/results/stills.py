"""The still of a candidate: asked for on a click, shown from memory, gone when one goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.responses import Response

from officers.desk.queue import WAITING
from officers.desk.still_export import check_exportable, still_to_hand_over
from officers.desk.still_viewer import ABSENT, SHOWN, Fetch, Fetched, Seen
from officers.desk.stills import Still, no_still, show_still
from officers.desk.wording import short_id
from officers.pages.at import At, at
from officers.pages.results.handed import hand_over
from officers.pages.results.opened import Shown, open_case, show, viewer, views
from runtime.errors import OperationError

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.post("/queries/{query_id}/candidates/{number}/still")
def ask(query_id: str, number: int, here: Here) -> Response:
    """Ask custodians and the box for the still; it is logged by both."""
    with here.session() as session:
        shown = show(open_case(here, session, query_id), number)
    if absence(here, shown) is not None:
        return here.to(shown.path)
    kept, best = views(here), shown.entry.best.candidate_id

    def done(seen: Seen) -> None:
        if seen.state in {SHOWN, ABSENT}:
            kept.saw(shown.digest, best, still=seen.state == SHOWN)

    viewer(here).ask(shown.query_id, shown.entry.number, _fetch(here, shown), done=done)
    if here.request.headers.get("hx-request"):
        return _part(here, shown)
    return here.to(shown.path)


@router.get("/queries/{query_id}/candidates/{number}/still-part")
def part(query_id: str, number: int, here: Here) -> Response:
    """Return the part of the page that the still is in, while it is fetched."""
    with here.session() as session:
        shown = show(open_case(here, session, query_id), number)
    return _part(here, shown)


@router.get("/queries/{query_id}/candidates/{number}/still")
def picture(query_id: str, number: int, here: Here) -> Response:
    """Return the picture itself, from memory."""
    here.keys  # noqa: B018 - a locked desk shows none
    jpeg = viewer(here).jpeg(query_id, number)
    if jpeg is None:
        raise HTTPException(404)
    return Response(jpeg, media_type="image/jpeg")


@router.post("/queries/{query_id}/candidates/{number}/still-file")
def take_out(query_id: str, number: int, here: Here) -> Response:
    """Mark the still of a hit, and go to sign that it leaves the desk as a file."""
    with here.session() as session:
        shown = show(open_case(here, session, query_id), number)
        jpeg = viewer(here).jpeg(shown.query_id, shown.entry.number)
        if jpeg is None:
            return here.to(shown.path)
        still = Still(bytearray(jpeg))
        try:
            prepared = still_to_hand_over(session, shown.results, shown.entry.best, still)
        finally:
            still.close()
    case = shown.results.case
    return here.ask_signature(
        prepared.unsigned,
        statement=[
            here.text(
                "I take the still of candidate {number} of query {query} out of the desk.",
                number=shown.entry.number,
                query=short_id(case.id),
            ),
            here.text("The query and my name stand across it. Headquarters log that I took it."),
        ],
        then=lambda signed: hand_over(here, case, prepared, signed),
        back=shown.path,
    )


def may_leave(here: At, shown: Shown) -> bool:
    """Tell whether the still of a candidate may be taken out: a hit, where the policy permits."""
    try:
        check_exportable(shown.entry.best, here.officer.policy)
    except OperationError:
        return False
    return shown.entry.state != WAITING


def absence(here: At, shown: Shown) -> str | None:
    """Say why there is no still of a candidate, as far as that is known without asking for it."""
    none = no_still(shown.results, shown.entry.best, here.officer.policy)
    return None if none is None else here.say(none)


def _fetch(here: At, shown: Shown) -> Fetch:
    """Return what asks the box and custodians, in a thread of its own."""
    house, keys = here.house, here.keys

    def fetch(tell: Callable[[str], None], cancelled: Callable[[], bool]) -> Fetched:
        with house.session() as session:
            return show_still(
                session, shown.results, shown.entry.best, keys, tell=tell, cancelled=cancelled
            )

    return fetch


def _part(here: At, shown: Shown) -> Response:
    seen = viewer(here).seen(shown.query_id, shown.entry.number)
    return here.page(
        "results/still.html",
        shown=shown,
        still=seen,
        absent=absence(here, shown),
        may_leave=may_leave(here, shown),
    )
