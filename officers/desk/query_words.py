"""The sentences of what a query would open, what it asks for besides, who reads and who signs.

Told from the signed query and the policy alone. `facts.py` puts them in their order.
"""

from __future__ import annotations

from officers.desk.modality_words import COMPARED
from officers.desk.phrases import (
    Phrase,
    duration,
    linked,
    listed,
    marked,
    moment,
    nphrase,
    phrase,
    theirs,
    together,
)
from protocol.names import SLOT_MS
from protocol.policy import CONSENT, LINKED_CONTACTS, NEAR_CONTACTS, STATUTORY_ORDER, Policy
from protocol.query import Asked, Query

_BASES = {
    CONSENT: marked("the subjects' recorded consent"),
    STATUTORY_ORDER: marked("a statutory order"),
}
_OPTIONS = {
    "live": marked("opening while it runs"),
    NEAR_CONTACTS: marked("contacts"),
    LINKED_CONTACTS: marked("linked contacts"),
    "continuation": marked("continuation"),
    "same_place_counts": marked("same-place counts"),
    "evidence": marked("stills"),
}


def basis_words(query: Query) -> Phrase:
    """Return the legal ground."""
    words = phrase(_BASES.get(query.legal_basis, marked("unknown")))
    return phrase("{basis}: {words}", basis=query.legal_basis, words=words)


def ground_words(legal_basis: str) -> Phrase:
    """Return a legal ground by its words alone; one that is not known as it was written."""
    known = _BASES.get(legal_basis)
    return theirs(legal_basis) if known is None else phrase(known)


def option_words(option: str) -> Phrase:
    """Return what a query asks for besides comparing; what is not known as it was written."""
    known = _OPTIONS.get(option)
    return theirs(option) if known is None else phrase(known)


def kinds_words(query: Query) -> str:
    """Return what kinds of templates are opened."""
    return linked(phrase(COMPARED[modality]) for modality in sorted(query.modalities))


def opening_words(query: Query) -> Phrase:
    """Return for how long, on how many cameras, whose templates are opened, and to whom."""
    slots = (query.window_to_ms - query.window_from_ms) // SLOT_MS
    return nphrase(
        "{time} on {n} camera ({quarters:,} camera quarter hours): the {kinds} of everybody seen "
        "there, to the matching process, which keeps those that reach the threshold and wipes the "
        "rest",
        "{time} on {n} cameras ({quarters:,} camera quarter hours): the {kinds} of everybody seen "
        "there, to the matching process, which keeps those that reach the threshold and wipes the "
        "rest",
        len(query.cameras),
        time=duration(slots * SLOT_MS / 1000),
        quarters=slots * len(query.cameras),
        kinds=kinds_words(query),
    )


def rows_words(query: Query) -> Phrase:
    """Return how many rows of metadata are opened, and of whom."""
    return phrase(
        "at most {rows} are opened: times, mask and contacts of what reaches the threshold, and of "
        "the same person before and after at that camera; each custodian counts them, and its "
        "receipts are compared with the results",
        rows=query.max_candidates,
    )


def thresholds_words(query: Query, policy: Policy) -> Phrase:
    """Return the score from which something is a candidate, of each model."""
    lines = []
    for model, score in sorted(query.thresholds.items()):
        least = policy.floor_of(model, by_words=query.by_words)
        lines.append(
            phrase("{score:.3f} for {model}", score=score, model=model)
            if least is None
            else phrase(
                "{score:.3f} for {model} (the policy's least: {least:.3f})",
                score=score,
                model=model,
                least=least,
            )
        )
    return together(lines)


def candidates_words(query: Query, requester: str, policy: Policy) -> Phrase:
    """Return how many candidates at most, who reads them, and who makes one of them a hit."""
    return phrase(
        "at most {most}, readable for {readers} alone; a hit is what {confirming}",
        most=query.max_candidates,
        readers=linked([requester, *query.confirmers]),
        confirming=_confirming(query, requester, policy),
    )


def live_words(query: Query) -> Phrase:
    """Return whether quarter hours are opened while they run, or as soon as they have ended."""
    if query.live:
        return phrase("yes: each quarter hour is opened while it still runs, until the window ends")
    if query.ahead_ms:
        return phrase(
            "in effect: {ahead} of the window lay ahead when it was asked for; each quarter hour "
            "of it is opened as soon as it has ended",
            ahead=duration(query.ahead_ms / 1000),
        )
    return phrase("no: a quarter hour is opened after it has ended")


def contacts_words(query: Query) -> Phrase:
    """Return whether it is asked who was near."""
    if query.contacts:
        return phrase("yes: who was near a candidate (distance, seconds, mask), not who they are")
    return phrase("no")


def linked_words(query: Query) -> Phrase:
    """Return what is compared to tell who is one person, and what is told of it."""
    if not query.asks.linked_contacts:
        return phrase("no")
    return phrase(
        "yes: once a candidate is confirmed, the {kinds} of everybody who was near are compared "
        "with one another, in the memory of the matching process alone: whoever was near at "
        "several cameras has one number. That is biometric data of people whom nobody asked. "
        "Officers read the numbers, of this query alone; no template, no likeness and no row of "
        "theirs",
        kinds=kinds_words(query),
    )


def continuation_words(query: Query, policy: Policy) -> Phrase:
    """Return whether confirmed people are followed by their clothes."""
    if not query.asks.continuation:
        return phrase("no")
    return phrase(
        "yes: whoever was confirmed is followed by clothes and build, {minutes} minutes before and "
        "after, over these cameras. It opens up to {rows} of the rows, of people dressed alike, "
        "and identifies nobody; none of them is followed in turn",
        minutes=policy.permits.continuation_minutes,
        rows=query.max_candidates // 2,
    )


def counts_words(asks: Asked) -> Phrase:
    """Return whether it is counted who else was there."""
    if not asks.same_place_counts:
        return phrase("no")
    if asks.afterwards_min:
        return phrase(
            "yes: of each camera of the query, from the quarter hour of a sighting that was "
            "confirmed until {time} afterwards, how many people were there and how many wore a "
            "mask, in numbers, not who; numbers below five are told as <5",
            time=duration(asks.afterwards_min * 60),
        )
    return phrase(
        "yes: of each camera and quarter hour how many people were there and how many wore a mask, "
        "in numbers, not who; numbers below five are told as <5"
    )


def approvals_words(query: Query, policy: Policy) -> Phrase:
    """Return how many approvals are needed, and for what."""
    why = []
    if policy.approvals:
        why.append(phrase("{count} of every query", count=policy.approvals))
    if extra := policy.bases[query.legal_basis].extra_approvals:
        why.append(phrase("{count} for {what}", count=extra, what=query.legal_basis))
    for option in query.options:
        if count := policy.approvals_for_option(option):
            why.append(phrase("{count} for {what}", count=count, what=phrase(_OPTIONS[option])))
    needed = policy.approvals_for(query.legal_basis, query.options)
    return phrase("{needed} needed: {why}", needed=needed, why=listed(why, ""))


def moment_words(time_ms: int, utc: str) -> Phrase:
    """Return a moment by the site's clocks, and in UTC as it is signed."""
    return phrase("{when}   ({utc})", when=moment(time_ms), utc=utc)


def _confirming(query: Query, requester: str, policy: Policy) -> Phrase:
    officers, needed = 1 + len(query.confirmers), policy.confirmations
    if officers == 1:
        return phrase("{officer} confirms", officer=requester)
    if needed >= officers:
        return phrase("each of them confirms and none rejects")
    return nphrase(
        "one of them confirms and none rejects", "{n} of them confirm and none rejects", needed
    )
