"""A verified query as JSON values, for programs."""

from __future__ import annotations

from typing import Any

from officers.desk.case import Case
from officers.desk.example_names import example_text
from officers.desk.moments import iso_utc
from protocol.directory import Directory
from protocol.enrolment import check_witnessed
from protocol.errors import ProtocolError
from protocol.query import Subject


def case_json(case: Case, refusal: str, directory: Directory, *, now_ms: int) -> dict[str, Any]:
    """Return the verified query as JSON values."""
    query = case.query
    return {
        "id": case.id,
        "digest": case.digest.hex(),
        "requester": case.requester,
        "policy_objection": refusal or None,
        "subjects": [
            {
                "pseudonym": subject.pseudonym,
                "consent_reference": subject.consent_reference,
                "consent_document": subject.consent_document.hex() or None,
                "templates": [
                    {"modality": t.modality, "model": t.model} for t in subject.templates
                ],
                "examples": [example_text(example) for example in subject.examples],
                "words": subject.words or None,
                "witness": _witness_json(subject, case.requester, directory, now_ms),
            }
            for subject in query.subjects
        ],
        "version": query.version,
        "purpose": query.purpose,
        "purpose_kind": query.purpose_kind or None,
        "confirmers": list(query.confirmers),
        "legal_basis": query.legal_basis,
        "cameras": list(query.cameras),
        "window_from": iso_utc(query.window_from_ms),
        "window_to": iso_utc(query.window_to_ms),
        "modalities": list(query.modalities),
        "live": query.live,
        "contacts": query.contacts,
        "linked_contacts": query.asks.linked_contacts,
        "continuation": query.asks.continuation,
        "same_place_counts": query.asks.same_place_counts,
        "afterwards_minutes": query.asks.afterwards_min,
        "evidence_stills": query.asks.evidence_stills,
        "thresholds": dict(query.thresholds),
        "max_candidates": query.max_candidates,
        "expected_false": query.expected_false,
        "requested_at": iso_utc(query.requested_at_ms),
        "not_after": iso_utc(query.not_after_ms),
    }


def _witness_json(
    subject: Subject, requester: str, directory: Directory, now_ms: int
) -> dict[str, str] | None:
    """Return who witnessed, when and over which document; None if nobody whose word counts."""
    try:
        said, witness = check_witnessed(
            subject, requester=requester, directory=directory, now_ms=now_ms
        )
    except ProtocolError:
        return None
    return {
        "name": witness,
        "at": iso_utc(said.witnessed_at_ms),
        "consent_document": said.consent_document.hex(),
    }
