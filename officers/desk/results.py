"""Open what a query found, with its investigator's key, and check each candidate and decision.

The aggregator only keeps them: a candidate counts if it was sealed for this very query, a decision
as the investigator signed it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from officers.desk.api_client import QuerySummary, StoredResult
from officers.desk.case import Case, CaseInvalid
from officers.desk.export_forms import Report
from officers.desk.session import Session
from officers.desk.traces import UNDECIDED, Numbered, traces_of
from protocol import hpke
from protocol.directory import INVESTIGATOR, Directory
from protocol.errors import ProtocolError
from protocol.results import DECISION_KIND, Candidate, Decision
from protocol.signing import Signed
from runtime.clock import system_ms
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class Results:
    """A query with its candidates, opened; ``problems``: what could not be believed, in words."""

    case: Case
    summary: QuerySummary
    candidates: tuple[Numbered, ...]
    problems: tuple[str, ...] = ()

    @property
    def undecided(self) -> tuple[Numbered, ...]:
        """The candidates that are neither confirmed nor rejected."""
        return tuple(item for item in self.candidates if item.verdict == UNDECIDED)


def asked_by_me(session: Session, query_id: str) -> Case:
    """Return a query of the officer's own, whose results open for the officer.

    Args:
        session: an investigator's.
        query_id: the id, or its first digits.

    Raises:
        OfficerError: the officer is no investigator.
        OperationError: the query is somebody else's, or there is none.
        ProtocolError: it is not genuine.
    """
    me = session.officer
    me.require(INVESTIGATOR)
    case = session.case(query_id)
    if case.requester != me.name:
        raise OperationError(
            f"the query is {case.requester}'s: what it found is sealed to {case.requester} and "
            "opens for nobody else"
        )
    return case


def open_results(session: Session, case: Case, sealing: hpke.PrivateKey) -> Results:
    """Fetch the candidates of a query and open them; the aggregator logs that they were read.

    Raises:
        OperationError: the aggregator does not answer, or speaks of another query.
    """
    summary = session.summary(case)
    stored = session.client.results(case.id)
    candidates, problems = open_candidates(stored, case, sealing, session.officer.directory)
    return Results(case, summary, candidates, problems)


def trace(results: Results) -> Report:
    """Return the traces of a query's subjects: hits apart from what is not decided."""
    subjects = [subject.pseudonym for subject in results.case.query.subjects]
    return Report(
        query=results.case.query,
        digest=results.case.digest,
        requester=results.case.requester,
        state=results.summary.state,
        traces=tuple(traces_of(subjects, results.candidates)),
        exported_at_ms=system_ms(),
    )


def open_candidates(
    stored: Iterable[StoredResult], case: Case, sealing: hpke.PrivateKey, directory: Directory
) -> tuple[tuple[Numbered, ...], tuple[str, ...]]:
    """Open the candidates of a query and check each; return them, and what is wrong with others.

    A candidate's number is its place in the order of finding, which stays when more are found.
    """
    opened, problems = [], []
    for number, result in enumerate(stored, start=1):
        try:
            candidate = _open_candidate(result, case, sealing)
            verdict = _verdict(result, case, directory)
        except (ProtocolError, CaseInvalid) as error:
            problems.append(f"result {number} cannot be used: {error}")
            continue
        opened.append(Numbered(number, result.candidate_id, candidate, verdict))
    return tuple(opened), tuple(problems)


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
