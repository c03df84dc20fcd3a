"""What a draft would open, beside the controls that change it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from officers.desk.draft_steps import Cost, cost
from officers.desk.drafts import SavedDraft
from officers.desk.phrases import phrase
from officers.pages.at import At
from officers.pages.drafting.form import window_or_none
from officers.pages.patients.memory import known_patients
from runtime.errors import OperationError


def cost_of(here: At, draft: SavedDraft, now: datetime) -> Cost:
    """Return it; where headquarters do not answer, what is known without them."""
    known = known_patients(here)
    window = window_or_none(here, draft, now)
    try:
        with here.session() as session:
            return cost(session, draft, window, known, now=now)
    except OperationError as error:
        told = cost(None, draft, window, known, now=now)
        return replace(told, silent=phrase("headquarters do not say: {error}", error=error))
