"""A whole trace as one JSON object, with all that is known: what is decided and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from officers.desk.camera_places import Positions
from officers.desk.forms.values import impossible_values, receipt_values, stay_values
from officers.desk.moments import iso_utc
from officers.desk.persons import person_values, persons_of
from officers.desk.traced import Report, contradictions_of
from officers.desk.traces import Stay
from officers.desk.watching import watching_values

JSON_FORMAT = "sealtrace-trace/1"


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

    def stays(listed: Iterable[Stay]) -> list[dict[str, Any]]:
        return [stay_values(stay, positions) for stay in listed]

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
        "opened": None if report.receipts is None else receipt_values(report.receipts),
        "watching": None if report.watching is None else watching_values(report.watching),
        "impossible": [impossible_values(item) for item in report.impossible],
        "subjects": [
            {
                "subject": trace.subject,
                "consent_reference": report.consent_of(trace.subject),
                "by_words": report.words_of(trace.subject) or None,
                "seconds": round(trace.seconds, 3),
                "contact_seconds": round(trace.contact_seconds, 3),
                "persons": [person_values(one) for one in persons_of(trace, report.links)],
                "notes": list(contradictions_of(trace)),
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
