"""Say in plain words what a query would open and where it stands, for who signs it or looks.

The same on every face. What a signature answers for is told from the signed query alone; what only
the aggregator says is marked as its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from officers.desk.api_client import Estimate, QuerySummary
from officers.desk.choosing import places_text
from officers.desk.consent_documents import document_words
from officers.desk.late_films import late_film_lines
from officers.desk.moments import iso_utc
from officers.desk.phrases import Phrase, listed, marked, moment, nphrase, phrase, theirs
from officers.desk.query_words import (
    approvals_words,
    basis_words,
    candidates_words,
    contacts_words,
    continuation_words,
    counts_words,
    linked_words,
    live_words,
    moment_words,
    opening_words,
    rows_words,
    thresholds_words,
)
from officers.desk.still_facts import stills_asked
from officers.desk.subject_words import (
    by_words_words,
    example_words,
    looks_for_words,
    witness_words,
)
from protocol.directory import Directory
from protocol.places import Places
from protocol.policy import Policy
from protocol.query import Query
from runtime import policy_words

_STATES = {
    "awaiting-templates": marked("awaiting-templates"),
    "awaiting-approvals": marked("awaiting-approvals"),
    "running": marked("running"),
    "standing": marked("standing"),
    "blocked": marked("blocked"),
    "refused": marked("refused"),
    "complete": marked("complete"),
    "withdrawn": marked("withdrawn"),
    "expired": marked("expired"),
    "failed": marked("failed"),
}
"""Of a query, at the aggregator."""


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
    when_asked = moment(query.requested_at_ms)
    return [
        Fact(phrase("query"), query.query_id.hex()),
        Fact(phrase("asked by"), phrase("{officer}, {when}", officer=requester, when=when_asked)),
        *_subject_facts(query),
        *(
            Fact(phrase("document"), words)
            for words in (document_words(subject, query) for subject in query.subjects)
            if words is not None
        ),
        *(
            Fact(phrase("witnessed"), witness_words(subject, requester, directory, now_ms))
            for subject in query.subjects
        ),
        Fact(phrase("purpose"), theirs(query.purpose)),
        *([Fact(phrase("purpose kind"), query.purpose_kind)] if query.purpose_kind else []),
        Fact(phrase("legal basis"), basis_words(query)),
        Fact(phrase("cameras"), f"{len(query.cameras)}: {', '.join(query.cameras)}"),
        *([Fact(phrase("places"), where)] if where else []),
        Fact(phrase("from"), moment_words(query.window_from_ms, iso_utc(query.window_from_ms))),
        Fact(phrase("until"), moment_words(query.window_to_ms, iso_utc(query.window_to_ms))),
        Fact(phrase("would open"), opening_words(query)),
        Fact(phrase("rows"), rows_words(query)),
        Fact(phrase("live"), live_words(query)),
        Fact(phrase("contacts"), contacts_words(query)),
        *_option_facts(query, policy),
        Fact(phrase("thresholds"), thresholds_words(query, policy)),
        Fact(phrase("candidates"), candidates_words(query, requester, policy)),
        Fact(
            phrase("false candidates"),
            phrase(
                "{expected} expected by chance among what was stored when {officer} asked",
                expected=false_words(query.expected_false),
                officer=requester,
            ),
        ),
        Fact(phrase("valid until"), moment(query.not_after_ms)),
    ]


def estimate_facts(query: Query, estimate: Estimate, *, now_ms: int) -> list[Fact]:
    """Return what the aggregator counts in the query's scope by now."""
    counted = _counted(estimate, whole=query.window_to_ms <= now_ms)
    if query.by_words:
        chance = phrase("how many match by chance is what was expected when it was asked")
    elif estimate.expected_false is None:
        chance = phrase("how many would match by chance is not measured")
    else:
        chance = phrase(
            "{expected} by chance among them", expected=false_words(estimate.expected_false)
        )
    if estimate.told_twice:
        chance = nphrase(
            "{chance} (of 1 quarter hour of cameras several boxes tell, or a box and its film: who "
            "passed there counts for each)",
            "{chance} (of {n:,} quarter hours of cameras several boxes tell, or a box and its "
            "film: who passed there counts for each)",
            estimate.told_twice,
            chance=chance,
        )
    in_scope = phrase("{counted}; {chance}", counted=counted, chance=chance)
    return [
        Fact(phrase("in scope"), in_scope, headquarters=True),
        Fact(phrase("of version 1"), _of_version_1(estimate), headquarters=True),
    ]


def policy_facts(query: Query, policy: Policy, refusal: str) -> list[Fact]:
    """Return whether the policy held here permits the query, what it permits, and its approvals."""
    version = policy.version
    verdict = (
        phrase("version {version} would refuse it: {refusal}", version=version, refusal=refusal)
        if refusal
        else phrase("version {version} permits it", version=version)
    )
    facts = [
        Fact(phrase("policy"), verdict),
        Fact(phrase("its purposes"), policy_words.purposes_text(policy)),
        Fact(phrase("it permits"), policy_words.permitted_text(policy)),
        Fact(phrase("confirmations"), policy_words.confirmations_text(policy)),
    ]
    if query.legal_basis in policy.bases:
        facts.append(Fact(phrase("approvals"), approvals_words(query, policy)))
    return facts


def approval_facts(approvers: Sequence[str], problems: Sequence[str], needed: int) -> list[Fact]:
    """Return whose approvals were verified here, and which do not count."""
    words = phrase(
        "{count} of {needed}: {names} (signatures checked here)",
        count=len(approvers),
        needed=needed,
        names=", ".join(approvers) or "-",
    )
    facts = [Fact(phrase("approved by"), words)]
    return facts + [Fact(phrase("does not count"), problem) for problem in problems]


def state_facts(summary: QuerySummary) -> list[Fact]:
    """Return where the query stands, as the aggregator says."""
    said: list[tuple[str, str]] = [
        (phrase("withdrawn by"), _by(w.officer, w.at_ms, w.reason)) for w in summary.withdrawals
    ]
    said.append((phrase("state"), state_text(summary)))
    progress = summary.progress
    if sightings := progress.get("sightings"):
        words = phrase("at most {sightings:,} sightings", sightings=sightings)
        said.append((phrase("compared"), words))
    if altered := progress.get("altered"):
        words = phrase("{envelopes} envelopes fail authentication", envelopes=altered)
        said.append((phrase("altered"), words))
    said += [
        (phrase("false grant"), _by(found.custodian, found.at_ms, found.reason))
        for found in summary.false_grants
    ]
    words = nphrase("{n:,} candidate", "{n:,} candidates", summary.candidates)
    said.append((phrase("found"), words))
    said += [(phrase("came late"), line) for line in late_film_lines(summary.late_films, indent="")]
    for name, count in sorted(progress.items()):
        about, _, camera = name.partition(".")
        if about == "left_out" and count:
            words = nphrase(
                "{n:,} more candidate at {camera}, beyond its share",
                "{n:,} more candidates at {camera}, beyond its share",
                count,
                camera=camera,
            )
            said.append((phrase("left out"), words))
        elif about == "lying" and count:
            words = phrase(
                "{count} at {camera}: their times are not those of their quarter hour",
                count=count,
                camera=camera,
            )
            said.append((phrase("impossible"), words))
    return [Fact(about, words, headquarters=True) for about, words in said]


def state_words(state: str) -> str:
    """Return the state of a query as people say it."""
    return phrase(_STATES[state]) if state in _STATES else state


def state_text(summary: QuerySummary) -> str:
    """Return the state with its reason."""
    state = state_words(summary.state)
    if not summary.reason:
        return state
    return phrase("{state}: {reason}", state=state, reason=summary.reason)


def false_words(expected: float) -> Phrase:
    """Return an expected number of false candidates, in words that do not promise none."""
    if expected == 0:
        return phrase("0 false candidates")
    if expected < 0.01:
        return phrase("fewer than 0.01 false candidates ({expected:.1e})", expected=expected)
    if expected < 10:
        return phrase("{expected:.2f} false candidates", expected=expected)
    return phrase("{expected:,.0f} false candidates", expected=expected)


def _subject_facts(query: Query) -> list[Fact]:
    facts = []
    for subject in query.subjects:
        facts.append(Fact(phrase("looks for"), looks_for_words(subject)))
        if subject.words:
            facts.append(Fact(phrase("by words"), by_words_words(subject)))
        facts += [
            Fact(phrase("by example"), example_words(example, query))
            for example in subject.examples
        ]
    return facts


def _option_facts(query: Query, policy: Policy) -> list[Fact]:
    """Say of each option of the second form whether it is asked for."""
    if query.version == 1:
        return []
    return [
        Fact(phrase("linked contacts"), linked_words(query)),
        Fact(phrase("continuation"), continuation_words(query, policy)),
        Fact(phrase("same-place counts"), counts_words(query.asks)),
        Fact(phrase("stills"), stills_asked(query)),
    ]


def _counted(estimate: Estimate, *, whole: bool) -> Phrase:
    """Say how many sightings are stored in a scope."""
    count = estimate.sightings
    if estimate.at_most:
        return (
            phrase("at most {count:,} sightings stored", count=count)
            if whole
            else phrase(
                "at most {count:,} sightings stored so far (the window is not over)", count=count
            )
        )
    return (
        phrase("{count:,} sightings stored", count=count)
        if whole
        else phrase("{count:,} sightings stored so far (the window is not over)", count=count)
    )


def _of_version_1(estimate: Estimate) -> Phrase:
    """Say how many generations of the scope open by quarter hours, not by rows."""
    count = estimate.version_1_generations
    if count is None:
        return phrase(
            "not known: the aggregator does not say how much of it boxes sealed in version 1, of "
            "which the metadata of everybody in these hours opens to the aggregator"
        )
    if not count:
        return phrase("none of what is stored there: its metadata opens row by row alone")
    return nphrase(
        "{n:,} day of a camera stored there: the metadata (times, mask, who was near) of everybody "
        "in these hours opens to the aggregator",
        "{n:,} days of cameras stored there: the metadata (times, mask, who was near) of everybody "
        "in these hours opens to the aggregator",
        count,
    )


def _by(who: str, at_ms: int, reason: str) -> Phrase:
    """Return who did something, when, and the reason that they wrote."""
    return phrase("{who}, {when}: {reason}", who=who, when=moment(at_ms), reason=theirs(reason))


def approvals_text(summary: QuerySummary) -> Phrase:
    """Return how many approvals there are, of how many, and whose."""
    count, needed = len(summary.approvals), summary.approvals_needed
    if not count:
        return phrase("{count} of {needed} approvals", count=count, needed=needed)
    return phrase(
        "{count} of {needed} approvals ({names})",
        count=count,
        needed=needed,
        names=listed((approval.approver for approval in summary.approvals), ""),
    )
