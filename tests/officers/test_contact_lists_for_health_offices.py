"""Contact lists as health offices take them: persons, of confirmed cases alone, each of a case."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import protocol_samples as s
import pytest
from candidates import candidate_of

from officers.desk.case_files import CaseFile
from officers.desk.export_forms import FORMATS, Report
from officers.desk.fit import Contradiction
from officers.desk.forms.around import Around
from officers.desk.forms.godata import CASE_FIELDS, CONTACT_FIELDS, duration_class, frequency_class
from officers.desk.forms.person_lists import PERSON_COLUMNS
from officers.desk.graded import GradedPerson, GradedTrace
from officers.desk.grading import Grade, Line
from officers.desk.persons import persons_of
from officers.desk.traced import FOUND_BY_CLOTHES, IMPOSSIBLE
from officers.desk.traces import UNDECIDED, Numbered, traces_of
from protocol.keytree import FOLLOWED
from protocol.names import CameraAddress
from protocol.places import GLOBE, CameraPlace, Places
from protocol.results import CONFIRMED, Candidate
from protocol.sightings import Encounter, MaskStatus

SEOUL = ZoneInfo("Asia/Seoul")
PLACES = Places(
    bytes(32),
    GLOBE,
    {
        "cam-1": CameraPlace(
            "cam-1", "City Hall", (37.5663, 126.9779), {"ko": "시청"}, address="110 Sejong-daero",
            indoor=True, room="lobby", view="doors",
        ),
        "cam-2": CameraPlace("cam-2", "Station", None),
    },
)  # fmt: skip
AROUND = Around(zone=SEOUL, places=PLACES, officer="ana")
NEW = ("csv-persons", "go-data-contacts", "go-data-cases", "fhir")


def candidate(
    camera: str,
    from_s: int,
    to_s: int,
    *met: Encounter,
    subject: str = "P-17",
    log10_lr: float | None = 3.0,
    modality: str = "face",
) -> Candidate:
    return candidate_of(
        subject=subject,
        address=CameraAddress(s.SITE, "box-1", camera),
        sighting_id=os.urandom(8),
        first_seen_ms=s.NOW_MS + from_s * 1000,
        last_seen_ms=s.NOW_MS + to_s * 1000,
        mask=MaskStatus.MASKED,
        mask_confidence=0.9,
        quality=0.8,
        modality=modality,
        model=s.MODEL,
        score=0.81,
        log10_lr=log10_lr,
        encounters=met,
    )


STRANGER = Encounter(b"stranger", 1.25, 130.0, MaskStatus.UNMASKED, 0.75)
PASSERBY = Encounter(b"passerby", None, 4.0, MaskStatus.UNKNOWN, 0.0)


def report(*items: tuple[Candidate, str], **changed: Any) -> Report:
    numbered = [
        Numbered(number, bytes([number]) * 16, one, verdict, said={"ana": verdict})
        for number, (one, verdict) in enumerate(items, start=1)
    ]
    made = Report(
        s.query(), bytes(32), "ana", "complete", tuple(traces_of(["P-17"], numbered)), s.NOW_MS
    )
    return replace(made, **changed)


def usual() -> Report:
    return report(
        (candidate("cam-1", 0, 200, STRANGER, PASSERBY), CONFIRMED),
        (candidate("cam-2", 900, 1000, Encounter(b"unsure!!", 1.0, 9.0, MaskStatus.MASKED, 0.9)),
         UNDECIDED),
    )  # fmt: skip


def rows(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline="")))


def export(name: str, made: Report, around: Around = AROUND) -> str:
    return FORMATS[name](made, around=around)


def test_a_row_is_a_person_and_names_its_case() -> None:
    text = export("csv-persons", usual())
    assert text[1:].splitlines()[0] == ",".join(PERSON_COLUMNS)
    first, second = rows(text)
    assert {first["index_case"], second["index_case"]} == {"P-17"}
    assert first["contact_id"] != second["contact_id"]
    by_seconds = {row["seconds_within_reach"]: row for row in (first, second)}
    assert set(by_seconds) == {"130.0", "4.0"}
    assert by_seconds["130.0"]["nearest_m"] == "1.25"
    assert by_seconds["4.0"]["nearest_m"] == ""
    assert by_seconds["130.0"]["places"] == "City Hall, lobby"
    assert by_seconds["130.0"]["confirmed_by"] == "ana"


def test_local_times_stand_beside_utc_and_days_are_the_sites() -> None:
    late = replace(usual(), exported_at_ms=s.NOW_MS)
    row = rows(export("csv-persons", late))[0]
    assert row["first_utc"].endswith("Z")
    assert row["first_local"].endswith("+09:00")
    shown = row["first_local"][:10]
    assert row["date_of_last_contact"] == shown
    far = ZoneInfo("Pacific/Kiritimati")  # 14 hours ahead: another day
    other = rows(export("csv-persons", late, replace(AROUND, zone=far)))[0]
    assert other["first_utc"] == row["first_utc"]
    assert other["date_of_last_contact"] != shown


@pytest.mark.parametrize("name", NEW)
def test_what_is_not_confirmed_is_in_no_contact_list(name: str) -> None:
    text = export(name, usual())
    assert UNDECIDED not in text
    assert b"unsure!!".hex() not in text
    assert "Station" not in text
    none = report((candidate("cam-2", 0, 9, STRANGER), UNDECIDED))
    if name == "fhir":
        assert json.loads(export(name, none))["entry"] == []
    else:
        assert rows(export(name, none)) == []


@pytest.mark.parametrize("name", NEW)
def test_nothing_biometric_is_in_them(name: str) -> None:
    text = export(name, usual())
    template = s.template()
    for secret in (template.row.tobytes(), template.salt, template.digest):
        assert secret.hex() not in text
    assert "0.81" not in text


SAYING = ["csv-persons", "go-data-contacts", "fhir", "json", "csv-line-list", "csv-contacts"]


@pytest.mark.parametrize("name", SAYING)
def test_whose_case_was_there_by_clothes_is_said_to_identify_nobody(name: str) -> None:
    clothes = candidate("cam-1", 0, 200, STRANGER, log10_lr=None, modality=FOLLOWED)
    assert FOUND_BY_CLOTHES in export(name, report((clothes, CONFIRMED)))
    assert FOUND_BY_CLOTHES not in export(name, usual())


@pytest.mark.parametrize("name", SAYING)
def test_of_a_trace_that_cannot_be_true_each_row_says_so(name: str) -> None:
    made = usual()
    against = Contradiction("P-17", (1,), (2,), "on two cameras at one time")
    (trace,) = made.traces
    made = replace(made, traces=(replace(trace, contradictions=(against,)),))
    assert IMPOSSIBLE in export(name, made)
    assert "on two cameras at one time" in export(name, made)
    assert IMPOSSIBLE not in export(name, usual())


REQUIRED_OF_CONTACTS = {
    # Required in Go.Data's models: contact.json, relationship.json and person.json of its API.
    "firstName",
    "dateOfReporting",
    "relationship.relatedId",
    "relationship.contactDate",
    "relationship.certaintyLevelId",
}
REQUIRED_OF_CASES = {"firstName", "dateOfReporting", "classification"}


def test_go_data_gets_what_it_requires_in_every_row() -> None:
    assert set(CONTACT_FIELDS.values()) >= REQUIRED_OF_CONTACTS
    assert set(CASE_FIELDS.values()) >= REQUIRED_OF_CASES
    contacts = rows(export("go-data-contacts", usual()))
    cases = rows(export("go-data-cases", usual()))
    assert (len(contacts), len(cases)) == (2, 1)
    assert list(contacts[0]) == list(CONTACT_FIELDS)
    assert list(cases[0]) == list(CASE_FIELDS)
    for header, field in CONTACT_FIELDS.items():
        if field in REQUIRED_OF_CONTACTS | {"visualId"}:
            assert all(row[header] for row in contacts), header
    for header, field in CASE_FIELDS.items():
        if field in REQUIRED_OF_CASES | {"visualId"}:
            assert all(row[header] for row in cases), header
    assert {row["Related person"] for row in contacts} == {cases[0]["Case ID"]} == {"P-17"}


def test_go_data_is_told_how_certain_how_long_and_where() -> None:
    near, far = sorted(
        rows(export("go-data-contacts", usual())), key=lambda row: row["Certainty level"]
    )[::-1]
    assert near["Certainty level"] == "LNG_REFERENCE_DATA_CATEGORY_CERTAINTY_LEVEL_3_HIGH"
    assert far["Certainty level"] == "LNG_REFERENCE_DATA_CATEGORY_CERTAINTY_LEVEL_2_MEDIUM"
    assert near["Exposure duration"].endswith("SHORT_MINUTES")
    assert far["Exposure duration"].endswith("VERY_SHORT_SECONDS")
    assert (near["Location"], near["Address"]) == ("City Hall", "110 Sejong-daero")
    assert (near["Geo location latitude"], near["Geo location longitude"]) == (
        "37.5663", "126.9779",
    )  # fmt: skip
    assert near["First name"] == f"contact {int(near['Contact ID'][-3:])} of P-17"
    assert "2 min 10 s within reach, nearest 1.2 m" in near["Comment"]


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(0, "VERY_SHORT_SECONDS"), (59.9, "VERY_SHORT_SECONDS"), (60, "SHORT_MINUTES"),
     (3_600, "MEDIUM_HOURS"), (86_400, "LONG_DAYS")],
)  # fmt: skip
def test_durations_fall_into_go_datas_classes(seconds: float, name: str) -> None:
    assert duration_class(seconds) == f"LNG_REFERENCE_DATA_CATEGORY_EXPOSURE_DURATION_{name}"


@pytest.mark.parametrize(("times", "name"), [(1, "1_5"), (6, "6_10"), (20, "11_20")])
def test_how_often_falls_into_go_datas_classes(times: int, name: str) -> None:
    assert f"FREQUENCY_{name}_TIMES" in frequency_class(times)
    assert "OVER_21_TIMES" in frequency_class(21)


def around_with(*grades: Grade, **known: Any) -> Around:
    """Around the usual report: persons graded in order of their numbers."""
    (trace,) = usual().traces
    persons = persons_of(trace)
    case = CaseFile("P-17", **known)
    contacts = tuple(
        GradedPerson(person, grades[at] if at < len(grades) else None)
        for at, person in enumerate(persons)
    )
    return replace(AROUND, graded=(GradedTrace("P-17", case, None, None, contacts),))


HIGH = Grade("high", 21.0, (Line("together 21 weighted minutes: high", 21.0),))


def test_a_case_is_confirmed_for_go_data_only_where_a_test_is_known() -> None:
    def told(**known: Any) -> dict[str, str]:
        return rows(export("go-data-cases", usual(), around_with(**known)))[0]

    assert told()["Classification"].endswith("SUSPECT")
    assert told()["Date of onset"] == ""
    known = told(onset=date(2026, 2, 14), tested=date(2026, 2, 15))
    assert known["Classification"].endswith("CONFIRMED")
    assert known["Date of onset"] == "2026-02-14"


def test_grades_go_with_the_person() -> None:
    around = around_with(HIGH)
    graded = {row["contact_number"]: row for row in rows(export("csv-persons", usual(), around))}
    assert (graded["1"]["grade"], graded["1"]["weighted_minutes"]) == ("high", "21.0")
    assert (graded["2"]["grade"], graded["2"]["weighted_minutes"]) == ("", "")
    risks = {row["Risk level"] for row in rows(export("go-data-contacts", usual(), around))}
    assert risks == {"LNG_REFERENCE_DATA_CATEGORY_RISK_LEVEL_3_HIGH", ""}
    assert "together 21 weighted minutes: high" in export("fhir", usual(), around)


def resources(made: Report, kind: str, around: Around = AROUND) -> list[dict[str, Any]]:
    listed = json.loads(export("fhir", made, around))["entry"]
    return [one["resource"] for one in listed if one["resource"]["resourceType"] == kind]


def test_the_bundle_is_valid_fhir() -> None:
    from fhir.resources.R4B.bundle import Bundle

    for made in (usual(), report()):
        bundle = Bundle.model_validate_json(export("fhir", made, around_with(HIGH)))
        assert bundle.type == "collection"


def test_each_reference_of_the_bundle_leads_to_one_of_its_resources() -> None:
    text = export("fhir", usual())
    urls = {one["fullUrl"] for one in json.loads(text)["entry"]}

    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for one in value for found in references(one)]
        if isinstance(value, dict):
            own = [value["reference"]] if isinstance(value.get("reference"), str) else []
            return own + [found for one in value.values() for found in references(one)]
        return []

    assert references(json.loads(text))
    assert set(references(json.loads(text))) <= urls
    assert len(urls) == len(json.loads(text)["entry"])


def test_the_bundle_has_cases_contacts_places_and_exposures() -> None:
    assert len(resources(usual(), "Patient")) == 3
    (place,) = resources(usual(), "Location")
    assert place["name"] == "City Hall, lobby"
    assert place["position"] == {"longitude": 126.9779, "latitude": 37.5663}
    observed = resources(usual(), "Observation")
    whole = [one for one in observed if "hasMember" in one]
    assert (len(observed), len(whole)) == (4, 2)
    (provenance,) = resources(usual(), "Provenance")
    assert s.query().query_id.hex() in json.dumps(provenance)
    assert provenance["agent"][0]["who"]["identifier"]["value"] == "ana"


def test_a_second_export_of_the_same_has_the_same_ids() -> None:
    ids = [one["id"] for one in resources(usual(), "Observation")]
    assert ids == [one["id"] for one in resources(usual(), "Observation")]
    other = replace(usual(), digest=bytes(31) + b"x")
    assert set(ids).isdisjoint(one["id"] for one in resources(other, "Observation"))


def test_hostile_texts_stay_texts() -> None:
    place = replace(PLACES.cameras["cam-1"], place='=cmd|"/c calc"!A1', room=None)
    around = replace(AROUND, places=replace(PLACES, cameras={"cam-1": place}))
    row = rows(export("go-data-contacts", usual(), around))[0]
    assert row["Location"].startswith("'=")
    assert rows(export("csv-persons", usual(), around))[0]["places"].startswith("'=")
    (location,) = resources(usual(), "Location", around)
    assert location["name"] == place.place
