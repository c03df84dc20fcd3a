"""A clock that never runs backwards, and whose leaps forward must be confirmed by a person.

Time decides what expires here. A clock set **back** could revive an expired query: so the latest
time ever known is kept in the database, and time stands still until the machine's clock has caught
up. A clock set far **ahead** could make a custodian destroy every key it holds: so after a leap of
more than two days (from the last time known, also over a restart) no key is destroyed until an
operator says that the clock is right: ``sealtrace custodian confirm-clock``. Grants go on, because
a request must be dated by the aggregator's clock to within ``limits.clock_skew_s`` of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from custodian.store import Store
from runtime.clock import system_ms

_log = structlog.get_logger()

LARGEST_LEAP_MS = 2 * 24 * 3600 * 1000
_KNOWN = "clock_known_ms"


class Clock:
    """The custodian's time."""

    def __init__(self, store: Store, *, system: Callable[[], int] = system_ms) -> None:
        self._store = store
        self._system = system
        self._lock = threading.Lock()
        self._known_ms = self._read_known() or self._remember(system())
        self._in_doubt = False
        self._behind = False

    def now_ms(self) -> int:
        """Return the time: the machine's, but never before the latest time known."""
        return max(self._system(), self._known_ms)

    @property
    def in_doubt(self) -> bool:
        """Whether the machine's clock has leapt ahead and nobody has confirmed it."""
        return self._in_doubt

    @property
    def known_ms(self) -> int:
        """The latest time that was known and believed."""
        return self._known_ms

    def tick(self) -> bool:
        """Compare the machine's clock with the last time known; tell whether it is believed.

        To be called now and then; raises an alarm in the log when the clock has leapt.
        """
        with self._lock:
            self._known_ms = self._read_known() or self._known_ms  # confirm-clock may have set it
            now_ms = self._system()
            leap_ms = now_ms - self._known_ms
            if leap_ms > LARGEST_LEAP_MS:
                if not self._in_doubt:
                    _log.critical(
                        "clock_leapt_ahead",
                        leap_s=leap_ms // 1000,
                        effect="no day key is destroyed until the clock is confirmed",
                        remedy="set the clock right, or run: sealtrace custodian confirm-clock",
                    )
                self._in_doubt = True
                return False
            self._in_doubt = False
            if leap_ms < -60_000 and not self._behind:
                _log.error("clock_went_back", by_s=-leap_ms // 1000)
            self._behind = leap_ms < -60_000
            if leap_ms > 0:
                self._known_ms = self._remember(now_ms)
            return True

    def _read_known(self) -> int | None:
        known = self._store.fact(_KNOWN)
        return None if known is None else int(known)

    def _remember(self, now_ms: int) -> int:
        self._store.set_fact(_KNOWN, str(now_ms))
        return now_ms


def confirm(store: Store, *, now_ms: int) -> int | None:
    """Take the machine's time as true from now on; return the time known before."""
    known = store.fact(_KNOWN)
    store.set_fact(_KNOWN, str(now_ms))
    return None if known is None else int(known)
