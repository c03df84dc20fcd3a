"""Set an audit as one HTML page that opens without a server: nothing is fetched, the font is in it.

The same copy of the logs makes the same bytes: it tells when the logs were fetched, not when the
page was made.
"""

from __future__ import annotations

from collections.abc import Iterator

from officers.desk import audit_tell as tell
from officers.desk.audit_desk import Audited
from officers.desk.audit_meanings import meaning_of
from officers.desk.audit_story import Story
from officers.desk.audit_words import actor_of
from officers.desk.languages import language_of
from officers.desk.phrases import listed, moment, phrase, theirs, told
from officers.desk.report.document import Block, Document, Facts, Heading, Paragraph, Table
from officers.desk.report.html import as_html
from officers.desk.report.words import Words
from protocol.findings import FindingKind

_DIGEST = 16
_ISOLATES = dict.fromkeys((0x2068, 0x2069))
"""Marks that set others' words apart in direction: here each stands in a cell of its own."""


def audit_html(audited: Audited, words: Words) -> bytes:
    """Return the page.

    Args:
        audited: what it tells.
        words: the language, and times by the site's clocks.
    """
    return as_html(_Telling(audited, words).document())


class _Telling:
    """Says each part of an audit in one language."""

    def __init__(self, audited: Audited, words: Words) -> None:
        self._audited = audited
        self._words = words
        self._language = language_of(words)

    def document(self) -> Document:
        """Return the whole."""
        audited = self._audited
        site = audited.report.site
        fetched = moment(audited.copy.fetched_ms)
        return Document(
            title=self._say(phrase("Audit of the site {site}", site=theirs(site))),
            language=self._words.language,
            mark=self._say(phrase("{site}, logs of {fetched}", site=site, fetched=fetched)),
            author=audited.report.auditor or "",
            made_at_ms=audited.copy.fetched_ms,
            page="{number} / {total}",
            blocks=tuple(self._blocks()),
        )

    def _say(self, words: object) -> str:
        return str(told(words, self._language)).translate(_ISOLATES)

    def _blocks(self) -> Iterator[Block]:
        audited = self._audited
        alarm = bool(audited.alarms)
        if alarm:
            for sentence in (tell.ALARM, tell.ALARM_MEANS, tell.ALARM_DO):
                yield Paragraph(self._say(sentence), warning=True)
        yield Paragraph(self._say(tell.verdict(audited)), warning=not audited.sound)
        if (depth := tell.depth(audited)) is not None:
            yield Paragraph(self._say(depth), warning=True)
        yield self._origin()
        yield from self._findings()
        yield from self._counts()
        yield from self._logs()
        if audited.stories:
            yield Heading(self._say(phrase("Queries")))
            yield Paragraph(self._say(tell.CLOCKS_NOTE), small=True)
            for story in audited.stories.values():
                yield from self._story(story)
        yield Paragraph(self._say(tell.NOT_SHOWN), small=True)

    def _origin(self) -> Facts:
        copy, report = self._audited.copy, self._audited.report
        rows = [
            (phrase("Logs fetched"), moment(copy.fetched_ms)),
            (phrase("Authority"), copy.authority.fingerprint),
            (phrase("Directory"), phrase("version {n}", n=copy.directory.version)),
        ]
        if report.auditor:
            rows.append((phrase("Opened with the key of"), theirs(report.auditor)))
        zone = self._words.zone_text(copy.fetched_ms)
        rows.append((phrase("Times by the clocks of"), zone))
        return Facts([(self._say(label), self._say(value)) for label, value in rows])

    def _findings(self) -> Iterator[Block]:
        audited = self._audited
        yield Heading(self._say(phrase("Findings")))
        for name, problem in audited.copy.damaged:
            words = phrase(
                "The copy of the log of {name} cannot be read: {problem}",
                name=theirs(name),
                problem=theirs(problem),
            )
            yield Paragraph(self._say(words), warning=True)
        if not audited.report.findings:
            yield Paragraph(self._say(phrase("Nothing was found.")))
            return
        rows = []
        for number, finding in enumerate(audited.report.findings, start=1):
            meaning = meaning_of(finding.kind)
            about = [self._say(tell.place(finding)), finding.kind.value]
            if finding.query:
                query = phrase("query {query}", query=finding.query[: tell.SHORT])
                about.append(self._say(query))
            rows.append(
                [
                    str(number),
                    self._say(tell.WEIGHTS[finding.severity]),
                    "\n".join(about),
                    f"{self._say(meaning.means)}\n{self._say(theirs(finding.message))}",
                    self._say(meaning.do),
                ]
            )
        heads = (
            phrase("No."),
            phrase("Weight"),
            phrase("Where"),
            phrase("What it means"),
            phrase("What to do"),
        )
        yield Table([self._say(head) for head in heads], rows, (4, 8, 20, 40, 28))

    def _counts(self) -> Iterator[Block]:
        counts = self._audited.counts
        if not counts:
            return
        yield Heading(self._say(phrase("Queries by month and legal ground")))
        yield Table(
            [self._say(head) for head in tell.COUNT_HEADS],
            [[self._say(cell) for cell in tell.count_cells(count)] for count in counts],
            (8, 15, 6, 8, 9, 11, 9, 10, 6, 10, 8),
            frozenset(range(2, len(tell.COUNT_HEADS))),
        )
        yield Paragraph(self._say(tell.COUNTS_NOTE), small=True)

    def _logs(self) -> Iterator[Block]:
        yield Heading(self._say(phrase("Logs")))
        heads = (
            phrase("Log of"),
            phrase("Entries"),
            phrase("Others stand behind"),
            phrase("Witnesses"),
            phrase("First entry"),
            phrase("Last entry"),
        )
        rows = [
            [
                actor_of(log.origin),
                f"{log.entries:,}",
                self._say(tell.looked_behind(log)),
                ", ".join(log.witnesses),
                self._moment(log.first_ms),
                self._moment(log.last_ms),
            ]
            for log in self._audited.report.logs
        ]
        yield Table(
            [self._say(head) for head in heads], rows, (15, 9, 18, 22, 18, 18), frozenset({1})
        )

    def _story(self, story: Story) -> Iterator[Block]:
        title = phrase("Query {query}", query=story.query_id[: tell.SHORT])
        yield Heading(self._say(title), level=2)
        kinds: dict[FindingKind, list[str]] = {}
        for number in story.findings:
            kind = self._audited.report.findings[number].kind
            kinds.setdefault(kind, []).append(str(number + 1))
        for kind, numbers in kinds.items():
            words = phrase(
                "Finding {n}: {means}", n=listed(numbers, ""), means=meaning_of(kind).means
            )
            yield Paragraph(self._say(words), warning=True)
        for count in story.counted:
            yield Facts([(self._say(a), self._say(b)) for a, b in tell.about(count)])
        rows = [
            [
                self._say(tell.when(step)),
                self._say(tell.said(step)),
                self._say(tell.STANDINGS[step.standing]),
                "\n".join(f"{p.log} #{p.index} {p.digest[:_DIGEST]}" for p in step.proofs),
            ]
            for step in story.steps
        ]
        heads = (phrase("When"), phrase("What"), phrase("Standing"), phrase("Entries"))
        yield Table([self._say(head) for head in heads], rows, (18, 44, 12, 26))

    def _moment(self, time_ms: int | None) -> str:
        return "" if time_ms is None else self._words.moment(time_ms)
