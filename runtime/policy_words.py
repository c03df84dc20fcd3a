"""What a policy permits and forbids, in the same plain words wherever one is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from protocol.policy import LINKED_CONTACTS, NO_CONTACTS, Policy
from runtime.phrases import Phrase, phrase, together


@dataclass(frozen=True, slots=True)
class Permission:
    """Something that a query may ask for, or not.

    Args:
        what: as people say it.
        opening: what stands in ``policy.toml`` where it is permitted.
    """

    what: Phrase
    opening: str


_LIVE = Permission(phrase("live queries"), "live = true, max_live_hours above 0")
ANY_QUERY = Permission(phrase("any query at all"), 'purposes = ["contact tracing"], or other words')
_NEAR = Permission(phrase("asking that somebody was near"), 'contacts = "near"')
_LINKED = Permission(
    phrase("telling who of those near at several cameras is one person"), 'contacts = "linked"'
)
_CONTINUATION = Permission(
    phrase("following a confirmed person by their clothes"),
    "continuation = true, continuation_minutes and continuation_cameras above 0",
)
_COUNTS = Permission(phrase("counting who else was there"), "same_place_counts = true")
_STILLS = Permission(phrase("pictures of sightings"), "evidence_stills, of how many sightings")
_EXPORTED = Permission(
    phrase("handing over stills of confirmed hits as files"), "evidence_export = true"
)
_UNWITNESSED = Permission(
    phrase("searching for a person whom no second officer saw enrolled"),
    "enrolment_without_witness = true",
)


def permitted(policy: Policy) -> list[Permission]:
    """Return what the policy permits."""
    return [permission for permission, yes in _all(policy) if yes]


def forbidden(policy: Policy) -> list[Permission]:
    """Return what the policy forbids: what it does not state, or states closed."""
    return [permission for permission, yes in _all(policy) if not yes]


def purposes_text(policy: Policy) -> str:
    """Return what queries may be for."""
    if policy.purposes is None:
        return phrase("any, in the officers' own words")
    return ", ".join(sorted(policy.purposes)) or phrase("none: no query is permitted")


def confirmations_text(policy: Policy) -> str:
    """Return who must confirm a hit."""
    if policy.confirmations == 1:
        return phrase("who asked confirms a hit alone")
    return phrase(
        "{count} investigators must each confirm a hit, of those whom the query names, and none "
        "reject it",
        count=policy.confirmations,
    )


def permitted_text(policy: Policy) -> str:
    """Return what the policy permits besides comparing, on one line."""
    words = [_words(policy, one) for one in permitted(policy) if one is not ANY_QUERY]
    return together(words, "; ") or phrase("nothing")


def forbidden_text(policy: Policy) -> str:
    """Return what the policy forbids, on one line."""
    said = together((one.what for one in forbidden(policy)), "; ")
    return said or phrase("nothing of what could be asked")


def policy_json(policy: Policy) -> dict[str, Any]:
    """Return a policy as JSON values, for programs."""
    permits = policy.permits
    return {
        "site": policy.site,
        "version": policy.version,
        "schema": policy.schema,
        "digest": policy.digest.hex(),
        "programme_ends": datetime.fromtimestamp(policy.programme_ends_ms / 1000, UTC).isoformat(),
        "approvals": policy.approvals,
        "option_approvals": dict(policy.option_approvals),
        "retention_days": policy.retention_days,
        "purposes": None if policy.purposes is None else sorted(policy.purposes),
        "live": permits.live,
        "contacts": permits.contacts,
        "continuation": permits.continuation,
        "continuation_minutes": permits.continuation_minutes,
        "continuation_cameras": permits.continuation_cameras,
        "same_place_counts": permits.same_place_counts,
        "evidence_stills": permits.evidence_stills,
        "evidence_export": permits.evidence_export,
        "confirmations": policy.confirmations,
        "enrolment_without_witness": not policy.witnessed_enrolment,
        "consent_documents": policy.consent_documents,
        "cover": policy.cover,
        "outside_witnesses": policy.outside_witnesses,
        "expected_false": policy.expected_false,
        "threshold_floor": dict(policy.threshold_floor),
    }


def _all(policy: Policy) -> Iterator[tuple[Permission, bool]]:
    permits = policy.permits
    yield ANY_QUERY, policy.purposes is None or bool(policy.purposes)
    yield _LIVE, permits.live and policy.max_live_hours > 0
    yield _NEAR, permits.contacts != NO_CONTACTS
    yield _LINKED, permits.contacts == LINKED_CONTACTS
    yield (
        _CONTINUATION,
        permits.continuation
        and permits.continuation_minutes > 0
        and permits.continuation_cameras > 0,
    )
    yield _COUNTS, permits.same_place_counts
    yield _STILLS, permits.evidence_stills > 0
    yield _EXPORTED, permits.evidence_stills > 0 and permits.evidence_export
    yield _UNWITNESSED, not policy.witnessed_enrolment


def _words(policy: Policy, permission: Permission) -> Phrase:
    if permission is _STILLS:
        return phrase(
            "{stills}, of at most {count} a query",
            stills=permission.what,
            count=policy.permits.evidence_stills,
        )
    if permission is _CONTINUATION:
        permits = policy.permits
        return phrase(
            "{following}, {minutes} minutes before and after, over at most {cameras} cameras",
            following=permission.what,
            minutes=permits.continuation_minutes,
            cameras=permits.continuation_cameras,
        )
    return permission.what
