"""Tell when so many approvers refused a query that the others cannot approve it."""

from __future__ import annotations

from contextlib import suppress

from aggregator.queries import QueryDesk
from aggregator.store.rows import AWAITING_APPROVALS, REFUSED_BY_APPROVERS, QueryRecord
from protocol.directory import Directory
from protocol.errors import ProtocolError
from protocol.policy import Policy
from protocol.refusing import check_refusal, still_able


def waiting_for(
    desk: QueryDesk, record: QueryRecord, directory: Directory, policy: Policy, missing: str
) -> tuple[str, str]:
    """Return in which state a query is that lacks approvals, and why.

    It is refused when those who did not refuse are too few. Who refused and approved afterwards has
    approved. Where approvers are lacking without a refusal, it goes on waiting for them.

    Args:
        missing: how many approvals it lacks, in words.
    """
    words = _refused_words(desk, record, directory, policy)
    return (REFUSED_BY_APPROVERS, words) if words else (AWAITING_APPROVALS, missing)


def _refused_words(
    desk: QueryDesk, record: QueryRecord, directory: Directory, policy: Policy
) -> str:
    approved = {one.signer for one in desk.approvals(record.digest)}
    refused = set()
    for signed in desk.refusals(record.digest):
        with suppress(ProtocolError):  # by who is no approver any more, or under another policy
            check_refusal(signed, record.digest, record.requester, directory, policy)
            refused.add(signed.signer)
    refused -= approved
    if not refused:
        return ""
    withdrawn = {one.signer for one in desk.withdrawals(record.digest)}
    able = still_able(directory, record.requester, refused | withdrawn)
    needed = policy.approvals_for(record.query.legal_basis, record.query.options)
    if len(able) >= needed:
        return ""
    return (
        f"{', '.join(sorted(refused))} refused: {len(able)} of {needed} approvals can come from "
        "the other approvers; one who refused may still approve, or who asked withdraws the query"
    )
