"""Withdraw a query or an approval so that it holds even if the aggregator hides or loses it."""

from __future__ import annotations

from dataclasses import dataclass

from officers.api_client import AggregatorClient, Delivery, tell_custodians
from officers.casework import Case, open_case
from officers.officer import Officer
from officers.session import Session, check_id, refresh_directory
from protocol.directory import APPROVER
from protocol.errors import ProtocolError
from protocol.query import Withdrawal
from runtime.errors import OperationError
from runtime.http import ProblemError
from runtime.terminal import warn

AGGREGATOR_LABEL = "aggregator"
_MAX_REASON = 2000


class RevocationError(OperationError):
    """There is nothing that this officer could withdraw."""


@dataclass(frozen=True, slots=True)
class Found:
    """A query to withdraw from; ``problem`` says why the aggregator could not be asked for it."""

    case: Case
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who has a withdrawal: the aggregator first, then each custodian.

    ``closed``: so many custodians have it that the rest are too few to grant anything.
    """

    deliveries: tuple[Delivery, ...]
    closed: bool

    @property
    def missed(self) -> tuple[str, ...]:
        """Who could not be told."""
        return tuple(delivery.name for delivery in self.deliveries if delivery.problem)


def find(officer: Officer, text: str) -> Found:
    """Find the query to withdraw from: at the aggregator, else among those kept on this machine.

    Raises:
        RevocationError: it is in neither place, or the officer has no part in it.
        SignatureInvalid, MalformedMessage, CaseInvalid: it is not a genuine query.
    """
    given = check_id(text)
    kept = [one for one in officer.kept_ids() if one.startswith(given)]
    try:
        with AggregatorClient(officer.aggregator_url(), officer.tls) as client:
            refresh_directory(officer, client)
            session = Session(officer, client)
            case = session.case(session.full_id(given))
            signers = {approval.approver for approval in session.summary(case).approvals}
    except (OperationError, ProtocolError) as error:
        if len(kept) != 1:
            raise
        data = officer.kept_query(bytes.fromhex(kept[0]))
        if data is None:
            raise
        warn(f"the aggregator does not give the query ({error}); going by the copy kept here")
        return Found(open_case(data, kept[0], officer.directory), str(error))
    if officer.name not in {case.requester, *signers} and case.id not in kept:
        raise RevocationError(
            f"'{officer.name}' neither asked for this query nor approved it: there is nothing to "
            "withdraw. An approver who does not want it simply does not approve"
        )
    return Found(case)


def check_reason(reason: str) -> str:
    """Return a withdrawal's reason as it is signed.

    Raises:
        RevocationError: it is empty or too long.
    """
    words = " ".join(reason.split())
    if not 0 < len(words) <= _MAX_REASON or not words.isprintable():
        raise RevocationError(f"--reason must be a text of 1 to {_MAX_REASON} characters")
    return words


def withdraw(officer: Officer, found: Found, reason: str, *, now_ms: int) -> Outcome:
    """Sign the withdrawal and hand it to the aggregator and to every custodian in force.

    Raises:
        RevocationError: the reason is empty or too long.
        KeyFileError: the signing key cannot be opened.
    """
    words = check_reason(reason)
    case = found.case
    if case.requester != officer.name:
        officer.require(APPROVER)
    signed = Withdrawal(case.digest, words, now_ms).sign(officer.identity()).to_bytes()
    custodians = officer.custodians()
    told = tell_custodians(custodians, signed, officer.tls)
    have = sum(not delivery.problem for delivery in told)
    closed = len(custodians) - have < officer.directory.threshold
    return Outcome((_tell_aggregator(officer, case, signed), *told), closed)


def effect(officer: Officer, found: Found) -> str:
    """Return what a withdrawal that enough custodians have comes to."""
    if found.case.requester == officer.name:
        return "withdrawn: nothing more can be opened for this query"
    return (
        "withdrawn: your approval counts no longer with the custodians; the query stops unless "
        "enough other approvals stand"
    )


def _tell_aggregator(officer: Officer, case: Case, signed: bytes) -> Delivery:
    try:
        with AggregatorClient(officer.aggregator_url(), officer.tls) as client:
            client.withdraw(case.id, signed)
    except ProblemError as error:
        return Delivery(AGGREGATOR_LABEL, f"refuses: {error}")
    except OperationError as error:
        return Delivery(AGGREGATOR_LABEL, str(error))
    return Delivery(AGGREGATOR_LABEL)
