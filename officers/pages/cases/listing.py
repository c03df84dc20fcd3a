"""The list of queries: each with its state, what it waits for and how far it has come."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from officers.desk.standings import MINE, OPEN, SHOWN, chosen, standing_of
from officers.pages.at import At, at
from runtime.clock import system_ms

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/queries")
def queries(
    here: Here,
    show: Annotated[str, Query(max_length=16)] = OPEN,
    find: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show the site's queries; the filter says what it hides."""
    shown = show if show in SHOWN else OPEN
    with here.session() as session:
        listed = session.queries()
    now_ms = system_ms()
    rows = [standing_of(one, here.officer.name, here.duties, now_ms) for one in listed]
    picked = chosen(rows, shown, find)
    return here.page(
        "cases/list.html",
        title=here.text("Queries"),
        rows=picked,
        hidden=len(rows) - len(picked),
        total=len(rows),
        mine=sum(one.mine for one in rows),
        show=shown,
        find=find,
        waits_for_me=MINE,
    )
