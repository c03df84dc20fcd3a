"""What is handed over: a verified query, the traces of its subjects, and whom they met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from officers.desk.by_words import words_note
from officers.desk.camera_places import Positions
from officers.desk.fitting import contradiction_text
from officers.desk.grading import Grade
from officers.desk.persons import Links, Person, persons_of
from officers.desk.receipts import Receipts
from officers.desk.traces import Numbered, Stay, Trace
from protocol.query import Query
from protocol.watching import Watching

FOUND_BY_CLOTHES = (
    "by appearance: somebody dressed alike, nearby and within minutes; this identifies nobody"
)
"""Said of each stay that was found so, wherever one is shown."""
IMPOSSIBLE = "this trace contradicts itself and cannot be true as it stands"
"""Said of each trace whose hits cannot all be true."""
_SHORT_ID = 8


@dataclass(frozen=True, slots=True)
class Report:
    """What is exported: the verified query, and the traces of its subjects.

    Args:
        impossible: what was opened and cannot be true; in no trace.
        receipts: what custodians say that they opened for the query; None where nobody was asked.
        watching: what the cameras watched; None where it is not known.
        links: which companions are one contact; empty where the query asked for no linked ones.
    """

    query: Query
    digest: bytes
    requester: str
    state: str
    traces: tuple[Trace, ...]
    exported_at_ms: int
    impossible: tuple[Numbered, ...] = ()
    receipts: Receipts | None = None
    watching: Watching | None = None
    links: Links = field(default_factory=dict)

    def consent_of(self, subject: str) -> str:
        """Return the reference of a subject's consent, or of the order."""
        named = {one.pseudonym: one.consent_reference for one in self.query.subjects}
        return named[subject]

    def words_of(self, subject: str) -> str:
        """Return the clothes in words by which a subject was looked for, and what they are worth.

        Empty for whoever was looked for by what was seen of them.
        """
        return words_note(next(one for one in self.query.subjects if one.pseudonym == subject))


@dataclass(frozen=True, slots=True)
class Met:
    """A person whom an index case met during confirmed hits: a row of every contact list.

    Args:
        contact_id: unique among the exports of all queries: of the query, the case and the person.
        grade: None where nobody asked for one.
    """

    trace: Trace
    person: Person
    contact_id: str
    grade: Grade | None = None

    @property
    def case(self) -> str:
        """The index case, by pseudonym."""
        return self.trace.subject

    @property
    def by_appearance(self) -> bool:
        """Whether the case was at all of these places by clothes alone."""
        return all(one.stay.by_appearance for one in self.person.exposures)

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said with it wherever it goes: of whom the case was, and of the trace."""
        notes = []
        if any(one.stay.by_appearance for one in self.person.exposures):
            notes.append(FOUND_BY_CLOTHES)
        notes += contradictions_of(self.trace)
        return tuple(notes)


def met_in(
    report: Report, grades: Mapping[tuple[str, int], Grade] | None = None
) -> tuple[Met, ...]:
    """Return whom the cases met, by case and number.

    Args:
        grades: case and the person's number to the grade.
    """
    query = report.query.query_id.hex()[:_SHORT_ID]
    return tuple(
        Met(
            trace,
            person,
            f"{query}-{trace.subject}-{person.number:03}",
            (grades or {}).get((trace.subject, person.number)),
        )
        for trace in report.traces
        for person in persons_of(trace, report.links)
    )


def contradictions_of(trace: Trace) -> tuple[str, ...]:
    """Say why a trace cannot be true as it stands; empty if it can."""
    if not trace.contradictions:
        return ()
    why = "; ".join(contradiction_text(one) for one in trace.contradictions)
    return (f"{IMPOSSIBLE} ({why})",)


def notes_on(report: Report, stay: Stay) -> tuple[str, ...]:
    """Say what must be said with a stay wherever it goes: how it was found, and of its trace."""
    found = (FOUND_BY_CLOTHES,) if stay.by_appearance else ()
    of = (trace for trace in report.traces if trace.subject == stay.subject)
    return (*found, *(words for trace in of for words in contradictions_of(trace)))


def stays_of_report(report: Report, *, hits_only: bool) -> Iterator[Stay]:
    """Yield the hits, and unless ``hits_only`` what is not decided; by subject and time."""
    for trace in report.traces:
        undecided = () if hits_only else (*trace.candidates, *trace.continuations)
        listed = (*trace.hits, *undecided)
        yield from sorted(listed, key=lambda stay: (stay.from_ms, stay.to_ms, stay.numbers))


def unplaced(report: Report, positions: Positions) -> list[str]:
    """Return the cameras of stays that have no position, sorted."""
    seen = {stay.address.camera for stay in stays_of_report(report, hits_only=False)}
    return sorted(seen - set(positions))
