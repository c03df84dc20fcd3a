"""Step each query in a thread of its own: one that takes long never has another wait.

What a query holds is touched by one thread at a time: it is not begun anew while it is being
stepped. Threads, ``query-<n>``, are begun when there is work for them; some stay for the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

import structlog

MOST_AT_ONCE = 64
"""Queries that are stepped at once at most: those that have keys to ask for, or arrivals."""
STAYS_S = 30.0
_log = structlog.get_logger()
Work = Callable[[], None]


class Steps:
    """The steps that are under way.

    Args:
        ended: called after each step, from its thread: there may be something more to do.
        most: so many at once.
    """

    def __init__(self, ended: Callable[[], object], *, most: int = MOST_AT_ONCE) -> None:
        self._ended = ended
        self._most = most
        self._queue: SimpleQueue[tuple[bytes, Work, bool]] = SimpleQueue()
        self._change = threading.Condition()
        self._busy: set[bytes] = set()
        self._threads = self._idle = self._begun = 0

    def is_busy(self, digest: bytes) -> bool:
        """Tell whether a query is being stepped; True also while there is no thread for it."""
        with self._change:
            return digest in self._busy or len(self._busy) >= self._most

    def begin(self, digest: bytes, work: Work, *, wakes: bool = True) -> bool:
        """Have ``work`` done for a query; tell whether it was free and there was a thread.

        Whatever the work raises is logged and ends nothing.

        Args:
            digest: the query's.
            work: what is done.
            wakes: whether ``ended`` is to be called after it.
        """
        with self._change:
            if digest in self._busy or len(self._busy) >= self._most:
                return False
            running = self._threads - self._idle
            if len(self._busy) - running >= self._idle and not self._start():
                return False
            self._busy.add(digest)
            self._queue.put((digest, work, wakes))
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is under way, at most so long; tell whether that is so."""
        with self._change:
            return self._change.wait_for(lambda: not self._busy, timeout_s)

    def _start(self) -> bool:
        self._begun += 1
        thread = threading.Thread(target=self._work, name=f"query-{self._begun}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread can be had now: the next time there may be one
            _log.error("query_waits_for_a_thread", error=str(error))
            return False
        self._threads += 1
        return True

    def _work(self) -> None:
        while True:
            with self._change:
                self._idle += 1
            try:
                digest, work, wakes = self._queue.get(timeout=STAYS_S)
            except Empty:
                with self._change:
                    self._idle -= 1
                    if not self._queue.empty():
                        continue
                    self._threads -= 1
                return
            with self._change:
                self._idle -= 1
            try:
                work()
            except Exception:
                _log.exception("query_step_failed", query=digest.hex()[:16])
            finally:
                del work
                with self._change:
                    self._busy.discard(digest)
                    self._change.notify_all()
                if wakes:
                    self._ended()
