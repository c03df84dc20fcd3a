"""`/queries/ID/report`: reports and exports, signed and logged before the browser gets them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from starlette.exceptions import HTTPException
from starlette.responses import Response

from officers.desk import around_of, positions_for
from officers.desk.camera_places import Positions
from officers.desk.export_forms import FORMATS
from officers.desk.exporting import rendered
from officers.desk.handing_over import Prepared, to_hand_over
from officers.desk.opened_cases import Opened
from officers.desk.phrases import words_of
from officers.desk.report.making import FORM, set_report
from officers.desk.report.plan import Plan
from officers.desk.report.wordings import disease_text
from officers.desk.report.words import LANGUAGES
from officers.desk.site_map import site_map
from officers.desk.verdicts import needed_confirmations
from officers.desk.wording import short_id
from officers.pages.at import At, Wrong, at
from officers.pages.results.handed import hand_over, shelf
from officers.pages.results.opened import cases, open_case
from runtime.clock import system_ms
from runtime.errors import OperationError

router = APIRouter()
Here = Annotated[At, Depends(at)]
Text = Annotated[str, Form(max_length=64)]
_TYPES = {
    "pdf": "application/pdf",
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "geojson": "application/geo+json",
    "jpg": "image/jpeg",
}


@router.get("/queries/{query_id}/report")
def report(query_id: str, here: Here) -> Response:
    """Show what would be in a report or an export, and what is missing yet."""
    return _page(here, query_id)


@router.post("/queries/{query_id}/report/make")
def make(
    query_id: str, here: Here, form: Text = "", language: Text = "", hits_only: Text = ""
) -> Response:
    """Make files in memory, and go to sign that they leave the desk."""
    language = language if language in LANGUAGES else here.words.language
    alone = form == FORM or bool(hits_only)
    with here.session() as session:
        opened = open_case(here, session, query_id)
        cases(here).stale(opened.results.case.id)
        opened = open_case(here, session, query_id)
        results = opened.results
        if form != FORM and form not in FORMATS:
            wrong = [Wrong("form", here.text("Choose a form."))]
            return _page(here, query_id, wrong=wrong, hits_only=bool(hits_only))
        positions: Positions = {}
        try:
            if form != FORM:
                positions = positions_for(form, None, opened.places)
        except OperationError as error:
            wrong = [Wrong("form", here.say(words_of(error)))]
            return _page(here, query_id, wrong=wrong, chosen=form, hits_only=bool(hits_only))
        around = around_of(
            session,
            results,
            here.keys.sealing,
            places=opened.places,
            positions=positions,
            hits_only=alone,
            language=language,
        )
        stem = _stem(here, opened, form)
        if form == FORM:
            plan = Plan(site_map(here.officer).lines)
            made = set_report(session, results, around=around, language=language, plan=plan)
            files = {f"{stem}.pdf": made.pdf, f"{stem}.html": made.html}
            hits, undecided = made.hits, 0
        else:
            filled = rendered(session, results, form, around=around)
            files = {f"{stem}{FORMATS[form].suffix}": filled.content}
            hits, undecided = filled.hits, filled.undecided
        prepared = to_hand_over(session, results.case, form, files)
    return here.ask_signature(
        prepared.unsigned,
        statement=_statement(here, opened, prepared, hits=hits, undecided=undecided),
        then=lambda signed: hand_over(here, opened.results.case, prepared, signed),
        back=f"/queries/{opened.results.case.id}/report",
    )


@router.get("/queries/{query_id}/report/ready/{token}")
def ready(query_id: str, token: str, here: Here) -> Response:
    """Show the files that wait to be fetched."""
    files = shelf(here).get(token, query_id)
    return here.page(
        "traces/ready.html",
        title=here.text("Files of {query}", query=short_id(query_id)),
        query_id=query_id,
        short=short_id(query_id),
        form=files.form,
        files=[(name, _size(len(content))) for name, content in files.contents.items()],
        path=f"/queries/{query_id}/report/ready/{token}",
    )


@router.get("/queries/{query_id}/report/ready/{token}/{name}")
def fetch(query_id: str, token: str, name: str, here: Here) -> Response:
    """Give a file to the browser, to be saved and never shown within the desk."""
    files = shelf(here).get(token, query_id)
    content = files.contents.get(name)
    if content is None:
        raise HTTPException(404)
    kind = _TYPES.get(name.rsplit(".", 1)[-1], "application/octet-stream")
    return Response(
        content,
        media_type=kind,
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _page(
    here: At,
    query_id: str,
    *,
    wrong: list[Wrong] | None = None,
    chosen: str = "",
    hits_only: bool = True,
) -> Response:
    with here.session() as session:
        opened = open_case(here, session, query_id)
        graded = {one.subject: one for one in opened.graded(session, here.keys.sealing)}
    results = opened.results
    hits = {one.subject: len(one.hits) for one in opened.report.traces}
    rows: list[dict[str, Any]] = []
    for place, queue in enumerate(opened.queues, start=1):
        rules = graded[queue.subject].rules
        rows.append(
            {
                "of": place,
                "name": queue.subject,
                "hits": hits[queue.subject],
                "waiting": len(queue.waiting),
                "others": sum(
                    one.state == "confirmed" and one.verdict == "undecided" for one in queue.entries
                ),
                "rules": "" if rules is None else disease_text(rules.title, here.words),
            }
        )
    return here.page(
        "traces/report.html",
        errors=wrong or (),
        title=here.text("Report and export of {query}", query=short_id(results.case.id)),
        query_id=results.case.id,
        short=short_id(results.case.id),
        rows=rows,
        any_hits=any(hits.values()),
        needed=needed_confirmations(results.case, here.officer.policy),
        language=here.words.language,
        chosen=chosen,
        hits_only=hits_only,
        forms=[(name, _about(here, name)) for name in FORMATS],
    )


def _about(here: At, form: str) -> str:
    """Say what a form is for."""
    return {
        "json": here.text("JSON: all that is known, for programs"),
        "csv-line-list": here.text("CSV: a row a stay of a patient"),
        "csv-contacts": here.text("CSV: a row a contact of a stay"),
        "csv-persons": here.text("CSV: a row a person whom a patient met, for spreadsheets"),
        "go-data-contacts": here.text("Go.Data: contacts, for the import of WHO's Go.Data"),
        "go-data-cases": here.text("Go.Data: cases; import these first"),
        "fhir": here.text("FHIR R4: a bundle of cases, contacts, places and exposures"),
        "geojson": here.text("GeoJSON: a map with a point a stay and a line along the hits"),
    }.get(form, FORMATS[form].about)


def _statement(
    here: At, opened: Opened, prepared: Prepared, *, hits: int, undecided: int
) -> list[str]:
    short = short_id(opened.results.case.id)
    said = [
        here.text("I take the report of query {query} out of the desk.", query=short)
        if prepared.form == FORM
        else here.text("I take an export of query {query} out of the desk ({form}).", query=short,
                       form=_about(here, prepared.form)),
        here.ntext("It holds {n} hit.", "It holds {n} hits.", hits),
    ]  # fmt: skip
    if undecided:
        said.append(
            here.ntext(
                "It also holds {n} stay that nobody has confirmed.",
                "It also holds {n} stays that nobody has confirmed.",
                undecided,
            )
        )
    said.append(here.text("Headquarters log that I took it, with the digest of each file."))
    return said


def _stem(here: At, opened: Opened, form: str) -> str:
    """Return a file's name without its ending: no pseudonym is in it."""
    at = datetime.fromtimestamp(system_ms() / 1000, UTC).astimezone(here.words.zone)
    return f"sealtrace-{short_id(opened.results.case.id)}-{form}-{at:%Y%m%d-%H%M}"


def _size(count: int) -> str:
    return f"{max(1, count >> 10):,} KiB"
