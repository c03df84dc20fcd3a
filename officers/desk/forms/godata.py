"""Files for the import of WHO's Go.Data: the cases, then their contacts, each a row a person.

Headers are Go.Data's English labels, which its import proposes a mapping by; the values of its
lists are the identifiers of its reference data, which are the same in every language. What Go.Data
requires of a case (first name, date of reporting, classification), of a contact (first name, date
of reporting) and of their relationship (the case, date of last contact, certainty) is in every row.
No name is known here: in its place stands what the person is called in this trace.
"""

from __future__ import annotations

from collections.abc import Mapping

from officers.desk.csv_cells import csv_text
from officers.desk.forms.around import Around
from officers.desk.forms.person_lists import BOM, places_text
from officers.desk.grading import HIGH, LOW, MEDIUM, NONE
from officers.desk.moments import duration_text
from officers.desk.traced import Met, Report

CONTACT_FIELDS: Mapping[str, str] = {
    "Contact ID": "visualId",
    "First name": "firstName",
    "Date of reporting": "dateOfReporting",
    "Is date of reporting approximate": "isDateOfReportingApproximate",
    "Risk level": "riskLevel",
    "Risk reason": "riskReason",
    "Location": "addresses[].locationId",
    "Address": "addresses[].addressLine1",
    "Geo location latitude": "addresses[].geoLocation.lat",
    "Geo location longitude": "addresses[].geoLocation.lng",
    "Related person": "relationship.relatedId",
    "Date of last contact": "relationship.contactDate",
    "Is contact date estimated": "relationship.contactDateEstimated",
    "Certainty level": "relationship.certaintyLevelId",
    "Exposure frequency": "relationship.exposureFrequencyId",
    "Exposure duration": "relationship.exposureDurationId",
    "Relation detail": "relationship.socialRelationshipDetail",
    "Comment": "relationship.comment",
}
"""Header to the field of Go.Data's model that it is for."""
CASE_FIELDS: Mapping[str, str] = {
    "Case ID": "visualId",
    "First name": "firstName",
    "Date of reporting": "dateOfReporting",
    "Is date of reporting approximate": "isDateOfReportingApproximate",
    "Classification": "classification",
    "Date of onset": "dateOfOnset",
}
"""The same of the cases."""
_CATEGORY = "LNG_REFERENCE_DATA_CATEGORY_"
_CERTAINTY = f"{_CATEGORY}CERTAINTY_LEVEL_"
CERTAIN, LIKELY, UNSURE = (f"{_CERTAINTY}{name}" for name in ("3_HIGH", "2_MEDIUM", "1_LOW"))
_DURATIONS = (
    (60.0, "VERY_SHORT_SECONDS"),
    (3_600.0, "SHORT_MINUTES"),
    (86_400.0, "MEDIUM_HOURS"),
)
_LONGEST = "LONG_DAYS"
_FREQUENCIES = ((5, "1_5_TIMES"), (10, "6_10_TIMES"), (20, "11_20_TIMES"))
_MOST_OFTEN = "OVER_21_TIMES"
_RISKS = {HIGH: "3_HIGH", MEDIUM: "2_MEDIUM", LOW: "1_LOW", NONE: None}
_CLOSE_M = 2.0
_SURE_LOG10 = 2.0
"""A likelihood ratio of 100, from which on a case was confirmed on strong grounds."""


def as_godata_contacts(report: Report, around: Around) -> str:
    """Return one row a person whom a case met; import the cases before."""
    return BOM + csv_text(
        tuple(CONTACT_FIELDS), (_contact(report, met, around) for met in around.met(report))
    )


def as_godata_cases(report: Report, around: Around) -> str:
    """Return one row a case that has a confirmed hit."""
    return BOM + csv_text(
        tuple(CASE_FIELDS),
        (
            [
                trace.subject,
                trace.subject,
                around.day(report.exported_at_ms),
                "FALSE",
                f"{_CATEGORY}CASE_CLASSIFICATION_{_classification(around, trace.subject)}",
                _onset(around, trace.subject),
            ]
            for trace in report.traces
            if trace.hits
        ),
    )


def certainty(met: Met) -> str:
    """Return how certain it is that the case met this person.

    High if the case was confirmed on strong grounds by more than clothes, and they were within two
    metres by the camera's measure; low if by clothes alone, or if the trace contradicts itself.
    """
    if met.by_appearance or met.trace.contradictions:
        return UNSURE
    ratios = [one.stay.log10_lr for one in met.person.exposures if not one.stay.by_appearance]
    strong = any(ratio is not None and ratio >= _SURE_LOG10 for ratio in ratios)
    nearest = met.person.nearest_m
    return CERTAIN if strong and nearest is not None and nearest <= _CLOSE_M else LIKELY


def duration_class(seconds: float) -> str:
    """Return Go.Data's class of a duration."""
    name = next((name for limit, name in _DURATIONS if seconds < limit), _LONGEST)
    return f"{_CATEGORY}EXPOSURE_DURATION_{name}"


def frequency_class(times: int) -> str:
    """Return Go.Data's class of how often."""
    name = next((name for limit, name in _FREQUENCIES if times <= limit), _MOST_OFTEN)
    return f"{_CATEGORY}EXPOSURE_FREQUENCY_{name}"


def _contact(report: Report, met: Met, around: Around) -> list[object]:
    person, grade = met.person, met.grade
    risk = None if grade is None else _RISKS[grade.level]
    last = max(person.exposures, key=lambda one: one.contact.to_ms).stay.address.camera
    place, position = around.place(last), around.position(last) or (None, None)
    return [
        met.contact_id,
        _called(met),
        around.day(report.exported_at_ms),
        "FALSE",
        None if risk is None else f"{_CATEGORY}RISK_LEVEL_{risk}",
        None if grade is None else grade.lines[-1].words,
        None if place is None else place.place,
        None if place is None else place.address,
        *position,
        met.case,
        around.day(person.last_ms),
        "FALSE",
        certainty(met),
        frequency_class(len(person.exposures)),
        duration_class(person.seconds),
        "seen near the case on camera; who it is, is not known"
        if person.subject is None
        else f"seen near the case on camera; is case {person.subject}",
        "; ".join(_comment(met, around)),
    ]


def _called(met: Met) -> str:
    return met.person.subject or f"contact {met.person.number} of {met.case}"


def _comment(met: Met, around: Around) -> list[str]:
    person = met.person
    near = "distance not measured"
    if person.nearest_m is not None:
        near = f"nearest {person.nearest_m:.1f} m"
    return [
        f"{duration_text(person.seconds)} within reach, {near}",
        f"{around.local_iso(person.first_ms)} to {around.local_iso(person.last_ms)}",
        places_text(met, around),
        *met.notes,
    ]


def _classification(around: Around, case: str) -> str:
    known = around.known(case)
    return "SUSPECT" if known is None or known.tested is None else "CONFIRMED"


def _onset(around: Around, case: str) -> str | None:
    known = around.known(case)
    return None if known is None or known.onset is None else known.onset.isoformat()
