"""The steps that the commands of `sealtrace query` share: show, ask, sign, send the templates."""

from __future__ import annotations

from datetime import datetime

import typer

from officers import drafting
from officers.api_client import Estimate, QuerySummary
from officers.casework import Case, matcher_key_of, standing_approvals
from officers.drafting import OpenedSubject
from officers.moments import local_text, parse_moment, to_milliseconds, whole_slots
from officers.query_text import (
    Fact,
    approval_facts,
    estimate_facts,
    facts_table,
    policy_facts,
    query_facts,
    state_facts,
)
from officers.session import Session
from protocol.errors import ProtocolError
from protocol.query import Query
from protocol.templates import seal_templates
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.terminal import err, note, out, show_table, warn


class Declined(OperationError):
    """The officer was asked and did not say yes."""


def window_of(start: str, end: str, now: datetime) -> tuple[int, int]:
    """Return the window in whole quarter hours, ms UTC; say so when that made it wider.

    Raises:
        MomentInvalid: one of the texts is not a moment, or the window is empty.
    """
    begins, ends = parse_moment(start, now=now), parse_moment(end, now=now)
    from_ms, to_ms = whole_slots(begins, ends)
    if (from_ms, to_ms) != (to_milliseconds(begins), to_milliseconds(ends)):
        note(
            "the window is widened to whole quarter hours, the least that keys exist for: "
            f"{local_text(from_ms)} to {local_text(to_ms)}"
        )
    return from_ms, to_ms


def stated_false(estimate: Estimate, templates: int) -> float:
    """Return the false candidates to state in the query; without a measurement, the worst case."""
    if estimate.expected_false is not None:
        return estimate.expected_false
    warn(
        "false matches of these models are not measured here: the query states the worst case, "
        "every sighting in scope"
    )
    return float(estimate.sightings * templates)


def file_query(session: Session, query: Query, subjects: list[OpenedSubject]) -> QuerySummary:
    """Sign a query, file it, and hand its templates over, sealed to the matcher.

    Raises:
        OperationError: it could not be filed, or is filed without its templates as yet.
        MalformedMessage: it is not a query that anybody would accept.
    """
    me = session.officer
    signed = query.sign(me.identity())
    Query.parse(signed.payload)
    case = Case(query, signed.digest, me.name, signed.to_bytes())
    me.keep_query(query.query_id, case.signed)
    session.client.file(case.signed)
    try:
        return send_templates(session, case, subjects)
    except (OperationError, ProtocolError) as error:
        raise OperationError(
            f"the query is filed as {case.id}, but its templates are not there yet ({error}); "
            f"send them with `sealtrace query resume {case.id} --subject FILE`"
        ) from error


def send_templates(session: Session, case: Case, subjects: list[OpenedSubject]) -> QuerySummary:
    """Have the matcher make a key, verify it, and hand over the templates sealed to it.

    Raises:
        DraftInvalid: the subjects are not those of the query.
        SignatureInvalid, CaseInvalid: the key is not the site's aggregator's for this query.
    """
    templates = drafting.templates_for(case.query, subjects)
    session.summary(case)
    key = matcher_key_of(session.client.matcher_key(case.id), case, session.officer.directory)
    sealed = seal_templates(templates, key, query_digest=case.digest)
    return session.client.put_templates(case.id, sealed)


def own_case(session: Session, query_id: str) -> Case:
    """Return a query of the officer's own.

    Raises:
        OperationError: it is somebody else's.
    """
    case = session.case(session.full_id(query_id))
    if case.requester != session.officer.name:
        raise OperationError(
            f"the query is {case.requester}'s, and only {case.requester} can send its templates"
        )
    return case


def case_facts(session: Session, case: Case, summary: QuerySummary, refusal: str) -> list[Fact]:
    """Return all that an approver must see; ``refusal``: why the policy forbids it, or empty."""
    query, policy = case.query, session.officer.policy
    facts = query_facts(query, case.requester, policy)
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
        facts.append(("in scope", f"the aggregator gives no estimate: {error}"))
    approvers, problems = standing_approvals(
        session.client.approvals(case.id), case, session.officer.directory, policy
    )
    return [
        *facts,
        *policy_facts(query, policy, refusal),
        *approval_facts(approvers, problems, summary.approvals_needed),
        *state_facts(summary),
    ]


def show_facts(facts: list[Fact], *, quiet: bool = False) -> None:
    """Print facts; on standard error if ``quiet``, so that the output stays a program's."""
    show_table(facts_table(facts), err if quiet else out)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless ``yes``.

    Raises:
        Declined: the answer was not yes, or there was nobody to ask.
    """
    if yes:
        return
    try:
        agreed = typer.confirm(f"\n{question}", default=False, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise Declined("nothing was signed (answer y, or give --yes)")


def approvals_text(summary: QuerySummary) -> str:
    """Return how many approvals there are, of how many, and whose."""
    names = ", ".join(approval.approver for approval in summary.approvals)
    return f"{len(summary.approvals)} of {summary.approvals_needed} approvals" + (
        f" ({names})" if names else ""
    )
