"""Open what a query found, with an officer's key, and check each candidate and decision.

The aggregator only keeps them: a candidate counts if it was sealed for this very query, a decision
as an officer whom the query names signed it, and a row if custodians sign that they opened it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from officers.desk.afterwards import Afterwards, afterwards
from officers.desk.api_client import QuerySummary, StoredResult
from officers.desk.case import Case, CaseInvalid
from officers.desk.export_forms import Report
from officers.desk.fit import Contradiction
from officers.desk.fitting import contradictions_with, fitted
from officers.desk.ground import Ground, ground_of
from officers.desk.links import open_links
from officers.desk.phrases import linked, phrase
from officers.desk.receipts import Receipts, compare
from officers.desk.receipts_asked import ask_custodians
from officers.desk.session import Session
from officers.desk.traces import UNDECIDED, Numbered, Trace, traces_of, with_ways
from officers.desk.verdicts import needed_confirmations, read_words, word_in
from officers.desk.watching import open_watching
from protocol import hpke
from protocol.confirming import Word, last_words, verdict_of
from protocol.directory import INVESTIGATOR, Directory
from protocol.errors import ProtocolError
from protocol.links import Companion
from protocol.names import SLOT_MS, slot_start_ms
from protocol.places import Places
from protocol.results import Candidate, Opening
from protocol.watching import Watching
from runtime.clock import system_ms
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class Results:
    """A query with its candidates, opened.

    Args:
        reader: the officer who opened them.
        problems: what could not be believed, in words.
        receipts: what custodians say that they opened for the query, held against it.
        watching: what the cameras watched, None if the aggregator has not told it.
        ground: where the query's cameras are, as far as the register of places tells.
        links: companion (camera and episode) to the number of the contact that it is, for this
            query alone; empty unless the query asked for linked contacts.
    """

    case: Case
    reader: str
    summary: QuerySummary
    candidates: tuple[Numbered, ...]
    receipts: Receipts
    problems: tuple[str, ...] = ()
    watching: Watching | None = None
    ground: Ground = field(default_factory=Ground)
    links: Mapping[Companion, int] = field(default_factory=dict)

    def contradictions(self, chosen: Iterable[Numbered]) -> tuple[Contradiction, ...]:
        """Return what could not be true together if the chosen were confirmed as well."""
        return contradictions_with(chosen, self.candidates, self.ground)

    def afterwards(self, traces: Sequence[Trace]) -> tuple[Afterwards, ...]:
        """Return how many people came into the rooms of confirmed stays afterwards."""
        return afterwards(traces, self.case.query, self.watching, self.ground.places)

    @property
    def undecided(self) -> tuple[Numbered, ...]:
        """The candidates that wait for the reader's word.

        Neither what was opened only with another (it goes with that one), nor what cannot be true,
        nor who was followed by clothes: those are looked at one by one.
        """
        return tuple(
            item
            for item in self.candidates
            if item.verdict == UNDECIDED
            and self.reader not in item.said
            and item.matched
            and item.candidate.impossible is None
            and item.candidate.follows is None
        )

    @property
    def impossible(self) -> tuple[Numbered, ...]:
        """What was opened and cannot be true."""
        return tuple(item for item in self.candidates if item.candidate.impossible is not None)


def sealed_to_me(session: Session, query_id: str) -> Case:
    """Return a query whose results open for the officer: their own, or one that they confirm.

    Args:
        session: an investigator's.
        query_id: the id, or its first digits.

    Raises:
        OfficerError: the officer is no investigator.
        OperationError: it is other officers' query, or there is none.
        ProtocolError: it is not genuine.
    """
    me = session.officer
    me.require(INVESTIGATOR)
    case = session.case(query_id)
    if me.name not in case.officers:
        readers = linked(case.officers)
        raise OperationError(
            phrase(
                "the query is {requester}'s: what it found is sealed to {readers} and opens for "
                "nobody else",
                requester=case.requester,
                readers=readers,
            )
        )
    return case


def open_results(
    session: Session, case: Case, sealing: hpke.PrivateKey, places: Places | None = None
) -> Results:
    """Fetch the candidates of a query and open them; the aggregator logs that they were read.

    Custodians are asked first, so that whatever they have opened by then should be listed; and for
    the openings twice, because more may be found between two answers.

    Args:
        session: the officer's.
        case: from `sealed_to_me`.
        sealing: the officer's key.
        places: where cameras are (`places_for`), by which candidates are ranked.

    Raises:
        OperationError: the aggregator does not answer, or speaks of another query.
    """
    me = session.officer
    summary = session.summary(case)
    given = ask_custodians(me, case)
    settled = len(session.client.openings(case.id))
    stored = session.client.results(case.id)
    decisions = session.client.decisions(case.id)
    sealed = session.client.openings(case.id)
    words, uncounted = read_words(decisions, case, me.directory)
    candidates, problems = open_candidates(
        stored,
        case,
        sealing,
        me.directory,
        words=words,
        needed=needed_confirmations(case, me.policy),
    )
    openings, unreadable = open_openings(sealed, case, sealing)
    listed = {
        item.candidate.name: phrase("candidate {number}", number=item.number)
        for item in candidates
        if item.candidate.name is not None
    }
    receipts = compare(openings, given, listed, case=case, directory=me.directory, settled=settled)
    receipts = replace(receipts, problems=(*unreadable, *receipts.problems))
    watching, unusable = open_watching(session.client.watching(case.id), case, sealing)
    linked = session.client.links(case.id) if case.query.asks.linked_contacts else []
    links, unlinked = open_links(linked, case, sealing)
    problems = (*problems, *uncounted, *unusable, *unlinked)
    ground = ground_of(case.query, places, summary.progress.get("sightings", 0))
    return Results(
        case,
        me.name,
        summary,
        candidates,
        receipts,
        problems,
        watching,
        ground,
        links,
    )


def trace(results: Results) -> Report:
    """Return the traces of a query's subjects: hits apart from what is not decided, with fits."""
    subjects = [subject.pseudonym for subject in results.case.query.subjects]
    return Report(
        query=results.case.query,
        digest=results.case.digest,
        requester=results.case.requester,
        state=results.summary.state,
        traces=tuple(
            fitted(with_ways(one, results.ground), results.ground)
            for one in traces_of(subjects, results.candidates)
        ),
        exported_at_ms=system_ms(),
        impossible=results.impossible,
        receipts=results.receipts,
        watching=results.watching,
        links=results.links,
    )


def open_candidates(
    stored: Iterable[StoredResult],
    case: Case,
    sealing: hpke.PrivateKey,
    directory: Directory,
    *,
    words: Iterable[Word] = (),
    needed: int = 1,
) -> tuple[tuple[Numbered, ...], tuple[str, ...]]:
    """Open the candidates of a query and check each; return them, and what is wrong with others.

    A candidate's number is its place in the order of finding, which stays when more are found.

    Args:
        words: of all officers on all candidates.
        needed: how many officers must confirm one.
    """
    words_on: dict[bytes, list[Word]] = {}
    for word in words:
        words_on.setdefault(word.candidate_id, []).append(word)
    opened, problems = [], []
    for number, result in enumerate(stored, start=1):
        try:
            candidate = _open_candidate(result, case, sealing)
            said = _said(result, words_on.get(result.candidate_id, ()), case, directory)
        except (ProtocolError, CaseInvalid) as error:
            problems.append(
                phrase(
                    "result {number} cannot be used: {error}",
                    number=number,
                    error=error,
                )
            )
            continue
        opened.append(Numbered(number, result.candidate_id, candidate, said=said, needed=needed))
    followed, unknown = _with_whom_they_follow(_with_their_hits(opened))
    return tuple(
        replace(item, verdict=verdict_of(item.said, needed, directory) or UNDECIDED)
        for item in followed
    ), (*problems, *unknown)


def _said(
    result: StoredResult, words: Iterable[Word], case: Case, directory: Directory
) -> dict[str, str]:
    """Return each officer's last word on a result; the reader's own comes with it."""
    if result.decision is None:
        return last_words(words)
    own = word_in(result.decision, case, directory)
    if not hmac.compare_digest(own.candidate_id, result.candidate_id):
        raise CaseInvalid(phrase("the decision on it is on another candidate"))
    return last_words((*words, own))


def open_openings(
    sealed: Iterable[bytes], case: Case, sealing: hpke.PrivateKey
) -> tuple[tuple[Opening, ...], tuple[str, ...]]:
    """Open the openings of a query; return them, and what is wrong with others."""
    opened, problems = [], []
    for number, data in enumerate(sealed, start=1):
        try:
            opened.append(Opening.open(data, sealing, query_digest=case.digest))
        except ProtocolError as error:
            problems.append(
                phrase(
                    "opening {number} of the aggregator's list cannot be read: {error}; which "
                    "rows it was of is not known. Do not go on, tell the auditors",
                    number=number,
                    error=error,
                )
            )
    return tuple(opened), tuple(problems)


def _with_their_hits(items: Sequence[Numbered]) -> list[Numbered]:
    """Have what was opened only with a match share the words on it; its own words go first."""
    matched = {_place(item.candidate): item for item in items if item.matched}
    shared = []
    for item in items:
        one = item.candidate
        hit = None if one.through is None else matched.get((*_place(one)[:-1], one.through))
        shared.append(item if hit is None else replace(item, said={**hit.said, **item.said}))
    return shared


def _with_whom_they_follow(items: Sequence[Numbered]) -> tuple[list[Numbered], list[str]]:
    """Give who was followed the number of their hit; say of whom the hit is not listed."""
    numbers = {
        (item.candidate.subject, item.candidate.name): item.number
        for item in items
        if item.matched and item.candidate.follows is None
    }
    followed: list[Numbered] = []
    problems: list[str] = []
    for item in items:
        one = item.candidate
        hit = None if one.follows is None else numbers.get((one.subject, one.follows))
        if one.follows is not None and hit is None:
            problems.append(
                phrase(
                    "result {number} cannot be used: it is said to go on from a hit that is not "
                    "among the results",
                    number=item.number,
                )
            )
            continue
        followed.append(replace(item, follows=hit))
    return followed, problems


def _place(one: Candidate) -> tuple[object, ...]:
    generation = (one.name.epoch, one.name.generation) if one.name is not None else ()
    return (one.subject, one.address, generation, one.sighting_id)


def _open_candidate(result: StoredResult, case: Case, sealing: hpke.PrivateKey) -> Candidate:
    candidate = Candidate.open(result.sealed, sealing, query_digest=case.digest)
    if not hmac.compare_digest(candidate.candidate_id(case.digest), result.candidate_id):
        raise CaseInvalid(phrase("it came under another candidate's id"))
    query = case.query
    if (
        candidate.address.site != query.site
        or candidate.address.camera not in query.cameras
        or candidate.subject not in {subject.pseudonym for subject in query.subjects}
    ):
        raise CaseInvalid(phrase("it is of a camera or subject that the query does not name"))
    if candidate.follows is not None and not query.asks.continuation:
        raise CaseInvalid(phrase("it was found by clothes, and the query follows nobody"))
    name = candidate.name
    if name is not None:
        begins_ms = slot_start_ms(name.epoch, name.slot)
        if not query.window_from_ms <= begins_ms <= query.window_to_ms - SLOT_MS:
            raise CaseInvalid(phrase("it is of a quarter hour that the query does not ask for"))
    return candidate
