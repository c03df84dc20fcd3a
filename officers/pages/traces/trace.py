"""`/queries/ID/trace`: a person's stops on the map and along time, beside what was watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from officers.desk.coverage_hours import (
    BLIND,
    NOT_GRANTED,
    PARTLY,
    REFUSED,
    UNWATCHED,
    WATCHED,
    Spell,
)
from officers.desk.graded import GradedTrace
from officers.desk.report.coverage_chart import STATES
from officers.desk.report.wordings import grade_text, mask_text, reason_text
from officers.desk.site_map import site_map
from officers.desk.timeline import Lane, Stop, Timeline, timeline_of
from officers.desk.traces import Trace, numbers_text
from officers.desk.watching import number_text, people_text
from officers.desk.wording import short_id
from officers.pages.at import At, at
from officers.pages.map import Way, map_view
from officers.pages.results import words as result_words
from officers.pages.results.opened import open_case, subject_of
from officers.pages.traces.subjects import subject_links
from protocol.names import SLOT_MS
from protocol.sightings import MaskStatus

router = APIRouter()
Here = Annotated[At, Depends(at)]
_LANES, _ROWS = 24, 60
_STEPS = 480
_MINUTE_MS = 60_000
_MAP_STATES = {
    WATCHED: "asked",
    PARTLY: "asked",
    BLIND: "blind",
    UNWATCHED: "blind",
    REFUSED: "refused",
    NOT_GRANTED: "missing",
}
_MASKS = {
    MaskStatus.MASKED: "masked",
    MaskStatus.UNMASKED: "bare",
    MaskStatus.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a lane, in per cent of the window, with what it is."""

    x: str
    width: str
    kind: str
    words: str


@router.get("/queries/{query_id}/trace")
def trace(query_id: str, here: Here, of: int = 1, every: bool = False) -> Response:
    """Show a person's trace."""
    with here.session() as session:
        opened = open_case(here, session, query_id)
        graded = opened.graded(session, here.keys.sealing)
    results = opened.results
    place, queue = subject_of(opened, of)
    shown = next(one for one in opened.report.traces if one.subject == queue.subject)
    listed = next(one for one in graded if one.subject == queue.subject)
    line = timeline_of(results.case.query, results.watching, shown)
    for problem in (*results.problems, *results.receipts.waiting):
        here.notice(here.say(problem), warning=True)
    names = {lane.camera: result_words.place(here, results, lane.camera) for lane in line.lanes}
    lanes = line.lanes if every else line.lanes[:_LANES]
    waiting_others = sum(
        one.state == "confirmed" and one.verdict == "undecided" for one in queue.entries
    )
    return here.page(
        "traces/trace.html",
        title=here.text("Trace in {query}", query=short_id(results.case.id)),
        query_id=results.case.id,
        short=short_id(results.case.id),
        of=place,
        subject=queue.subject,
        subjects=subject_links(here, opened.queues, results.case.id, "trace", place),
        trace=shown,
        line=line,
        stops=[_stop(here, one, names) for one in line.stops],
        lanes=[(lane, names[lane.camera], _bars(here, lane, line), _share(lane)) for lane in lanes],
        hidden=len(line.lanes) - len(lanes),
        data=_data(here, line, names),
        map=_map(here, line),
        unwatched=None if line.unwatched is None else round(100 * line.unwatched),
        contradictions=[
            here.text("{one} and {other}: {why}", one=numbers_text(one.numbers),
                      other=numbers_text(one.others), why=reason_text(one.why, here.words))
            for one in shown.contradictions
        ],
        contacts=_contacts(here, listed),
        graded=listed,
        waiting=len(queue.waiting),
        waiting_others=waiting_others,
        rejected=sum(one.state == "rejected" for one in queue.entries),
        gaps=_gaps(here, line, names, every=every),
        afterwards=_afterwards(here, results, shown, every=every),
        asked_afterwards=results.case.query.asks.afterwards_min,
        linked=results.case.query.asks.linked_contacts,
        asked_contacts=results.case.query.contacts,
        receipts=results.receipts,
        late_films=results.summary.late_films,
        edges=[line.from_ms, (line.from_ms + line.to_ms) // 2, line.to_ms],
    )  # fmt: skip


def _stop(here: At, one: Stop, names: dict[str, str]) -> dict[str, Any]:
    stay = one.stay
    return {
        "number": one.number,
        "numbers": numbers_text(stay.numbers),
        "candidate": min(set(stay.numbers) - set(stay.unmatched), default=stay.numbers[0]),
        "place": names.get(stay.address.camera, stay.address.camera),
        "span": here.words.span(stay.from_ms, stay.to_ms),
        "seconds": stay.seconds,
        "masks": [
            (
                _MASKS[span.status],
                here.words.clock(span.from_ms),
                mask_text(span.status, span.confidence, here.words),
            )
            for span in stay.masks
        ],
        "mask": result_words.mask(here, stay),
        "likelihood": ""
        if stay.by_appearance or stay.log10_lr is None
        else result_words.times(stay),
        "by_appearance": stay.by_appearance,
        "origin": result_words.origin(here, stay),
        "contacts": len(stay.contacts),
    }


def _bars(here: At, lane: Lane, line: Timeline) -> list[Bar]:
    """Return what is drawn of a camera: how it watched, then the stops with their masks over it."""
    bars = [
        Bar(*_within(spell.from_ms, spell.to_ms, line), spell.state.replace(" ", "-"),
            f"{here.words.text(STATES[spell.state])}, {_span(here, spell)}")
        for spell in lane.spells
    ]  # fmt: skip
    for stop in lane.stops:
        stay = stop.stay
        x, width = _within(stay.from_ms, stay.to_ms, line)
        said = here.text("stop {number}", number=stop.number)
        bars.append(Bar(x, width, "hit", f"{said}, {here.words.span(stay.from_ms, stay.to_ms)}"))
        bars += [
            Bar(*_within(span.from_ms, span.until_ms, line), f"mask-{_MASKS[span.status]}",
                mask_text(span.status, span.confidence, here.words))
            for span in stay.masks
        ]  # fmt: skip
    return bars


def _within(from_ms: int, to_ms: int, line: Timeline) -> tuple[str, str]:
    """Return where a span begins and how wide it is, per cent of the window; never invisible."""
    whole = max(1, line.to_ms - line.from_ms)
    begin = min(max(0.0, 100 * (from_ms - line.from_ms) / whole), 99.6)
    width = min(max(0.4, 100 * (to_ms - from_ms) / whole), 100 - begin)
    return f"{begin:.2f}%", f"{width:.2f}%"


def _span(here: At, spell: Spell) -> str:
    return here.words.span(spell.from_ms, spell.to_ms)


def _share(lane: Lane) -> int | None:
    """Return how much of its time a camera watched, per cent, rounded down; None before any."""
    return None if lane.total_s <= 0 else int(100 * lane.watched_s / lane.total_s)


def _data(here: At, line: Timeline, names: dict[str, str]) -> dict[str, Any]:
    """Return what the slider goes by: its steps with their times in words, stops, and spells."""
    whole = line.to_ms - line.from_ms
    step = max(_MINUTE_MS, -(-whole // _STEPS // _MINUTE_MS) * _MINUTE_MS)
    moments = list(range(line.from_ms, line.to_ms + 1, step))
    return {
        "from": line.from_ms,
        "to": line.to_ms,
        "moments": [[at_ms, here.words.minute(at_ms)] for at_ms in moments],
        "stops": [
            {
                "number": one.number,
                "camera": one.stay.address.camera,
                "place": names.get(one.stay.address.camera, one.stay.address.camera),
                "from": one.stay.from_ms,
                "to": one.stay.to_ms,
                "words": here.text(
                    "stop {number}: {place}, {mask}",
                    number=one.number,
                    place=names.get(one.stay.address.camera, one.stay.address.camera),
                    mask=result_words.mask(here, one.stay),
                ),
            }
            for one in line.stops
        ],
        "cameras": {
            lane.camera: [
                [one.from_ms, one.to_ms, _MAP_STATES[one.state], here.words.text(STATES[one.state])]
                for one in lane.spells
            ]
            for lane in line.lanes
        },
    }


def _map(here: At, line: Timeline) -> Any:
    """Return the map: stops by number, and of every other camera how it watched on the whole."""
    numbers: dict[str, int] = {}
    states: dict[str, Any] = {}
    said: dict[str, str] = {}
    for lane in line.lanes:
        missed = {spell.state for spell in lane.spells}
        worst = next((s for s in (REFUSED, NOT_GRANTED, UNWATCHED, BLIND) if s in missed), WATCHED)
        states[lane.camera] = "hit" if lane.stops else _MAP_STATES[worst]
        said[lane.camera] = here.words.text(STATES[worst]) if worst != WATCHED else ""
        if lane.stops:
            numbers[lane.camera] = lane.stops[0].number
            listed = ", ".join(str(stop.number) for stop in lane.stops)
            said[lane.camera] = (
                here.text("stop {number}", number=listed)
                if len(lane.stops) == 1
                else here.text("stops {numbers}", numbers=listed)
            )
    cameras = [lane.camera for lane in line.lanes]
    order = tuple(stop.stay.address.camera for stop in line.stops)
    return map_view(
        site_map(here.officer),
        language=here.words.language,
        states=states,
        words=said,
        numbers=numbers,
        only=cameras,
        ways=[Way(order)] if len(order) > 1 else [],
    )


def _contacts(here: At, listed: GradedTrace) -> list[dict[str, Any]]:
    """Return the first of those whom the person met, those to ring first in front."""
    return [
        {
            "number": met.person.number,
            "grade": None if met.grade is None else met.grade.level,
            "grade_words": "" if met.grade is None else grade_text(met.grade.level, here.words),
            "seconds": met.person.seconds,
            "nearest_m": met.person.nearest_m,
            "mask": mask_text(*met.person.mask, here.words, varies=met.person.mask_varies),
            "linked": met.person.linked,
        }
        for met in listed.contacts[:8]
    ]


def _gaps(
    here: At, line: Timeline, names: dict[str, str], *, every: bool
) -> list[tuple[str, int | None, list[str]]]:
    """Return the cameras that did not watch all of it, who watched least first, and when not."""
    worst = sorted(line.lanes, key=lambda lane: (lane.watched_s, lane.camera))
    rows = []
    for lane in worst:
        missed = [
            f"{here.words.text(STATES[one.state])}: {_span(here, one)}"
            for one in lane.spells
            if one.state != WATCHED
        ]
        if missed:
            rows.append((names[lane.camera], _share(lane), missed))
    return rows if every else rows[:_ROWS]


def _afterwards(here: At, results: Any, shown: Trace, *, every: bool) -> list[dict[str, Any]]:
    """Return how many people came into the room after the person had left; none below five."""
    rows = results.afterwards([shown])
    return [
        {
            "room": ", ".join(filter(None, [one.place, one.room])),
            "camera": one.camera,
            "when": here.words.span(one.begins_ms, one.begins_ms + SLOT_MS),
            "people": None if one.counts is None else people_text(one.counts),
            "masked": "" if one.counts is None else number_text(one.counts.masked),
            "bare": "" if one.counts is None else number_text(one.counts.unmasked),
        }
        for one in (rows if every else rows[:_ROWS])
    ]
