"""Whom the subjects of a query met, graded by what the investigator keeps of each case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from officers.desk.case_files import CaseFile, read_case, zone_of
from officers.desk.grading import LEVELS, NONE, Clinical, Grade, grade
from officers.desk.grading_rules import Rules
from officers.desk.moments import iso_utc
from officers.desk.notices import Notice, Tell
from officers.desk.officer import Officer
from officers.desk.persons import Links, Person, person_values, persons_of
from officers.desk.traces import Trace
from protocol import hpke
from protocol.places import Places
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class GradedPerson:
    """Somebody whom a subject met, and how that is graded; None without rules."""

    person: Person
    grade: Grade | None


@dataclass(frozen=True, slots=True)
class GradedTrace:
    """A subject's contacts, those to ring first in front.

    Args:
        subject: the pseudonym.
        case: what is kept of them, with what was said besides.
        rules: by which contacts are graded; None where nothing says by which.
        window: when the subject was infectious, ms UTC; None if it is not known.
    """

    subject: str
    case: CaseFile
    rules: Rules | None
    window: tuple[int, int] | None
    contacts: tuple[GradedPerson, ...]

    @property
    def levels(self) -> dict[str, int]:
        """How many contacts have each level."""
        given = [one.grade.level for one in self.contacts if one.grade is not None]
        return {level: given.count(level) for level in LEVELS}


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of every case at once, before what case files say."""

    preset: str = ""
    onset: date | None = None
    tested: date | None = None
    isolated: date | None = None

    def over(self, case: CaseFile) -> CaseFile:
        """Return a case with what is said put over it."""
        return replace(
            case,
            preset=self.preset or case.preset,
            onset=self.onset or case.onset,
            tested=self.tested or case.tested,
            isolated=self.isolated or case.isolated,
        )


def graded(
    officer: Officer,
    traces: Sequence[Trace],
    links: Links,
    key: hpke.PrivateKey,
    *,
    places: Places | None = None,
    said: Said | None = None,
    tell: Tell | None = None,
) -> tuple[GradedTrace, ...]:
    """Return each trace's contacts with their grades.

    Args:
        officer: an investigator, whose case files are read.
        traces: of a query.
        links: which contacts are one person, as the query's results tell.
        key: the investigator's, that opens case files.
        places: the site's register, which says what is indoors.
        said: goes before what case files say.
        tell: takes the warning of a case file, or of its rules, that cannot be used: that trace's
            contacts are not graded then. Without, it is an error.

    Raises:
        CaseFileInvalid, FileProblem: a case file cannot be read.
        PresetInvalid: rules cannot be used.
    """
    zone, said = zone_of(officer), said or Said()

    def indoor(camera: str) -> bool | None:
        place = None if places is None else places.cameras.get(camera)
        return None if place is None else place.indoor

    listed = []
    for trace in traces:
        try:
            case = said.over(read_case(officer, trace.subject, key) or CaseFile(trace.subject))
            rules = case.rules()
        except OperationError as error:
            if tell is None:
                raise
            tell(Notice(f"the contacts of {trace.subject} are not graded: {error}", warning=True))
            case, rules = CaseFile(trace.subject), None
        clinical = case.clinical(zone)
        window = None if clinical is None else clinical.infectious_window(rules)
        never = clinical is not None and window is None and _is_known(clinical, rules)
        contacts = [
            GradedPerson(
                one,
                None
                if rules is None
                else grade(one, rules, indoor=indoor, window=(0, 0) if never else window),
            )
            for one in persons_of(trace, links)
        ]
        listed.append(
            GradedTrace(trace.subject, case, rules, window, tuple(sorted(contacts, key=_urgency)))
        )
    return tuple(listed)


def graded_values(one: GradedTrace) -> dict[str, Any]:
    """Return a trace's graded contacts as JSON values."""
    rules = one.rules
    return {
        "subject": one.subject,
        "name": one.case.name or None,
        "graded_by": None
        if rules is None
        else {"preset": rules.name, "title": rules.title, "own": rules.own, "sha256": rules.digest},
        "infectious_from": None if one.window is None else iso_utc(one.window[0]),
        "infectious_to": None if one.window is None else iso_utc(one.window[1]),
        "persons": [
            {**person_values(met.person), "grade": grade_values(met.grade)} for met in one.contacts
        ],
    }


def grade_values(one: Grade | None) -> dict[str, Any] | None:
    """Return a grade as JSON values."""
    if one is None:
        return None
    return {
        "level": one.level,
        "weighted_minutes": round(one.points, 2),
        "account": [
            {"words": line.words, "weighted_minutes": round(line.points, 2)} for line in one.lines
        ],
    }


def _is_known(clinical: Clinical, rules: Rules | None) -> bool:
    """Whether there would be a window, had the case not been isolated before it began."""
    return replace(clinical, isolated_ms=None).infectious_window(rules) is not None


def _urgency(one: GradedPerson) -> tuple[int, float, int]:
    if one.grade is None:
        return (LEVELS.index(NONE), -one.person.seconds, one.person.number)
    return (LEVELS.index(one.grade.level), -one.grade.points, one.person.number)
