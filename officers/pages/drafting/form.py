"""What a form of a step brings, put into the draft word for word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import FormData

from officers.desk.choosing import Wanted, choose
from officers.desk.draft_window import DraftWindow, StepWrong, window_of
from officers.desk.drafts import SavedDraft, read_draft
from officers.desk.phrases import words_of
from officers.pages.at import At, Wrong
from protocol.directory import INVESTIGATOR
from runtime.errors import OperationError

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "when": ("from_day", "from_time", "to_day", "to_time"),
    "why": (
        "purpose_kind",
        "purpose",
        "legal_basis",
        "contacts",
        "counts",
        "afterwards",
        "stills",
        "valid_days",
        "max_candidates",
    ),
}
_YES: Mapping[str, tuple[str, ...]] = {"when": ("live",), "why": ("continuation",)}
_LISTS: Mapping[str, tuple[str, ...]] = {
    "who": ("patients", "examples"),
    "where": ("cameras",),
    "why": ("confirmers",),
}
_MAX_TEXT = 4000
_MAX_FIELDS = 70_000


async def entered(request: Request) -> FormData:
    """Return the form (a dependency); it has as many fields as a site has cameras."""
    return await request.form(max_fields=_MAX_FIELDS)


Entered = Annotated[FormData, Depends(entered)]


def now_utc() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def draft_of(here: At, draft_id: str) -> SavedDraft:
    """Return a draft of the officer's.

    Raises:
        OfficerError: the officer is no investigator.
        DraftNotFound, OwnFileInvalid: it is not there, or does not open.
    """
    here.require(INVESTIGATOR)
    return read_draft(here.officer, draft_id, here.keys.sealing)


def text_of(form: FormData, name: str) -> str:
    """Return a text of a form; empty if there is none."""
    value = form.get(name)
    return value.strip()[:_MAX_TEXT] if isinstance(value, str) else ""


def filled(draft: SavedDraft, step: str, form: FormData) -> SavedDraft:
    """Return the draft with what the form of a step says; nothing of it is judged here."""
    new: dict[str, Any] = {name: text_of(form, name) for name in _TEXTS.get(step, ())}
    for name in _YES.get(step, ()):
        new[name] = form.get(name) == "yes"
    for name in _LISTS.get(step, ()):
        given = [one for one in form.getlist(name) if isinstance(one, str) and one]
        new[name] = tuple(dict.fromkeys(given))
    return replace(draft, **new)


def more_cameras(here: At, draft: SavedDraft, form: FormData) -> tuple[SavedDraft, list[Wrong]]:
    """Return the draft with the cameras added that a place or a pattern means; that is told."""
    wanted = {
        "place": Wanted(places=(text_of(form, "place"),)),
        "pattern": Wanted(cameras=(text_of(form, "pattern"),)),
    }
    wrong: list[Wrong] = []
    found = set(draft.cameras)
    for field, one in wanted.items():
        if not text_of(form, field):
            continue
        try:
            found |= set(choose(one, here.officer.directory, here.officer.register, here.tell))
        except OperationError as error:
            wrong.append(Wrong(field, here.say(words_of(error))))
    return replace(draft, cameras=tuple(sorted(found))), wrong


def window_or_none(here: At, draft: SavedDraft, now: datetime) -> DraftWindow | None:
    """Return the draft's window; None where it is none as yet."""
    try:
        return window_of(here.officer, draft, now=now)
    except StepWrong:
        return None
