"""The forms in which a trace is handed over, by name: what each is for, and what makes it.

The forms are stable: columns are only ever added, at the end. None of them holds a template. Times
are UTC (ISO 8601 with Z) and where a column says so local; a confidence is 0 to 1; what is unknown
is empty (CSV) or null (JSON). In CSV a text that a spreadsheet would take for a formula gets an
apostrophe in front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from officers.desk.camera_places import Positions
from officers.desk.forms.around import Around
from officers.desk.forms.fhir import as_fhir
from officers.desk.forms.geo import as_geojson
from officers.desk.forms.godata import as_godata_cases, as_godata_contacts
from officers.desk.forms.line_lists import (
    CONTACT_COLUMNS,
    LINE_LIST_COLUMNS,
    as_contacts,
    as_line_list,
)
from officers.desk.forms.person_lists import as_persons
from officers.desk.forms.trace_json import JSON_FORMAT, as_json, json_values
from officers.desk.traced import FOUND_BY_CLOTHES, Report, unplaced

_AROUND = Around()
_NOWHERE: Positions = {}


@dataclass(frozen=True, slots=True)
class Form:
    """A form of export.

    Args:
        about: what it is, for who chooses.
        make: returns the file's text.
        confirmed_alone: whether nothing but confirmed hits is in it, whatever was asked for.
        map: whether it makes no sense without the cameras' positions.
        suffix: of its file's name.
    """

    about: str
    make: Callable[[Report, Around], str]
    confirmed_alone: bool = False
    map: bool = False
    suffix: str = ".csv"

    def __call__(
        self,
        report: Report,
        *,
        positions: Positions = _NOWHERE,
        hits_only: bool = False,
        around: Around = _AROUND,
    ) -> str:
        """Return the file's text."""
        return self.make(report, replace(around, positions=positions, hits_only=hits_only))


FORMATS: Mapping[str, Form] = {
    "json": Form(
        "all that is known, for programs",
        lambda report, at: as_json(report, positions=at.positions, hits_only=at.hits_only),
        suffix=".json",
    ),
    "csv-line-list": Form(
        "a row a stay of a case",
        lambda report, at: as_line_list(report, positions=at.positions, hits_only=at.hits_only),
    ),
    "csv-contacts": Form(
        "a row a contact of a stay",
        lambda report, at: as_contacts(report, positions=at.positions, hits_only=at.hits_only),
    ),
    "csv-persons": Form(
        "a row a person whom a case met, local times beside UTC, for spreadsheets",
        as_persons,
        confirmed_alone=True,
    ),
    "go-data-contacts": Form(
        "contacts for WHO Go.Data's import", as_godata_contacts, confirmed_alone=True
    ),
    "go-data-cases": Form(
        "the cases for WHO Go.Data's import: import these first",
        as_godata_cases,
        confirmed_alone=True,
    ),
    "fhir": Form(
        "an HL7 FHIR R4 bundle: cases, contacts, places, exposures",
        as_fhir,
        confirmed_alone=True,
        suffix=".json",
    ),
    "geojson": Form(
        "a map: a point a stay, a line along the hits",
        lambda report, at: as_geojson(report, positions=at.positions, hits_only=at.hits_only),
        map=True,
        suffix=".geojson",
    ),
}
"""Name to form."""

__all__ = [
    "CONTACT_COLUMNS",
    "FORMATS",
    "FOUND_BY_CLOTHES",
    "JSON_FORMAT",
    "LINE_LIST_COLUMNS",
    "Form",
    "Report",
    "as_json",
    "as_line_list",
    "json_values",
    "unplaced",
]
