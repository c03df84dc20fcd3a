"""The page before a draft is signed: all that it would open, each row with a way to change it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers import desk
from officers.desk.draft_steps import request_of
from officers.desk.draft_troubles import troubles
from officers.desk.draft_window import STEPS
from officers.desk.drafts import SavedDraft, discard
from officers.desk.filing import TemplatesNotSent
from officers.desk.notices import Notice
from officers.desk.offers import offers
from officers.desk.phrases import words_of
from officers.desk.site_map import site_map
from officers.pages.at import At, Wrong, at
from officers.pages.drafting.form import draft_of, now_utc
from officers.pages.drafting.shown import Shown, ShownDrafts
from officers.pages.map import map_view
from officers.pages.map.points import State
from officers.pages.patients.memory import known_patients
from protocol.errors import ProtocolError
from protocol.query import Query
from protocol.signing import Signed
from runtime.errors import OperationError

router = APIRouter(prefix="/drafts/{draft_id}")
Here = Annotated[At, Depends(at)]
_ASKED: State = "asked"
_STEP_OF = {
    "looks for": "who",
    "by words": "who",
    "document": "who",
    "witnessed": "who",
    "cameras": "where",
    "places": "where",
    "from": "when",
    "until": "when",
    "would open": "when",
    "not watched": "where",
    "live": "when",
    "purpose": "why",
    "purpose kind": "why",
    "legal basis": "why",
    "contacts": "why",
    "linked contacts": "why",
    "continuation": "why",
    "same-place counts": "why",
    "stills": "why",
    "candidates": "why",
    "valid until": "why",
}
"""By what a fact is about, in English: the step in which it is changed."""


@router.get("/check")
def check(here: Here, draft_id: str) -> Response:
    """Show all that a draft would open."""
    return _check(here, draft_of(here, draft_id))


@router.post("/check")
def sign(here: Here, draft_id: str, digest: Annotated[str, Form()] = "") -> Response:
    """Have the very query signed that was shown."""
    saved = draft_of(here, draft_id)
    shown = here.house.kept("shown-drafts", ShownDrafts)
    held = shown.find(draft_id, digest)
    if held is None or held.saved != saved:
        words = here.text(
            "This draft was changed or shown anew since, perhaps in another window. Nothing was "
            "signed; below is how it stands now."
        )
        return _check(here, saved, Wrong("", words))
    house = here.house

    def hand_in(signed: Signed) -> str:
        # Of the house and not of this request, which is over by then.
        with house.session() as session:
            try:
                receipt = f"/queries/{desk.file(session, held.drafted, signed).id}"
            except TemplatesNotSent as error:
                receipt = f"/drafts/resume/{error.query_id}"
        discard(house.officer, saved.id)
        shown.end(saved.id)
        return receipt

    with here.session() as session:
        unsigned = desk.to_file(session, held.drafted)
    return here.ask_signature(
        unsigned,
        statement=_statement(here, held.drafted.query),
        then=hand_in,
        back=f"/drafts/{saved.id}/check",
    )


def _check(here: At, saved: SavedDraft, *wrong: Wrong) -> Response:
    known, now = known_patients(here), now_utc()
    found = troubles(here.officer, saved, known, now=now)
    drafted, failed = None, ""
    if not found:
        told: list[Notice] = []
        try:
            with here.session() as session:
                asking = desk.Session(session.officer, session.client, told.append)
                request = request_of(asking, saved, known, here.keys.sealing, now=now)
                drafted = desk.draft(asking, request, here.keys.sealing)
        except (OperationError, ProtocolError) as error:
            failed = here.say(words_of(error))
    if drafted is not None:
        here.house.kept("shown-drafts", ShownDrafts).put(Shown(saved, drafted))
        for notice in dict.fromkeys(drafted.notices):
            here.tell(notice)
    view = map_view(
        site_map(here.officer),
        language=here.words.language,
        only=saved.cameras,
        states=dict.fromkeys(saved.cameras, _ASKED) | _blind(drafted),
    )
    return here.page(
        "drafting/check.html",
        title=here.text("Draft: check and sign"),
        errors=wrong,
        draft=saved,
        step="check",
        steps=STEPS,
        wanting={one.step for one in found},
        lacking=[(one.step, here.say(one.words)) for one in found],
        failed=failed,
        drafted=drafted,
        digest="" if drafted is None else drafted.query.query_id.hex(),
        step_of=_STEP_OF,
        view=view,
        offers=offers(here.officer.policy),
        statement="" if drafted is None else _statement(here, drafted.query),
    )


def _blind(drafted: desk.Draft | None) -> dict[str, State]:
    """Return the cameras that did not watch all of the window, to be told apart on the map."""
    if drafted is None or drafted.unwatched is None:
        return {}
    return {one.camera: "blind" for one in drafted.unwatched.cameras}


def _statement(here: At, query: Query) -> str:
    """Return what the officer says by signing."""
    return here.ntext(
        "I ask to open {n:,} camera quarter hour of everybody on {cameras}, from {start} to "
        "{end}, for {patients}, on the ground of {consents}.",
        "I ask to open {n:,} camera quarter hours of everybody on {cameras}, from {start} to "
        "{end}, for {patients}, on the ground of {consents}.",
        len(query.cameras) * (query.window_to_ms - query.window_from_ms) // 900_000,
        cameras=here.ntext("{n} camera", "{n} cameras", len(query.cameras)),
        start=here.words.minute(query.window_from_ms),
        end=here.words.minute(query.window_to_ms),
        patients=", ".join(one.pseudonym for one in query.subjects),
        consents=", ".join(dict.fromkeys(one.consent_reference for one in query.subjects)),
    )
