"""The auditor's pages; what they tell is made by `officers.desk.audit_desk` in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from officers.desk import audit_tell
from officers.desk.audit_desk import AuditDesk, Audited
from officers.desk.audit_meanings import meaning_of
from officers.desk.audit_words import actor_of, summary
from officers.desk.officer import OfficerError
from officers.desk.report.words import LANGUAGES
from officers.pages.at import At, at
from officers.pages.words import PageWords
from protocol.directory import AUDITOR
from protocol.findings import Finding, FindingKind, Severity
from protocol.hpke import PrivateKey

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/audit")
def show(here: Here, rest: str = "") -> Response:
    """Show what the last audit found; the copy of the logs is verified when the desk begins."""
    desk = _desk(here)
    if desk.audited is None and desk.has_copy and not desk.work.doing and not desk.work.problem:
        desk.begin(_sealing(here), fetch=False)
    found = desk.audited
    if found is not None and found.alarms and not rest:
        return here.page(
            "audit/alarm.html",
            title=here.say(audit_tell.ALARM),
            found=found,
            alarms=_by_kind(
                found, [n for n, one in enumerate(found.report.findings) if one in found.alarms]
            ),
            work=desk.work,
            **_words(),
        )
    return here.page(
        "audit/home.html",
        title=here.text("Audit"),
        found=found,
        work=desk.work,
        has_copy=desk.has_copy,
        by_weight=_by_weight(found),
        newest=found.counts[:6] if found else [],
        **_words(),
    )


@router.post("/audit/fetch")
def fetch(here: Here) -> Response:
    """Begin to fetch all logs and to verify them."""
    _desk(here).begin(_sealing(here), fetch=True)
    return here.to("/audit")


@router.post("/audit/stop")
def stop(here: Here) -> Response:
    """Have fetching end; the copy from before stays."""
    _desk(here).stop()
    return here.to("/audit")


@router.get("/audit/progress")
def progress(here: Here) -> Response:
    """Tell how far it is, for the page that waits."""
    work = _desk(here).work
    return JSONResponse({"doing": here.say(work.doing), "stopping": work.stopping})


@router.get("/audit/findings/{number}")
def finding(here: Here, number: int) -> Response:
    """Show one finding: what it means, what to do, and the entry that it is about."""
    found = _desk(here).audited
    if found is None:
        return here.to("/audit")  # which verifies the copy first
    if not 1 <= number <= len(found.report.findings):
        raise HTTPException(404)
    one = found.report.findings[number - 1]
    entry = found.entry_of(one)
    return here.page(
        "audit/finding.html",
        title=here.text("Finding {n}", n=number),
        found=found,
        number=number,
        one=one,
        meaning=meaning_of(one.kind),
        entry=entry,
        summary=None if entry is None else summary(entry[0]),
        log=next((log for log in found.report.logs if log.origin == one.origin), None),
        **_words(),
    )


@router.get("/audit/queries/{query_id}")
def query(here: Here, query_id: str) -> Response:
    """Tell one query's life."""
    found = _desk(here).audited
    if found is None:
        return here.to("/audit")  # which verifies the copy first
    story = found.stories.get(query_id)
    if story is None:
        raise HTTPException(404)
    return here.page(
        "audit/query.html",
        title=here.text("Query {query}", query=query_id[: audit_tell.SHORT]),
        found=found,
        story=story,
        meanings=_by_kind(found, story.findings),
        **_words(),
    )


@router.get("/audit/counts")
def counts(here: Here) -> Response:
    """Show how many queries there were by month and legal ground, and what they opened."""
    found = _desk(here).audited
    if found is None:
        return here.to("/audit")  # which verifies the copy first
    return here.page(
        "audit/counts.html",
        title=here.text("Queries by month and legal ground"),
        found=found,
        **_words(),
    )


@router.post("/audit/page")
def save(here: Here, language: Annotated[str, Form(max_length=8)] = "") -> Response:
    """Hand out the audit as one HTML page that opens without a server."""
    from officers.desk.audit_document import audit_html  # noqa: PLC0415 - loads a font's tools

    found = _desk(here).audited
    if found is None:
        return here.to("/audit")  # which verifies the copy first
    chosen = language if language in LANGUAGES else here.words.language
    page = audit_html(found, PageWords(chosen, here.words.zone))
    name = f"audit-{found.report.site}-{here.words.day(found.copy.fetched_ms)}-{chosen}.html"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(page, media_type="text/html; charset=utf-8", headers=headers)


def _desk(here: At) -> AuditDesk:
    """Return the audit of this sitting.

    Raises:
        OfficerError: the officer is no auditor.
    """
    here.require(AUDITOR)
    return here.house.kept("audit", lambda: AuditDesk(here.officer, here.words.month))


def _sealing(here: At) -> PrivateKey | None:
    """Return the key that opens entries; None where nothing is ever sealed to the officer."""
    try:
        return here.keys.sealing
    except OfficerError:
        return None


def _by_weight(
    found: Audited | None,
) -> list[tuple[Severity, int, list[tuple[Finding, list[int]]]]]:
    """Return by weight how many findings there are, and their numbers (from 1) by kind."""
    if found is None:
        return []
    listed = found.report.findings
    made = []
    for weight in Severity:
        numbers = [number for number, one in enumerate(listed) if one.severity is weight]
        made.append((weight, len(numbers), _by_kind(found, numbers)))
    return made


def _by_kind(found: Audited, numbers: Sequence[int]) -> list[tuple[Finding, list[int]]]:
    """Return findings of each kind once, with the numbers (from 1) of all of it."""
    kinds: dict[FindingKind, tuple[Finding, list[int]]] = {}
    for number in numbers:
        one = found.report.findings[number]
        kinds.setdefault(one.kind, (one, []))[1].append(number + 1)
    return list(kinds.values())


def _words() -> dict[str, Any]:
    """Return what every template of this section says with."""
    return {"tell": audit_tell, "meaning_of": meaning_of, "actor_of": actor_of}
