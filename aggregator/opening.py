"""Ask for the keys of a query as they become grantable, ahead of who compares what they open."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice

from aggregator.ahead import Ahead
from aggregator.arrivals import Arrivals
from aggregator.circle import Refusal
from aggregator.grants import (
    ANNOUNCEMENTS_A_REQUEST,
    Custodians,
    Granted,
    Portion,
    name_in,
)
from aggregator.queries import QueryDesk
from aggregator.standing import Run
from aggregator.store import LedgerReading
from aggregator.store.rows import EpochName, QueryRecord, StoredAnnouncement
from protocol import hpke
from protocol.authorization import AuthorizedQuery
from protocol.epoch_keys import EpochKeys
from protocol.grant import Grant
from protocol.names import epoch_of, slot_start_ms
from protocol.query import Query
from runtime.clock import system_ms

AHEAD = 2
"""Portions that custodians are asked for at once, besides the one that is being compared."""
LOOK_S = 0.25
"""So often it is asked whether to go on while custodians are waited for."""
Answers = Mapping[str, Grant | Refusal]
Accuse = Callable[[QueryRecord, Sequence[Refusal]], None]
"""Names the custodians of a query whose refusals are false."""


class Opening:
    """Gets the keys of queries.

    Args:
        ledger: the announcements.
        desk: what is known of each query.
        custodians: asked for grants.
        accuse: told of answers that are false.
    """

    def __init__(
        self, ledger: LedgerReading, desk: QueryDesk, custodians: Custodians, accuse: Accuse
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._custodians = custodians
        self._accuse = accuse

    def portions(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        arrivals: Arrivals,
        *,
        may_go_on: Callable[[], bool],
    ) -> Iterator[list[EpochKeys]]:
        """Ask for what has become grantable since; yield the keys that are new as they come.

        While one portion is being compared by whoever takes it, custodians answer the next.

        Args:
            record, authorized: the query.
            run: what it holds; what is new is noted there first.
            arrivals: how far the store has come.
            may_go_on: asked again and again; when it says no, no more is asked for.

        Raises:
            TooFewGrants: fewer custodians than the threshold granted anything of a portion.
        """
        matcher = self._desk.matcher(record.digest)
        if matcher is None:
            return
        case = _Case(record, authorized, run, matcher)
        parts = _parts(self._wanted(authorized, run, arrivals))
        under_way: deque[_UnderWay] = deque()
        try:
            with Ahead[Answers](f"grants-{record.query_id.hex()[:8]}") as asking:
                while may_go_on():
                    while len(under_way) < AHEAD and (part := next(parts, None)) is not None:
                        under_way.append(self._order(case, part, asking))
                    if not under_way:
                        return
                    if wait([under_way[0].answers], timeout=LOOK_S).done:
                        yield self._take_in(case, under_way.popleft())
        finally:
            for asked in under_way:  # what is answered yet is told of, though nobody uses it
                for name in asked.slots:
                    run.asked.pop(name, None)
                asked.answers.add_done_callback(partial(self._note_unused, record))

    def _note_unused(self, record: QueryRecord, answers: Future[Answers]) -> None:
        if not answers.cancelled() and answers.exception() is None:
            self._custodians.note_unused(record, answers.result())

    def _order(
        self, case: _Case, part: Sequence[StoredAnnouncement], asking: Ahead[Answers]
    ) -> _UnderWay:
        run, digest, now_s, now_ms = case.run, case.record.digest, time.monotonic(), system_ms()
        slots = {
            one.name: case.authorized.grantable_slots(one.epoch, now_ms=now_ms) for one in part
        }
        run.asked |= slots
        for name in slots:
            run.doubts.postpone(name, now_s=now_s)
        portion = Portion.of(part, wait_for_all=any(name in run.doubts for name in slots))
        call = partial(
            self._custodians.ask,
            case.record,
            self._desk.approvals(digest),
            self._desk.withdrawals(digest),
            case.matcher,
            portion,
        )
        return _UnderWay(slots, portion, asking.order(call))

    def _take_in(self, case: _Case, asked: _UnderWay) -> list[EpochKeys]:
        record, run = case.record, case.run
        granted = self._custodians.take_in(
            record, case.authorized, case.matcher, asked.portion, asked.answers.result()
        )
        self._accuse(record, granted.refusals)
        run.grant_ids |= set(granted.grant_ids)
        fresh = _hold(run, granted)
        run.unmatched += fresh
        for name, slots in asked.slots.items():
            _note_behind(run, name, slots)
            if name not in run.keys and name not in run.doubts:
                run.refused[name] = slots
        figures = {"scopes": len(fresh), "refused": len(granted.refused)}
        self._desk.add_progress(record.digest, figures)
        return fresh

    def _wanted(
        self, authorized: AuthorizedQuery, run: Run, arrivals: Arrivals
    ) -> Iterator[StoredAnnouncement]:
        """Yield the announcements of which more may be opened than is: of all, or the new ones."""
        if not run.everything and arrivals.announcement <= run.announced:
            return
        now_s, now_ms = time.monotonic(), system_ms()
        for stored in self._announcements(authorized.query, 0 if run.everything else run.announced):
            name = stored.name
            if any(kept.must_wait(name, now_s=now_s) for kept in (run.doubts, run.behind)):
                continue
            slots = authorized.grantable_slots(stored.epoch, now_ms=now_ms)
            held = run.keys.get(name)
            closed = run.refused.get(name, range(0))
            if slots and (held is None or held.slots() != slots) and closed != slots:
                yield stored

    def _announcements(self, query: Query, after: int) -> Iterator[StoredAnnouncement]:
        """Yield announcements day by day; first those of examples, with which all is compared."""
        first = {
            stored.name: stored
            for camera, epoch in sorted(
                {(one.camera, one.epoch) for subject in query.subjects for one in subject.examples}
            )
            for stored in self._of_day(query, [camera], epoch, after)
        }
        yield from first.values()
        if after:  # few, and looked up by their numbers
            spans = [(query.window_from_ms, query.window_to_ms)]
        else:
            days = range(epoch_of(query.window_from_ms), epoch_of(query.window_to_ms - 1) + 1)
            spans = [(slot_start_ms(day, 0), slot_start_ms(day + 1, 0)) for day in days]
        for from_ms, to_ms in spans:
            for stored in self._ledger.announcements(
                query.cameras, from_ms=from_ms, to_ms=to_ms, after=after
            ):
                if stored.name not in first:
                    yield stored

    def _of_day(
        self, query: Query, cameras: Sequence[str], epoch: int, after: int
    ) -> Iterator[StoredAnnouncement]:
        if set(cameras) <= set(query.cameras):
            yield from self._ledger.announcements(
                cameras,
                from_ms=slot_start_ms(epoch, 0),
                to_ms=slot_start_ms(epoch + 1, 0),
                after=after,
            )


@dataclass(frozen=True, slots=True)
class _Case:
    """The query whose keys are asked for, what it holds, and to whose key they are sealed."""

    record: QueryRecord
    authorized: AuthorizedQuery
    run: Run
    matcher: hpke.PrivateKey


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A portion that custodians have been asked for: which slots of each announcement."""

    slots: Mapping[EpochName, range]
    portion: Portion
    answers: Future[Answers]


def _parts(wanted: Iterator[StoredAnnouncement]) -> Iterator[list[StoredAnnouncement]]:
    while part := list(islice(wanted, ANNOUNCEMENTS_A_REQUEST)):
        yield part


def _note_behind(run: Run, name: EpochName, wanted: range) -> None:
    """Note whether custodians whose clocks are behind, or who say so, released too little."""
    held = run.keys.get(name)
    if held is None or held.slots() == wanted:
        run.behind.settle([name])
    else:
        run.behind.note([name], now_s=time.monotonic())


def _hold(run: Run, granted: Granted) -> list[EpochKeys]:
    fresh = []
    for keys in granted.keys:
        name = name_in(keys.scope)
        held = run.keys.get(name)
        run.keys[name] = keys
        run.refused.pop(name, None)
        run.answered[name] = granted.answered[name]
        new = keys.slots()
        if held is not None and held.slots().start == new.start:
            new = range(held.slots().stop, new.stop)
        if new:
            fresh.append(keys.narrowed(new))
    return fresh
