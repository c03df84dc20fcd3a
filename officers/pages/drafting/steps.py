"""Pages of the steps of a draft: each keeps what was entered, and says what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import HTMLResponse, Response

from officers.desk.by_clothes import EXAMPLE, clothes_offers
from officers.desk.case_files import kept_cases
from officers.desk.draft_troubles import troubles
from officers.desk.draft_window import STEPS, Step
from officers.desk.drafts import SavedDraft, save
from officers.desk.infectious import infectious_days
from officers.desk.offers import offers
from officers.desk.phrases import words_of
from officers.desk.site_map import SiteMap, site_map
from officers.pages.at import At, Wrong, at
from officers.pages.drafting.form import (
    Entered,
    draft_of,
    filled,
    more_cameras,
    now_utc,
    text_of,
)
from officers.pages.drafting.listing import days_entered
from officers.pages.drafting.pricing import cost_of
from officers.pages.map import map_view
from officers.pages.map.points import State
from officers.pages.patients.memory import known_patients
from protocol.directory import INVESTIGATOR
from runtime.errors import OperationError

router = APIRouter(prefix="/drafts/{draft_id}")
Here = Annotated[At, Depends(at)]
_ASKED: State = "asked"


@router.get("/who")
def who(here: Here, draft_id: str) -> Response:
    """Ask whom to look for."""
    return page_of(here, draft_of(here, draft_id), "who")


@router.get("/where")
def where(here: Here, draft_id: str) -> Response:
    """Ask at which cameras."""
    return page_of(here, draft_of(here, draft_id), "where")


@router.get("/when")
def when(here: Here, draft_id: str) -> Response:
    """Ask from when to when."""
    return page_of(here, draft_of(here, draft_id), "when")


@router.get("/why")
def why(here: Here, draft_id: str) -> Response:
    """Ask why, and for what besides."""
    return page_of(here, draft_of(here, draft_id), "why")


@router.post("/who")
def keep_who(here: Here, draft_id: str, form: Entered) -> Response:
    """Keep whom to look for."""
    return _kept(here, draft_id, "who", form)


@router.post("/where")
def keep_where(here: Here, draft_id: str, form: Entered) -> Response:
    """Keep the cameras; those of a place or a pattern are added first."""
    if not form.get("add"):
        return _kept(here, draft_id, "where", form)
    site_map(here.officer)  # reads the register, where places are looked up
    draft = filled(draft_of(here, draft_id), "where", form)
    more, wrong = more_cameras(here, draft, form)
    typed = {name: text_of(form, name) for name in ("place", "pattern")} if wrong else {}
    return page_of(here, save(here.officer, more), "where", errors=wrong, typed=typed)


@router.post("/when")
def keep_when(here: Here, draft_id: str, form: Entered) -> Response:
    """Keep from when to when; or take the infectious days of a case file."""
    pseudonym = text_of(form, "infectious")
    if not pseudonym:
        return _kept(here, draft_id, "when", form)
    draft = filled(draft_of(here, draft_id), "when", form)
    try:
        starts, ends = infectious_days(
            here.officer, pseudonym, here.keys.sealing, now=now_utc(), tell=here.tell
        )
    except OperationError as error:
        return page_of(here, draft, "when", errors=[Wrong("", here.say(words_of(error)))])
    taken = replace(draft, live=False, **days_entered(starts, ends))
    return page_of(here, save(here.officer, taken), "when")


@router.post("/why")
def keep_why(here: Here, draft_id: str, form: Entered) -> Response:
    """Keep why, and for what besides."""
    return _kept(here, draft_id, "why", form)


@router.post("/{step}/cost")
def price(here: Here, draft_id: str, step: str, form: Entered) -> Response:
    """Say what would be opened by what is entered now, and keep it."""
    draft = save(here.officer, filled(draft_of(here, draft_id), step, form))
    told = cost_of(here, draft, now_utc())
    return HTMLResponse(here.draw("drafting/cost.html", cost=told, draft=draft))


def page_of(
    here: At,
    draft: SavedDraft,
    step: Step,
    *,
    errors: list[Wrong] | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    """Draw a step of a draft."""
    now = now_utc()
    known = known_patients(here)
    wanting = {one.step for one in troubles(here.officer, draft, known, now=now)}
    policy = here.officer.policy
    more: dict[str, Any] = {}
    if step == "who":
        more = {"known": known, "witness_needed": policy.witnessed_enrolment}
        more["clothes"] = clothes_offers(policy)[EXAMPLE]
    elif step == "where":
        site = site_map(here.officer, tell=here.tell)
        states = dict.fromkeys(draft.cameras, _ASKED)
        view = map_view(site, language=here.words.language, states=states)
        more = {"view": view, "places": _places(site), "typed": typed or {}}
    elif step == "when":
        cases = [one for one in draft.patients if one in kept_cases(here.officer)]
        zone = here.words.zone_name(int(now.timestamp() * 1000))
        more = {"case_files": cases, "zone": zone}
    else:
        others = here.officer.directory.with_duty(INVESTIGATOR)
        more = {
            "purposes": sorted(policy.purposes or ()),
            "bases": sorted(policy.bases),
            "others": [one.name for one in others if one.name != here.officer.name],
            "needed": policy.confirmations - 1,
        }
    return here.page(
        f"drafting/{step}.html",
        title=_title(here, step),
        errors=errors or [],
        draft=draft,
        step=step,
        steps=STEPS,
        wanting=wanting,
        cost=cost_of(here, draft, now),
        offers=offers(policy),
        policy=policy,
        **more,
    )


def _kept(here: At, draft_id: str, step: Step, form: Entered) -> Response:
    draft = save(here.officer, filled(draft_of(here, draft_id), step, form))
    if form.get("later"):
        return here.to("/drafts")
    found = troubles(here.officer, draft, known_patients(here), now=now_utc())
    wrong = [Wrong(one.field, here.say(one.words)) for one in found if one.step == step]
    if wrong:
        return page_of(here, draft, step, errors=wrong)
    after = (*STEPS, "check")[STEPS.index(step) + 1]
    return here.to(f"/drafts/{draft.id}/{after}")


def _places(site: SiteMap) -> list[str]:
    """Return what places are called, to choose from while typing."""
    names = {name for spot in site.spots for name in (spot.place, *spot.names.values()) if name}
    return sorted(names)


def _title(here: At, step: Step) -> str:
    return {
        "who": here.text("Draft: whom to look for"),
        "where": here.text("Draft: where"),
        "when": here.text("Draft: when"),
        "why": here.text("Draft: why"),
    }[step]
