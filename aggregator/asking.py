"""Ask several parties the same at once, and wait no longer for the slow than the quick have earned.

A party that answers a byte a minute, or never, holds up nobody: once enough have answered, the
others get as long again, and what they say later is not waited for. It is handed on when it comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger()
Answer = TypeVar("Answer")
Late = Callable[[str, Answer], None]
"""Told who answered late, and what; from the thread that asked."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: at most ``most_s``; once enough answered, as long again or ``least_s``."""

    least_s: float = 5.0
    most_s: float = 60.0


@dataclass(slots=True)
class _Round(Generic[Answer]):
    """One question, until ``over``; under the panel's lock, so that no answer falls in between."""

    late: Late[Answer] | None
    lane: object = None
    replies: SimpleQueue[tuple[str, Answer | None]] = field(default_factory=SimpleQueue)
    over: bool = False


class Panel(Generic[Answer]):
    """Asks each party in a thread of its own, ``ask-<name>``; in one lane never twice at one time.

    Lanes are what is asked about: one query does not wait for what another has asked.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._busy: set[tuple[str, object]] = set()
        self._lock = threading.Lock()

    def ask(
        self,
        asks: Mapping[str, Callable[[], Answer]],
        *,
        enough: Callable[[Mapping[str, Answer]], bool],
        wait_for_all: bool = False,
        late: Late[Answer] | None = None,
        lane: object = None,
    ) -> dict[str, Answer]:
        """Return the answers that came in time, by name; an ask that raised has none.

        Args:
            asks: name to what asks that party.
            enough: tells of the answers so far whether the others need only so much longer.
            wait_for_all: wait for everybody as long as for anybody.
            late: handed each answer that comes after this has returned; None: they are dropped.
                Until it has returned that party is not asked again; what it raises ends nothing.
            lane: what it is about: an earlier question of another lane is no hindrance.
        """
        asked = _Round(late, lane)
        waiting = {name for name, ask in asks.items() if self._start(name, ask, asked)}
        answers: dict[str, Answer] = {}
        started = time.monotonic()
        until = started + self._patience.most_s
        satisfied = wait_for_all
        while waiting:
            try:
                name, answer = asked.replies.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                _log.warning("no_answer_in_time", names=sorted(waiting))
                break
            waiting.discard(name)
            if answer is not None:
                answers[name] = answer
            if not satisfied and enough(answers):
                satisfied = True
                now = time.monotonic()
                until = min(until, now + max(self._patience.least_s, now - started))
        return answers | self._end(asked)

    def _end(self, asked: _Round[Answer]) -> dict[str, Answer]:
        """End a round; return what came while it was decided not to wait any longer."""
        with self._lock:
            asked.over = True
        answers: dict[str, Answer] = {}
        while not asked.replies.empty():
            name, answer = asked.replies.get_nowait()
            if answer is not None:
                answers[name] = answer
        return answers

    def _start(self, name: str, ask: Callable[[], Answer], asked: _Round[Answer]) -> bool:
        with self._lock:
            if (name, asked.lane) in self._busy:
                _log.warning("still_busy_with_an_earlier_request", name=name)
                return False
            self._busy.add((name, asked.lane))
        work = threading.Thread(
            target=self._work, args=(name, ask, asked), name=f"ask-{name}", daemon=True
        )
        try:
            work.start()
        except RuntimeError as error:  # no thread can be had now: the next time there may be one
            _log.error("asking_failed", name=name, error=str(error))
            with self._lock:
                self._busy.discard((name, asked.lane))
            return False
        return True

    def _work(self, name: str, ask: Callable[[], Answer], asked: _Round[Answer]) -> None:
        answer: Answer | None = None
        try:
            answer = ask()
        except Exception as error:  # whatever a party sends, it ends nobody's thread but this
            _log.error("asking_failed", name=name, error=f"{type(error).__name__}: {error}")
        finally:
            self._deliver(name, answer, asked)

    def _deliver(self, name: str, answer: Answer | None, asked: _Round[Answer]) -> None:
        """Reply while the round lasts, else hand the answer on; only then is the party free."""
        with self._lock:
            if not asked.over:
                self._busy.discard((name, asked.lane))
                asked.replies.put((name, answer))
                return
        try:
            if answer is not None and asked.late is not None:
                asked.late(name, answer)
        except Exception as error:
            _log.error("late_answer_lost", name=name, error=f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._busy.discard((name, asked.lane))
