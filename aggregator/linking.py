"""Tells which of those who were near confirmed hits are one person, where a query asked for it.

docs/protocol.md, "Linked contacts". Their templates are somebody else's biometric data: they are
taken from where they lie sealed, of what was granted, compared in this process alone, and wiped.
What comes of it is a number for each person, sealed to the query's officers; no template and no
score leaves this module, and no row of theirs is opened.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from aggregator.company import Near
from aggregator.deciding import Deciding
from aggregator.findings import Findings
from aggregator.matching.companions import Wanted, take_companions
from aggregator.matching.linking import Floats, Member, Space, count_pairs, link
from aggregator.queries import QueryDesk
from aggregator.standing import Run
from aggregator.store import Store
from aggregator.store.rows import EpochName, QueryRecord
from protocol.authorization import AuthorizedQuery
from protocol.encoding import encode
from protocol.keytree import FOLLOWED
from protocol.links import LEAST_NUMBER, MOST_NUMBER, Companion, Links
from protocol.query import Query

MOST_LINKED = 500
"""So many companions of one query are compared, those who were near for longest."""
AGAIN_S = 30.0
"""So long at least between two times that what came is compared: a slot's segments come at once."""
FALSE_LINKS = 0.5
"""Pairs of strangers of a query whom one score each would link at most; thresholds are raised for
that. Linking by the mean of several scores joins far fewer (`python -m benchmarks linking`)."""
MOST_OFTEN = 1e-3
"""Strangers whom more often than that one score would link are not told apart by such templates."""


class Linking:
    """Links the companions of queries that ask for it.

    Args:
        store: the sealed segments, and the seed of each query's numbers.
        desk: what is known of each model's scores.
        deciding: which candidates are confirmed.
        findings: keeps what officers are told.
    """

    def __init__(
        self, store: Store, desk: QueryDesk, deciding: Deciding, findings: Findings
    ) -> None:
        self._store = store
        self._desk = desk
        self._deciding = deciding
        self._findings = findings

    def look(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        *,
        now_s: float,
        last: bool = False,
    ) -> None:
        """Link, and tell the officers, if what it stands on has changed.

        At once when officers decide; when more comes of where companions are stored, at most every
        `AGAIN_S` seconds.

        Args:
            record: the query.
            authorized: its authorization.
            run: what it holds.
            now_s: of a monotonic clock.
            last: the query ends with this step.

        Raises:
            StorageError: nothing was kept; it is tried again at the next step.
        """
        if not authorized.query.asks.linked_contacts:
            return
        company, newest = run.company, self._store.segments.newest()
        near = frozenset(self._near(run))
        if near == (company.linked or frozenset()):
            is_time = last or now_s >= company.linked_at_s + AGAIN_S
            if not near or not is_time or not self._is_news(run, near):
                return
        by_companion = _longest_first(near)
        compared, beyond = by_companion[:MOST_LINKED], by_companion[MOST_LINKED:]
        groups, without, pairs = self._group(run, authorized.query, compared)
        seed = self._store.ledger.link_seed(record.digest)
        links = Links(numbered(groups, dict(compared), seed), without, len(beyond))
        self._findings.keep_links(record, authorized, links, pairs=pairs)
        company.linked, company.linked_through, company.linked_at_s = near, newest, now_s

    def _is_news(self, run: Run, near: frozenset[Near]) -> bool:
        """Tell whether something has come of where companions are stored since they were linked."""
        reader, after = self._store.segments, run.company.linked_through
        if reader.newest() <= after:
            return False
        for generation, slot in {(one.generation, slot) for one in near for slot in _slots(one)}:
            keys = run.keys.get(generation)
            if keys is None or slot not in keys.slots():
                continue
            scope = replace(keys.scope, first_slot=slot, last_slot=slot)
            if reader.count(scope, after=after):
                return True
        return False

    def _near(self, run: Run) -> Iterator[Near]:
        decided = run.trail.decided_ms
        yield from run.company.near_confirmed(
            self._deciding.is_hit(run), lambda key: decided.get(key, 0)
        )

    def _group(
        self, run: Run, query: Query, companions: Sequence[tuple[Companion, Sequence[Near]]]
    ) -> tuple[list[list[Companion]], int, int]:
        """Return who is one person, how many have no template, and how many pairs were compared."""
        spaces = [
            (modality, model)
            for modality in sorted(query.modalities, key=lambda one: (one == FOLLOWED, one))
            for model in sorted(query.thresholds)
        ]
        taken = take_companions(self._store.segments, run.keys, _wanted(companions), spaces)
        named: list[Companion] = []
        members: list[Member] = []
        try:
            for companion, mine in companions:
                generations = sorted({one.generation for one in mine})
                found = (taken.means(generation, companion[1]) for generation in generations)
                means = next((one for one in found if one), None)
                if means is not None:
                    named.append(companion)
                    members.append(_member(companion, mine, means))
            pairs = {space: count_pairs(members, space) for space in spaces}
            by_day = frozenset(space for space in spaces if space[0] == FOLLOWED)
            groups = link(members, self._thresholds(query, pairs), by_day=by_day)
        finally:
            taken.wipe()
            for one in members:
                one.wipe()
        grouped = [[named[number] for number in group] for group in groups]
        return grouped, len(companions) - len(named), sum(pairs.values())

    def _thresholds(self, query: Query, pairs: Mapping[Space, int]) -> dict[Space, float]:
        """Return from which score on two are one: never below the query's, which approvers read.

        It is raised until so few strangers reach it that `FALSE_LINKS` pairs are expected. Clothes
        link only where strangers are known to reach it so seldom: by none of the networks that were
        measured so far.
        """
        thresholds = {}
        for space, count in pairs.items():
            modality, model = space
            if not count:
                continue
            floor, calibration = query.thresholds[model], self._desk.calibration(model)
            if calibration is None:
                if modality != FOLLOWED:
                    thresholds[space] = floor
                continue
            rate = min(FALSE_LINKS / count, MOST_OFTEN)
            at = calibration.quiet_threshold(rate, floor).threshold
            if modality != FOLLOWED or calibration.false_match_rate(at) <= rate:
                thresholds[space] = at
        return thresholds


def numbered(
    groups: Sequence[Sequence[Companion]], near: Mapping[Companion, Sequence[Near]], seed: bytes
) -> dict[Companion, int]:
    """Give each person a number that nobody can guess, and that stays while more are confirmed.

    It is made from the one of a group whose hit was confirmed first.

    Args:
        near: when each was near, and when that was decided.
        seed: random, of this query alone.
    """
    by_age = {
        companion: min((one.decided_ms, one.first_ms, one.generation) for one in mine)
        for companion, mine in near.items()
    }

    def age(companion: Companion) -> tuple[object, ...]:
        return (by_age[companion], companion[1])

    numbers: dict[Companion, int] = {}
    for group in sorted((sorted(group, key=age) for group in groups), key=lambda one: age(one[0])):
        number = _free_number(group[0], seed, frozenset(numbers.values()))
        numbers |= dict.fromkeys(group, number)
    return numbers


def _free_number(companion: Companion, seed: bytes, taken: frozenset[int]) -> int:
    address, episode = companion
    for attempt in range(MOST_NUMBER):
        said = encode([address.site, address.box, address.camera, episode, attempt])
        drawn = int.from_bytes(hmac.digest(seed, said, hashlib.sha256)[:8])
        number = LEAST_NUMBER + drawn % (MOST_NUMBER - LEAST_NUMBER + 1)
        if number not in taken:
            return number
    raise ValueError("no number of a contact is free")


def _slots(near: Near) -> range:
    """Return the slots in which sightings of a companion may have ended."""
    return range(near.slot - 1, near.slot + 2)


def _longest_first(near: frozenset[Near]) -> list[tuple[Companion, list[Near]]]:
    """Return everybody with the times that they were near, who was near for longest first."""
    mine: dict[Companion, list[Near]] = {}
    for one in sorted(near, key=lambda one: (one.first_ms, one.slot)):
        mine.setdefault(one.companion, []).append(one)
    return sorted(mine.items(), key=lambda item: (-sum(one.seconds for one in item[1]), item[0][1]))


def _wanted(companions: Sequence[tuple[Companion, Sequence[Near]]]) -> Wanted:
    """Return where templates of companions may lie: their sightings end just then, or around."""
    wanted: dict[tuple[EpochName, int], set[bytes]] = {}
    for (_, episode), mine in companions:
        for one in mine:
            for slot in _slots(one):
                wanted.setdefault((one.generation, slot), set()).add(episode)
    return wanted


def _member(companion: Companion, mine: Sequence[Near], means: Mapping[Space, Floats]) -> Member:
    return Member(
        means=means,
        camera=companion[0],
        spans=_merged(sorted((one.first_ms, one.last_ms) for one in mine)),
        subjects=frozenset(one.subject for one in mine),
        day=min(one.generation[2] for one in mine),
    )


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return sorted spans with those that overlap made one."""
    merged: list[tuple[int, int]] = []
    for first, last in spans:
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
