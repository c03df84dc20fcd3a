"""Withdraw a query or an approval so that it holds even if the aggregator hides or loses it.

First what would be withdrawn, then, in a second call, the signing.
"""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.api_client import AggregatorClient
from officers.desk.case import Case, open_case
from officers.desk.facts import Fact
from officers.desk.moments import local_text
from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.own_word import check_own, check_same
from officers.desk.phrases import option, phrase, words_of
from officers.desk.session import check_id, connect
from protocol.about_queries import MAX_REASON, WITHDRAWAL_KIND, Withdrawal
from protocol.directory import APPROVER, INVESTIGATOR
from protocol.errors import ProtocolError
from protocol.signing import Signed, Unsigned
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.http import ProblemError
from runtime.peers import News, Told, tell_all

AGGREGATOR_LABEL = "aggregator"


class ReasonInvalid(OperationError):
    """A reason is empty or too long."""


class RevocationError(OperationError):
    """There is nothing that this officer could withdraw."""


@dataclass(frozen=True, slots=True)
class Withdrawable:
    """A query that the officer asked for (``own``) or approved, and can withdraw from."""

    case: Case
    own: bool

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What a signature would take back."""
        query = self.case.query
        return (
            Fact("query", self.case.id),
            Fact("asked by", f"{self.case.requester}, {local_text(query.requested_at_ms)}"),
            Fact("purpose", query.purpose),
            Fact("withdraws", "the query" if self.own else "your approval"),
            Fact("holds", "for good; what has been opened stays known"),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who has a withdrawal: the aggregator first, then each custodian.

    ``closed``: so many custodians have it that the rest are too few to grant anything; ``effect``
    says what it comes to then.
    """

    deliveries: tuple[Told, ...]
    closed: bool
    effect: str

    @property
    def missed(self) -> tuple[str, ...]:
        """Who could not be told."""
        return tuple(delivery.name for delivery in self.deliveries if delivery.problem)


def find_withdrawable(officer: Officer, text: str, tell: Tell = unheard) -> Withdrawable:
    """Find the query to withdraw from: at the aggregator, else among those kept on this machine.

    Args:
        officer: an investigator or approver.
        text: the query's id, or its first digits.
        tell: hears why the aggregator could not be asked for it.

    Raises:
        RevocationError: it is in neither place, or the officer has no part in it.
        SignatureInvalid, MalformedMessage, CaseInvalid: it is not a genuine query.
    """
    given = check_id(text)
    kept = [one for one in officer.kept_ids() if one.startswith(given)]
    try:
        with connect(officer, tell) as session:
            case = session.case(given)
            signers = {approval.approver for approval in session.summary(case).approvals}
    except (OperationError, ProtocolError) as error:
        if len(kept) != 1:
            raise
        data = officer.kept_query(bytes.fromhex(kept[0]))
        if data is None:
            raise
        words = phrase(
            "the aggregator does not give the query ({error}); going by the copy kept here",
            error=error,
        )
        tell(Notice(words, warning=True))
        case = open_case(data, kept[0], officer.directory)
        return Withdrawable(case, own=case.requester == officer.name)
    if officer.name not in {case.requester, *signers} and case.id not in kept:
        raise RevocationError(
            phrase(
                "'{name}' neither asked for this query nor approved it: there is nothing to "
                "withdraw. An approver who does not want it simply does not approve",
                name=officer.name,
            )
        )
    return Withdrawable(case, own=case.requester == officer.name)


def reason_of(reason: str) -> str:
    """Return the reason of a withdrawal or refusal as it is signed: on one line.

    Raises:
        ReasonInvalid: it is empty or too long.
    """
    words = " ".join(reason.split())
    if not 0 < len(words) <= MAX_REASON or not words.isprintable():
        raise ReasonInvalid(
            phrase(
                "{option} must be a text of 1 to {most} characters",
                option=option("--reason", "Reason"),
                most=MAX_REASON,
            )
        )
    return words


def to_withdraw(officer: Officer, found: Withdrawable, reason: str) -> Unsigned:
    """Return what is signed to withdraw.

    Args:
        officer: who withdraws.
        found: from `find_withdrawable`.
        reason: why, for the auditors.

    Raises:
        ReasonInvalid: the reason is empty or too long.
        OfficerError: the query is another officer's, and this one is no approver.
    """
    words = reason_of(reason)
    officer.require(_duty(found))
    return Withdrawal(found.case.digest, words, system_ms()).unsigned(officer.name)


def withdraw(officer: Officer, found: Withdrawable, signed: Signed) -> Outcome:
    """Hand a signed withdrawal to the aggregator and to every custodian in force.

    Args:
        officer: who withdraws.
        found: from `find_withdrawable`.
        signed: what `to_withdraw` made.

    Raises:
        SignatureInvalid: it is of another query, or not the officer's.
    """
    case = found.case
    withdrawal = Withdrawal.parse(check_own(officer, signed, WITHDRAWAL_KIND, _duty(found)))
    check_same(case.digest, withdrawal.query_digest, "query")
    data, custodians = signed.to_bytes(), officer.custodians()
    told = tell_all(custodians, News.of_withdrawal(data), officer.tls)
    have = sum(not delivery.problem for delivery in told)
    closed = len(custodians) - have < officer.directory.threshold
    return Outcome((_tell_aggregator(officer, case, data), *told), closed, _effect(found))


def _duty(found: Withdrawable) -> str:
    """Return the duty in which one withdraws: the query as who asked, an approval as approver."""
    return INVESTIGATOR if found.own else APPROVER


def _effect(found: Withdrawable) -> str:
    if found.own:
        return phrase("withdrawn: nothing more can be opened for this query")
    return phrase(
        "withdrawn: your approval counts no longer with the custodians; the query stops unless "
        "enough other approvals stand"
    )


def _tell_aggregator(officer: Officer, case: Case, signed: bytes) -> Told:
    try:
        with AggregatorClient(officer.aggregator_url(), officer.tls) as client:
            client.withdraw(case.id, signed)
    except ProblemError as error:
        return Told(AGGREGATOR_LABEL, phrase("refuses: {error}", error=error))
    except OperationError as error:
        return Told(AGGREGATOR_LABEL, words_of(error))
    return Told(AGGREGATOR_LABEL)
