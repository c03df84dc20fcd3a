"""Gather what a report says besides the traces: who approved, and how far each log had grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from officers.desk.case import Case
from officers.desk.export_forms import Report
from officers.desk.forms.around import Around
from officers.desk.officer import Officer
from officers.desk.report.plan import Plan
from officers.desk.results import Results, trace
from officers.desk.session import Session
from officers.desk.verdicts import needed_confirmations
from protocol.about_queries import APPROVAL_KIND, Approval
from protocol.auditlog import origin_of, verify_checkpoint
from protocol.authorization import check_approval
from protocol.directory import AGGREGATOR, CUSTODIAN, Principal
from protocol.errors import ProtocolError
from protocol.signing import Signed
from runtime.errors import OperationError, explained
from runtime.http import raise_for_problem
from runtime.peers import at_once, client_of


@dataclass(frozen=True, slots=True)
class Approved:
    """An approval whose signature was verified here: by whom, and when by their word."""

    approver: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log had grown: entries and the root over them; ``silence``: why it is not known."""

    keeper: str
    size: int = 0
    root: bytes = b""
    silence: str = ""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that a report is made of.

    Args:
        needed: how many officers must confirm a hit.
        approvals_needed: how many must have approved; None if the policy here has no such basis.
    """

    case: Case
    report: Report
    around: Around
    officer: str
    policy_version: int
    needed: int
    approvals: tuple[Approved, ...]
    approvals_needed: int | None
    heads: tuple[Head, ...]
    plan: Plan


def gather(
    session: Session, results: Results, around: Around, *, plan: Plan | None = None
) -> Gathered:
    """Fetch and verify what a report says of approvals and logs.

    Args:
        session: the officer's.
        results: as opened.
        around: from `around_of`.
        plan: the site's, drawn under the ways.

    Raises:
        OperationError: the aggregator does not answer.
    """
    me, case = session.officer, results.case
    policy, query = me.policy, case.query
    basis = query.legal_basis in policy.bases
    return Gathered(
        case=case,
        report=trace(results),
        around=around,
        officer=me.name,
        policy_version=policy.version,
        needed=needed_confirmations(case, policy),
        approvals=_approvals(session.client.approvals(case.id), case, me),
        approvals_needed=policy.approvals_for(query.legal_basis, query.options) if basis else None,
        heads=heads_of(me),
        plan=plan or Plan(),
    )


def heads_of(officer: Officer) -> tuple[Head, ...]:
    """Ask every role that keeps a log how far it has grown; one that is silent stops nobody."""
    directory = officer.directory
    keepers = [*directory.with_duty(AGGREGATOR), *directory.with_duty(CUSTODIAN)]

    def head(keeper: Principal) -> Head:
        try:
            with client_of(keeper, officer.tls) as http:
                text = raise_for_problem(http.get("/v1/log/checkpoint")).text
            origin = origin_of(directory.site, keeper.name)
            said = verify_checkpoint(text, origin=origin, key=keeper.verify_key)
        except (OperationError, ProtocolError) as error:
            return Head(keeper.name, silence=explained(error))
        return Head(keeper.name, said.size, said.root)

    return tuple(at_once(keepers, head))


def _approvals(listed: Sequence[bytes], case: Case, officer: Officer) -> tuple[Approved, ...]:
    """Return the approvals that count, each approver's first, in order of time."""
    first: dict[str, int] = {}
    for data in listed:
        try:
            signed = Signed.parse(data, kind=APPROVAL_KIND)
            name = check_approval(
                signed, case.digest, case.requester, officer.directory, officer.policy
            )
            at_ms = Approval.parse(signed.payload).approved_at_ms
        except ProtocolError:
            continue  # `sealtrace query show` says which do not count, and why
        first[name] = min(at_ms, first.get(name, at_ms))
    return tuple(Approved(name, at) for name, at in sorted(first.items(), key=lambda one: one[1]))
