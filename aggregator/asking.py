"""Ask several parties the same at once, and wait no longer for the slow than the quick have earned.

A party that answers a byte a minute, or never, holds up nobody: once enough have answered, the
others get as long again, and what they say later is not waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger()
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: at most ``most_s``; once enough answered, as long again or ``least_s``."""

    least_s: float = 5.0
    most_s: float = 60.0


class Panel(Generic[Answer]):
    """Asks each party in a thread of its own, ``ask-<name>``; never twice at one time."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def ask(
        self,
        asks: Mapping[str, Callable[[], Answer]],
        *,
        enough: Callable[[Mapping[str, Answer]], bool],
        wait_for_all: bool = False,
    ) -> dict[str, Answer]:
        """Return the answers that came in time, by name; an ask that raised has none.

        Args:
            asks: name to what asks that party.
            enough: tells of the answers so far whether the others need only so much longer.
            wait_for_all: wait for everybody as long as for anybody.
        """
        replies: SimpleQueue[tuple[str, Answer | None]] = SimpleQueue()
        waiting = {name for name, ask in asks.items() if self._start(name, ask, replies)}
        answers: dict[str, Answer] = {}
        started = time.monotonic()
        until = started + self._patience.most_s
        satisfied = wait_for_all
        while waiting:
            try:
                name, answer = replies.get(timeout=max(0.0, until - time.monotonic()))
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
        return answers

    def _start(
        self,
        name: str,
        ask: Callable[[], Answer],
        replies: SimpleQueue[tuple[str, Answer | None]],
    ) -> bool:
        with self._lock:
            if name in self._busy:
                _log.warning("still_busy_with_an_earlier_request", name=name)
                return False
            self._busy.add(name)
        work = threading.Thread(
            target=self._work, args=(name, ask, replies), name=f"ask-{name}", daemon=True
        )
        try:
            work.start()
        except RuntimeError as error:  # no thread can be had now: the next time there may be one
            _log.error("asking_failed", name=name, error=str(error))
            with self._lock:
                self._busy.discard(name)
            return False
        return True

    def _work(
        self,
        name: str,
        ask: Callable[[], Answer],
        replies: SimpleQueue[tuple[str, Answer | None]],
    ) -> None:
        answer: Answer | None = None
        try:
            answer = ask()
        except Exception as error:  # whatever a party sends, it ends nobody's thread but this
            _log.error("asking_failed", name=name, error=f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._busy.discard(name)
            replies.put((name, answer))
