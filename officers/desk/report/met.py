"""Say in a report whom the cases met, and line by line how each contact is graded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from officers.desk.forms.around import Around
from officers.desk.graded import GradedTrace
from officers.desk.report.account import WITHIN_REACH, account_text
from officers.desk.report.document import Block, Heading, Paragraph, Table
from officers.desk.report.gathering import Gathered
from officers.desk.report.wordings import disease_text, grade_text, mask_text, metres_text
from officers.desk.report.words import Words
from officers.desk.traced import Met


def contact_blocks(gathered: Gathered, words: Words) -> Iterator[Block]:
    """Yield whom the cases met, a row a person, and how each grade comes about."""
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
            for at, (said, points) in enumerate(account_of(one, gathered.around, words))
        ],
        widths=(20, 130, 20),
        right=frozenset({2}),
    )


def account_of(one: Met, around: Around, words: Words) -> Iterator[tuple[str, float]]:
    """Yield a grade's lines and points: an exposure each, by the site's clocks, then the sum."""
    exposures = one.person.exposures
    for at, line in enumerate(one.grade.lines if one.grade is not None else ()):
        head, _, rest = line.words.partition(": ")
        if at < len(exposures) and head.endswith(WITHIN_REACH):
            contact, camera = exposures[at].contact, exposures[at].stay.address.camera
            when = words.span(contact.from_ms, contact.to_ms)
            how_long = words.duration(contact.seconds)
            where = around.name(camera)
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
