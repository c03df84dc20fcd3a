"""An HL7 FHIR R4 bundle: cases and contacts (Patient), places (Location), exposures (Observation).

Exposures are shaped like HL7's profile "US Public Health Exposure Contact Information": its subject
is the case, its focus whom the case may have exposed, its category the exposure of a target. One
Observation a person says what all comes to, and has an Observation a stay as members. Provenance
says which query, under whose signature. Nobody is named: all identifiers are pseudonyms of a trace.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from officers.desk.forms.around import Around
from officers.desk.forms.person_lists import confirmers
from officers.desk.forms.values import mask
from officers.desk.persons import Exposure
from officers.desk.traced import Met, Report, contradictions_of

_SPACE = uuid.UUID("5b3f0f0e-2a0c-5d0a-9a0e-6f5d1f6f2c11")
_TERMS = "http://terminology.hl7.org/CodeSystem"
_LOCATED = "http://hl7.org/fhir/StructureDefinition/event-location"
_KNOWN_EXPOSURE = {
    "system": "http://loinc.org",
    "code": "88636-6",
    "display": "Known exposure [Identifier]",
}
_TO_A_TARGET = {
    "system": f"{_TERMS}/v3-ActClass",
    "code": "TEXPOS",
    "display": "transmission exposure",
}
_UNITS = "http://unitsofmeasure.org"
_SECURITY = [
    {"system": f"{_TERMS}/v3-Confidentiality", "code": "R", "display": "restricted"},
    {"system": f"{_TERMS}/v3-ObservationValue", "code": "PSEUDED", "display": "pseudonymized"},
]


def as_fhir(report: Report, around: Around) -> str:
    """Return a bundle (a collection) of whom the cases met during confirmed hits."""
    return json.dumps(bundle(report, around), indent=2, ensure_ascii=False) + "\n"


def bundle(report: Report, around: Around) -> dict[str, Any]:
    """Return the bundle as JSON values."""
    made = _Made(report, around)
    return {
        "resourceType": "Bundle",
        "id": made.id_of("bundle"),
        "meta": {"security": _SECURITY},
        "identifier": {"system": "urn:ietf:rfc:3986", "value": made.url_of("bundle")},
        "type": "collection",
        "timestamp": around.local_iso(report.exported_at_ms),
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in made.resources()
        ],
    }


class _Made:
    """The resources of one bundle; ids follow from the query, so that a second export has them."""

    def __init__(self, report: Report, around: Around) -> None:
        self._report = report
        self._around = around
        self._site = report.query.site

    def id_of(self, name: str) -> str:
        return str(uuid.uuid5(_SPACE, f"{self._report.digest.hex()}/{name}"))

    def url_of(self, name: str) -> str:
        return f"urn:uuid:{self.id_of(name)}"

    def resources(self) -> Iterator[dict[str, Any]]:
        met = self._around.met(self._report)
        cases = [trace for trace in self._report.traces if trace.hits]
        cameras = {stay.address.camera for trace in cases for stay in trace.hits}
        for trace in cases:
            yield self._patient(f"case/{trace.subject}", "case", trace.subject)
        for one in met:
            if one.person.subject is None:
                yield self._patient(f"contact/{one.contact_id}", "contact", one.contact_id)
        listed = {trace.subject for trace in cases}
        others = {one.person.subject for one in met if one.person.subject is not None}
        for name in sorted(others - listed):
            yield self._patient(f"case/{name}", "case", name)
        for camera in sorted(cameras):
            yield self._location(camera)
        targets = []
        for one in met:
            for number, exposure in enumerate(one.person.exposures):
                yield self._exposure(one, number, exposure)
            yield self._person(one)
            targets.append(self.url_of(f"exposure/{one.contact_id}"))
        targets += [self.url_of(f"case/{trace.subject}") for trace in cases]
        if targets:
            yield self._provenance(targets)

    def _patient(self, name: str, kind: str, value: str) -> dict[str, Any]:
        return {
            "resourceType": "Patient",
            "id": self.id_of(name),
            "meta": {"security": _SECURITY},
            "identifier": [{"system": f"urn:sealtrace:{self._site}:{kind}", "value": value}],
        }

    def _location(self, camera: str) -> dict[str, Any]:
        around, place = self._around, self._around.place(camera)
        location: dict[str, Any] = {
            "resourceType": "Location",
            "id": self.id_of(f"camera/{camera}"),
            "identifier": [{"system": f"urn:sealtrace:{self._site}:camera", "value": camera}],
            "status": "active",
            "name": around.name(camera),
            "mode": "instance",
        }
        if place is not None:
            names = sorted({place.place, *place.names.values()} - {location["name"]})
            location |= {"alias": names} if names else {}
            location |= {"description": place.view} if place.view else {}
            location |= {"address": {"text": place.address}} if place.address else {}
        position = around.position(camera)
        if position is not None:
            location["position"] = {"longitude": position[1], "latitude": position[0]}
        return location

    def _observation(self, name: str, met: Met, begins_ms: int, ends_ms: int) -> dict[str, Any]:
        person = met.person
        focus = f"contact/{met.contact_id}" if person.subject is None else f"case/{person.subject}"
        return {
            "resourceType": "Observation",
            "id": self.id_of(name),
            "meta": {"security": _SECURITY},
            "status": "final",
            "category": [{"coding": [_TO_A_TARGET]}],
            "code": {"coding": [_KNOWN_EXPOSURE], "text": "within reach of the case, on camera"},
            "subject": {"reference": self.url_of(f"case/{met.case}")},
            "focus": [{"reference": self.url_of(focus)}],
            "effectivePeriod": {
                "start": self._around.local_iso(begins_ms),
                "end": self._around.local_iso(ends_ms),
            },
            "issued": self._around.local_iso(self._report.exported_at_ms),
        }

    def _exposure(self, met: Met, number: int, exposure: Exposure) -> dict[str, Any]:
        contact, stay = exposure.contact, exposure.stay
        made = self._observation(
            f"exposure/{met.contact_id}/{number}", met, contact.from_ms, contact.to_ms
        )
        where = {"reference": self.url_of(f"camera/{stay.address.camera}")}
        made["extension"] = [{"url": _LOCATED, "valueReference": where}]
        made["component"] = [
            *_quantity("seconds within reach", contact.seconds, "s"),
            *_quantity("shortest distance", contact.nearest_m, "m"),
            *_quantity("median distance", contact.median_m, "m"),
            _text("mask of the case", mask(stay.mask)),
            _text("mask of the contact", mask(contact.mask)),
        ]
        return made

    def _person(self, met: Met) -> dict[str, Any]:
        person, grade = met.person, met.grade
        made = self._observation(f"exposure/{met.contact_id}", met, person.first_ms, person.last_ms)
        made["hasMember"] = [
            {"reference": self.url_of(f"exposure/{met.contact_id}/{number}")}
            for number in range(len(person.exposures))
        ]
        made["component"] = [
            *_quantity("seconds within reach", person.seconds, "s"),
            *_quantity("most seconds within reach in 24 hours", person.most_in_24h_s, "s"),
            *_quantity("shortest distance", person.nearest_m, "m"),
            *_quantity("median distance", person.median_m, "m"),
            _text("mask of the contact", mask(person.mask[0])),
            _text("confirmed by", ", ".join(confirmers(met)) or "nobody"),
        ]
        notes = list(met.notes)
        if grade is not None:
            made["component"] += [
                _text("grade of the contact", grade.level),
                *_quantity("weighted minutes", grade.points, "min"),
            ]
            notes += [line.words for line in grade.lines]
        if notes:
            made["note"] = [{"text": words} for words in notes]
        return made

    def _provenance(self, targets: list[str]) -> dict[str, Any]:
        report, query = self._report, self._report.query
        warned = [words for trace in report.traces for words in contradictions_of(trace)]
        why = "; ".join([query.purpose, f"legal basis: {query.legal_basis}", *warned])
        return {
            "resourceType": "Provenance",
            "id": self.id_of("provenance"),
            "target": [{"reference": target} for target in targets],
            "recorded": self._around.local_iso(report.exported_at_ms),
            "reason": [{"text": why}],
            "agent": [
                {
                    "type": {
                        "coding": [
                            {"system": f"{_TERMS}/provenance-participant-type", "code": "author"}
                        ]
                    },
                    "who": {
                        "identifier": {
                            "system": f"urn:sealtrace:{self._site}:officer",
                            "value": self._around.officer or report.requester,
                        }
                    },
                }
            ],
            "entity": [
                {
                    "role": "source",
                    "what": {
                        "identifier": {
                            "system": f"urn:sealtrace:{self._site}:query",
                            "value": query.query_id.hex(),
                        },
                        "display": f"signed query, SHA-256 {report.digest.hex()}",
                    },
                }
            ],
        }


def _quantity(what: str, value: float | None, unit: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    quantity = {"value": round(value, 2), "unit": unit, "system": _UNITS, "code": unit}
    return [{"code": {"text": what}, "valueQuantity": quantity}]


def _text(what: str, value: str) -> dict[str, Any]:
    return {"code": {"text": what}, "valueString": value}
