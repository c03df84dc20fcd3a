"""Pages of all drafts: begin one from a usual case, go on, split, discard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers.desk.by_clothes import grounds_for_clothes
from officers.desk.by_example import shown_by
from officers.desk.draft_troubles import troubles
from officers.desk.draft_window import STEPS, Step
from officers.desk.drafts import SavedDraft, discard, drafts, new_draft, one_each
from officers.desk.infectious import infectious_days
from officers.desk.usual_cases import entered_by, usual_cases
from officers.pages.at import At, at
from officers.pages.drafting.form import draft_of, now_utc
from officers.pages.patients.memory import known_patients
from protocol.directory import INVESTIGATOR
from protocol.names import SLOT_MS, slot_start_ms
from runtime.errors import OperationError
from runtime.zones import site_zone

router = APIRouter(prefix="/drafts")
Here = Annotated[At, Depends(at)]


@dataclass(frozen=True, slots=True)
class Row:
    """A draft, and which of its steps want something still."""

    draft: SavedDraft
    wanting: frozenset[Step]


@router.get("")
def listed(here: Here) -> Response:
    """Show the drafts, and the usual cases to begin from."""
    here.require(INVESTIGATOR)
    return _list(here)


@router.post("")
def begin(
    here: Here,
    case: Annotated[str, Form()] = "",
    patients: Annotated[list[str] | None, Form()] = None,
    chosen: Annotated[str, Form()] = "",
    example: Annotated[str, Form(max_length=128)] = "",
) -> Response:
    """Begin a draft of a usual case, or by a sighting; where none was chosen, ask which."""
    here.require(INVESTIGATOR)
    if example:
        return here.to(f"/drafts/{_by_example(here, example).id}/who")
    names = tuple(dict.fromkeys(patients or []))
    if not chosen:
        return _list(here, names=names)
    zone = site_zone(here.officer.config.time_zone)
    now = now_utc()
    began = entered_by(here.officer.policy, case, now=now.astimezone(zone))
    if case == "infectious" and len(names) == 1:
        began |= _infectious(here, names[0], now)
    draft = new_draft(here.officer, patients=names, **began)
    return here.to(f"/drafts/{draft.id}/{'where' if names else 'who'}")


@router.post("/{draft_id}/split")
def split(here: Here, draft_id: str) -> Response:
    """Make a draft for each patient."""
    one_each(here.officer, draft_of(here, draft_id))
    return here.to("/drafts")


@router.get("/{draft_id}/discard")
def ask_discard(here: Here, draft_id: str) -> Response:
    """Say what discarding means."""
    draft = draft_of(here, draft_id)
    return here.page("drafting/discard.html", title=here.text("Discard"), draft=draft)


@router.post("/{draft_id}/discard")
def do_discard(here: Here, draft_id: str) -> Response:
    """Discard a draft."""
    here.require(INVESTIGATOR)
    discard(here.officer, draft_id)
    return here.to("/drafts")


def days_entered(starts: datetime, ends: datetime) -> dict[str, Any]:
    """Return a window as fields of a draft."""
    return {
        "from_day": f"{starts:%Y-%m-%d}",
        "from_time": f"{starts:%H:%M}",
        "to_day": f"{ends:%Y-%m-%d}",
        "to_time": f"{ends:%H:%M}",
    }


def _by_example(here: At, example: str) -> SavedDraft:
    """Begin a draft that looks for the clothes of a sighting, where and when that was."""
    grounds = grounds_for_clothes(here.officer.policy)
    with here.session() as session:
        shown = shown_by(session, (), (example,), here.keys.sealing)
    (name,) = shown.examples
    begins_ms = slot_start_ms(name.epoch, name.slot)
    zone = site_zone(here.officer.config.time_zone)
    starts, ends = (
        datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)
        for ms in (begins_ms, begins_ms + SLOT_MS)
    )
    entered = {"legal_basis": grounds[0]} if grounds else {}
    return new_draft(
        here.officer,
        examples=(example,),
        cameras=(name.camera,),
        **entered,
        **days_entered(starts, ends),
    )


def _infectious(here: At, pseudonym: str, now: datetime) -> dict[str, Any]:
    """Return the infectious days as fields of a draft; none where no case file tells them."""
    try:
        return days_entered(*infectious_days(here.officer, pseudonym, here.keys.sealing, now=now))
    except OperationError:
        return {}


def _list(here: At, *, names: tuple[str, ...] = ()) -> Response:
    known, now = known_patients(here), now_utc()
    rows = [
        Row(one, frozenset(t.step for t in troubles(here.officer, one, known, now=now)))
        for one in drafts(here.officer, here.keys.sealing)
    ]
    return here.page(
        "drafting/list.html",
        title=here.text("Drafts"),
        rows=rows,
        steps=STEPS,
        cases=usual_cases(here.officer.policy),
        names=names,
        enrolled=bool(known),
    )
