"""What a draft would open by now, and the request that it makes in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from officers.desk.api_client import Estimate
from officers.desk.by_example import shown_by
from officers.desk.draft_troubles import troubles
from officers.desk.draft_window import DraftWindow, window_of
from officers.desk.drafting import Request
from officers.desk.drafts import SavedDraft
from officers.desk.moments import to_milliseconds
from officers.desk.options import afterwards_minutes
from officers.desk.patients import Patient
from officers.desk.phrases import Phrase, phrase
from officers.desk.scoping import Scope, estimate, scope
from officers.desk.session import Session
from officers.desk.windows import closed_text
from protocol import hpke
from protocol.keytree import FOLLOWED
from protocol.names import SLOT_MS
from protocol.policy import LINKED_CONTACTS, NO_CONTACTS
from protocol.query import Asked
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class Cost:
    """What a draft would open by now.

    Args:
        opens: quarter hours of cameras; 0 where that is not known as yet.
        counted: what headquarters say; None where nothing was asked, or they do not answer.
        silent: why they do not.
        closed: what of the window is closed as yet.
    """

    cameras: int
    seconds: int = 0
    opens: int = 0
    widened: bool = False
    window_from_ms: int = 0
    window_to_ms: int = 0
    counted: Estimate | None = None
    silent: Phrase | None = None
    closed: Phrase | None = None


def cost(
    session: Session | None,
    draft: SavedDraft,
    window: DraftWindow | None,
    known: Sequence[Patient],
    *,
    now: datetime,
) -> Cost:
    """Return what a draft would open, as far as it is known where and when.

    Args:
        session: to ask headquarters; None: they are not asked.
        window: None where it is none as yet.
        known: the patients who are enrolled here.
    """
    cameras = tuple(sorted(set(draft.cameras)))
    if window is None:
        return Cost(len(cameras))
    counted, silent = None, None
    chosen = [one for one in known if one.pseudonym in draft.patients]
    if session is not None and cameras:
        asked = Scope(cameras, window.window_from_ms, window.window_to_ms)
        try:
            counted = _counted(session, asked, chosen)
        except OperationError as error:
            silent = phrase("headquarters do not say: {error}", error=error)
    closed = closed_text(window, now_ms=to_milliseconds(now))
    return Cost(
        len(cameras),
        window.quarter_hours * SLOT_MS // 1000,
        len(cameras) * window.quarter_hours,
        window.widened,
        window.window_from_ms,
        window.window_to_ms,
        counted,
        silent,
        None if closed is None else phrase("{closed}", closed=closed),
    )


def _counted(session: Session, scope: Scope, patients: Sequence[Patient]) -> Estimate:
    """Ask headquarters what is in a scope, and how many strangers reach what is compared there.

    As a query is drafted: clothes are compared only for who has no other template. While nobody is
    chosen, or the site has no threshold for what is held of them, how many is not told.
    """
    if any(patient.file.words for patient in patients):  # how many are dressed so is not counted
        return estimate(session, scope, {}, templates=len(patients)).model_copy(
            update={"expected_false": None}
        )
    held = [one for patient in patients for one in patient.file.references]
    compared = [one for one in held if one.modality != FOLLOWED] or held
    count, subjects = max(1, len(compared)), max(1, len(patients))
    counted = estimate(session, scope, {}, templates=count, subjects=subjects)
    known = counted.default_thresholds
    thresholds = {one.model: known[one.model] for one in compared if one.model in known}
    if not thresholds:
        return counted.model_copy(update={"expected_false": None})
    return estimate(session, scope, thresholds, templates=count, subjects=subjects)


def request_of(
    session: Session,
    draft: SavedDraft,
    known: Sequence[Patient],
    sealing: hpke.PrivateKey,
    *,
    now: datetime,
) -> Request:
    """Return what a draft asks for, for `draft` to make a query of.

    Args:
        session: the investigator's.
        draft: as it is kept.
        known: the patients who are enrolled here.
        sealing: the investigator's key, that opens the results in which examples were found.
        now: the present, aware.

    Raises:
        OperationError: it makes none as yet (`troubles` says more).
    """
    me = session.officer
    if wrong := troubles(me, draft, known, now=now):
        raise OperationError(wrong[0].words)
    window = window_of(me, draft, now=now)
    paths = {one.pseudonym: one.path for one in known}
    return Request(
        scope=scope(session, draft.cameras, window.starts, window.ends),
        subjects=tuple(paths[name] for name in draft.patients),
        purpose=draft.purpose,
        legal_basis=draft.legal_basis,
        modalities=(FOLLOWED,) if draft.examples else (),
        shown=shown_by(session, (), draft.examples, sealing),
        live=draft.live,
        contacts=None if not draft.contacts else draft.contacts != NO_CONTACTS,
        max_candidates=int(draft.max_candidates) if draft.max_candidates else None,
        valid_days=int(draft.valid_days) if draft.valid_days else None,
        purpose_kind=draft.purpose_kind,
        confirmers=draft.confirmers,
        asks=Asked(
            linked_contacts=draft.contacts == LINKED_CONTACTS,
            continuation=draft.continuation,
            same_place_counts=bool(draft.counts),
            evidence_stills=int(draft.stills or 0),
            afterwards_min=afterwards_minutes(draft.afterwards) if draft.counts == "after" else 0,
        ),
    )
