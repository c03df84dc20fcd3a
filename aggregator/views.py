"""What the HTTP interface shows of queries and boxes, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aggregator.ingest.boxes import BoxStatus
from aggregator.queries import QueryDesk
from aggregator.store.rows import HealthRow, QueryRecord, ScopeCount
from protocol.about_queries import Approval, Refusal, Withdrawal
from protocol.names import SLOT_MS
from protocol.policy import Policy

LEAST_CLASS = 64


def query_view(desk: QueryDesk, record: QueryRecord, policy: Policy) -> dict[str, Any]:
    """Return a query's summary; what an approver signs is read from the signed query itself."""
    query = record.query
    return {
        "id": record.query_id.hex(),
        "digest": record.digest.hex(),
        "requester": record.requester,
        "state": record.state,
        "reason": record.reason,
        "filed_ms": record.filed_ms,
        "changed_ms": record.changed_ms,
        "progress": {
            name: class_of(figure) if name == "sightings" else figure
            for name, figure in record.progress.items()
        },
        "approvals_needed": policy.approvals_for(query.legal_basis, query.options),
        "approvals": [
            {"approver": signed.signer, "at_ms": Approval.parse(signed.payload).approved_at_ms}
            for signed in desk.approvals(record.digest)
        ],
        "refusals": [
            {
                "approver": signed.signer,
                "reason": (said := Refusal.parse(signed.payload)).reason,
                "at_ms": said.refused_at_ms,
            }
            for signed in desk.refusals(record.digest)
        ],
        "withdrawals": [
            {
                "officer": signed.signer,
                "reason": (content := Withdrawal.parse(signed.payload)).reason,
                "at_ms": content.withdrawn_at_ms,
            }
            for signed in desk.withdrawals(record.digest)
        ],
        "false_grants": [
            {"custodian": found.custodian, "reason": found.reason, "at_ms": found.found_ms}
            for found in desk.false_grants(record.digest)
        ],
        "candidates": desk.count_results(record.digest),
        "late_films": [asdict(one) for one in desk.late_films(record)],
        "query": {
            "pseudonyms": [subject.pseudonym for subject in query.subjects],
            "purpose": query.purpose,
            "legal_basis": query.legal_basis,
            "cameras": list(query.cameras),
            "window_from_ms": query.window_from_ms,
            "window_to_ms": query.window_to_ms,
            "modalities": list(query.modalities),
            "live": query.live,
            "thresholds": dict(query.thresholds),
            "contacts": query.contacts,
            "max_candidates": query.max_candidates,
            "expected_false": query.expected_false,
            "not_after_ms": query.not_after_ms,
        },
    }


def class_of(sightings: int) -> int:
    """Return a bound of how many sightings were compared: a power of two, of 64 at least.

    The number itself would tell of a small scope how many people were there, which takes a
    permission of its own and is told to nobody below five (`protocol.small_cells`).
    """
    return 0 if sightings <= 0 else 1 << (max(sightings, LEAST_CLASS) - 1).bit_length()


def bound_of(held: ScopeCount) -> int:
    """Return a bound of how many sightings a scope holds, before anybody approved anything.

    Headers of version 1 count them one by one, so their number is told as a class, also beside
    those of version 2: what these have room for is told of the same scope without the others.
    """
    return held.sightings - held.exact + class_of(held.exact)


def bounds_by_model(held: ScopeCount) -> dict[str, int]:
    """Return the same of templates, by model."""
    return {
        model: count - (exact := held.exact_by_model.get(model, 0)) + class_of(exact)
        for model, count in held.by_model.items()
    }


def false_grants_view(desk: QueryDesk) -> dict[str, Any]:
    """Return the custodians that ever answered falsely: to how many queries, last when and how."""
    listed: dict[str, dict[str, Any]] = {}
    for found in desk.false_grants():
        known = listed.setdefault(found.custodian, {"queries": 0})
        known.update(queries=known["queries"] + 1, last_ms=found.found_ms, last_reason=found.reason)
    return listed


def box_view(status: BoxStatus) -> Mapping[str, Any]:
    """Return a box's state."""
    return asdict(status)


def health_view(row: HealthRow) -> Mapping[str, Any]:
    """Return a quarter hour of a box's history."""
    return {
        "from_ms": row.slot * SLOT_MS,
        "reports": row.reports,
        "last_ms": row.last_ms,
        "silent_ms": row.silent_ms,
        "version": row.version,
        "worst": dict(row.worst),
    }
