"""Ask for the keys of a query as they become grantable, and hold what was released."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from aggregator.arrivals import Arrivals
from aggregator.circle import Refusal
from aggregator.grants import Custodians, Granted, name_in
from aggregator.queries import QueryDesk
from aggregator.standing import Run
from aggregator.store import LedgerReading
from aggregator.store.rows import EpochName, QueryRecord, StoredAnnouncement
from protocol.authorization import AuthorizedQuery
from protocol.epoch_keys import EpochKeys

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

    def fetch(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        arrivals: Arrivals,
        *,
        now_ms: int,
    ) -> list[EpochKeys]:
        """Ask for what has become grantable since; return the keys that are new.

        Raises:
            TooFewGrants: fewer custodians than the threshold granted anything.
        """
        wanted = self._wanted(authorized, run, arrivals, now_ms=now_ms)
        matcher_key = self._desk.matcher(record.digest) if wanted else None
        if matcher_key is None:
            return []
        now_s = time.monotonic()
        for stored in wanted:
            run.doubts.postpone(stored.name, now_s=now_s)
            run.asked[stored.name] = authorized.grantable_slots(stored.epoch, now_ms=now_ms)
        granted = self._custodians.grant(
            record,
            authorized,
            self._desk.approvals(record.digest),
            self._desk.withdrawals(record.digest),
            matcher_key,
            announcements=wanted,
            wait_for_all=any(stored.name in run.doubts for stored in wanted),
        )
        self._accuse(record, granted.refusals)
        run.grant_ids |= set(granted.grant_ids)
        fresh = _hold(run, granted)
        for stored in wanted:
            slots = authorized.grantable_slots(stored.epoch, now_ms=now_ms)
            _note_behind(run, stored.name, slots)
            if stored.name not in run.keys and stored.name not in run.doubts:
                run.refused[stored.name] = slots
        figures = {"scopes": len(fresh), "refused": len(granted.refused)}
        self._desk.add_progress(record.digest, figures)
        return fresh

    def _wanted(
        self, authorized: AuthorizedQuery, run: Run, arrivals: Arrivals, *, now_ms: int
    ) -> list[StoredAnnouncement]:
        """Return the announcements of which more may be opened than is: of all, or the new ones."""
        if not run.everything and arrivals.announcement <= run.announced:
            return []
        query, now_s = authorized.query, time.monotonic()
        wanted = []
        for stored in self._ledger.announcements(
            query.cameras,
            from_ms=query.window_from_ms,
            to_ms=query.window_to_ms,
            after=0 if run.everything else run.announced,
        ):
            name = stored.name
            if any(kept.must_wait(name, now_s=now_s) for kept in (run.doubts, run.behind)):
                continue
            slots = authorized.grantable_slots(stored.epoch, now_ms=now_ms)
            held = run.keys.get(name)
            closed = run.refused.get(name, range(0))
            if slots and (held is None or held.slots() != slots) and closed != slots:
                wanted.append(stored)
        return wanted


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
