"""The page of a query that is filed without its templates: they are sent from here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from officers import desk
from officers.desk.phrases import words_of
from officers.pages.at import At, Wrong, at
from officers.pages.patients.memory import known_patients
from protocol.directory import INVESTIGATOR
from protocol.errors import ProtocolError
from runtime.errors import OperationError

router = APIRouter(prefix="/drafts/resume")
Here = Annotated[At, Depends(at)]


@router.get("/{query_id}")
def ask(here: Here, query_id: str) -> Response:
    """Say what is missing, and offer to send it."""
    here.require(INVESTIGATOR)
    return _page(here, query_id)


@router.post("/{query_id}")
def send(here: Here, query_id: str) -> Response:
    """Send the templates of a query that was filed."""
    here.require(INVESTIGATOR)
    paths = {one.pseudonym: one.path for one in known_patients(here)}
    try:
        with here.session() as session:
            case = desk.own_case(session, query_id)
            named = [one.pseudonym for one in case.query.subjects if one.templates]
            files = [paths[name] for name in named if name in paths]
            desk.resume(session, case, files, here.keys.sealing)
    except (OperationError, ProtocolError) as error:
        return _page(here, query_id, Wrong("", here.say(words_of(error))))
    return here.to(f"/queries/{case.id}")


def _page(here: At, query_id: str, *wrong: Wrong) -> Response:
    return here.page(
        "drafting/resume.html",
        title=here.text("Send the templates"),
        errors=wrong,
        query_id=query_id,
    )
