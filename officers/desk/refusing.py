"""Refuse a query as an approver, with a reason: whoever asked hears it, and auditors read it."""

from __future__ import annotations

from officers.desk.api_client import ENDED, QuerySummary
from officers.desk.approving import Review
from officers.desk.own_word import check_own, check_same
from officers.desk.phrases import phrase
from officers.desk.session import Session
from officers.desk.withdrawing import reason_of
from protocol.about_queries import REFUSAL_KIND, Refusal
from protocol.directory import APPROVER
from protocol.signing import Signed, Unsigned
from runtime.clock import system_ms
from runtime.errors import OperationError


class RefusalUseless(OperationError):
    """A refusal of this query would say nothing new."""


def check_refusable(session: Session, reviewed: Review) -> None:
    """Check that a refusal would say something.

    Raises:
        RefusalUseless: the query has ended, or this officer has approved or refused it.
    """
    if reviewed.view.summary.state in ENDED:
        raise RefusalUseless(phrase("the query has ended; there is nothing to refuse"))
    if reviewed.given:
        raise RefusalUseless(
            phrase(
                "you have approved this query: an approval is taken back by a withdrawal, which "
                "custodians heed at once (`sealtrace query revoke`)"
            )
        )
    if reviewed.voices.refusal_of(session.officer.name):
        raise RefusalUseless(
            phrase("you have refused this query already; you may still approve it")
        )


def to_refuse(session: Session, reviewed: Review, reason: str) -> Unsigned:
    """Return what is signed to refuse the query that was reviewed.

    Args:
        session: the approver's.
        reviewed: from `officers.desk.approving.review`.
        reason: why, for who asked and for the auditors.

    Raises:
        RefusalUseless: it would say nothing new.
        ReasonInvalid: the reason is empty or too long.
    """
    check_refusable(session, reviewed)
    me, case = session.officer, reviewed.view.case
    refusal = Refusal(case.digest, me.policy.digest, reason_of(reason), system_ms())
    return refusal.unsigned(me.name)


def refuse(session: Session, reviewed: Review, signed: Signed) -> QuerySummary:
    """Hand over a signed refusal of the query that was reviewed.

    Args:
        signed: what `to_refuse` made.

    Raises:
        SignatureInvalid: it refuses something else, or is not the approver's.
        OperationError: it could not be handed over.
    """
    me, case = session.officer, reviewed.view.case
    refusal = Refusal.parse(check_own(me, signed, REFUSAL_KIND, APPROVER))
    check_same(case.digest, refusal.query_digest, "query")
    check_same(me.policy.digest, refusal.policy_digest, "policy")
    return session.client.refuse(case.id, signed.to_bytes())
