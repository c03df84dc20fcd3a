"""`/queries/ID/contacts`: whom a person met, each grade with its account, and the case file."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from pydantic import BaseModel, Field
from starlette.responses import Response

from officers.desk.case_files import (
    CaseFile,
    CaseFileInvalid,
    checked,
    forget_case,
    kept_cases,
    named_alike,
    parse_day,
    write_case,
    zone_of,
)
from officers.desk.forms.around import Around
from officers.desk.graded import GradedTrace
from officers.desk.grading import HIGH, LEVELS, LOW, MEDIUM
from officers.desk.grading_rules import PresetInvalid, preset_names, rules_of
from officers.desk.opened_cases import Opened
from officers.desk.phrases import words_of
from officers.desk.report.met import account_of
from officers.desk.report.wordings import disease_text, grade_text, mask_text
from officers.desk.traced import Met
from officers.desk.traces import UNDECIDED
from officers.desk.wording import short_id
from officers.pages.at import At, Wrong, at
from officers.pages.results.opened import open_case, subject_of
from officers.pages.traces.subjects import subject_links

router = APIRouter()
Here = Annotated[At, Depends(at)]
Text = Annotated[str, Field(max_length=512)]
_DAYS = ("onset", "tested", "isolated")


class CaseForm(BaseModel):
    """A case file as the form sends it; days as ``2031-05-01``, or empty."""

    of: int = 1
    preset: Text = ""
    onset: Text = ""
    tested: Text = ""
    isolated: Text = ""
    name: Text = ""


@router.get("/queries/{query_id}/contacts")
def contacts(query_id: str, here: Here, of: int = 1, level: str = "", camera: str = "") -> Response:
    """List whom a person met, those to ring first in front."""
    return _page(here, query_id, of, level=level, camera=camera)


@router.post("/queries/{query_id}/contacts/case")
def keep(query_id: str, here: Here, sent: Annotated[CaseForm, Form()]) -> Response:
    """Write what the investigator keeps of a person's illness."""
    of, form = sent.of, sent.model_dump(exclude={"of"})
    me, key = here.officer, here.keys.sealing
    with here.session() as session:
        _, queue = subject_of(open_case(here, session, query_id), of)
    wrong: list[Wrong] = []
    days: dict[str, date | None] = {}
    for what in _DAYS:
        try:
            days[what] = parse_day(form[what], what=f"--{what}") if form[what].strip() else None
        except CaseFileInvalid as error:
            wrong.append(Wrong(what, here.say(words_of(error))))
    if not wrong:
        today = datetime.now(zone_of(me)).date()
        case = CaseFile(queue.subject, " ".join(sent.name.split()), sent.preset, **days)
        try:
            case = checked(case, today=today)
            write_case(me, case)
        except PresetInvalid as error:
            wrong.append(Wrong("preset", here.say(words_of(error))))
        except CaseFileInvalid as error:
            said = str(error)
            field = next((what for what in ("name", *_DAYS) if f"--{what}" in said), "onset")
            wrong.append(Wrong(field, here.say(words_of(error))))
        else:
            alike = named_alike(me, case, key)
            for other in alike:
                here.notice(
                    here.text(
                        "{other} has a name that reads like this one: tell them apart by the "
                        "pseudonym.",
                        other=other,
                    ),
                    warning=True,
                )
            if not alike:
                return here.to(f"/queries/{query_id}/contacts?of={of}")
            return _page(here, query_id, of)
    return _page(here, query_id, of, form=form, wrong=wrong)


@router.post("/queries/{query_id}/contacts/forget")
def forget(query_id: str, here: Here, of: Annotated[int, Form()] = 1) -> Response:
    """Delete the case file of a person."""
    with here.session() as session:
        _, queue = subject_of(open_case(here, session, query_id), of)
    forget_case(here.officer, queue.subject)
    return here.to(f"/queries/{query_id}/contacts?of={of}")


def _page(
    here: At,
    query_id: str,
    of: int,
    *,
    level: str = "",
    camera: str = "",
    form: dict[str, str] | None = None,
    wrong: list[Wrong] | None = None,
) -> Response:
    with here.session() as session:
        opened = open_case(here, session, query_id)
        graded = opened.graded(session, here.keys.sealing)
    place, queue = subject_of(opened, of)
    results = opened.results
    listed = next(one for one in graded if one.subject == queue.subject)
    met = _met(here, opened, listed)
    shown = [one for one in met if _passes(one, level, camera)]
    kept = queue.subject in kept_cases(here.officer)
    around = _around(here, opened, listed)
    rules = listed.rules
    return here.page(
        "traces/contacts.html",
        errors=wrong or (),
        title=here.text("Contacts in {query}", query=short_id(results.case.id)),
        query_id=results.case.id,
        short=short_id(results.case.id),
        of=place,
        subject=queue.subject,
        case_shown=listed.case.shown,
        subjects=subject_links(here, opened.queues, results.case.id, "contacts", place),
        total=len(met),
        levels=", ".join(
            f"{grade_text(name, here.words)} {count}"
            for name, count in listed.levels.items()
            if count
        )
        if rules is not None
        else "",
        undecided=sum(
            item.verdict == UNDECIDED
            and item.matched
            and item.candidate.impossible is None
            and item.candidate.subject == queue.subject
            for item in results.candidates
        ),
        asked_contacts=results.case.query.contacts,
        rows=[_row(here, one, around) for one in shown],
        hidden=len(met) - len(shown),
        any_linked=any(one.person.linked for one in met),
        level=level,
        camera=camera,
        level_options=[
            ("", here.text("every grade")),
            (LOW, here.text("low or more")),
            (MEDIUM, here.text("medium or more")),
            (HIGH, here.text("high alone")),
        ],
        camera_options=[
            ("", here.text("every camera")),
            *((name, around.named(name)) for name in sorted(_cameras(met))),
        ],
        rules=rules,
        window_words=_window(here, listed),
        onset_of="" if rules is None else _onset_of(here, rules.preset.infectious.onset_of),
        form=form or _form_of(listed.case if kept else CaseFile(queue.subject)),
        preset_options=_presets(here, listed.case.preset),
        kept=kept,
        sources=[] if rules is None else sorted(rules.sources.items()),
    )


def _around(here: At, opened: Opened, listed: GradedTrace) -> Around:
    return Around(
        zone=zone_of(here.officer),
        places=opened.places,
        officer=here.officer.name,
        graded=(listed,),
        language=here.words.language,
    )


def _met(here: At, opened: Opened, listed: GradedTrace) -> list[Met]:
    """Return a person's contacts in the order of their grades."""
    order = {one.person.number: place for place, one in enumerate(listed.contacts)}
    met = [
        one
        for one in _around(here, opened, listed).met(opened.report)
        if one.case == listed.subject
    ]
    return sorted(met, key=lambda one: order.get(one.person.number, len(order)))


def _passes(one: Met, level: str, camera: str) -> bool:
    if camera and camera not in one.person.cameras:
        return False
    if level not in LEVELS:
        return True
    return one.grade is not None and LEVELS.index(one.grade.level) <= LEVELS.index(level)


def _cameras(met: list[Met]) -> set[str]:
    return {camera for one in met for camera in one.person.cameras}


def _row(here: At, one: Met, around: Around) -> dict[str, Any]:
    person, grade = one.person, one.grade
    return {
        "number": person.number,
        "linked": person.linked,
        "subject": person.subject,
        "grade": None if grade is None else grade.level,
        "grade_words": "" if grade is None else grade_text(grade.level, here.words),
        "points": None if grade is None else grade.points,
        "span": here.words.span(person.first_ms, person.last_ms),
        "seconds": person.seconds,
        "most": person.most_in_24h_s,
        "nearest_m": person.nearest_m,
        "mask": mask_text(*person.mask, here.words, varies=person.mask_varies),
        "where": ", ".join(around.named(camera) for camera in person.cameras),
        "notes": one.notes,
        "account": list(account_of(one, around, here.words)),
    }


def _window(here: At, listed: GradedTrace) -> str:
    """Return the infectious window in words, or why it is not known."""
    if listed.window is not None:
        first, last = here.words.day(listed.window[0]), here.words.day(listed.window[1] - 1)
        return here.text("{first} to {last}, both days whole", first=first, last=last)
    case = listed.case
    if case.onset is None and case.tested is None:
        return here.text("not known, so all contacts count: give the first day of illness")
    if case.onset is None:
        return here.text("not known: these rules count from no test; give the first day of illness")
    return here.text("never: isolated before it would begin")


def _onset_of(here: At, said: str) -> str:
    """Say of what the first day is counted; what a site's own rules say stays as it is."""
    return {
        "the first symptoms": here.text("the first symptoms"),
        "the rash": here.text("the rash"),
        "the symptoms, or the first finding that fits the disease": here.text(
            "the symptoms, or the first finding that fits the disease"
        ),
    }.get(said, said)


def _form_of(case: CaseFile) -> dict[str, str]:
    days = {what: getattr(case, what) for what in _DAYS}
    return {
        "preset": case.preset,
        "name": case.name,
        **{what: "" if day is None else day.isoformat() for what, day in days.items()},
    }


def _presets(here: At, kept: str) -> list[tuple[str, str]]:
    """Return the rules to choose from; a site's own, which a case file names by path, stays."""
    options = [("", here.text("none: not graded"))]
    options += [(name, disease_text(rules_of(name).title, here.words)) for name in preset_names()]
    if kept and kept not in preset_names():
        options.append((kept, here.text("the site's own: {file}", file=kept.rsplit("/", 1)[-1])))
    return options
