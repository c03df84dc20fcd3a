"""A trace on a map: GeoJSON (RFC 7946), a point a stay and a line along each subject's hits."""

from __future__ import annotations

import json
from typing import Any

from officers.desk.camera_places import Positions
from officers.desk.forms.values import receipt_values, stay_values
from officers.desk.moments import iso_utc
from officers.desk.traced import Report, contradictions_of, stays_of_report
from officers.desk.traces import Stay, Trace


def as_geojson(report: Report, *, positions: Positions, hits_only: bool) -> str:
    """Return a FeatureCollection (RFC 7946): a point a stay, a line along each subject's hits.

    Stays at cameras without a position are features without geometry.
    """
    points = [
        {
            "type": "Feature",
            "geometry": _point(stay, positions),
            "properties": stay_values(stay, {}),
        }
        for stay in stays_of_report(report, hits_only=hits_only)
    ]
    lines = [
        {
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": way},
            "properties": {
                "subject": trace.subject,
                "hits": len(trace.hits),
                "hits_by_appearance": trace.by_appearance,
                "notes": list(contradictions_of(trace)),
            },
        }
        for trace in report.traces
        if len(way := _way(trace, positions)) >= 2
    ]
    body = {
        "type": "FeatureCollection",
        "query_id": report.query.query_id.hex(),
        "exported_at": iso_utc(report.exported_at_ms),
        "opened": None if report.receipts is None else receipt_values(report.receipts),
        "features": [*points, *lines],
    }
    return json.dumps(body, indent=2) + "\n"


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
