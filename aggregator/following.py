"""Follows confirmed hits by their clothes: minutes before and after, over the query's own cameras.

docs/protocol.md, "Following on". The hit's appearance template is taken from where it lies sealed,
compared with those of the quarter hours around, and wiped. What is found is a list of rows to open,
each said to go on from that hit: nobody's identification, and nobody is followed from it in turn.
Which of it can be walked to in the time is for officers' programs, which know where cameras are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from aggregator.matching.examples import take_one
from aggregator.matching.found import Found
from aggregator.matching.pool import Matcher
from aggregator.matching.probes import probes_of
from aggregator.matching.report import MatchReport
from aggregator.matching.taking import wipe
from aggregator.standing import Run
from aggregator.store import Store
from aggregator.trail import Hit
from protocol.authorization import AuthorizedQuery
from protocol.epoch_keys import EpochKeys
from protocol.keytree import FOLLOWED
from protocol.names import SLOT_MS, SightingName, slot_start_ms, slots_in_window
from protocol.policy import Policy
from protocol.query import Query
from protocol.results import CONFIRMED

MOST_A_HIT = 20
"""Rows that one hit brings at most: a list that an officer can look through.

All hits together bring half of what the query may: the other half stays for what it asked for.
"""
MOST_NEAR = 15
"""Of these so many from the hit's own quarter hour and its neighbours: it goes on there, mostly."""
MINUTE_MS = 60_000


class Following:
    """Follows the hits of queries that ask for it.

    Args:
        store: the sealed segments.
        matcher: compares.
        policy: for how long before and after.
    """

    def __init__(self, store: Store, matcher: Matcher, policy: Policy) -> None:
        self._store = store
        self._matcher = matcher
        self._policy = policy

    def follow(self, authorized: AuthorizedQuery, run: Run) -> Iterator[MatchReport]:
        """Compare the clothes of each confirmed hit with what has not been compared with them yet.

        Args:
            authorized: the query.
            run: what it holds, its officers' decisions among it (`aggregator.deciding`).

        Yields:
            A report for each comparison, whose ``found`` go on from the hit.

        Raises:
            MatchingFailed, StorageError: all are followed anew the next time.
        """
        if not authorized.query.asks.continuation:
            return
        trail = run.trail
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

    def _follow(
        self, query: Query, run: Run, hit: Hit, passes: Sequence[tuple[Sequence[EpochKeys], int]]
    ) -> Iterator[MatchReport]:
        templates, why = take_one(self._store.segments, run.keys, query, hit.name, [FOLLOWED])
        try:
            probes = probes_of(query, {hit.subject: templates})
        finally:
            wipe(templates)
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
