"""What an officer checks before believing the aggregator: queries, matcher keys, results.

The aggregator only passes these on. A query counts as its requester signed it, a matcher key as
the aggregator's key in the directory signed it, a decision as the investigator signed it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from officers.api_client import StoredResult
from officers.traces import UNDECIDED, Numbered
from protocol import hpke
from protocol.authorization import (
    check_approval,
    check_policy,
    open_query,
    parse_signed_query,
)
from protocol.directory import AGGREGATOR, INVESTIGATOR, Directory
from protocol.errors import NotAuthorized, PrincipalRevoked, ProtocolError
from protocol.policy import Policy
from protocol.query import APPROVAL_KIND, MATCHER_KEY_KIND, MatcherKey, Query
from protocol.results import DECISION_KIND, Candidate, Decision
from protocol.signing import Signed
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
            f"asked for query {query_id}, the aggregator handed out {query.query_id.hex()}: "
            "do not go on, tell the auditors"
        )
    return Case(query, signed.digest, requester, data, revoked)


def objection(case: Case, policy: Policy, *, now_ms: int) -> str:
    """Return why the policy would refuse this query whoever approved it; empty if it would not."""
    if case.revoked:
        return f"its requester '{case.requester}' has been revoked"
    try:
        check_policy(case.query, policy, now_ms=now_ms)
    except NotAuthorized as error:
        return str(error)
    return ""


def standing_approvals(
    listed: Iterable[bytes], case: Case, directory: Directory, policy: Policy
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Check approvals as custodians will; return the approvers, and what does not count and why."""
    approvers, problems = set(), []
    for data in listed:
        try:
            approval = Signed.parse(data, kind=APPROVAL_KIND)
            approvers.add(check_approval(approval, case.digest, case.requester, directory, policy))
        except ProtocolError as error:
            problems.append(str(error))
    return tuple(sorted(approvers)), tuple(problems)


def matcher_key_of(data: bytes, case: Case, directory: Directory) -> hpke.PublicKey:
    """Return the matcher's key for a query, verified.

    Raises:
        SignatureInvalid, MalformedMessage: the site's aggregator did not sign it.
        CaseInvalid: it is the key of another query.
    """
    signed = Signed.parse(data, kind=MATCHER_KEY_KIND)
    statement = MatcherKey.parse(signed.verify(directory.resolver(AGGREGATOR)))
    if not hmac.compare_digest(statement.query_digest, case.digest):
        raise CaseInvalid(
            "the aggregator answered with the matcher key of another query, so no template was "
            "sent; try again, and tell the auditors if it stays so"
        )
    return statement.key


@dataclass(frozen=True, slots=True)
class Opened:
    """A query's candidates as they opened, and what could not be believed, in words."""

    candidates: tuple[Numbered, ...]
    problems: tuple[str, ...]


def open_results(
    results: Iterable[StoredResult], case: Case, sealing: hpke.PrivateKey, directory: Directory
) -> Opened:
    """Open the candidates of a query with its investigator's key and check each.

    A candidate's number is its place in the order of finding, which stays when more are found.
    """
    opened, problems = [], []
    for number, result in enumerate(results, start=1):
        try:
            candidate = _open_candidate(result, case, sealing)
            verdict = _verdict(result, case, directory)
        except (ProtocolError, CaseInvalid) as error:
            problems.append(f"result {number} cannot be used: {error}")
            continue
        opened.append(Numbered(number, result.candidate_id, candidate, verdict))
    return Opened(tuple(opened), tuple(problems))


def _open_candidate(result: StoredResult, case: Case, sealing: hpke.PrivateKey) -> Candidate:
    candidate = Candidate.open(result.sealed, sealing, query_digest=case.digest)
    if not hmac.compare_digest(candidate.candidate_id(case.digest), result.candidate_id):
        raise CaseInvalid("it came under another candidate's id")
    query = case.query
    if (
        candidate.address.site != query.site
        or candidate.address.camera not in query.cameras
        or candidate.subject not in {subject.pseudonym for subject in query.subjects}
    ):
        raise CaseInvalid("it is of a camera or subject that the query does not name")
    return candidate


def _verdict(result: StoredResult, case: Case, directory: Directory) -> str:
    if result.decision is None:
        return UNDECIDED
    signed = Signed.parse(result.decision, kind=DECISION_KIND)
    decision = Decision.parse(signed.verify(directory.historic_resolver(INVESTIGATOR)))
    if (
        signed.signer != case.requester
        or not hmac.compare_digest(decision.query_digest, case.digest)
        or not hmac.compare_digest(decision.candidate_id, result.candidate_id)
    ):
        raise CaseInvalid("the decision on it is not the investigator's, or on another candidate")
    return decision.verdict
