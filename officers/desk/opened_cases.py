"""What an officer has opened of queries, kept in memory: opened anew when something has changed.

Opening asks every custodian and has it logged, which is too much for each page and each click.
Before what is kept is shown again the aggregator is asked whether the query has changed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from officers.desk.api_client import QuerySummary
from officers.desk.camera_places import places_for
from officers.desk.export_forms import Report
from officers.desk.graded import GradedTrace, graded
from officers.desk.notices import Kept, Notice
from officers.desk.phrases import phrase
from officers.desk.queue import Queue, queues_of
from officers.desk.results import Results, open_results, sealed_to_me, trace
from officers.desk.session import Session
from protocol import hpke
from protocol.places import Places
from runtime.http import PeerUnreachable

MOST = 24
FRESH_S = 20.0
"""What others decide changes no summary: after so long it is opened anew."""
_SILENT = Notice(
    phrase("headquarters do not answer: this is as it was opened last, and nothing can be signed"),
    warning=True,
)


@dataclass(frozen=True)
class Opened:
    """A query as it was opened, and what is made of it: each made once.

    Args:
        places: the register by which ways were weighed.
        notices: what was told meanwhile.
        at_s: when, by the monotonic clock.
    """

    results: Results
    places: Places | None
    notices: tuple[Notice, ...]
    at_s: float
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @cached_property
    def queues(self) -> tuple[Queue, ...]:
        """Each subject's candidates, to decide on."""
        with self._lock:
            return queues_of(self.results)

    @cached_property
    def report(self) -> Report:
        """The traces."""
        with self._lock:
            return trace(self.results)

    def graded(self, session: Session, sealing: hpke.PrivateKey) -> tuple[GradedTrace, ...]:
        """Return whom the subjects met, graded by the case files as they are now."""
        return graded(
            session.officer,
            self.report.traces,
            self.results.links,
            sealing,
            places=self.places,
            tell=session.tell,
        )


class OpenedCases:
    """The queries that an officer has open; safe among threads.

    Args:
        fresh_s: how long what was opened is shown without opening it anew.
        clock: monotonic, s.
    """

    def __init__(
        self, *, fresh_s: float = FRESH_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fresh_s, self._clock = fresh_s, clock
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._generation = 0

    def of(self, session: Session, query_id: str, sealing: hpke.PrivateKey) -> Opened:
        """Return a query as it stands now.

        Args:
            session: an officer's to whom its results are sealed.
            query_id: the id, or its first digits.
            sealing: the officer's key.

        Raises:
            OfficerError, OperationError, ProtocolError: as `sealed_to_me` and `open_results`; where
                headquarters do not answer, what was opened before is returned and that is told.
        """
        known = session.full_id(query_id)
        with self._lock:
            one_at_a_time = self._locks.setdefault(known, threading.Lock())
        with one_at_a_time:
            with self._lock:
                generation, kept = self._generation, self._opened.get(known)
            young = kept is not None and self._clock() - kept.at_s < self._fresh_s
            if kept is not None and young and self._unchanged(session, kept):
                return kept
            heard = Kept(session.tell)
            try:
                case = sealed_to_me(session, known)
                places = places_for(session.officer, tell=heard)
                results = open_results(session, case, sealing, places)
            except PeerUnreachable:
                if kept is None:
                    raise
                session.tell(_SILENT)
                return kept
            opened = Opened(results, places, heard.all, self._clock())
            with self._lock:
                if generation == self._generation:
                    self._opened[known] = opened
                    self._opened.move_to_end(known)
                    while len(self._opened) > MOST:
                        self._opened.popitem(last=False)
            return opened

    def left(self, summary: QuerySummary) -> int | None:
        """Return how many stays are left to decide on; None if it is not open as it stands now."""
        with self._lock:
            kept = self._opened.get(summary.id)
        if kept is None or kept.results.summary.candidates != summary.candidates:
            return None
        return sum(len(queue.waiting) for queue in kept.queues)

    @staticmethod
    def _unchanged(session: Session, kept: Opened) -> bool:
        """Tell whether a query is as it was opened, as far as headquarters can be asked."""
        try:
            if session.summary(kept.results.case) != kept.results.summary:
                return False
        except PeerUnreachable:
            session.tell(_SILENT)
        for notice in kept.notices:
            session.tell(notice)
        return True

    def stale(self, query_id: str) -> None:
        """Have a query opened anew when it is asked for next: something was signed on it."""
        with self._lock:
            self._opened.pop(query_id, None)

    def forget(self) -> None:
        """Forget all, what is being opened at this moment too."""
        with self._lock:
            self._generation += 1
            self._opened.clear()
            self._locks.clear()
