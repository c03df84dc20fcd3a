"""What a change will mean for a site, in words that are said before it is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from protocol.directory import (
    AGGREGATOR,
    APPROVER,
    AUDITOR,
    CUSTODIAN,
    INVESTIGATOR,
    REGISTRAR,
    Directory,
    Principal,
)
from protocol.policy import Policy
from protocol.quorum import site_quorum
from runtime.policy_words import ANY_QUERY, confirmations_text, permitted, purposes_text

_NAMED = 8


class Weight(StrEnum):
    """What a consequence asks of who makes the change."""

    SAID = "said"
    """To be known; nothing is asked."""
    ASKED = "asked"
    """Done only after a yes."""
    REFUSED = "refused"
    """The site could never open anything again, or not go on: only with force."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """One consequence, as a sentence."""

    weight: Weight
    text: str


def agreement(custodians: int, threshold: int) -> str:
    """Say how many custodians must agree, and how many roles must cosign a log."""
    if custodians < threshold:
        return f"{custodians} custodians, of whom {threshold} would have to agree"
    needed = site_quorum(custodians, threshold)
    return (
        f"{threshold} of {custodians} custodians must agree; each log must be cosigned by {needed} "
        f"of the {custodians} other roles"
        + ("" if needed < custodians else ": while one is away, nothing new is covered")
    )


def of_revocation(directory: Directory, policy: Policy, name: str) -> list[Consequence]:
    """Return what putting ``name``, a principal in force, out of the site will mean."""
    principal = directory.principals[name]
    left = directory.revoke(name, at_ms=0)
    found = []
    if CUSTODIAN in principal.duties:
        found.append(_custodian(directory, left))
    if AGGREGATOR in principal.duties and not left.with_duty(AGGREGATOR):
        text = "the site has no aggregator any more: nothing is taken in or searched, for good"
        found.append(Consequence(Weight.REFUSED, text))
    if REGISTRAR in principal.duties:
        text = (
            "no box can join, or be revoked through the registrar, any more; boxes that it"
            " admitted are unknown at the next restart"
        )
        found.append(Consequence(Weight.ASKED, text))
    found.extend(_officer(principal, directory, left, policy))
    found.extend(of_darkness(principal))
    return found


def of_darkness(box: Principal) -> list[Consequence]:
    """Return what it means that a box in force goes: its cameras are nobody's."""
    if not box.cameras or box.revoked_at_ms is not None:
        return []
    text = f"nobody sees {', '.join(box.cameras)} until a box takes them over"
    return [Consequence(Weight.SAID, text)]


def _custodian(before: Directory, left: Directory) -> Consequence:
    count, needed = len(left.custodians()), left.threshold
    if count < needed:
        return Consequence(
            Weight.REFUSED,
            f"only {count} custodians are left of the {needed} that must grant: nothing can be"
            " opened any more, not even what is stored, and boxes cannot seal",
        )
    every = " (every one that is left: if one is lost, what is stored is lost)"
    return Consequence(
        Weight.ASKED,
        f"{needed} of {len(before.custodians())} custodians must agree now; afterwards"
        f" {agreement(count, needed)}{every if count == needed else ''}",
    )


def _officer(
    principal: Principal, before: Directory, left: Directory, policy: Policy
) -> Iterable[Consequence]:
    duties, add = principal.duties, "`sealtrace site add-officer` adds one"
    if AUDITOR in duties:
        yield Consequence(Weight.SAID, f"auditors left: {_left(left, AUDITOR)}")
        if not left.with_duty(AUDITOR):
            text = (
                "no auditor is left that log entries could be sealed to: custodians grant nothing"
                f" until there is one; {add}"
            )
            yield Consequence(Weight.REFUSED, text)
    if INVESTIGATOR in duties:
        text = f"investigators left: {_left(left, INVESTIGATOR)}"
        if policy.confirmations > 1:
            text += f"; investigators who must confirm a hit: {policy.confirmations}"
        yield Consequence(Weight.SAID, text)
        if not left.with_duty(INVESTIGATOR):
            text = f"no investigator is left: nobody can ask for a trace; {add}"
            yield Consequence(Weight.REFUSED, text)
        elif (text := _too_few_confirm(left, policy)) and not _too_few_confirm(before, policy):
            yield Consequence(Weight.REFUSED, f"{text}; {add}")
        text = f"what was found for queries of '{principal.name}' is sealed to them alone"
        yield Consequence(Weight.SAID, text)
    if APPROVER in duties:
        needed = ", ".join(
            f"{policy.approvals_for(basis)} ({basis})" for basis in sorted(policy.bases)
        )
        text = f"approvals needed: {needed}; approvers left: {_left(left, APPROVER)}"
        yield Consequence(Weight.SAID, text)
        known = set(too_few_approvers(before, policy))
        weight = Weight.REFUSED if none_can_be_approved(left, policy) else Weight.ASKED
        for text in too_few_approvers(left, policy):
            if text not in known:
                yield Consequence(weight, f"{text}; {add}")
        known = set(_too_few_for_options(before, policy))
        for text in _too_few_for_options(left, policy):
            if text not in known:
                yield Consequence(Weight.ASKED, f"{text}; {add}")
        text = f"queries that '{principal.name}' approved are granted no longer on that approval"
        yield Consequence(Weight.SAID, text)


def _left(left: Directory, duty: str) -> str:
    """Say how many officers with a duty are in force, and who."""
    officers = left.with_duty(duty)
    named = ", ".join(officer.name for officer in officers[:_NAMED])
    more = f" and {len(officers) - _NAMED} more" if len(officers) > _NAMED else ""
    return f"{len(officers)} ({named}{more})" if officers else "0"


def none_can_be_approved(directory: Directory, policy: Policy) -> bool:
    """Tell whether there are investigators, and too few approvers for any query of theirs."""
    queries = len(policy.bases) * len(directory.with_duty(INVESTIGATOR))
    return 0 < queries == len(too_few_approvers(directory, policy))


def too_few_approvers(directory: Directory, policy: Policy) -> list[str]:
    """Return for which queries there are fewer approvers in force than the policy demands."""
    approvers = {p.verify_key.raw for p in directory.with_duty(APPROVER)}
    found = []
    for basis in sorted(policy.bases):
        needed = policy.approvals_for(basis)
        for investigator in directory.with_duty(INVESTIGATOR):
            others = len(approvers - {investigator.verify_key.raw})
            if others < needed:
                found.append(
                    f"queries of '{investigator.name}' on the basis '{basis}' need {needed}"
                    f" approvals, and {others} other approvers are there: none can be approved"
                )
    return found


def of_policy(directory: Directory, before: Policy, after: Policy) -> list[Consequence]:
    """Return what putting another policy in force will mean."""
    text = "every query signed under the former policy is refused: open ones must be filed anew"
    found = [Consequence(Weight.SAID, text)]
    if after.retention_days < before.retention_days:
        found.append(
            Consequence(
                Weight.ASKED,
                f"what is kept falls from {before.retention_days} to {after.retention_days} days:"
                " custodians destroy the keys of older days as soon as they have it, for good",
            )
        )
    if after.programme_ends_ms < before.programme_ends_ms:
        text = "the programme ends earlier than it did: nothing is granted after that"
        found.append(Consequence(Weight.SAID, text))
    found.extend(_of_permissions(before, after))
    found.extend(_of_floors(before, after))
    known = set(_short_of_people(directory, before))
    found.extend(
        Consequence(Weight.ASKED, text)
        for text in _short_of_people(directory, after)
        if text not in known
    )
    return found


def _of_permissions(before: Policy, after: Policy) -> Iterable[Consequence]:
    """Return what is forbidden from then on and was not, and the other way round."""
    if after.schema > before.schema:
        text = (
            f"software that reads no policy of schema {after.schema} refuses it: update every"
            " custodian, the aggregator and the officers' machines first"
        )
        yield Consequence(Weight.SAID, text)
    if after.schema < before.schema:
        text = f"a policy of schema {after.schema} permits in silence what it cannot name"
        yield Consequence(Weight.ASKED, text)
    had, has = permitted(before), permitted(after)
    for gone in had:
        if gone not in has:
            text = f"forbidden from then on: {gone.what} (what would permit it: {gone.opening})"
            yield Consequence(Weight.ASKED if gone is ANY_QUERY else Weight.SAID, text)
    for new in has:
        if new not in had:
            yield Consequence(Weight.SAID, f"permitted from then on: {new.what}")
    if before.purposes != after.purposes:
        text = (
            f"what queries may be for: until now {purposes_text(before)}; from then on"
            f" {purposes_text(after)}"
        )
        yield Consequence(Weight.SAID, text)
    if after.consent_documents and not before.consent_documents:
        text = (
            "from then on a query on consent must name the document by its hash: who was enrolled"
            " without one is enrolled anew. Software that does not know consent_documents refuses"
            " the policy: update it first, on every machine"
        )
        yield Consequence(Weight.SAID, text)
    if before.consent_documents and not after.consent_documents:
        text = "from then on a query on consent need not name the document"
        yield Consequence(Weight.SAID, text)
    if before.confirmations != after.confirmations:
        yield Consequence(Weight.SAID, f"from then on {confirmations_text(after)}")


def _of_floors(before: Policy, after: Policy) -> Iterable[Consequence]:
    """Return which thresholds may be set lower or higher than before."""
    had, has = before.threshold_floor, after.threshold_floor
    for model in sorted({*had, *has}):
        if model not in has:
            text = f"no query may compare with {model} any more: it has no threshold_floor"
        elif model not in had:
            text = f"queries may compare with {model}, from {has[model]:.3f} on"
        elif had[model] != has[model]:
            way = "rises" if had[model] < has[model] else "falls"
            text = (
                f"the least threshold for {model} {way} from {had[model]:.3f} to {has[model]:.3f}"
            )
        else:
            continue
        yield Consequence(Weight.SAID, text)


def _short_of_people(directory: Directory, policy: Policy) -> list[str]:
    """Return for which queries there are fewer officers in force than the policy demands."""
    found = too_few_approvers(directory, policy)
    if text := _too_few_confirm(directory, policy):
        found.append(text)
    return [*found, *_too_few_for_options(directory, policy)]


def _too_few_for_options(directory: Directory, policy: Policy) -> list[str]:
    """Return of what queries cannot ask, on any basis, for want of approvers in force."""
    approvers = {officer.verify_key.raw for officer in directory.with_duty(APPROVER)}
    keys = _confirming_keys(directory)
    others = max((len(approvers - {key}) for key in keys), default=0)
    found = []
    for option, extra in sorted(policy.option_approvals.items()):
        needed = min(policy.approvals_for(basis, (option,)) for basis in policy.bases)
        if extra and others < needed:
            found.append(
                f"queries that ask for {option} need at least {needed} approvals, and {others}"
                " other approvers are there: none can be approved"
            )
    return found


def _confirming_keys(directory: Directory) -> set[bytes]:
    """Return the keys of investigators in force whom results can be sealed to."""
    return {
        officer.verify_key.raw for officer in directory.with_duty(INVESTIGATOR) if officer.seal_key
    }


def _too_few_confirm(directory: Directory, policy: Policy) -> str:
    """Say that too few investigators are in force to confirm a hit; empty if there are enough."""
    count = len(_confirming_keys(directory))
    if count >= policy.confirmations:
        return ""
    return (
        f"{policy.confirmations} investigators must confirm a hit, and {count} with a key"
        " to seal results to are in force: no query is permitted"
    )


def of_adding(duties: Iterable[str], name: str) -> list[Consequence]:
    """Return what adding an officer with these duties will mean."""
    if {APPROVER, AUDITOR} <= set(duties):
        text = f"'{name}' approves and audits, so audits their own approvals"
        return [Consequence(Weight.SAID, text)]
    return []
