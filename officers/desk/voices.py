"""Who said yes or no to a query: each signature checked here, the newest word of each counting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from officers.desk.case import Case
from officers.desk.facts import Fact
from officers.desk.phrases import Phrase, moment, phrase, theirs
from officers.desk.session import Session
from protocol.about_queries import APPROVAL_KIND, REFUSAL_KIND, Approval
from protocol.authorization import check_approval
from protocol.directory import Directory
from protocol.errors import ProtocolError
from protocol.policy import Policy
from protocol.refusing import check_refusal, still_able
from protocol.signing import Signed


@dataclass(frozen=True, slots=True)
class Approved:
    """An approver's yes, verified here."""

    approver: str
    at_ms: int
    by_passkey: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """An approver's no, verified here; ``overtaken``: the same approver has approved since."""

    approver: str
    reason: str
    at_ms: int
    by_passkey: bool
    overtaken: bool


@dataclass(frozen=True, slots=True)
class Voices:
    """What approvers said of a query.

    ``problems``: what was handed out and does not count, and why. ``able``: the approvers in force
    who have approved it or still can; ``needed``: how many approvals the policy held here asks for.
    """

    approvals: tuple[Approved, ...]
    refusals: tuple[Refused, ...]
    problems: tuple[str, ...]
    able: tuple[str, ...]
    needed: int

    @property
    def refused(self) -> bool:
        """Whether so many refused that the others are too few to approve it."""
        return any(not one.overtaken for one in self.refusals) and len(self.able) < self.needed

    def refusal_of(self, approver: str) -> Refused | None:
        """Return the refusal of one approver that stands."""
        stands = (one for one in self.refusals if not one.overtaken)
        return next((one for one in stands if one.approver == approver), None)


def hear(session: Session, case: Case, needed: int) -> Voices:
    """Fetch what approvers signed of a query, and hold it against directory and policy.

    Args:
        session: anybody's.
        case: the query, verified.
        needed: how many approvals it takes.

    Raises:
        OperationError: the aggregator gives none of it.
    """
    return weigh(
        session.client.approvals(case.id),
        session.client.refusals(case.id),
        case,
        directory=session.officer.directory,
        policy=session.officer.policy,
        needed=needed,
    )


def weigh(
    approved: Iterable[bytes],
    refused: Iterable[bytes],
    case: Case,
    *,
    directory: Directory,
    policy: Policy,
    needed: int,
) -> Voices:
    """Hold signed approvals and refusals against a query as custodians hold approvals.

    Args:
        approved, refused: as they were handed out.
        needed: how many approvals it takes.
    """
    problems: list[str] = []
    approvals: dict[str, Approved] = {}
    for data in approved:
        try:
            signed = Signed.parse(data, kind=APPROVAL_KIND)
            name = check_approval(signed, case.digest, case.requester, directory, policy)
            at_ms = Approval.parse(signed.payload).approved_at_ms
            approvals[name] = Approved(name, at_ms, signed.by_passkey)
        except ProtocolError as error:
            problems.append(str(error))
    refusals: dict[str, Refused] = {}
    for data in refused:
        try:
            signed = Signed.parse(data, kind=REFUSAL_KIND)
            said = check_refusal(signed, case.digest, case.requester, directory, policy)
        except ProtocolError as error:
            problems.append(str(error))
            continue
        yes = approvals.get(signed.signer)
        refusals[signed.signer] = Refused(
            signed.signer,
            said.reason,
            said.refused_at_ms,
            signed.by_passkey,
            overtaken=yes is not None and yes.at_ms >= said.refused_at_ms,
        )
    gone = [one.approver for one in refusals.values() if not one.overtaken]
    return Voices(
        tuple(sorted(approvals.values(), key=lambda one: one.approver)),
        tuple(sorted(refusals.values(), key=lambda one: one.approver)),
        tuple(problems),
        still_able(directory, case.requester, gone),
        needed,
    )


def refusal_facts(voices: Voices) -> list[Fact]:
    """Return who refused, when and why."""
    return [Fact("refused by", _refused_words(one)) for one in voices.refusals]


def _refused_words(one: Refused) -> Phrase:
    values = {"name": one.approver, "moment": moment(one.at_ms), "reason": theirs(one.reason)}
    if one.overtaken:
        return phrase("{name}, {moment}: “{reason}”; approved it since", **values)
    return phrase("{name}, {moment}: “{reason}” (signature checked here)", **values)
