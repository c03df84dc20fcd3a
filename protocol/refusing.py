"""An approver's signed no, and from when on a query cannot be approved any more.

A refusal opens nothing and closes nothing at a custodian: no approval is enough for that. It tells
whoever asked, and the auditors, that somebody has looked and does not want it, and why.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection

from protocol.about_queries import REFUSAL_KIND, Refusal
from protocol.directory import APPROVER, Directory
from protocol.errors import PolicyMismatch, ProtocolError, RefusalInvalid
from protocol.policy import Policy
from protocol.signing import Signed


def check_refusal(
    refusal: Signed, query_digest: bytes, requester: str, directory: Directory, policy: Policy
) -> Refusal:
    """Check one refusal; return what it says.

    Raises:
        RefusalInvalid: not an approver's valid signature over this query, or the requester's.
        PolicyMismatch: it was given under another policy.
    """
    if refusal.kind != REFUSAL_KIND:
        raise RefusalInvalid("that is not a refusal")
    try:
        content = Refusal.parse(refusal.verify(directory.resolver(APPROVER)))
    except ProtocolError as error:
        raise RefusalInvalid(f"the refusal of '{refusal.signer}' is not valid: {error}") from error
    if not hmac.compare_digest(content.query_digest, query_digest):
        raise RefusalInvalid(f"the refusal of '{refusal.signer}' is of another query")
    if not hmac.compare_digest(content.policy_digest, policy.digest):
        raise PolicyMismatch(f"the refusal of '{refusal.signer}' was given under another policy")
    if refusal.signer == requester or _key(directory, refusal.signer) == _key(directory, requester):
        raise RefusalInvalid(
            f"'{requester}' does not refuse a query of their own: who asked withdraws it"
        )
    return content


def still_able(directory: Directory, requester: str, gone: Collection[str]) -> tuple[str, ...]:
    """Return the approvers in force who have approved a query or still can, one for each key.

    Args:
        directory: the site's.
        requester: who asked, and cannot approve.
        gone: who has refused and not approved since, or withdrawn.
    """
    without = {_key(directory, name) for name in (requester, *gone)}
    by_key = {one.verify_key.raw: one.name for one in reversed(directory.with_duty(APPROVER))}
    return tuple(sorted(name for key, name in by_key.items() if key not in without))


def _key(directory: Directory, name: str) -> bytes | None:
    principal = directory.principals.get(name)
    return None if principal is None else principal.verify_key.raw
