"""One still at a time: fetched while the officer waits, in memory, wiped when they go on.

How a still is asked for and opened is `officers.desk.stills`; here is which one is on the screen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from officers.desk.phrases import phrase, words_of
from protocol.errors import ProtocolError
from runtime.errors import OperationError

ASKING, SHOWN, ABSENT, FAILED = "asking", "shown", "absent", "failed"


class Fetched(Protocol):
    """What came of asking for a still.

    Attributes:
        jpeg: the picture; empty where there is none.
        absent: why there is none; empty where there is one.
        final: whether there will be none either if it is asked for again.
        opened: how many stills of the query were opened by now.
        most: how many it may open.
    """

    @property
    def jpeg(self) -> bytearray:
        """The picture's bytes."""

    @property
    def absent(self) -> str | None:
        """Why there is none."""

    @property
    def final(self) -> bool:
        """Whether that stays so."""

    @property
    def opened(self) -> int:
        """How many of the query's were opened by now."""

    @property
    def most(self) -> int:
        """How many of the query's may be."""

    def close(self) -> None:
        """Wipe it."""


Fetch = Callable[[Callable[[str], None], Callable[[], bool]], Fetched]
"""Asks for a still: takes what says how far it is, and what tells whether nobody waits any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a still is.

    Args:
        state: `ASKING`, `SHOWN`, `ABSENT` for good, or `FAILED` for now.
        words: how far it is, or why there is none.
    """

    state: str
    words: str = ""


class Viewer:
    """The officer's one still; safe among threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[str, int] | None = None
        self._seen = Seen(ASKING)
        self._still: Fetched | None = None
        self._turn = 0

    def ask(
        self,
        query_id: str,
        number: int,
        fetch: Fetch,
        *,
        done: Callable[[Seen], None] = lambda _seen: None,
    ) -> None:
        """Begin to fetch a still in a thread of its own; the one before is wiped.

        Asked for again while it is fetched, or is shown, it goes on as it is.

        Args:
            query_id, number: of the candidate.
            fetch: asks for it.
            done: called once it is known what came of it.
        """
        with self._lock:
            if self._of == (query_id, number) and self._seen.state in {ASKING, SHOWN}:
                return
            turn = self._close()
            self._of = (query_id, number)
            self._seen = Seen(ASKING, phrase("asking the custodians and the camera's box"))
        threading.Thread(
            target=self._fetch, args=(turn, fetch, done), name="still", daemon=True
        ).start()

    def seen(self, query_id: str, number: int) -> Seen | None:
        """Return where a candidate's still is; None if it is not the one that was asked for."""
        with self._lock:
            return self._seen if self._of == (query_id, number) else None

    def jpeg(self, query_id: str, number: int) -> bytes | None:
        """Return the picture; None if it is not on the screen."""
        with self._lock:
            if self._of != (query_id, number) or self._still is None:
                return None
            return bytes(self._still.jpeg)

    def leave(self, query_id: str, number: int) -> None:
        """Wipe the still, unless it is of this candidate."""
        with self._lock:
            if self._of is not None and self._of != (query_id, number):
                self._close()

    def forget(self) -> None:
        """Wipe the still."""
        with self._lock:
            self._close()

    def _close(self) -> int:
        if self._still is not None:
            self._still.close()
        self._still, self._of, self._seen = None, None, Seen(ASKING)
        self._turn += 1
        return self._turn

    def _fetch(self, turn: int, fetch: Fetch, done: Callable[[Seen], None]) -> None:
        def tell(words: str) -> None:
            with self._lock:
                if self._turn == turn:
                    self._seen = Seen(ASKING, words)

        def cancelled() -> bool:
            with self._lock:
                return self._turn != turn

        still: Fetched | None = None
        seen = Seen(FAILED, phrase("a fault of the program: tell who looks after the desk"))
        try:
            still = fetch(tell, cancelled)
        except (OperationError, ProtocolError) as error:
            seen = Seen(FAILED, words_of(error))
        else:
            if still.absent:
                seen = Seen(ABSENT if still.final else FAILED, still.absent)
            else:
                words = phrase(
                    "{opened} of the {most} stills that this query may open are opened.",
                    opened=still.opened,
                    most=still.most,
                )
                seen = Seen(SHOWN, words)
        finally:
            with self._lock:
                ours = self._turn == turn
                if ours:
                    self._seen = seen
                if ours and seen.state == SHOWN:
                    self._still = still
                elif still is not None:
                    still.close()
        if ours:
            done(seen)
