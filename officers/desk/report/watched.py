"""Say in a report what the cameras watched, so that silence and blindness stay apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from officers.desk.coverage_hours import STATES, hours_of
from officers.desk.report.coverage_chart import STATES as STATE_WORDS
from officers.desk.report.coverage_chart import Spell, charts, legend, spells_of
from officers.desk.report.document import Block, Heading, Paragraph, Picture, Table
from officers.desk.report.gathering import Gathered
from officers.desk.report.words import Words

MOST_SPELLS = 400
"""So many spells of not watching are listed one by one."""


def coverage_blocks(gathered: Gathered, words: Words) -> Iterator[Block]:
    """Yield for each camera and hour whether it was watched: drawn, and what was not in words."""
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
