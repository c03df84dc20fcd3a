"""Say what a report says, as blocks in its language: from the traces to how to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from officers.desk.moments import iso_utc
from officers.desk.report.asked import asked_blocks, log_blocks
from officers.desk.report.document import (
    Block,
    Document,
    Facts,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from officers.desk.report.gathering import Gathered
from officers.desk.report.met import contact_blocks
from officers.desk.report.route_map import Sheet, Stop, off_map, route_map
from officers.desk.report.watched import coverage_blocks
from officers.desk.report.wordings import (
    grade_text,
    likelihood_text,
    mask_text,
    reason_text,
)
from officers.desk.report.words import Words
from officers.desk.traced import Met
from officers.desk.traces import Stay, Trace
from protocol.epoch import RECORDING
from protocol.places import GLOBE


def document_of(gathered: Gathered, words: Words) -> Document:
    """Return a report's content."""
    case, report = gathered.case, gathered.report
    made = words.moment(report.exported_at_ms)
    blocks = (
        *_head(gathered, words),
        *_summary(gathered, words),
        *(block for trace in report.traces for block in _case(trace, gathered, words)),
        *contact_blocks(gathered, words),
        *coverage_blocks(gathered, words),
        *asked_blocks(gathered, words),
        *log_blocks(gathered, words),
        *_reading(gathered, words),
    )
    return Document(
        title=words.text("Contact tracing report"),
        language=words.language,
        mark=f"{case.id[:12]} · {gathered.officer} · {made}",
        author=gathered.officer,
        made_at_ms=report.exported_at_ms,
        page=words.text("page {number} of {total}", number="{number}", total="{total}"),
        blocks=blocks,
    )


def _head(gathered: Gathered, words: Words) -> Iterator[Block]:
    report, query = gathered.report, gathered.case.query
    at_ms = report.exported_at_ms
    yield Facts(
        [
            (words.text("query"), gathered.case.id),
            (words.text("site"), query.site),
            (words.text("index cases"), ", ".join(trace.subject for trace in report.traces)),
            (
                words.text("made"),
                words.text("{moment} by {officer}", moment=words.moment(at_ms),
                           officer=gathered.officer),
            ),
            (
                words.text("times"),
                words.text(
                    "local ({zone}), unless it says UTC; {moment} is {utc}",
                    zone=words.zone_text(at_ms),
                    moment=words.moment(at_ms),
                    utc=iso_utc(at_ms),
                ),
            ),
        ]
    )  # fmt: skip
    yield Paragraph(
        words.text(
            "Confidential: it follows a person through a city. People are named by pseudonyms. "
            "Every page names the query, the officer and the moment; that it was made is logged, "
            "with the SHA-256 of this file."
        ),
        small=True,
    )


def _summary(gathered: Gathered, words: Words) -> Iterator[Block]:
    report = gathered.report
    yield Heading(words.text("Summary"))
    met = gathered.around.met(report)
    for trace in report.traces:
        yield Paragraph(_summary_text(trace, [one for one in met if one.case == trace.subject],
                                      words))  # fmt: skip
        yield from _warnings(trace, words)
    undecided = sum(len(one.candidates) + len(one.continuations) for one in report.traces)
    if undecided:
        yield Paragraph(
            words.text(
                "{count} sightings that were found are not confirmed by as many officers as must "
                "({needed}) and are not in this report.",
                count=undecided,
                needed=gathered.needed,
            )
        )


def _summary_text(trace: Trace, met: Sequence[Met], words: Words) -> str:
    if not trace.hits:
        return words.text("{case}: no confirmed sighting.", case=trace.subject)
    text = words.text(
        "{case}: {hits} confirmed sightings at {cameras} cameras, {on_camera} on camera, from "
        "{begins} to {ends}; {persons} people within reach.",
        case=trace.subject,
        hits=len(trace.hits),
        cameras=len({hit.address.camera for hit in trace.hits}),
        on_camera=words.duration(trace.seconds),
        begins=words.moment(min(hit.from_ms for hit in trace.hits)),
        ends=words.moment(max(hit.to_ms for hit in trace.hits)),
        persons=len(met),
    )
    graded = [one.grade.level for one in met if one.grade is not None]
    if not graded:
        return text
    levels = ", ".join(
        f"{grade_text(level, words)} {graded.count(level)}" for level in dict.fromkeys(graded)
    )
    return text + " " + words.text("Graded: {levels}.", levels=levels)


def _warnings(trace: Trace, words: Words) -> Iterator[Block]:
    if trace.contradictions:
        yield Paragraph(
            words.text("{case}: this trace contradicts itself and cannot be true as it stands.",
                       case=trace.subject)
            + " "
            + "; ".join(
                words.text(
                    "{one} and {other}: {why}",
                    one=_rows_of(one.numbers, trace),
                    other=_rows_of(one.others, trace),
                    why=reason_text(one.why, words),
                )
                for one in trace.contradictions
            ),
            warning=True,
        )  # fmt: skip
    if trace.by_appearance:
        yield Paragraph(
            words.text(
                "{case}: {count} of the sightings were found by appearance: somebody dressed "
                "alike, nearby and within minutes. This identifies nobody.",
                case=trace.subject,
                count=trace.by_appearance,
            ),
            warning=True,
        )


def _case(trace: Trace, gathered: Gathered, words: Words) -> Iterator[Block]:
    around = gathered.around
    yield Heading(words.text("Way of {case}", case=trace.subject))
    if not trace.hits:
        yield Paragraph(words.text("There is no confirmed sighting."))
        return
    stops = [
        Stop(hit.address.camera, around.name(hit.address.camera), hit.by_appearance)
        for hit in trace.hits
    ]
    sheet = _sheet(gathered, {stop.camera for stop in stops})
    route = " > ".join(stop.name for stop in stops)
    about = words.text("The way in order of time: {route}", route=route)
    yield Picture(route_map(stops, sheet, words), about)
    missing = off_map(stops, sheet)
    if missing:
        yield Paragraph(
            words.text("Not on the map, as no position is known: {places}",
                       places=", ".join(missing)),
            small=True,
        )  # fmt: skip
    if any(stop.by_appearance for stop in stops):
        yield Paragraph(
            words.text("Hollow marks and dashed lines: found by appearance, which identifies "
                       "nobody."),
            small=True,
        )  # fmt: skip
    yield Table(
        columns=[
            words.text("no."),
            words.text("place (camera)"),
            words.text("from – to"),
            words.text("for"),
            words.text("mask of the case"),
            words.text("why it is the case"),
            words.text("confirmed by"),
            words.text("met"),
        ],
        rows=[_stay_row(number, hit, gathered, words) for number, hit in enumerate(trace.hits, 1)],
        widths=(7, 25, 27, 13, 14, 19, 13, 8),
        right=frozenset({0, 7}),
    )


def _stay_row(number: int, hit: Stay, gathered: Gathered, words: Words) -> list[str]:
    camera = hit.address.camera
    when = words.span(hit.from_ms, hit.to_ms)
    if hit.origin == RECORDING:
        when += "\n" + words.text("from a recording")
    return [
        str(number),
        gathered.around.named(camera),
        when,
        words.duration(hit.seconds),
        mask_text(hit.mask, hit.mask_confidence, words, varies=hit.mask_varies),
        likelihood_text(hit, words),
        ", ".join(hit.confirmed_by) or words.text("nobody"),
        str(len(hit.contacts)),
    ]


def _sheet(gathered: Gathered, seen: set[str]) -> Sheet:
    """Return where the query's cameras are, on the globe or on the site's plan."""
    around, places = gathered.around, gathered.around.places
    cameras = list(dict.fromkeys((*gathered.case.query.cameras, *sorted(seen))))
    globe = places is None or places.axes in {(), GLOBE} or bool(around.positions)
    positions = {}
    for camera in cameras:
        place = around.place(camera)
        at = around.position(camera) if globe else None if place is None else place.position
        if at is not None:
            positions[camera] = (at[1], at[0]) if globe else at
    others = [camera for camera in cameras if camera not in seen]
    return Sheet(positions, globe, others, gathered.plan)


def _reading(gathered: Gathered, words: Words) -> Iterator[Block]:
    yield Heading(words.text("How to read this report"))
    for text in (
        words.text(
            "A sighting is a camera's word and officers' judgement, not a fact: a likelihood ratio "
            "says how many times likelier such a score is for the case than for a stranger. "
            "Officers who must confirm each sighting here: {needed}.",
            needed=gathered.needed,
        ),
        words.text(
            "Distances are measured on the ground where a camera was calibrated, and judged from "
            "the size of people elsewhere: take them as near or not near, not as centimetres."
        ),
        words.text(
            "Whoever is found by appearance is dressed alike, nearby and within minutes. It is no "
            "identification and never becomes one."
        ),
        words.text(
            "Nothing biometric is in this report: no picture of a face and no template."
        ),
        words.text(
            "The officer signed this file: the signature lies beside it (.sig). Check it with: "
            "sealtrace trace verify-report FILE. A file of which one letter was changed does not "
            "pass."
        ),
    ):  # fmt: skip
        yield Paragraph(text)


def _rows_of(numbers: Sequence[int], trace: Trace) -> str:
    """Return in which rows of the way candidates stand: a report counts the stays, not them."""
    named = set(numbers)
    rows = [row for row, hit in enumerate(trace.hits, 1) if named & set(hit.numbers)]
    return ", ".join(map(str, rows))
