"""Say what a report says, as blocks in its language: from the traces to how to read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from officers.desk.coverage_hours import STATES, hours_of
from officers.desk.graded import GradedTrace
from officers.desk.moments import iso_utc
from officers.desk.report.account import WITHIN_REACH, account_text
from officers.desk.report.asked import asked_blocks, log_blocks
from officers.desk.report.coverage_chart import STATES as STATE_WORDS
from officers.desk.report.coverage_chart import Spell, charts, legend, spells_of
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
from officers.desk.report.route_map import Sheet, Stop, off_map, route_map
from officers.desk.report.wordings import (
    disease_text,
    grade_text,
    likelihood_text,
    mask_text,
    metres_text,
    reason_text,
)
from officers.desk.report.words import Words
from officers.desk.traced import Met
from officers.desk.traces import Stay, Trace
from protocol.epoch import RECORDING
from protocol.places import GLOBE

MOST_SPELLS = 400
"""So many spells of not watching are listed one by one."""


def document_of(gathered: Gathered, words: Words) -> Document:
    """Return a report's content."""
    case, report = gathered.case, gathered.report
    made = words.moment(report.exported_at_ms)
    blocks = (
        *_head(gathered, words),
        *_summary(gathered, words),
        *(block for trace in report.traces for block in _case(trace, gathered, words)),
        *_contacts(gathered, words),
        *_coverage(gathered, words),
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


def _contacts(gathered: Gathered, words: Words) -> Iterator[Block]:
    met = gathered.around.met(gathered.report)
    yield Heading(words.text("Contacts"))
    if not met:
        yield Paragraph(words.text("Nobody was within reach of a case while it was seen, or the "
                                   "query did not ask for contacts."))  # fmt: skip
        return
    yield Paragraph(
        words.text(
            "A row is a person whom a camera saw near the case; who it is, is not known. Without "
            "a mark for linked, two rows at different cameras may be the same person."
        )
    )
    order = {
        (one.subject, contact.person.number): at
        for graded in [gathered.around.graded]
        for at, (one, contact) in enumerate((one, c) for one in graded for c in one.contacts)
    }
    met = tuple(sorted(met, key=lambda one: order.get((one.case, one.person.number), 0)))
    yield Table(
        columns=[
            words.text("contact"),
            words.text("of case"),
            words.text("grade"),
            words.text("first – last moment"),
            words.text("within reach"),
            words.text("most in 24 h"),
            words.text("nearest"),
            words.text("mask of the contact"),
            words.text("where"),
        ],
        rows=[_contact_row(one, gathered, words) for one in met],
        widths=(11, 12, 14, 25, 13, 13, 13, 14, 20),
        right=frozenset({6}),
    )
    if any(one.person.linked for one in met):
        yield Paragraph(
            words.text("* linked: the same person at several cameras, by a comparison that the "
                       "query asked for."),
            small=True,
        )  # fmt: skip
    yield from _accounts(met, gathered, words)


def _contact_row(one: Met, gathered: Gathered, words: Words) -> list[str]:
    person, grade = one.person, one.grade
    status, confidence = person.mask
    where = "; ".join(dict.fromkeys(gathered.around.name(camera) for camera in person.cameras))
    if person.subject is not None:
        where += "\n" + words.text("is case {case}", case=person.subject)
    if one.by_appearance:
        where += "\n" + words.text("case by appearance alone")
    return [
        f"{person.number}{'*' if person.linked else ''}",
        one.case,
        "–" if grade is None else f"{grade_text(grade.level, words)} ({grade.points:.1f})",
        words.span(person.first_ms, person.last_ms),
        words.duration(person.seconds),
        words.duration(person.most_in_24h_s),
        metres_text(person.nearest_m, words),
        mask_text(status, confidence, words),
        where,
    ]


def _accounts(met: Sequence[Met], gathered: Gathered, words: Words) -> Iterator[Block]:
    """Say by which rules contacts are graded, and each grade's account line by line."""
    for one in gathered.around.graded:
        yield from _rules(one, words)
    graded = [one for one in met if one.grade is not None]
    if not graded:
        yield Paragraph(
            words.text("Contacts are not graded: the case file names no rules (preset).")
        )
        return
    yield Heading(words.text("How each grade comes about"), level=2)
    yield Table(
        columns=[
            words.text("contact"),
            words.text("what counts"),
            words.text("weighted minutes"),
        ],
        rows=[
            (
                f"{one.case} / {one.person.number}" if at == 0 else "",
                said,
                f"{points:.1f}",
            )
            for one in graded
            for at, (said, points) in enumerate(_account(one, gathered, words))
        ],
        widths=(20, 130, 20),
        right=frozenset({2}),
    )


def _account(one: Met, gathered: Gathered, words: Words) -> Iterator[tuple[str, float]]:
    """Yield a grade's lines and points: an exposure each, by the site's clocks, then the sum."""
    exposures = one.person.exposures
    for at, line in enumerate(one.grade.lines if one.grade is not None else ()):
        head, _, rest = line.words.partition(": ")
        if at < len(exposures) and head.endswith(WITHIN_REACH):
            contact, camera = exposures[at].contact, exposures[at].stay.address.camera
            when = words.span(contact.from_ms, contact.to_ms)
            how_long = words.duration(contact.seconds)
            where = gathered.around.name(camera)
            head = words.text(
                "{where}, {when}, {how_long} within reach",
                where=where,
                when=when,
                how_long=how_long,
            )
            yield f"{head}: {account_text(rest, words)}", line.points
        else:
            yield account_text(line.words, words), line.points


def _rules(one: GradedTrace, words: Words) -> Iterator[Block]:
    if one.rules is None or not one.contacts:
        return
    window = words.text("not known, so all is counted")
    if one.window is not None:
        window = words.text("{first} to {last}, both days whole", first=words.day(one.window[0]),
                            last=words.day(one.window[1] - 1))  # fmt: skip
    yield Paragraph(
        words.text(
            "{case} is graded by the rules for {title} ({name}, SHA-256 {digest}); infectious: "
            "{window}. The grade says whom to ring first, and nothing of whether somebody was "
            "infected.",
            case=one.subject,
            title=disease_text(one.rules.title, words),
            name=one.rules.name,
            digest=one.rules.digest[:16],
            window=window,
        ),
        small=True,
    )


def _coverage(gathered: Gathered, words: Words) -> Iterator[Block]:
    report, around = gathered.report, gathered.around
    yield Heading(words.text("What the cameras watched"))
    yield Paragraph(
        words.text(
            "Nothing found in an hour that was watched means: not seen. In any other hour nothing "
            "is known. Boxes tell it and headquarters adds it up."
        )
    )
    hours = hours_of(report.watching, report.query, zone=words.zone)
    if not hours:
        yield Paragraph(words.text("No hour of the query's window has ended."))
        return
    names = {camera: around.name(camera) for camera in report.query.cameras}
    drawn = list(charts(hours, names, words))
    for day, drawing in drawn:
        yield Heading(day, level=2)
        about = words.text("Hours of {day}; the table below says the same in words", day=day)
        yield Picture(drawing, about)
    if drawn:
        yield Picture(legend(words), words.text("What the squares mean"))
    spells = _together(spells_of(hours))
    if not spells:
        yield Paragraph(words.text("All cameras of the query watched all hours of its window."))
        return
    yield Table(
        columns=[
            words.text("place (camera)"),
            words.text("from – to"),
            words.text("state"),
            words.text("watched of it"),
        ],
        rows=[
            (
                "; ".join(gathered.around.named(one.camera) for one in alike),
                words.span(alike[0].from_ms, alike[0].to_ms),
                words.text(STATE_WORDS[alike[0].state]),
                _watched(alike, words),
            )
            for alike in spells[:MOST_SPELLS]
        ],
        widths=(60, 55, 35, 25),
    )
    if len(spells) > MOST_SPELLS:
        left = len(spells) - MOST_SPELLS
        yield Paragraph(words.text("{count} more are not listed.", count=left), warning=True)


def _together(spells: Iterable[Spell]) -> list[list[Spell]]:
    """Put spells of the same hours and state together, the worst first."""
    alike: dict[tuple[int, int, int], list[Spell]] = {}
    for one in spells:
        key = (STATES.index(one.state), one.from_ms, one.to_ms)
        alike.setdefault(key, []).append(one)
    return [alike[key] for key in sorted(alike)]


def _watched(spells: Sequence[Spell], words: Words) -> str:
    seconds = [one.watched_s for one in spells]
    least, most = words.duration(min(seconds)), words.duration(max(seconds))
    return least if least == most else f"{least} – {most}"


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
