"""Look at what boxes tell of a query's cameras as it comes, and keep it for its officers in time.

Called at each step of the query, after what was found has been kept: nobody waits for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from aggregator.deciding import Deciding
from aggregator.findings import Findings
from aggregator.matching.coverage import tell_portions
from aggregator.matching.pool import Matcher
from aggregator.standing import Run
from aggregator.store import SegmentReader
from aggregator.store.rows import QueryRecord
from aggregator.watching import Closed, ended_until_ms, settled_until_ms
from protocol.authorization import AuthorizedQuery
from protocol.watching import NOT_GRANTED, REFUSED


class WatchKeeping:
    """Does it for all queries.

    Args:
        reader: the sealed segments.
        matcher: whose workers look at much of it.
        findings: keeps what officers read.
        deciding: which candidates are confirmed, for a query that counts who came afterwards.
        wake: has the queries looked at again at once.
    """

    def __init__(
        self,
        reader: SegmentReader,
        matcher: Matcher,
        findings: Findings,
        deciding: Deciding,
        wake: Callable[[], object],
    ) -> None:
        self._reader = reader
        self._matcher = matcher
        self._deciding = deciding
        self._findings = findings
        self._wake = wake

    def look(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        run: Run,
        *,
        now_ms: int,
        now_s: float,
        meanwhile: Callable[[], object],
    ) -> None:
        """Look at some of what has not been looked at; keep it for the officers when that is due.

        Args:
            meanwhile: called about once a second while workers look; what it raises ends that.

        Raises:
            StorageError: the store cannot be read or written; it is tried again at the next step.
            MatchingFailed: workers failed; the same.
        """
        watch, until_ms = run.watch, settled_until_ms(authorized.query, now_ms)
        spans = self._deciding.spans(run)
        if authorized.query.asks.afterwards_min and spans != watch.spans:
            watch.spans = spans
            watch.changed(now_s)
        if watch.portions:
            if portions := watch.next_fresh(self._matcher.tells_at_once):
                told = self._matcher.tell(portions, group=record.digest, meanwhile=meanwhile)
            else:
                portions = watch.next_portions()
                told = tell_portions(self._reader, portions)
            watch.take(portions, told)
            watch.changed(now_s)
        elif until_ms != watch.kept_until_ms:
            watch.changed(now_s)
        if watch.portions:
            self._wake()  # the rest at once, after the other queries
        elif watch.is_due(now_s):
            self._keep(record, authorized, run, until_ms)

    def finish(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: Run, *, now_ms: int
    ) -> None:
        """Keep all of it, unless the officers have been told that: the query is complete.

        Raises:
            StorageError: it could not be written.
        """
        until_ms = ended_until_ms(authorized.query, now_ms)
        if math.isfinite(run.watch.keep_at_s) or until_ms != run.watch.kept_until_ms:
            self._keep(record, authorized, run, until_ms)

    def _keep(
        self, record: QueryRecord, authorized: AuthorizedQuery, run: Run, until_ms: int
    ) -> None:
        query, begun_s = authorized.query, time.thread_time()
        if until_ms > query.window_from_ms:
            told = run.watch.told(query, until_ms=until_ms, closed=closed_in(run))
            self._findings.keep_watching(record, authorized, told)
        run.watch.kept(until_ms, took_s=time.thread_time() - begun_s)


def closed_in(run: Run) -> Iterator[Closed]:
    """Yield the slots of a query that were asked for and stay closed, and why."""
    for name, slots in run.asked.items():
        refused = run.refused.get(name)
        if refused is not None:
            yield Closed(name, refused, REFUSED)
            continue
        held = run.keys.get(name)
        if held is None:
            yield Closed(name, slots, NOT_GRANTED)
            continue
        given = held.slots()
        yield Closed(name, range(slots.start, min(slots.stop, given.start)), NOT_GRANTED)
        yield Closed(name, range(max(slots.start, given.stop), slots.stop), NOT_GRANTED)
