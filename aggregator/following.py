"""Follows confirmed hits by their clothes: minutes before and after, over the query's own cameras.

docs/protocol.md, "Following on". The hit's appearance template is taken from where it lies sealed,
compared with those of the quarter hours around, and wiped. What is found is a list of rows to open,
each said to go on from that hit: nobody's identification, and nobody is followed from it in turn.
Which of it can be walked to in the time is for officers' programs, which know where cameras are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace

from aggregator.matching.examples import take_one
from aggregator.matching.found import Found
from aggregator.matching.pool import Matcher
from aggregator.matching.probes import probes_of
from aggregator.matching.report import MatchReport
from aggregator.queries import QueryDesk
from aggregator.standing import Run
from aggregator.store import Store
from aggregator.store.rows import QueryRecord
from aggregator.trail import Hit
from protocol.authorization import AuthorizedQuery
from protocol.confirming import Word, last_words, read_word, verdict_of
from protocol.epoch_keys import EpochKeys
from protocol.errors import ProtocolError
from protocol.keytree import FOLLOWED
from protocol.names import SLOT_MS, SightingName, slot_start_ms, slots_in_window
from protocol.policy import Policy
from protocol.query import Query
from protocol.results import CONFIRMED, DECISION_KIND
from protocol.signing import Signed
from runtime.trust import Trust

MOST_A_HIT = 20
"""Rows that one hit brings at most: a list that an officer can look through.

All hits together bring half of what the query may: the other half stays for what it asked for.
"""
MOST_NEAR = 15
"""Of these so many from the hit's own quarter hour and its neighbours: it goes on there, mostly."""
WAIT_MS = 24 * 3_600_000
"""So long after its window a query waits, its keys in memory, for officers to confirm."""
MINUTE_MS = 60_000


class Following:
    """Follows the hits of queries that ask for it.

    Args:
        store: the sealed segments.
        desk: the officers' decisions.
        matcher: compares.
        trust: the site's directory.
        policy: for how long before and after, and how many officers confirm a hit.
    """

    def __init__(
        self, store: Store, desk: QueryDesk, matcher: Matcher, trust: Trust, policy: Policy
    ) -> None:
        self._store = store
        self._desk = desk
        self._matcher = matcher
        self._trust = trust
        self._policy = policy

    def follow(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: Run
    ) -> Iterator[MatchReport]:
        """Compare the clothes of each confirmed hit with what has not been compared with them yet.

        Yields:
            A report for each comparison, whose ``found`` go on from the hit.

        Raises:
            MatchingFailed, StorageError: all are followed anew the next time.
        """
        if not authorized.query.asks.continuation:
            return
        trail = run.trail
        self._read_decisions(record, authorized, run)
        everything = [(list(run.keys.values()), 0)]
        try:
            for key, hit in trail.hits.items():
                if trail.verdicts.get(key) != CONFIRMED:
                    continue
                passes = trail.news if hit in trail.followed else everything
                if any(scopes for scopes, _ in passes):
                    yield from self._follow(authorized.query, run, hit, passes)
                    trail.followed.add(hit)
        except BaseException:
            trail.forget()
            raise

    def words_of_waiting(self, authorized: AuthorizedQuery, run: Run, *, now_ms: int) -> str:
        """Say for which decisions a query waits whose window is over; empty if for none.

        The query is looked at again when one comes, or when it has waited long enough.
        """
        query, trail = authorized.query, run.trail
        until_ms = query.window_to_ms + WAIT_MS
        if not query.asks.continuation or now_ms >= until_ms:
            return ""
        stored = run.finds.keys() | run.rows.known
        open_ones = [key for key in trail.hits if key in stored and key not in trail.verdicts]
        if not open_ones:
            return ""
        run.due_ms = until_ms
        return (
            f"{len(open_ones)} candidate{'s wait' if len(open_ones) > 1 else ' waits'} to be "
            "confirmed or rejected: those that are confirmed are followed by their clothes"
        )

    def _read_decisions(self, record: QueryRecord, authorized: AuthorizedQuery, run: Run) -> None:
        """Read what officers decided, if anything changed since."""
        directory, trail = self._trust.directory, run.trail
        at = (self._desk.revision(record.digest), directory.version)
        if at == trail.read_at:
            return
        words: dict[bytes, list[Word]] = {}
        for data in self._desk.decisions(record):
            with suppress(ProtocolError):  # it counts for nothing, and officers' programs say so
                word = read_word(
                    Signed.parse(data, kind=DECISION_KIND),
                    query_digest=record.digest,
                    officers=authorized.readers,
                    directory=directory,
                )
                words.setdefault(word.candidate_id, []).append(word)
        needed = self._policy.confirmations
        verdicts = {
            key: verdict_of(last_words(said), needed, directory) for key, said in words.items()
        }
        trail.verdicts = {key: verdict for key, verdict in verdicts.items() if verdict}
        trail.read_at = at

    def _follow(
        self, query: Query, run: Run, hit: Hit, passes: Sequence[tuple[Sequence[EpochKeys], int]]
    ) -> Iterator[MatchReport]:
        templates, why = take_one(self._store.segments, run.keys, query, hit.name, [FOLLOWED])
        try:
            probes = probes_of(query, {hit.subject: templates})
        finally:
            for template in templates:
                template.row.fill(0)
        if not probes:
            run.trail.missing[hit] = why
            return
        run.trail.missing.pop(hit, None)
        own = {one.name for one in run.trail.hits.values() if one.subject == hit.subject}
        try:
            for scopes, after in passes:
                for around, most in self._around(hit, scopes):
                    room = run.trail.room(hit, a_hit=most, in_all=query.max_candidates // 2)
                    if not around or room <= 0:
                        continue
                    report = self._matcher.match(
                        around,
                        probes,
                        contacts=False,
                        max_candidates=room + len(own | run.trail.brought.get(hit, set())),
                        after=after,
                    )
                    yield replace(report, found=_going_on(run, hit, report.found, own, room))
        finally:
            for group in probes:
                group.wipe()

    def _around(
        self, hit: Hit, scopes: Sequence[EpochKeys]
    ) -> Iterator[tuple[list[EpochKeys], int]]:
        """Yield keys around a hit, and how many rows it may have brought when these are compared.

        First those of its own quarter hour and its neighbours: who goes on is seen there, and with
        every quarter hour more people are dressed alike. Then what the policy permits before and
        after. Sightings of version 1 are not followed to.
        """
        begins_ms = slot_start_ms(hit.name.epoch, hit.name.slot)
        margin_ms = self._policy.permits.continuation_minutes * MINUTE_MS
        near_ms = min(SLOT_MS, margin_ms)
        ends_ms = begins_ms + SLOT_MS
        yield list(_within(scopes, begins_ms - near_ms, ends_ms + near_ms)), MOST_NEAR
        before = _within(scopes, begins_ms - margin_ms, begins_ms - near_ms)
        after = _within(scopes, ends_ms + near_ms, ends_ms + margin_ms)
        yield [*before, *after], MOST_A_HIT


def _within(scopes: Sequence[EpochKeys], from_ms: int, to_ms: int) -> Iterator[EpochKeys]:
    """Yield the keys of the quarter hours of a time, of generations of version 2."""
    for keys in scopes if from_ms < to_ms else ():
        if keys.version == 1:
            continue
        wanted, held = slots_in_window(keys.scope.epoch, from_ms, to_ms), keys.slots()
        slots = range(max(wanted.start, held.start), min(wanted.stop, held.stop))
        if slots:
            yield keys.narrowed(slots)


def _going_on(
    run: Run, hit: Hit, founds: Sequence[Found], own: AbstractSet[SightingName], room: int
) -> tuple[Found, ...]:
    """Return what a hit goes on in, best first, and note that it has brought it."""
    brought = run.trail.brought.setdefault(hit, set())
    others = [one for one in founds if one.score is not None and one.name not in own | brought]
    within = [replace(one, follows=hit.name) for one in others[:room]]
    brought.update(one.name for one in within)
    return tuple(within)
