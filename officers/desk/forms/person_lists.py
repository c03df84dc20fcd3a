"""The contact list as a spreadsheet: a row a person whom a case met, local times beside UTC."""

from __future__ import annotations

from officers.desk.csv_cells import csv_text
from officers.desk.forms.around import Around
from officers.desk.forms.values import mask, masks_text, rounded
from officers.desk.moments import iso_utc
from officers.desk.traced import Met, Report

PERSON_COLUMNS = (
    "query_id", "index_case", "consent_reference", "contact_id", "contact_number",
    "contact_subject", "linked", "first_utc", "last_utc", "first_local", "last_local",
    "date_of_last_contact", "seconds_within_reach", "minutes_within_reach",
    "most_seconds_in_24h", "nearest_m", "median_m", "case_masks", "contact_mask",
    "contact_mask_confidence", "contact_masks", "exposures", "cameras", "places", "grade",
    "weighted_minutes", "confirmed_by", "by_appearance", "notes",
)  # fmt: skip
"""One row a person; exposures of one person at several places are in one row."""
BOM = "\ufeff"
"""At the beginning of a file: without it spreadsheets take UTF-8 for something else."""


def as_persons(report: Report, around: Around) -> str:
    """Return one row a person whom a case met during confirmed hits."""
    return BOM + csv_text(PERSON_COLUMNS, (_row(report, met, around) for met in around.met(report)))


def confirmers(met: Met) -> tuple[str, ...]:
    """Return who confirmed each of the hits, sorted."""
    said = [set(one.stay.confirmed_by) for one in met.person.exposures]
    return tuple(sorted(set.intersection(*said))) if said else ()


def places_text(met: Met, around: Around) -> str:
    """Return the names of the places, each once, in order of time."""
    return "; ".join(dict.fromkeys(around.name(camera) for camera in met.person.cameras))


def _row(report: Report, met: Met, around: Around) -> list[object]:
    person, grade = met.person, met.grade
    status, confidence = person.mask
    return [
        report.query.query_id.hex(),
        met.case,
        report.consent_of(met.case),
        met.contact_id,
        person.number,
        person.subject,
        str(person.linked).lower(),
        iso_utc(person.first_ms),
        iso_utc(person.last_ms),
        around.local_iso(person.first_ms),
        around.local_iso(person.last_ms),
        around.day(person.last_ms),
        round(person.seconds, 1),
        round(person.seconds / 60, 1),
        round(person.most_in_24h_s, 1),
        rounded(person.nearest_m, 2),
        rounded(person.median_m, 2),
        masks_text(person.masks),
        mask(status),
        round(confidence, 3),
        masks_text(person.other_masks),
        len(person.exposures),
        " ".join(person.cameras),
        places_text(met, around),
        None if grade is None else grade.level,
        None if grade is None else round(grade.points, 1),
        " ".join(confirmers(met)),
        str(met.by_appearance).lower(),
        "; ".join(met.notes),
    ]
