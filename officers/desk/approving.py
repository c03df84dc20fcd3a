"""Approve a query: first all that a signature would answer for; the signing is a second call."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.api_client import ENDED, QuerySummary
from officers.desk.facts import Fact, state_text
from officers.desk.looking import View, facts_of, look
from officers.desk.session import Session
from protocol.about_queries import Approval
from protocol.directory import APPROVER
from protocol.signing import SigningKey
from runtime.clock import system_ms
from runtime.errors import OperationError


class ApprovalUseless(OperationError):
    """An approval of this query would count for nothing."""


@dataclass(frozen=True, slots=True)
class Review:
    """A query before an approver.

    ``hindrance`` says why an approval would count for nothing, or is empty; ``given`` tells that
    this officer has approved it already.
    """

    view: View
    facts: tuple[Fact, ...]
    hindrance: str
    given: bool


def review(session: Session, query_id: str) -> Review:
    """Return all that an approver must see of a query; nothing is signed.

    Args:
        session: an approver's.
        query_id: the id, or its first digits.

    Raises:
        OfficerError: the officer is no approver.
        OperationError: it is the officer's own query, or there is none.
        ProtocolError: it is not genuine.
    """
    me = session.officer
    me.require(APPROVER)
    view = look(session, query_id)
    if view.case.requester == me.name:
        raise OperationError(
            "this is your own query, and nobody approves their own; ask another approver"
        )
    return Review(
        view,
        facts_of(session, view),
        _hindrance(view),
        me.name in {approval.approver for approval in view.summary.approvals},
    )


def check_useful(reviewed: Review) -> None:
    """Check that an approval would count for something.

    Raises:
        ApprovalUseless: it would not.
    """
    if reviewed.hindrance:
        raise ApprovalUseless(reviewed.hindrance)


def approve(session: Session, reviewed: Review, key: SigningKey) -> QuerySummary:
    """Sign an approval of the query that was reviewed, and hand it over.

    Raises:
        ApprovalUseless: it would count for nothing.
        OperationError: it cannot be kept or handed over.
    """
    check_useful(reviewed)
    me, case = session.officer, reviewed.view.case
    approval = Approval(case.digest, me.policy.digest, system_ms()).sign(key)
    me.keep_query(case.query.query_id, case.signed)
    return session.client.approve(case.id, approval.to_bytes())


def _hindrance(view: View) -> str:
    if view.objection:
        return f"an approval would count for nothing: {view.objection}"
    if view.summary.state in ENDED:
        return f"the query has ended ({state_text(view.summary)}); nothing to approve"
    return ""
