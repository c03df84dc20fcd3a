"""A process among the others of its aggregator: registered, its shares kept, told of changes."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from aggregator.processes.duties import Duty
from aggregator.processes.keeper import Keeper, Shared
from aggregator.processes.members import Member
from aggregator.processes.papers import SharedPapers
from aggregator.processes.shares import UPKEEP_NUMBER, partitions, query_shares, share_of_query
from aggregator.store import Store
from aggregator.store.leases import DUTY, Lease
from aggregator.store.rows import ENDED
from runtime.config import HttpConfig
from runtime.errors import OperationError
from runtime.http import HttpError, Ready
from runtime.lifecycle import EXIT_THREAD_DIED, Stop

_log = structlog.get_logger()
_COMES_UP_S = 60.0


class Company:
    """Where this process stands among the others.

    Args:
        store: shared by all.
        duties: of this process.
    """

    def __init__(self, store: Store, duties: frozenset[Duty]) -> None:
        self._store = store
        self.member = Member.new(duties)
        self.partitions = partitions()
        self.queries = query_shares()
        self.queries.busy = self._with_open_queries
        self.upkeep = Shared(DUTY, UPKEEP_NUMBER + 1, Duty.UPKEEP)
        self._queries_seen: frozenset[int] = frozenset()

    def has_query(self, query_id: bytes) -> bool:
        """Tell whether a query is ours to carry."""
        return share_of_query(query_id) in self.queries.held()

    def run(
        self,
        stop: Stop,
        *,
        ready: Ready,
        url_at: Callable[[int], str],
        papers: SharedPapers,
        on_tick: Callable[[], None],
    ) -> None:
        """Keep our place until ``stop``; the body of the thread ``leases``.

        Args:
            stop: ends it, and is set when another process has become the log's writer.
            ready: tells the port once we listen: others must reach us before we hold anything.
            url_at: gives our address by that port.
            papers: what the authority signed, exchanged at each round.
            on_tick: called after each round.
        """
        try:
            self.member = self.member.at(url_at(ready.wait(_COMES_UP_S)))
        except HttpError:
            if not stop.is_set():
                raise
            return

        def tick() -> None:
            if Duty.UPKEEP in self.member.duties and not self.upkeep.held():
                _log.critical("upkeep_lost", effect="this process ends")
                stop.set("another process has the duty upkeep", exit_code=EXIT_THREAD_DIED)
            papers.look()
            on_tick()

        shares = [self.partitions, self.queries, self.upkeep]
        Keeper(self._store, self.member, shares, on_tick=tick).run(stop)

    def hold_upkeep(self, lease: Lease) -> None:
        """Note the lease that we waited for."""
        self.upkeep.hold([lease])

    def queries_gained(self) -> frozenset[int]:
        """Return the shares of queries that became ours since the last call."""
        held = frozenset(self.queries.held())
        gained, self._queries_seen = held - self._queries_seen, held
        return gained

    def _with_open_queries(self) -> set[int]:
        """Return the shares with open queries: given back, they would forget their keys."""
        return {
            share_of_query(record.query_id)
            for record in self._store.ledger.queries()
            if record.state not in ENDED
        }


def address_of(http: HttpConfig, url: str, *, encrypted: bool) -> Callable[[int], str]:
    """Return what gives this process's address by its port.

    Args:
        http: where it listens.
        url: as configured; empty: on this machine.
        encrypted: whether it serves over TLS.
    """

    def at(port: int) -> str:
        if url:
            return url
        try:
            here = http.model_copy(update={"port": port}).address_here
        except OperationError:  # a port of 0 cannot be
            return ""
        return here if encrypted else here.replace("https://", "http://", 1)

    return at
