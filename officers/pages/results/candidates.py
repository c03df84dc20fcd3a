"""`/queries/ID/candidates`: look, say what one sees, then read the score, then sign."""

from __future__ import annotations

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers.desk import check_decidable, hand_in_decision, to_decide
from officers.desk.by_clothes import EXAMPLE, clothes_offers
from officers.desk.offers import Offer
from officers.desk.queue import WAITING, Queue, clashes, travels
from officers.desk.traces import numbers_text
from officers.desk.verdicts import needed_confirmations
from officers.desk.views import VIEWS, gate
from officers.desk.wording import short_id
from officers.pages.at import At, Wrong, at
from officers.pages.patients import photo_path
from officers.pages.results import words
from officers.pages.results.opened import (
    Shown,
    candidate_path,
    cases,
    open_case,
    show,
    subject_of,
    viewer,
    views,
)
from officers.pages.results.stills import absence, may_leave
from protocol.results import CONFIRMED, REJECTED
from protocol.signing import Signed
from runtime.errors import OperationError

router = APIRouter()
Here = Annotated[At, Depends(at)]
Text = Annotated[str, Form(max_length=8192)]
_AROUND, _CLASHES = 30, 3


@router.get("/queries/{query_id}/candidates")
def first(query_id: str, here: Here, of: int = 1, signed: int = 0) -> Response:
    """Go to the first candidate that waits for the officer; say so where nothing was found."""
    with here.session() as session:
        opened = open_case(here, session, query_id)
    place, queue = subject_of(opened, of)
    if queue.entries:
        entry = queue.waiting[0] if queue.waiting else queue.entries[0]
        after = f"?signed={signed}" if signed else ""
        return here.to(candidate_path(opened.results.case.id, entry.number) + after)
    for problem in opened.results.problems:
        here.notice(here.say(problem), warning=True)
    return here.page(
        "results/nothing.html",
        title=here.text("Candidates of {query}", query=short_id(opened.results.case.id)),
        query_id=opened.results.case.id,
        place=place,
        queue=queue,
        subjects=_subjects(here, opened.queues, opened.results.case.id, place),
        ended=opened.results.summary.state in {"complete", "withdrawn", "expired", "failed"},
    )


@router.get("/queries/{query_id}/candidates/{number}")
def one(query_id: str, number: int, here: Here, signed: int = 0) -> Response:
    """Show one candidate."""
    with here.session() as session:
        shown = show(open_case(here, session, query_id), number)
    viewer(here).leave(shown.query_id, shown.entry.number)
    return _page(here, shown, signed=signed)


@router.post("/queries/{query_id}/candidates/{number}/view")
def look(query_id: str, number: int, here: Here, view: Text = "", mark: Text = "") -> Response:
    """Take the officer's own view down, before the score is shown."""
    with here.session() as session:
        shown = show(open_case(here, session, query_id), number)
    changed = _changed(here, shown, mark)
    if changed is not None:
        return changed
    if view not in VIEWS:
        return _page(here, shown, wrong=[Wrong("view", here.text("Choose what you see."))])
    opening = _gate(here, shown)
    if view == "same" and not opening.same:
        return _page(
            here,
            shown,
            wrong=[
                Wrong(
                    "view",
                    here.text(
                        "Look at the still first: “same person” is for who has seen it. If it does "
                        "not load, choose “cannot tell” or come back later."
                    ),
                )
            ],
        )
    views(here).take(shown.digest, shown.entry.ids, view, knowing=opening.score)
    return here.to(shown.path)


@router.post("/queries/{query_id}/candidates/{number}/undo")
def undo(query_id: str, number: int, here: Here) -> Response:
    """Take the officer's view back."""
    with here.session() as session:
        shown = show(open_case(here, session, query_id), number)
    views(here).undo(shown.digest, shown.entry.ids)
    return here.to(shown.path)


@router.post("/queries/{query_id}/candidates/{number}/decide")
def decide(query_id: str, number: int, here: Here, verdict: Text = "", mark: Text = "") -> Response:
    """Go to sign a verdict on each sighting of a candidate."""
    with here.session() as session:
        shown = show(open_case(here, session, query_id), number)
        changed = _changed(here, shown, mark)
        if changed is not None:
            return changed
        if verdict not in {CONFIRMED, REJECTED}:
            raise OperationError(here.text("a verdict is confirmed or rejected"))
        if shown.entry.state == verdict:
            here.notice(here.text("You have signed that already; nothing was signed again."))
            return _page(here, shown)
        if not _gate(here, shown).score:
            return _page(here, shown, wrong=[Wrong("view", here.text("Say first what you see."))])
        check_decidable(verdict, shown.entry.items)
        unsigned = [to_decide(session, shown.results, verdict, item) for item in shown.entry.items]

    def then(signed: list[Signed]) -> str:
        with here.session() as session:
            for item, word in zip(shown.entry.items, signed, strict=True):
                hand_in_decision(session, shown.results, item, word)
        cases(here).stale(shown.query_id)
        viewer(here).forget()
        following = shown.queue.after(shown.entry)
        if following is None or following.number == shown.entry.number:
            return f"{shown.path}?signed={shown.entry.number}"
        path = candidate_path(shown.query_id, following.number)
        return f"{path}?signed={shown.entry.number}"

    return here.ask_signature(
        unsigned, statement=_statement(here, shown, verdict), then=then, back=shown.path
    )


def _changed(here: At, shown: Shown, mark: str) -> Response | None:
    """Return the page with what has changed since it was shown; None if nothing has."""
    if hmac.compare_digest(mark.encode(), shown.mark.encode()):
        return None
    here.notice(
        here.text(
            "This candidate has changed since the page was drawn: another sighting came to it, or "
            "it was decided in another tab. Nothing was taken down or signed; look again."
        ),
        warning=True,
    )
    return _page(here, shown, status=409)


def _gate(here: At, shown: Shown) -> Any:
    kept = views(here)
    return gate(
        viewed=kept.of(shown.digest, shown.entry.ids) is not None,
        decided=shown.entry.state != WAITING,
        possible=absence(here, shown) is None,
        still=kept.still_of(shown.digest, shown.entry.ids),
    )


def _page(
    here: At, shown: Shown, *, wrong: list[Wrong] | None = None, signed: int = 0, status: int = 0
) -> Response:
    results, entry, queue = shown.results, shown.entry, shown.queue
    for problem in (*results.problems, *results.receipts.waiting):
        here.notice(here.say(problem), warning=True)
    kept = views(here)
    view = kept.of(shown.digest, entry.ids)
    opening = _gate(here, shown)
    stay = entry.stay
    of = shown.opened.queues.index(queue) + 1
    needed = needed_confirmations(results.case, here.officer.policy)
    apart = clashes(entry, queue, results.ground)
    return here.page(
        "results/candidate.html",
        errors=wrong or (),
        status=status,
        title=here.text(
            "Candidate {number} of {query}", number=entry.number, query=short_id(shown.query_id)
        ),
        shown=shown,
        entry=entry,
        stay=stay,
        query_id=shown.query_id,
        short=short_id(shown.query_id),
        queue=queue,
        by_words=results.case.query.subjects[of - 1].words,
        rows=_rows(here, shown),
        subjects=_subjects(here, shown.opened.queues, shown.query_id, of),
        place=words.place(here, results, stay.address.camera),
        state=words.state(here, entry),
        mask=words.mask(here, stay),
        quality=words.quality(here, entry),
        origin=words.origin(here, stay),
        numbers=numbers_text(stay.numbers),
        travels=[words.travel(here, one) for one in travels(entry, queue, results.ground)],
        clashes=[words.clash(here, one) for one in apart[:_CLASHES]],
        more_clashes=max(0, len(apart) - _CLASHES),
        view=view,
        view_words=words.view(here, view.value) if view is not None else "",
        first_words=words.view(here, view.first) if view is not None and view.first else "",
        against=_against(view.first or view.value) if view is not None else "",
        gate=opening,
        knew=kept.knows(shown.digest, entry.ids),
        absent=absence(here, shown),
        may_leave=may_leave(here, shown),
        still=viewer(here).seen(shown.query_id, entry.number),
        still_was_shown=kept.still_of(shown.digest, entry.ids),
        photo=photo_path(here, queue.subject),
        likelihood=words.likelihood(here, stay) if opening.score else "",
        times=words.times(stay) if opening.score else "",
        others=[(name, words.verdict(here, word)) for name, word in sorted(entry.others.items())],
        disagree=bool(entry.others) and set(entry.others.values()) != {entry.state},
        needed=needed,
        expected=words.expected(here, results.case.query.expected_false),
        manydays=_many_days(here, queue),
        impossible=[
            (
                item.number,
                words.place(here, results, item.candidate.address.camera),
                item.candidate.first_seen_ms,
                here.say(item.candidate.impossible),
            )
            for item in queue.impossible
        ],
        signed=_receipt(here, shown, signed),
        following=queue.after(entry),
        clothes=_clothes(here, shown),
    )


def _clothes(here: At, shown: Shown) -> Offer | None:
    """Return the offer to look for the clothes of a candidate; None where that cannot be asked."""
    offer = clothes_offers(here.officer.policy)[EXAMPLE]
    named = shown.entry.items[0].candidate
    known = named.name is not None and named.episode is not None
    return offer if known and offer.why_not is None else None


def _many_days(here: At, queue: Queue) -> bool:
    """Tell whether the candidates are of more than one day."""
    return len({here.words.day(one.stay.from_ms) for one in queue.entries}) > 1


def _against(first: str) -> str:
    """Return the verdict that would go against a view."""
    return {"same": REJECTED, "different": CONFIRMED, "cannot-tell": CONFIRMED}.get(first, "")


def _receipt(here: At, shown: Shown, number: int) -> tuple[int, str] | None:
    """Return what was signed a moment ago: the candidate's number and the verdict."""
    found = next((one for one in shown.queue.entries if one.number == number), None)
    if number == 0 or found is None or found.state not in {CONFIRMED, REJECTED}:
        return None
    return number, words.verdict(here, found.state)


def _rows(here: At, shown: Shown) -> dict[str, Any]:
    """Return the part of the list around the candidate, with how many are left out."""
    entries = shown.queue.entries
    at_row = entries.index(shown.entry)
    begin = max(0, at_row - _AROUND)
    end = min(len(entries), at_row + _AROUND + 1)
    return {
        "earlier": begin,
        "later": len(entries) - end,
        "listed": [
            (one, *words.state(here, one), one.stay.address.camera, one is shown.entry)
            for one in entries[begin:end]
        ],
        "before": entries[at_row - 1] if at_row else None,
        "after": entries[at_row + 1] if at_row + 1 < len(entries) else None,
    }


def _subjects(here: At, queues: tuple[Queue, ...], query_id: str, of: int) -> list[dict[str, Any]]:
    """Return the query's subjects, to go from one to another."""
    return [
        {
            "name": queue.subject,
            "waiting": here.ntext("{n} to decide", "{n} to decide", len(queue.waiting)),
            "path": f"/queries/{query_id}/candidates?of={place}",
            "here": place == of,
        }
        for place, queue in enumerate(queues, start=1)
    ]


def _statement(here: At, shown: Shown, verdict: str) -> list[str]:
    """Return what the officer says with a signature."""
    entry, stay = shown.entry, shown.entry.stay
    values = {
        "number": numbers_text([item.number for item in entry.items]),
        "query": short_id(shown.query_id),
        "subject": shown.queue.subject,
        "camera": stay.address.camera,
        "when": here.words.span(stay.from_ms, stay.to_ms),
    }
    said = (
        here.text("I confirm that candidate {number} of query {query} ({camera}, {when}) is "
                  "{subject}.", **values)
        if verdict == CONFIRMED
        else here.text("I reject candidate {number} of query {query} ({camera}, {when}): it is not "
                       "{subject}.", **values)
    )  # fmt: skip
    lines = [said]
    if verdict == CONFIRMED:
        needed = needed_confirmations(shown.results.case, here.officer.policy)
        if needed > 1:
            lines.append(
                here.ntext(
                    "{n} officer must confirm it before it counts.",
                    "{n} different officers must confirm it before it counts.",
                    needed,
                )
            )
    lines.append(
        here.text("A newer decision of yours replaces this one; this one stays in the log.")
    )
    return lines
