"""Say in plain words what a query would open and where it stands, for who signs it or looks.

The same on every face. What a signature answers for is told from the signed query alone; what only
the aggregator says is marked as its word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from officers.desk.api_client import Estimate, QuerySummary
from officers.desk.by_words import words_note
from officers.desk.case import Case
from officers.desk.choosing import places_text
from officers.desk.example_names import example_text
from officers.desk.late_films import late_film_lines
from officers.desk.moments import duration_text, iso_utc, local_text, span_text
from protocol.directory import Directory
from protocol.enrolment import check_witnessed
from protocol.errors import ProtocolError
from protocol.keytree import APPEARANCE, FACE
from protocol.names import SLOT_MS, SightingName, slot_start_ms
from protocol.places import Places
from protocol.policy import (
    CONSENT,
    LINKED_CONTACTS,
    NEAR_CONTACTS,
    STATUTORY_ORDER,
    Policy,
)
from protocol.query import Asked, Query, Subject
from runtime import policy_words
from runtime.text import counted

_BASES = {CONSENT: "the subjects' recorded consent", STATUTORY_ORDER: "a statutory order"}
_MODALITIES = {FACE: "face templates", APPEARANCE: "appearance templates (clothing, build)"}

_OPTIONS = {
    "live": "opening while it runs",
    NEAR_CONTACTS: "contacts",
    LINKED_CONTACTS: "linked contacts",
    "continuation": "continuation",
    "same_place_counts": "same-place counts",
    "evidence": "stills",
}
_ONE_PERSON = (
    " (of one person by the word of the asker's program and of the matcher: nobody else sees them)"
)


@dataclass(frozen=True, slots=True)
class Fact:
    """What it is about, and the words.

    ``headquarters``: so says the aggregator; what is not marked so was verified on this machine.
    """

    about: str
    words: str
    headquarters: bool = False


def query_facts(
    query: Query,
    requester: str,
    directory: Directory,
    policy: Policy,
    *,
    now_ms: int,
    places: Places | None = None,
) -> list[Fact]:
    """Return everything that a signature under this query would answer for."""
    where = places_text(query.cameras, places)
    floors = {model: policy.floor_of(model, by_words=query.by_words) for model in query.thresholds}
    readers = " and ".join([requester, *query.confirmers])
    return [
        Fact("query", query.query_id.hex()),
        Fact("asked by", f"{requester}, {local_text(query.requested_at_ms)}"),
        *_subject_facts(query),
        *_witness_facts(query, requester, directory, now_ms),
        Fact("purpose", query.purpose),
        *([Fact("purpose kind", query.purpose_kind)] if query.purpose_kind else []),
        Fact("legal basis", f"{query.legal_basis}: {_BASES.get(query.legal_basis, 'unknown')}"),
        Fact("cameras", f"{len(query.cameras)}: {', '.join(query.cameras)}"),
        *([Fact("places", where)] if where else []),
        Fact("from", f"{local_text(query.window_from_ms)}   ({iso_utc(query.window_from_ms)})"),
        Fact("until", f"{local_text(query.window_to_ms)}   ({iso_utc(query.window_to_ms)})"),
        Fact("would open", _opening(query)),
        Fact("rows", _rows(query)),
        Fact("live", _live(query)),
        Fact("contacts", _contacts(query)),
        *_option_facts(query, policy),
        Fact(
            "thresholds",
            "\n".join(
                f"{score:.3f} for {model}"
                + (
                    ""
                    if (least := floors[model]) is None
                    else f" (the policy's least: {least:.3f})"
                )
                for model, score in sorted(query.thresholds.items())
            ),
        ),
        Fact(
            "candidates",
            f"at most {query.max_candidates}, readable for {readers} alone; a hit is what "
            f"{_confirming(query, requester, policy)}",
        ),
        Fact(
            "false candidates",
            f"{false_words(query.expected_false)} expected by chance among what was stored when "
            f"{requester} asked",
        ),
        Fact("valid until", local_text(query.not_after_ms)),
    ]


def estimate_facts(query: Query, estimate: Estimate, *, now_ms: int) -> list[Fact]:
    """Return what the aggregator counts in the query's scope by now."""
    so_far = " so far (the window is not over)" if query.window_to_ms > now_ms else ""
    bound = "at most " if estimate.at_most else ""
    counted = f"{bound}{estimate.sightings:,} sightings stored{so_far}"
    if query.by_words:
        chance = "how many match by chance is what was expected when it was asked"
    elif estimate.expected_false is None:
        chance = "how many would match by chance is not measured"
    else:
        chance = f"{false_words(estimate.expected_false)} by chance among them"
    if estimate.told_twice:
        quarters = "1 quarter hour" if estimate.told_twice == 1 else "quarter hours"
        number = "" if estimate.told_twice == 1 else f"{estimate.told_twice:,} "
        chance += (
            f" (of {number}{quarters} of cameras several boxes tell, or a box and its film: who "
            "passed there counts for each)"
        )
    return [
        Fact("in scope", f"{counted}; {chance}", headquarters=True),
        Fact("of version 1", _of_version_1(estimate), headquarters=True),
    ]


def policy_facts(query: Query, policy: Policy, refusal: str) -> list[Fact]:
    """Return whether the policy held here permits the query, what it permits, and its approvals."""
    verdict = f"would refuse it: {refusal}" if refusal else "permits it"
    facts = [
        Fact("policy", f"version {policy.version} {verdict}"),
        Fact("its purposes", policy_words.purposes_text(policy)),
        Fact("it permits", policy_words.permitted_text(policy)),
        Fact("confirmations", policy_words.confirmations_text(policy)),
    ]
    if query.legal_basis in policy.bases:
        facts.append(Fact("approvals", _approvals(query, policy)))
    return facts


def approval_facts(approvers: Sequence[str], problems: Sequence[str], needed: int) -> list[Fact]:
    """Return whose approvals were verified here, and which do not count."""
    names = ", ".join(approvers) or "-"
    facts = [
        Fact("approved by", f"{len(approvers)} of {needed}: {names} (signatures checked here)")
    ]
    return facts + [Fact("does not count", problem) for problem in problems]


def state_facts(summary: QuerySummary) -> list[Fact]:
    """Return where the query stands, as the aggregator says."""
    said = [
        ("withdrawn by", f"{w.officer}, {local_text(w.at_ms)}: {w.reason}")
        for w in summary.withdrawals
    ]
    said.append(("state", state_text(summary)))
    if summary.progress.get("sightings"):
        said.append(("compared", f"at most {summary.progress['sightings']:,} sightings"))
    if summary.progress.get("altered"):
        said.append(("altered", f"{summary.progress['altered']} envelopes fail authentication"))
    said += [
        ("false grant", f"{found.custodian}, {local_text(found.at_ms)}: {found.reason}")
        for found in summary.false_grants
    ]
    said.append(("found", counted(summary.candidates, "candidate")))
    said += [("came late", line.strip()) for line in late_film_lines(summary.late_films)]
    for name, count in sorted(summary.progress.items()):
        about, _, camera = name.partition(".")
        if about == "left_out" and count:
            said.append(
                ("left out", f"{counted(count, 'more candidate')} at {camera}, beyond its share")
            )
        elif about == "lying" and count:
            words = f"{count} at {camera}: their times are not those of their quarter hour"
            said.append(("impossible", words))
    return [Fact(about, words, headquarters=True) for about, words in said]


def state_text(summary: QuerySummary) -> str:
    """Return the state with its reason."""
    return f"{summary.state}: {summary.reason}" if summary.reason else summary.state


def case_json(case: Case, refusal: str, directory: Directory, *, now_ms: int) -> dict[str, Any]:
    """Return the verified query as JSON values."""
    query = case.query
    return {
        "id": case.id,
        "digest": case.digest.hex(),
        "requester": case.requester,
        "policy_objection": refusal or None,
        "subjects": [
            {
                "pseudonym": subject.pseudonym,
                "consent_reference": subject.consent_reference,
                "templates": [
                    {"modality": t.modality, "model": t.model} for t in subject.templates
                ],
                "examples": [example_text(example) for example in subject.examples],
                "words": subject.words or None,
                "witness": _witness_json(subject, case.requester, directory, now_ms),
            }
            for subject in query.subjects
        ],
        "version": query.version,
        "purpose": query.purpose,
        "purpose_kind": query.purpose_kind or None,
        "confirmers": list(query.confirmers),
        "legal_basis": query.legal_basis,
        "cameras": list(query.cameras),
        "window_from": iso_utc(query.window_from_ms),
        "window_to": iso_utc(query.window_to_ms),
        "modalities": list(query.modalities),
        "live": query.live,
        "contacts": query.contacts,
        "linked_contacts": query.asks.linked_contacts,
        "continuation": query.asks.continuation,
        "same_place_counts": query.asks.same_place_counts,
        "afterwards_minutes": query.asks.afterwards_min,
        "evidence_stills": query.asks.evidence_stills,
        "thresholds": dict(query.thresholds),
        "max_candidates": query.max_candidates,
        "expected_false": query.expected_false,
        "requested_at": iso_utc(query.requested_at_ms),
        "not_after": iso_utc(query.not_after_ms),
    }


def false_words(expected: float) -> str:
    """Return an expected number of false candidates, in words that do not promise none."""
    if expected == 0:
        return "0 false candidates"
    if expected < 0.01:
        return f"fewer than 0.01 false candidates ({expected:.1e})"
    return (
        f"{expected:.2f} false candidates" if expected < 10 else f"{expected:,.0f} false candidates"
    )


def _subject_facts(query: Query) -> list[Fact]:
    facts = []
    for subject in query.subjects:
        held = ", ".join(sorted({template.modality for template in subject.templates}))
        count, examples = len(subject.templates), len(subject.examples)
        brought = []
        if count:
            several = _ONE_PERSON if count > 1 else ""
            brought.append(f"{count} {held} template{'s' if count > 1 else ''}{several}")
        if examples:
            brought.append(
                f"{examples} earlier sighting{'s' if examples > 1 else ''} in place of photographs"
            )
        facts.append(
            Fact(
                "looks for",
                f"{subject.pseudonym}, consent or order {subject.consent_reference}, "
                + ", ".join(brought),
            )
        )
        if subject.words:
            facts.append(Fact("by words", f"{subject.pseudonym}: {_said(subject)}"))
        facts += [Fact("by example", _example(example, query)) for example in subject.examples]
    return facts


def _said(subject: Subject) -> str:
    """Say what clothes are looked for, and whose word it is."""
    return f"{words_note(subject)} (its template was made of these words by the asker's program)"


def _example(example: SightingName, query: Query) -> str:
    """Say which sighting stands in for photographs, and what becomes of its template."""
    begins_ms = slot_start_ms(example.epoch, example.slot)
    kinds = " and ".join(_MODALITIES[modality] for modality in sorted(query.modalities))
    return (
        f"{example.camera}, {span_text(begins_ms, begins_ms + SLOT_MS)}: the {kinds} of the "
        "sighting there, for the matching process alone, once that quarter hour is opened\n"
        f"({example_text(example)})"
    )


def _witness_facts(
    query: Query, requester: str, directory: Directory, now_ms: int
) -> Iterator[Fact]:
    """Say of each subject who stands behind whose photographs they were."""
    for subject in query.subjects:
        name = subject.pseudonym
        if subject.words and not subject.witnessed:
            words = f"by nobody: that the template is of these words is {requester}'s word alone"
        elif not subject.witnessed:
            shown = "photographs are" if subject.templates else "earlier sightings are"
            words = f"by nobody: that the {shown} {name}'s is {requester}'s word alone"
        else:
            try:
                said, witness = check_witnessed(
                    subject, requester=requester, directory=directory, now_ms=now_ms
                )
                words = (
                    f"by {witness}, {local_text(said.witnessed_at_ms)}, over the document whose "
                    f"SHA-256 is {said.consent_document.hex()}"
                )
            except ProtocolError as error:
                words = f"by nobody that counts: {error}"
        yield Fact("witnessed", f"{name}: {words}")


def _witness_json(
    subject: Subject, requester: str, directory: Directory, now_ms: int
) -> dict[str, str] | None:
    """Return who witnessed, when and over which document; None if nobody whose word counts."""
    try:
        said, witness = check_witnessed(
            subject, requester=requester, directory=directory, now_ms=now_ms
        )
    except ProtocolError:
        return None
    return {
        "name": witness,
        "at": iso_utc(said.witnessed_at_ms),
        "consent_document": said.consent_document.hex(),
    }


def _option_facts(query: Query, policy: Policy) -> list[Fact]:
    """Say of each option of the second form whether it is asked for."""
    if query.version == 1:
        return []
    asks = query.asks
    stills = f"yes: of at most {asks.evidence_stills} sightings" if asks.evidence_stills else "no"
    return [
        Fact(
            "linked contacts",
            _linked(query) if asks.linked_contacts else "no",
        ),
        Fact(
            "continuation",
            f"yes: whoever was confirmed is followed by clothes and build, "
            f"{policy.permits.continuation_minutes} minutes before and after, over these cameras. "
            f"It opens up to {query.max_candidates // 2} of the rows, of people dressed alike, and "
            "identifies nobody; none of them is followed in turn"
            if asks.continuation
            else "no",
        ),
        Fact(
            "same-place counts",
            _counts(asks) if asks.same_place_counts else "no",
        ),
        Fact("stills", stills),
    ]


def _approvals(query: Query, policy: Policy) -> str:
    """Say how many approvals are needed, and for what."""
    extra = policy.bases[query.legal_basis].extra_approvals
    reasons = [(policy.approvals, "of every query"), (extra, f"for {query.legal_basis}")]
    reasons += [
        (policy.approvals_for_option(option), f"for {_OPTIONS[option]}") for option in query.options
    ]
    why = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
    return f"{policy.approvals_for(query.legal_basis, query.options)} needed: {why}"


def _opening(query: Query) -> str:
    slots = (query.window_to_ms - query.window_from_ms) // SLOT_MS
    kinds = " and ".join(_MODALITIES[modality] for modality in sorted(query.modalities))
    return (
        f"{duration_text(slots * SLOT_MS / 1000)} on {len(query.cameras)} "
        f"camera{'s' if len(query.cameras) > 1 else ''} ({slots * len(query.cameras):,} "
        f"camera quarter hours): the {kinds} of everybody seen there, to the matching process, "
        "which keeps those that reach the threshold and wipes the rest"
    )


def _rows(query: Query) -> str:
    return (
        f"at most {query.max_candidates} are opened: times, mask and contacts of what reaches the "
        "threshold, and of the same person before and after at that camera; each custodian counts "
        "them, and its receipts are compared with the results"
    )


def _of_version_1(estimate: Estimate) -> str:
    """Say how many generations of the scope open by quarter hours, not by rows."""
    count = estimate.version_1_generations
    if count is None:
        return (
            "not known: the aggregator does not say how much of it boxes sealed in version 1, of "
            "which the metadata of everybody in these hours opens to the aggregator"
        )
    if not count:
        return "none of what is stored there: its metadata opens row by row alone"
    return (
        f"{count:,} {'day of a camera' if count == 1 else 'days of cameras'} stored there: the "
        "metadata (times, mask, who was near) of everybody in these hours opens to the aggregator"
    )


def _live(query: Query) -> str:
    if query.live:
        return "yes: each quarter hour is opened while it still runs, until the window ends"
    if query.ahead_ms:
        return (
            f"in effect: {duration_text(query.ahead_ms / 1000)} of the window lay ahead when it "
            "was asked for; each quarter hour of it is opened as soon as it has ended"
        )
    return "no: a quarter hour is opened after it has ended"


def _confirming(query: Query, requester: str, policy: Policy) -> str:
    officers, needed = 1 + len(query.confirmers), policy.confirmations
    if officers == 1:
        return f"{requester} confirms"
    if needed >= officers:
        return "each of them confirms and none rejects"
    words = "one of them confirms" if needed == 1 else f"{needed} of them confirm"
    return f"{words} and none rejects"


def _linked(query: Query) -> str:
    """Say what is compared to tell who is one person, and what is told of it."""
    kinds = " and ".join(_MODALITIES[modality] for modality in sorted(query.modalities))
    return (
        f"yes: once a candidate is confirmed, the {kinds} of everybody who was near are compared "
        "with one another, in the memory of the matching process alone: whoever was near at "
        "several cameras has one number. That is biometric data of people whom nobody asked. "
        "Officers read the numbers, of this query alone; no template, no likeness and no row of "
        "theirs"
    )


def _counts(asks: Asked) -> str:
    when = "of each camera and quarter hour"
    if asks.afterwards_min:
        when = (
            "of each camera of the query, from the quarter hour of a sighting that was confirmed "
            f"until {duration_text(asks.afterwards_min * 60)} afterwards,"
        )
    return (
        f"yes: {when} how many people were there and how many wore a mask, in numbers, not who; "
        "numbers below five are told as <5"
    )


def _contacts(query: Query) -> str:
    if query.contacts:
        return "yes: who was near a candidate (distance, seconds, mask), not who they are"
    return "no"


def approvals_text(summary: QuerySummary) -> str:
    """Return how many approvals there are, of how many, and whose."""
    names = ", ".join(approval.approver for approval in summary.approvals)
    return f"{len(summary.approvals)} of {summary.approvals_needed} approvals" + (
        f" ({names})" if names else ""
    )
