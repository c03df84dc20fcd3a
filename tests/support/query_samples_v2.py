"""A policy of the second schema and queries of version 2, for the site of `protocol_samples`."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import protocol_samples as s

from protocol.enrolment import WitnessSheet
from protocol.names import SightingName
from protocol.policy import Policy, parse_policy
from protocol.query import Asked, Query, Subject, TemplateReference

KEYS = b"""policy_schema = 2
confirmations = 1
live = true
contacts = "linked"
continuation = true
continuation_minutes = 30
continuation_cameras = 3
same_place_counts = true
evidence_stills = 20
purposes = ["exercise", "notifiable disease"]
"""
POLICY_TEXT = KEYS + s.POLICY_TEXT
"""Asks for a witness, because it does not say that none is needed."""
POLICY: Policy = parse_policy(POLICY_TEXT)
DOCUMENT = s.fixed("consent form", 32)


def sheet(pseudonym: str = "P-17", *, witness: str = "di", **changes: object) -> WitnessSheet:
    """The sheet of the sample subject, signed by ``witness``."""
    template = s.template()
    blank = WitnessSheet(
        pseudonym,
        "consent form 2026/17",
        DOCUMENT,
        (TemplateReference(template.modality, template.model, template.digest),),
        s.NOW_MS - 60_000,
        "ana",
    )
    changed = replace(blank, **changes)  # type: ignore[arg-type]
    return changed.signed_by(s.signing_key(witness), witnessed_at_ms=s.NOW_MS - 30_000)


def subject(**changes: object) -> Subject:
    """The sample subject with its witness's statement."""
    witnessed = replace(s.query().subjects[0], witnessed=sheet().statement)
    return replace(witnessed, **changes)  # type: ignore[arg-type]


def query(**changes: Unpack[s.QueryChanges]) -> Query:
    """A query of version 2, for an exercise."""
    plain: s.QueryChanges = {
        "version": 2,
        "purpose_kind": "exercise",
        "policy_digest": POLICY.digest,
        "subjects": (subject(),),
    }
    plain.update(changes)
    return s.query(**plain)


def everything() -> Query:
    """A query that uses every field."""
    example = SightingName("box-1", "cam-1", s.EPOCH, 5, 40, b"12345678")
    return query(
        confirmers=("bea",),
        asks=Asked(True, True, True, 3, 180),
        subjects=(subject(examples=(example,)),),
    )


def documented(**changes: object) -> Query:
    """A query that names the document of consent by its hash, as its witness did."""
    return query(subjects=(subject(**({"consent_document": DOCUMENT} | changes)),))


def by_words(**changes: object) -> Query:
    """A query on a statutory order for whoever wears a red jacket and dark trousers."""
    model = f"clothes-{s.DIMENSION}@0123456789abcdef"
    made = (TemplateReference("appearance", model, s.fixed("of words", 32)),)
    statement = sheet("W-3", consent_reference="order 12/31", templates=made).statement
    described = Subject("W-3", "order 12/31", made, statement, words="red jacket, dark trousers")
    plain: dict[str, object] = {
        "subjects": (described,),
        "legal_basis": "statutory-order",
        "modalities": ("appearance",),
        "thresholds": {model: 0.15},
    }
    return query(**(plain | changes))  # type: ignore[arg-type]
