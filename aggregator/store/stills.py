"""What the ledger keeps of stills that officers asked boxes for, and of what boxes answered.

Part of `aggregator.store.ledger`. Both are kept for minutes only; an answer's still is sealed to
who asked, under a seal that custodians open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StillAsked:
    """A verified request for stills, as it came.

    Args:
        request: SHA-256 of ``signed``.
        stills: how many sightings it names.
        answered: how many of them the box has answered.
    """

    request: bytes
    query_digest: bytes
    query_id: bytes
    officer: str
    box: str
    signed: bytes
    stills: int
    received_ms: int
    answered: int = 0


class StillsReading(Protocol):
    """What was asked of boxes, and what they answered."""

    def still_request(self, request: bytes) -> StillAsked | None:
        """Return a request by its digest; None when it never came, or is forgotten."""

    def unanswered_stills(self, *, since_ms: int) -> list[StillAsked]:
        """Return the requests received since then that are not answered whole, oldest first."""

    def count_still_requests(self, officer: str | None = None) -> int:
        """Count the requests that stand: an officer's, or everybody's."""

    def still_answers(
        self, query_digest: bytes, officer: str, request: bytes | None = None
    ) -> list[bytes]:
        """Return the signed answers to an officer, oldest first: to one request, or to all."""

    def has_still_answer(self, request: bytes, mark: bytes) -> bool:
        """Tell whether a request's sighting has been answered."""

    def still_answer_bytes(self) -> int:
        """Return how many bytes of answers are kept."""

    def count_stills_sent(self, query_digest: bytes) -> int:
        """Return of how many distinct sightings of a query stills were sent, ever."""


class StillsWriting(StillsReading, Protocol):
    """Takes in what was asked and answered."""

    def add_still_request(self, asked: StillAsked) -> None:
        """Keep a request that is new."""

    def add_still_answer(
        self,
        asked: StillAsked,
        mark: bytes,
        signed: bytes,
        *,
        sent: bool,
        received_ms: int,
    ) -> None:
        """Keep an answer to a request that stands; ``mark`` tells its sighting apart, no more."""

    def forget_stills(self, *, asked_before_ms: int, answered_before_ms: int) -> int:
        """Delete requests and answers that came before then; return how many."""
