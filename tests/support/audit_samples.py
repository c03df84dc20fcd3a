"""Bodies of log entries for one query of the sample site: granted, received, matched."""

from __future__ import annotations

import protocol_samples as s

from protocol.grant import Scope

LABELS = ["face", "meta", "live"]
SCOPE = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 38, 40)
QUERY_ID = s.fixed("query", 16)


def grant_body(case: s.Case, custodian: str, **changes: object) -> dict[str, object]:
    body: dict[str, object] = {
        "grant_id": s.fixed(f"grant {custodian}", 16),
        "query": case.query.to_bytes(),
        "approvals": [approval.to_bytes() for approval in case.approvals],
        "matcher_key": b"signed matcher key",
        "scopes": [SCOPE.to_value()],
        "labels": LABELS,
        "refused": [],
    }
    return body | changes


def received_body(case: s.Case, custodian: str, **changes: object) -> dict[str, object]:
    body: dict[str, object] = {
        "custodian": custodian,
        "grant_id": s.fixed(f"grant {custodian}", 16),
        "query_digest": case.query.digest,
        "scopes": [SCOPE.to_value()],
        "labels": LABELS,
    }
    return body | changes


def match_body(case: s.Case, custodians: tuple[str, ...] = ("c1", "c3")) -> dict[str, object]:
    return {
        "query_digest": case.query.digest,
        "grant_ids": [s.fixed(f"grant {name}", 16) for name in custodians],
        "segments": 3,
        "sightings": 40,
        "candidates": 2,
    }


def rows_body(case: s.Case, custodian: str, **changes: object) -> dict[str, object]:
    """Two rows opened, two in all."""
    body: dict[str, object] = {
        "release_id": s.fixed(f"rows {custodian} {changes.get('total', 2)}", 16),
        "query": case.query.to_bytes(),
        "approvals": [approval.to_bytes() for approval in case.approvals],
        "matcher_key": b"signed matcher key",
        "rows": 2,
        "total": 2,
        "digest": s.fixed(f"rows digest {changes.get('total', 2)}", 32),
        "left_out": [],
    }
    return body | changes


def stills_body(case: s.Case, custodian: str, **changes: object) -> dict[str, object]:
    """One still opened for ana and bea, one in all."""
    body = rows_body(case, f"stills {custodian}", total=1, digest=bytes(32))
    del body["rows"], body["matcher_key"]
    more = {"stills": 1, "asked_by": "ana", "officers": ["ana", "bea"]}
    return body | more | changes
