"""What each custodian opened for a query: a page, and the same as a part of the query's page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import HTMLResponse, Response

from officers import desk
from officers.desk.phrases import words_of
from officers.desk.receipts_told import Told, told_against, told_alone
from officers.desk.wording import short_id
from officers.pages.at import At, at
from officers.pages.results.opened import cases
from protocol.directory import AUDITOR
from protocol.errors import ProtocolError
from runtime.errors import OperationError

router = APIRouter(prefix="/queries/{query_id}/custodians")
Here = Annotated[At, Depends(at)]
_NOTHING_YET = frozenset({"awaiting-templates", "awaiting-approvals", "refused"})
"""States in which no custodian has been asked for anything."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of asking.

    Args:
        compared: whether it was held against what headquarters show this officer.
        failed: why nothing is known, in the officer's language.
    """

    told: tuple[Told, ...] = ()
    rows: int = 0
    compared: bool = False
    problems: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    failed: str = ""


def may_ask(here: At, view: desk.View) -> bool:
    """Tell whether custodians give this officer their receipts of a query, and have any."""
    case = view.case
    reads = here.officer.name in case.officers or AUDITOR in here.duties
    return reads and case.query.version > 1 and view.summary.state not in _NOTHING_YET


@router.get("")
def custodians(query_id: str, here: Here, part: str = "") -> Response:
    """Show what each custodian opened."""
    with here.session() as session:
        case = session.case(query_id)
        if not part and case.id != query_id:
            return here.to(f"/queries/{case.id}/custodians")
        asked = _ask(here, session, case)
    about: dict[str, Any] = {"asked": asked, "case": case, "short": short_id(case.id)}
    if part:
        return HTMLResponse(here.draw("cases/custodians_part.html", **about))
    title = here.text("Custodians of {id}", id=short_id(case.id))
    return here.page("cases/custodians.html", title=title, **about)


def _ask(here: At, session: desk.Session, case: desk.Case) -> _Asked:
    try:
        if here.officer.name not in case.officers:
            if AUDITOR not in here.duties:
                words = here.text("Custodians tell those who confirm its hits, and auditors.")
                return _Asked(failed=words)
            return _Asked(told_alone(here.officer, case))
        results = cases(here).of(session, case.id, here.keys.sealing).results
    except (OperationError, ProtocolError) as error:
        return _Asked(failed=here.say(words_of(error)))
    receipts = results.receipts
    return _Asked(
        told_against(receipts), receipts.rows, True, tuple(receipts.problems),
        tuple(receipts.waiting),
    )  # fmt: skip
