"""What a policy permits and forbids, in the same plain words wherever one is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from protocol.policy import LINKED_CONTACTS, NO_CONTACTS, Policy


@dataclass(frozen=True, slots=True)
class Permission:
    """Something that a query may ask for, or not.

    Args:
        what: as people say it.
        opening: what stands in ``policy.toml`` where it is permitted.
    """

    what: str
    opening: str


_LIVE = Permission("live queries", "live = true, max_live_hours above 0")
ANY_QUERY = Permission("any query at all", 'purposes = ["contact tracing"], or other words')
_NEAR = Permission("asking that somebody was near", 'contacts = "near"')
_LINKED = Permission(
    "telling who of those near at several cameras is one person", 'contacts = "linked"'
)
_CONTINUATION = Permission(
    "following a confirmed person by their clothes",
    "continuation = true, continuation_minutes and continuation_cameras above 0",
)
_COUNTS = Permission("counting who else was there", "same_place_counts = true")
_STILLS = Permission("pictures of sightings", "evidence_stills, of how many sightings")
_UNWITNESSED = Permission(
    "searching for a person whom no second officer saw enrolled", "enrolment_without_witness = true"
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
        return "any, in the officers' own words"
    return ", ".join(sorted(policy.purposes)) or "none: no query is permitted"


def confirmations_text(policy: Policy) -> str:
    """Return who must confirm a hit."""
    if policy.confirmations == 1:
        return "who asked confirms a hit alone"
    return (
        f"{policy.confirmations} investigators must each confirm a hit, of those whom the query "
        "names, and none reject it"
    )


def permitted_text(policy: Policy) -> str:
    """Return what the policy permits besides comparing, on one line."""
    words = [_words(policy, one) for one in permitted(policy) if one is not ANY_QUERY]
    return "; ".join(words) or "nothing"


def forbidden_text(policy: Policy) -> str:
    """Return what the policy forbids, on one line."""
    return "; ".join(one.what for one in forbidden(policy)) or "nothing of what could be asked"


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
        "confirmations": policy.confirmations,
        "enrolment_without_witness": not policy.witnessed_enrolment,
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
    yield _UNWITNESSED, not policy.witnessed_enrolment


def _words(policy: Policy, permission: Permission) -> str:
    if permission is _STILLS:
        return f"{permission.what}, of at most {policy.permits.evidence_stills} a query"
    if permission is _CONTINUATION:
        permits = policy.permits
        return (
            f"{permission.what}, {permits.continuation_minutes} minutes before and after, over at "
            f"most {permits.continuation_cameras} cameras"
        )
    return permission.what
