"""What changes while pages are open: headquarters are watched, and each tab is told by a stream.

Topics: ``queries`` (any of them, or a new one), ``query:ID`` (where it stands), ``candidates:ID``
(how many more were found), and what a section tells of itself.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from officers.desk import QuerySummary
from officers.desk.api_client import ENDED
from officers.desk.phrases import moment, phrase
from protocol.errors import ProtocolError
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.http import PeerUnreachable
from runtime.lifecycle import Stop

if TYPE_CHECKING:
    from officers.pages.house import House

WARNING_S = 60.0
"""Seconds before the desk locks itself in which it asks whether the officer is still there."""
MOST_TABS = 4
"""Browsers allow six connections to one server; a fifth tab gets no stream."""
QUERIES = "queries"
_MOST_TOPICS = 512
_STREAM_S, _ALIVE_TICKS = 0.25, 60
_TICK_S = 0.5
_WATCHED_TICKS, _LISTED_TICKS, _ALONE_TICKS = 2, 10, 40
"""Of `_TICK_S`: between looks at what runs, at all queries, and at all while no page is open."""
_AGAIN_S = 8.0
"""Seconds for which no page asks headquarters that were just found silent."""
_MOST_WATCHED = 6
"""Queries looked at in each second: those that run take turns, as headquarters answer ten desks."""
_WATCHED = frozenset({"awaiting-approvals", "running", "standing", "blocked"})


class TooManyTabs(Exception):
    """There is no stream for another tab."""


class Live:
    """Counts what happened by topic; every stream tells its tab what the tab does not know yet.

    Args:
        house: whose desk it is.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._tabs = 0
        self._closed = False
        self._known: dict[str, QuerySummary] | None = None
        self._failed_s = 0.0
        self._turn = 0
        self.silent_since_ms: int | None = None
        """Since when headquarters do not answer; None while they do."""
        self.heard_ms: int | None = None
        """When headquarters answered last."""

    def check_heard(self) -> None:
        """Check that headquarters were not found silent a moment ago.

        Raises:
            PeerUnreachable: they were.
        """
        if self.silent_since_ms is not None and time.monotonic() - self._failed_s < _AGAIN_S:
            raise PeerUnreachable(
                phrase(
                    "headquarters are silent since {time}; they are asked again by themselves",
                    time=moment(self.silent_since_ms),
                )
            )

    # ------------------------------------------------------------------ topics

    def tell(self, topic: str, count: int = 1) -> None:
        """Say that something on a topic is new."""
        with self._lock:
            self._counts[topic] = self._counts.pop(topic, 0) + count
            while len(self._counts) > _MOST_TOPICS:
                del self._counts[next(iter(self._counts))]

    def seen(self) -> dict[str, int]:
        """Return how often each topic was told of so far: what a page that is drawn now knows."""
        with self._lock:
            return dict(self._counts)

    # ------------------------------------------------------------------ headquarters

    def watch(self, stop: Stop) -> None:
        """Watch headquarters, and lock the desk when its officer is away; until ``stop``."""
        ticks = 0
        while not stop.wait(_TICK_S):
            self.lock_if_idle()
            every = _LISTED_TICKS if self._tabs else _ALONE_TICKS
            if ticks % every == 0:
                self.look_at_all()
            elif self._tabs and ticks % _WATCHED_TICKS == 0:
                self.look_at_running()
            ticks += 1
        self._closed = True

    def lock_if_idle(self) -> None:
        """Lock the desk if there was no sign of the officer for too long."""
        self._house.lock_if_idle()

    def look_at_all(self) -> None:
        """Look at all queries: new ones, and where each stands."""
        with self._asking() as session:
            found = session.queries()
            before, self._known = self._known, {one.id: one for one in found}
            if before is not None:
                self._compare(before, found)
                for one in found:
                    if one.id not in before:
                        self.tell(QUERIES)

    def look_at_running(self) -> None:
        """Look at queries that run, as far as they are known: few, and the next ones each time."""
        with self._asking() as session:
            known = self._known or {}
            running = [one.id for one in known.values() if one.state in _WATCHED]
            first = self._turn % max(1, len(running))
            self._turn += _MOST_WATCHED
            in_turn = (running[first:] + running[:first])[:_MOST_WATCHED]
            found = [session.client.query(one) for one in in_turn]
            self._compare(known, found)
            self._known = known | {one.id: one for one in found}

    def _compare(self, before: dict[str, QuerySummary], found: Iterable[QuerySummary]) -> None:
        for one in found:
            old = before.get(one.id)
            if old is None or old == one:
                continue
            self.tell(f"query:{one.id}")
            if one.candidates > old.candidates:
                self.tell(f"candidates:{one.id}", one.candidates - old.candidates)
            if (old.state, len(old.approvals)) != (one.state, len(one.approvals)) or (
                one.state in ENDED and old.state not in ENDED
            ):
                self.tell(QUERIES)

    @contextmanager
    def _asking(self) -> Any:
        """Ask headquarters; note whether they answer."""
        try:
            with self._house.session(anyway=True) as session:
                yield session
        except (OperationError, ProtocolError):
            self._failed_s = time.monotonic()
            if self.silent_since_ms is None:
                self.silent_since_ms = self.heard_ms or system_ms()
        else:
            self.silent_since_ms, self.heard_ms = None, system_ms()

    # ------------------------------------------------------------------ streams

    async def stream(self) -> AsyncIterator[str]:
        """Yield server-sent events for one tab until it goes away.

        Raises:
            TooManyTabs: there are four already.
        """
        with self._lock:
            if self._tabs >= MOST_TABS:
                raise TooManyTabs
            self._tabs += 1
        try:
            state: dict[str, Any] = {}
            told: dict[str, int] | None = None
            ticks = 0
            while not self._closed:
                if (now := self._state()) != state:
                    state = now
                    yield _event("state", state)
                if (counts := self.seen()) != told:
                    told = counts
                    yield _event("news", {"topics": told})
                ticks += 1
                if ticks % _ALIVE_TICKS == 0:
                    yield ": alive\n\n"
                await asyncio.sleep(_STREAM_S)
        finally:
            with self._lock:
                self._tabs -= 1

    def _state(self) -> dict[str, Any]:
        left_s = self._house.idle_left_s
        warns = not self._house.locked and left_s <= WARNING_S
        return {
            "locked": self._house.locked,
            "idle_left_s": round(left_s) if warns else None,
            "silent": self.silent_since_ms is not None,
        }


def _event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
