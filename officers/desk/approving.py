"""Approve a query: first all that a signature would answer for; the signing is a second call."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.api_client import ENDED, QuerySummary
from officers.desk.facts import Fact, state_text
from officers.desk.looking import View, facts_of, look, voices_of
from officers.desk.own_word import check_own, check_same
from officers.desk.phrases import phrase
from officers.desk.session import Session
from officers.desk.voices import Voices
from protocol.about_queries import APPROVAL_KIND, Approval
from protocol.directory import APPROVER
from protocol.signing import Signed, Unsigned
from runtime.clock import system_ms
from runtime.errors import OperationError


class ApprovalUseless(OperationError):
    """An approval of this query would count for nothing."""


@dataclass(frozen=True, slots=True)
class Review:
    """A query before an approver.

    ``hindrance`` says why an approval would count for nothing, or is empty; ``given`` tells that
    this officer has approved it already, and not withdrawn that.
    """

    view: View
    voices: Voices
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
            phrase("this is your own query, and nobody approves their own; ask another approver")
        )
    withdrawn = me.name in {one.officer for one in view.summary.withdrawals}
    voices = voices_of(session, view)
    return Review(
        view,
        voices,
        facts_of(session, view, voices),
        _hindrance(view, withdrawn=withdrawn),
        me.name in {one.approver for one in view.summary.approvals} and not withdrawn,
    )


def check_useful(reviewed: Review) -> None:
    """Check that an approval would count for something.

    Raises:
        ApprovalUseless: it would not.
    """
    if reviewed.hindrance:
        raise ApprovalUseless(reviewed.hindrance)


def to_approve(session: Session, reviewed: Review) -> Unsigned:
    """Return what is signed to approve the query that was reviewed.

    Raises:
        ApprovalUseless: it would count for nothing.
    """
    check_useful(reviewed)
    me, case = session.officer, reviewed.view.case
    return Approval(case.digest, me.policy.digest, system_ms()).unsigned(me.name)


def approve(session: Session, reviewed: Review, signed: Signed) -> QuerySummary:
    """Hand over a signed approval of the query that was reviewed.

    Args:
        signed: what `to_approve` made.

    Raises:
        ApprovalUseless: it would count for nothing.
        SignatureInvalid: it approves something else, or is not the approver's.
        OperationError: it cannot be kept or handed over.
    """
    check_useful(reviewed)
    me, case = session.officer, reviewed.view.case
    approval = Approval.parse(check_own(me, signed, APPROVAL_KIND, APPROVER))
    check_same(case.digest, approval.query_digest, "query")
    check_same(me.policy.digest, approval.policy_digest, "policy")
    me.keep_query(case.query.query_id, case.signed)
    return session.client.approve(case.id, signed.to_bytes())


def _hindrance(view: View, *, withdrawn: bool) -> str:
    if view.objection:
        return f"an approval would count for nothing: {view.objection}"
    if view.summary.state in ENDED:
        return f"the query has ended ({state_text(view.summary)}); nothing to approve"
    if withdrawn:
        return phrase(
            "you have withdrawn your approval of this query, and that is for good: an approval "
            "would count for nothing"
        )
    return ""
