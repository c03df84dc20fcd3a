"""The first page: what waits for the officer, and what runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from officers.desk import QuerySummary
from officers.desk.opened_cases import OpenedCases
from officers.desk.standings import standing_of
from officers.desk.tasks import APPROVE, DECIDE, Finished, Task, tasks
from officers.pages.at import At, at
from officers.pages.shown_tasks import ShownTask
from runtime.clock import system_ms
from runtime.http import PeerUnreachable

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/")
def home(request: Request, here: Here) -> Response:
    """Show what waits for the officer."""
    shown: list[ShownTask] = []
    running: list[ShownTask] = []
    silent = False
    try:
        with here.session() as session:
            opened = here.house.kept("opened cases", OpenedCases)
            finished = here.house.kept(
                "finished", lambda: Finished(here.officer.config.state_dir / "desk")
            )
            readers: dict[str, frozenset[str]] = here.house.kept("readers", dict)
            found = tasks(session, readers, finished, opened.left)
        shown = [_task(here, one) for one in found.waiting]
        running = [_running(here, one) for one in found.running]
    except PeerUnreachable:
        silent = True
    for more in request.app.state.home_tasks:
        shown += more(here)
    return here.page(
        "frame/home.html",
        title=here.text("Your tasks"),
        tasks=shown,
        running=running,
        silent=silent,
    )


def _task(here: At, task: Task) -> ShownTask:
    query = task.query
    name = query.id[:4]
    kind, status = _state(here, query)
    if task.kind == APPROVE:
        words = here.text(
            "{given} of {needed} approvals; {requester} asks",
            given=len(query.approvals),
            needed=query.approvals_needed,
            requester=query.requester,
        )
        url = f"/queries/{query.id}/decide"
        return ShownTask("waiting", status, name, words, url, here.text("Look"))
    if task.kind == DECIDE:
        words = _to_decide(here, task)
        url = f"/queries/{query.id}/candidates"
        return ShownTask(kind, status, name, words, url, here.text("Decide"))
    words = query.reason or here.text("something needs a look")
    return ShownTask(kind, status, name, words, f"/queries/{query.id}", here.text("Look"))


def _running(here: At, query: QuerySummary) -> ShownTask:
    if query.state == "awaiting-approvals":
        words = here.text(
            "{given} of {needed} approvals",
            given=len(query.approvals),
            needed=query.approvals_needed,
        )
    else:
        words = here.ntext("{n} candidate found", "{n} candidates found", query.candidates)
    kind, status = _state(here, query)
    return ShownTask(kind, status, query.id[:4], words, f"/queries/{query.id}", "")


def _state(here: At, query: QuerySummary) -> tuple[str, str]:
    standing = standing_of(query, here.officer.name, here.duties, system_ms())
    return standing.kind, here.say(standing.words)


def _to_decide(here: At, task: Task) -> str:
    found = task.query.candidates
    if task.left is not None:
        return here.ntext("{n} to decide on", "{n} to decide on", task.left)
    if task.mine:
        return here.ntext("{n} candidate", "{n} candidates", found)
    return here.ntext(
        "{n} candidate to check as second signer",
        "{n} candidates to check as second signer",
        found,
    )
