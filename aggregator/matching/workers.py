"""What compares a portion of a query's scope elsewhere: processes of this machine, or of others."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from aggregator.matching.probes import Probes
from aggregator.matching.report import MatchReport
from protocol.epoch_keys import EpochKeys
from runtime.errors import OperationError


class MatchingFailed(OperationError):
    """Workers died or failed in the middle; nothing of what they had in hand was kept."""


@dataclass(frozen=True, slots=True)
class MatchTask:
    """A portion of work that takes a worker some seconds at most.

    It holds keys and templates in the clear: whoever carries it to another machine seals it.

    Args:
        scopes: what is to be opened.
        probes: the subjects' templates. They stay the submitter's, who wipes them once the future
            is done; workers wipe their own copies.
        contacts: whether candidates carry their encounters.
        max_candidates: so many are kept, the best of each camera in turn.
        after: only envelopes that arrived after this cursor are compared.
        tell_through: nothing is compared (there are no probes): what the scopes' segments tell of
            their cameras' watching is told, as far as they came before this cursor or with it; 0:
            it is not.
        group: tasks of one group wait for each other, never for those of another: a query's digest.
    """

    scopes: tuple[EpochKeys, ...]
    probes: tuple[Probes, ...]
    contacts: bool
    max_candidates: int
    after: int = 0
    tell_through: int = 0
    group: bytes = b""


class Workers(Protocol):
    """Does tasks side by side; safe to call from several threads."""

    @property
    def parallel(self) -> int:
        """How many tasks are done at once; so many and a few more are worth submitting."""

    def trouble(self) -> str | None:
        """Return why nothing can be done just now, for people; None while something can."""

    def submit(self, task: MatchTask) -> Future[MatchReport]:
        """Have a task done; the groups of the waiting tasks take turns.

        A worker that dies loses nothing: the task goes to another. A future that is cancelled
        before its task has begun costs nothing more; its exception is a `MatchingFailed`.

        Raises:
            MatchingFailed: these workers have been closed, or cannot be had now.
        """

    def close(self) -> None:
        """End the workers; what has not been done fails."""
