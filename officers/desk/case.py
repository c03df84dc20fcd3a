"""A query as its requester signed it, and what policy and approvals say of it.

The aggregator only passes these on: they are verified here, against the site's directory.
"""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.phrases import phrase
from protocol.authorization import (
    check_people,
    check_policy,
    open_query,
    parse_signed_query,
)
from protocol.directory import INVESTIGATOR, Directory
from protocol.errors import NotAuthorized, PrincipalRevoked
from protocol.policy import Policy
from protocol.query import Query
from runtime.errors import OperationError


class CaseInvalid(OperationError):
    """What the aggregator handed out is genuine but is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Case:
    """A query whose signature holds; ``revoked`` if its requester has been revoked since."""

    query: Query
    digest: bytes
    requester: str
    signed: bytes
    revoked: bool = False

    @property
    def id(self) -> str:
        """The query's id, 32 hex digits."""
        return self.query.query_id.hex()

    @property
    def officers(self) -> tuple[str, ...]:
        """Who reads what it finds, and decides: the requester and the confirmers."""
        return (self.requester, *self.query.confirmers)


def open_case(data: bytes, query_id: str, directory: Directory) -> Case:
    """Verify a signed query as the aggregator handed it out for ``query_id`` (hex).

    Raises:
        SignatureInvalid, MalformedMessage: it is not an investigator's query of this site.
        CaseInvalid: it is another query.
    """
    signed = parse_signed_query(data)
    revoked = False
    try:
        query, requester = open_query(signed, directory)
    except PrincipalRevoked:
        query = Query.parse(signed.verify(directory.historic_resolver(INVESTIGATOR)))
        requester, revoked = signed.signer, True
    if query.query_id.hex() != query_id:
        raise CaseInvalid(
            phrase(
                "asked for query {query_id}, the aggregator handed out {other_id}: do not go on, "
                "tell the auditors",
                query_id=query_id,
                other_id=query.query_id.hex(),
            )
        )
    return Case(query, signed.digest, requester, data, revoked)


def objection(case: Case, directory: Directory, policy: Policy, *, now_ms: int) -> str:
    """Return why the policy would refuse this query whoever approved it; empty if it would not."""
    if case.revoked:
        return phrase("its requester '{name}' has been revoked", name=case.requester)
    try:
        check_policy(case.query, policy, now_ms=now_ms)
        check_people(case.query, case.requester, directory, policy, now_ms=now_ms)
    except NotAuthorized as error:
        return str(error)
    return ""
