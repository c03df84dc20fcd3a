"""Look at a query: as it was signed, verified here, and where it stands, by others' word."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk.api_client import QuerySummary
from officers.desk.camera_places import kept_register
from officers.desk.case import Case, objection
from officers.desk.facts import (
    Fact,
    approval_facts,
    estimate_facts,
    policy_facts,
    query_facts,
    state_facts,
)
from officers.desk.phrases import phrase
from officers.desk.session import Session
from officers.desk.voices import Voices, hear, refusal_facts
from runtime.clock import system_ms
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class View:
    """A query and where it stands; ``objection``: why the policy would refuse it, or empty."""

    case: Case
    summary: QuerySummary
    objection: str


def look(session: Session, query_id: str) -> View:
    """Fetch a query, verify it, and hold it against the policy that is installed here.

    Args:
        session: anybody's.
        query_id: the id, or its first digits.

    Raises:
        OperationError: there is no such query, or the aggregator contradicts itself.
        ProtocolError: it is not genuine.
    """
    case = session.case(query_id)
    summary = session.summary(case)
    me = session.officer
    return View(case, summary, objection(case, me.directory, me.policy, now_ms=system_ms()))


def voices_of(session: Session, view: View) -> Voices:
    """Return what approvers said of a query, verified here.

    Raises:
        OperationError: the aggregator gives none of it.
    """
    query, policy = view.case.query, session.officer.policy
    needed = view.summary.approvals_needed
    if query.legal_basis in policy.bases:
        needed = policy.approvals_for(query.legal_basis, query.options)
    return hear(session, view.case, needed)


def facts_of(session: Session, view: View, voices: Voices | None = None) -> tuple[Fact, ...]:
    """Return all that an approver must see of a query before signing.

    Args:
        voices: what approvers said, if it has been fetched.
    """
    case, policy, directory = view.case, session.officer.policy, session.officer.directory
    query = case.query
    facts = query_facts(
        query,
        case.requester,
        directory,
        policy,
        now_ms=system_ms(),
        places=kept_register(session.officer),
    )
    try:
        count = sum(len(subject.templates) for subject in query.subjects)
        estimate = session.client.estimate(
            query.cameras,
            query.window_from_ms,
            query.window_to_ms,
            query.thresholds,
            templates=count,
        )
        facts += estimate_facts(query, estimate, now_ms=system_ms())
    except OperationError as error:
        facts.append(
            Fact(
                phrase("in scope"), phrase("the aggregator gives no estimate: {error}", error=error)
            )
        )
    said = voices or voices_of(session, view)
    return (
        *facts,
        *policy_facts(query, policy, view.objection),
        *approval_facts([one.approver for one in said.approvals], said.problems, said.needed),
        *refusal_facts(said),
        *state_facts(view.summary),
    )
