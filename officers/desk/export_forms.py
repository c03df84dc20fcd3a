"""Write a trace down for other programs: JSON, a CSV line list, a CSV contact list, GeoJSON.

The forms are stable: columns are only ever added, at the end. None of them holds a template. Times
are UTC (ISO 8601 with Z); a confidence is 0 to 1; what is unknown is empty (CSV) or null (JSON).
In CSV a text that a spreadsheet would take for a formula gets an apostrophe in front.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from officers.desk.camera_places import Positions
from officers.desk.contacts import Contact
from officers.desk.csv_cells import csv_text
from officers.desk.fit import Fit
from officers.desk.moments import iso_utc
from officers.desk.receipts import Receipts
from officers.desk.traces import Numbered, Stay, Trace, likelihood_words, numbers_text
from officers.desk.walking import Way
from officers.desk.watching import watching_values
from protocol.query import Query
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan
from protocol.watching import Watching

JSON_FORMAT = "sealtrace-trace/1"
FIT_COLUMNS = (
    "fits_others", "log10_support_of_others", "contradicts", "contradicts_numbers",
    "contradicts_why",
)  # fmt: skip
"""How a stay fits the subject's others."""
LINE_LIST_COLUMNS = (
    "query_id", "subject", "consent_reference", "status", "site", "camera",
    "from_utc", "to_utc", "seconds", "mask", "mask_confidence", "mask_varies",
    "score", "log10_likelihood_ratio", "likelihood_ratio_words", "model",
    "contacts", "contact_seconds", "latitude", "longitude", "candidate_numbers",
    "not_compared_numbers", "confirmed_by", "masks", "origin", "time_source",
    "found_by", "follows_numbers", "walk_metres",
    *FIT_COLUMNS,
)  # fmt: skip
"""One row a stay, in order of subject and time."""
CONTACT_COLUMNS = (
    "query_id", "subject", "status", "site", "camera", "from_utc", "to_utc",
    "subject_mask", "subject_mask_confidence", "contact_id", "contact_subject",
    "distance_m", "seconds", "contact_mask", "contact_mask_confidence",
    "contact_from_utc", "contact_to_utc", "median_distance_m", "subject_masks", "contact_masks",
    "found_by",
)  # fmt: skip
"""One row a contact of a stay; ``contact_id`` is unique within a camera."""
FOUND_BY_CLOTHES = (
    "by appearance: somebody dressed alike, nearby and within minutes; this identifies nobody"
)
"""Said of each stay that was found so, wherever one is shown."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is exported: the verified query, and the traces of its subjects.

    Args:
        impossible: what was opened and cannot be true; in no trace.
        receipts: what custodians say that they opened for the query; None where nobody was asked.
        watching: what the cameras watched; None where it is not known.
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


def as_json(report: Report, *, positions: Positions, hits_only: bool) -> str:
    """Return the whole report as one JSON object."""
    return (
        json.dumps(json_values(report, positions=positions, hits_only=hits_only), indent=2) + "\n"
    )


def json_values(
    report: Report, *, positions: Positions | None = None, hits_only: bool = False
) -> dict[str, Any]:
    """Return the report as JSON values."""
    query, positions = report.query, positions or {}
    consents = _consents(report)

    def stays(listed: Iterable[Stay]) -> list[dict[str, Any]]:
        return [_stay_values(stay, positions) for stay in listed]

    return {
        "format": JSON_FORMAT,
        "exported_at": iso_utc(report.exported_at_ms),
        "query": {
            "id": query.query_id.hex(),
            "digest": report.digest.hex(),
            "site": query.site,
            "requester": report.requester,
            "purpose": query.purpose,
            "legal_basis": query.legal_basis,
            "cameras": list(query.cameras),
            "window_from": iso_utc(query.window_from_ms),
            "window_to": iso_utc(query.window_to_ms),
            "modalities": list(query.modalities),
            "thresholds": dict(query.thresholds),
            "expected_false": query.expected_false,
            "state": report.state,
            "confirmers": list(query.confirmers),
        },
        "opened": None if report.receipts is None else _receipt_values(report.receipts),
        "watching": None if report.watching is None else watching_values(report.watching),
        "impossible": [_impossible_values(item) for item in report.impossible],
        "subjects": [
            {
                "subject": trace.subject,
                "consent_reference": consents[trace.subject],
                "seconds": round(trace.seconds, 3),
                "contact_seconds": round(trace.contact_seconds, 3),
                "cannot_all_be_true": [
                    {
                        "candidate_numbers": list(one.numbers),
                        "contradicts_numbers": list(one.others),
                        "why": one.why,
                    }
                    for one in trace.contradictions
                ],
                "hits": stays(trace.hits),
                **(
                    {}
                    if hits_only
                    else {
                        "candidates": stays(trace.candidates),
                        "continuations": stays(trace.continuations),
                        "rejected": stays(trace.rejected),
                    }
                ),
            }
            for trace in report.traces
        ],
    }


def as_line_list(report: Report, *, positions: Positions, hits_only: bool) -> str:
    """Return one row a stay: the hits, and unless ``hits_only`` what is not decided yet."""
    consents = _consents(report)
    return csv_text(
        LINE_LIST_COLUMNS,
        (
            [
                report.query.query_id.hex(),
                stay.subject,
                consents[stay.subject],
                stay.verdict,
                stay.address.site,
                stay.address.camera,
                iso_utc(stay.from_ms),
                iso_utc(stay.to_ms),
                round(stay.seconds, 3),
                _mask(stay.mask),
                round(stay.mask_confidence, 3),
                str(stay.mask_varies).lower(),
                _rounded(stay.score, 4),
                _rounded(stay.log10_lr, 3),
                _likelihood(stay),
                stay.model,
                len(stay.contacts),
                round(stay.contact_seconds, 3),
                *_position(stay, positions),
                " ".join(map(str, stay.numbers)),
                " ".join(map(str, stay.unmatched)),
                " ".join(stay.confirmed_by),
                _masks_text(stay.masks),
                stay.origin,
                stay.time_source,
                stay.modality,
                " ".join(map(str, stay.follows)),
                _metres(stay),
                *_fit_values(stay.fit).values(),
            ]
            for stay in _stays(report, hits_only=hits_only)
        ),
    )


def as_contacts(report: Report, *, positions: Positions, hits_only: bool) -> str:
    """Return one row a contact: who was near (not who they are), how near, how long, masked."""
    del positions
    return csv_text(
        CONTACT_COLUMNS,
        (
            [
                report.query.query_id.hex(),
                stay.subject,
                stay.verdict,
                stay.address.site,
                stay.address.camera,
                iso_utc(stay.from_ms),
                iso_utc(stay.to_ms),
                _mask(stay.mask),
                round(stay.mask_confidence, 3),
                contact.episode.hex(),
                contact.subject,
                _rounded(contact.nearest_m, 2),
                round(contact.seconds, 3),
                _mask(contact.mask),
                round(contact.mask_confidence, 3),
                iso_utc(contact.from_ms),
                iso_utc(contact.to_ms),
                _rounded(contact.median_m, 2),
                _masks_text(contact.masks),
                _masks_text(contact.other_masks),
                stay.modality,
            ]
            for stay in _stays(report, hits_only=hits_only)
            for contact in stay.contacts
        ),
    )


def as_geojson(report: Report, *, positions: Positions, hits_only: bool) -> str:
    """Return a FeatureCollection (RFC 7946): a point a stay, a line along each subject's hits.

    Stays at cameras without a position are features without geometry.
    """
    points = [
        {
            "type": "Feature",
            "geometry": _point(stay, positions),
            "properties": _stay_values(stay, {}),
        }
        for stay in _stays(report, hits_only=hits_only)
    ]
    lines = [
        {
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": way},
            "properties": {
                "subject": trace.subject,
                "hits": len(trace.hits),
                "hits_by_appearance": trace.by_appearance,
            },
        }
        for trace in report.traces
        if len(way := _way(trace, positions)) >= 2
    ]
    body = {
        "type": "FeatureCollection",
        "query_id": report.query.query_id.hex(),
        "exported_at": iso_utc(report.exported_at_ms),
        "opened": None if report.receipts is None else _receipt_values(report.receipts),
        "features": [*points, *lines],
    }
    return json.dumps(body, indent=2) + "\n"


FORMATS: Mapping[str, Callable[..., str]] = {
    "json": as_json,
    "csv-line-list": as_line_list,
    "csv-contacts": as_contacts,
    "geojson": as_geojson,
}
"""Format name to the function that makes it: ``(report, *, positions, hits_only) -> text``."""


def unplaced(report: Report, positions: Positions) -> list[str]:
    """Return the cameras of stays that have no position, sorted."""
    seen = {stay.address.camera for stay in _stays(report, hits_only=False)}
    return sorted(seen - set(positions))


def _stays(report: Report, *, hits_only: bool) -> Iterator[Stay]:
    for trace in report.traces:
        undecided = () if hits_only else (*trace.candidates, *trace.continuations)
        listed = (*trace.hits, *undecided)
        yield from sorted(listed, key=lambda stay: (stay.from_ms, stay.to_ms, stay.numbers))


def _consents(report: Report) -> dict[str, str]:
    return {subject.pseudonym: subject.consent_reference for subject in report.query.subjects}


def _stay_values(stay: Stay, positions: Positions) -> dict[str, Any]:
    place = positions.get(stay.address.camera)
    values = {
        "subject": stay.subject,
        "status": stay.verdict,
        "candidate_numbers": list(stay.numbers),
        "site": stay.address.site,
        "box": stay.address.box,
        "camera": stay.address.camera,
        "from": iso_utc(stay.from_ms),
        "to": iso_utc(stay.to_ms),
        "seconds": round(stay.seconds, 3),
        "mask": _mask(stay.mask),
        "mask_confidence": round(stay.mask_confidence, 3),
        "mask_varies": stay.mask_varies,
        "score": _rounded(stay.score, 4),
        "log10_likelihood_ratio": _rounded(stay.log10_lr, 3),
        "likelihood_ratio_words": _likelihood(stay),
        "model": stay.model,
        "contact_seconds": round(stay.contact_seconds, 3),
        "contacts": [_contact_values(contact) for contact in stay.contacts],
        "not_compared_numbers": list(stay.unmatched),
        "confirmed_by": list(stay.confirmed_by),
        "confirmations_needed": stay.needed,
        "masks": _mask_values(stay.masks),
        "origin": stay.origin,
        "time_source": stay.time_source,
        "found_by": stay.modality,
        "by_appearance": stay.by_appearance,
        "note": FOUND_BY_CLOTHES if stay.by_appearance else None,
        "follows_numbers": list(stay.follows),
        "way": _way_values(stay.way),
        **_fit_values(stay.fit),
    }
    if place is not None:
        values["latitude"], values["longitude"] = place
    return values


def _way_values(way: Way | None) -> dict[str, Any] | None:
    if way is None:
        return None
    return {
        "gap_seconds": round(way.gap_s, 3),
        "metres": _rounded(way.metres, 1),
        "walk_seconds": _rounded(way.walk_s, 1),
        "too_far": way.too_far,
    }


def _likelihood(stay: Stay) -> str:
    return "by appearance" if stay.by_appearance else likelihood_words(stay.log10_lr)


def _metres(stay: Stay) -> float | None:
    return None if stay.way is None else _rounded(stay.way.metres, 1)


def _fit_values(fit: Fit | None) -> dict[str, Any]:
    """Return how a stay fits the subject's others, in the order of `FIT_COLUMNS`."""
    if fit is None:
        return dict.fromkeys(FIT_COLUMNS)
    rival = fit.rival
    return {
        "fits_others": fit.others,
        "log10_support_of_others": _rounded(fit.log10_support, 2),
        "contradicts": fit.against,
        "contradicts_numbers": None if rival is None else numbers_text(rival.others),
        "contradicts_why": None if rival is None else rival.why,
    }


def _impossible_values(item: Numbered) -> dict[str, Any]:
    one = item.candidate
    return {
        "candidate_number": item.number,
        "subject": one.subject,
        "site": one.address.site,
        "box": one.address.box,
        "camera": one.address.camera,
        "why": one.impossible,
    }


def _receipt_values(receipts: Receipts) -> dict[str, Any]:
    return {
        "rows": receipts.rows,
        "custodians": [
            {"custodian": one.custodian, "rows": one.rows, "no_answer": one.silence or None}
            for one in receipts.custodians
        ],
        "waiting": list(receipts.waiting),
        "problems": list(receipts.problems),
    }


def _contact_values(contact: Contact) -> dict[str, Any]:
    return {
        "contact_id": contact.episode.hex(),
        "contact_subject": contact.subject,
        "distance_m": _rounded(contact.nearest_m, 2),
        "seconds": round(contact.seconds, 3),
        "mask": _mask(contact.mask),
        "mask_confidence": round(contact.mask_confidence, 3),
        "from": iso_utc(contact.from_ms),
        "to": iso_utc(contact.to_ms),
        "median_distance_m": _rounded(contact.median_m, 2),
        "subject_masks": _mask_values(contact.masks),
        "contact_masks": _mask_values(contact.other_masks),
    }


def _position(stay: Stay, positions: Positions) -> tuple[float | None, float | None]:
    return positions.get(stay.address.camera, (None, None))


def _point(stay: Stay, positions: Positions) -> dict[str, Any] | None:
    place = positions.get(stay.address.camera)
    return None if place is None else {"type": "Point", "coordinates": [place[1], place[0]]}


def _way(trace: Trace, positions: Positions) -> list[list[float]]:
    """Return [longitude, latitude] of each hit, one for hits at the same place in a row."""
    way: list[list[float]] = []
    for hit in trace.hits:
        place = positions.get(hit.address.camera)
        if place is not None and (not way or way[-1] != [place[1], place[0]]):
            way.append([place[1], place[0]])
    return way


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _mask(status: MaskStatus) -> str:
    return status.name.lower()


def _mask_values(spans: Iterable[MaskSpan]) -> list[dict[str, Any]]:
    return [
        {
            "from": iso_utc(span.from_ms),
            "to": iso_utc(span.until_ms),
            "mask": _mask(span.status),
            "confidence": round(span.confidence, 3),
        }
        for span in spans
    ]


def _masks_text(spans: Iterable[MaskSpan]) -> str:
    """Return spans in one cell: ``unmasked 10:00Z/10:01Z 0.98; masked ...``, times in full."""
    return "; ".join(
        f"{_mask(span.status)} {iso_utc(span.from_ms)}/{iso_utc(span.until_ms)} "
        f"{round(span.confidence, 3)}"
        for span in spans
    )
