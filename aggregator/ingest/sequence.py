"""Where a camera's stream of messages stands: what is next, what is missing, what cannot be.

A box numbers a camera's envelopes and announcements without a gap, for ever; its generation rises
with every start. A box that lost its counters begins at 0 again with a generation never seen: that
is a new **run**. Pure bookkeeping, in memory: `aggregator.ingest.intake` keeps it in the store.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from protocol.telemetry import MAX_MISSING


class Place(Enum):
    """Where a message with a given sequence and generation falls."""

    AHEAD = "ahead"
    """Next in line, or further: then what lies between is missing."""
    FILLS = "fills"
    """One of those that were missing."""
    SEEN = "seen"
    """That number has come already: a duplicate, or equivocation."""
    RESTARTED = "restarted"
    """The box lost its counters: a generation never seen, with a number long gone."""
    REPLAYED = "replayed"
    """A number never seen with a generation that is over: cannot be honest."""


@dataclass(slots=True)
class Gap:
    """Missing numbers ``first..last``; ``lost`` when no longer waited for (yet still welcome)."""

    number: int
    first: int
    last: int
    opened_ms: int
    reported_ms: int | None = None
    lost: bool = False

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(slots=True)
class Position:
    """The state of one stream. ``gaps`` are sorted and disjoint."""

    stream: int
    run: int = 0
    highest: int = -1
    generation: int = 0
    gaps: list[Gap] = field(default_factory=list)
    filled_ms: int = 0

    def place(self, sequence: int, generation: int) -> Place:
        """Tell where a message falls; changes nothing."""
        if sequence > self.highest:
            return Place.REPLAYED if generation < self.generation else Place.AHEAD
        if generation > self.generation:
            return Place.RESTARTED
        return Place.SEEN if self.gap_with(sequence) is None else Place.FILLS

    def gap_with(self, sequence: int) -> Gap | None:
        """Return the gap that ``sequence`` lies in."""
        at = bisect_right(self.gaps, sequence, key=lambda gap: gap.first) - 1
        return self.gaps[at] if at >= 0 and sequence <= self.gaps[at].last else None

    def missing(self) -> Iterator[int]:
        """Yield the missing numbers that are still waited for, rising."""
        for gap in self.gaps:
            if not gap.lost:
                yield from range(gap.first, gap.last + 1)

    def waited_for(self) -> int:
        """Return how many numbers are missing and still waited for."""
        return sum(len(gap) for gap in self.gaps if not gap.lost)

    def receipt(self) -> tuple[int, tuple[int, ...]]:
        """Return what a receipt may say: stored through, but for the missing.

        When more are missing than a receipt can name, it covers only as far as it can name them.
        """
        missing: list[int] = []
        for number in self.missing():
            if len(missing) == MAX_MISSING:
                return number - 1, tuple(missing)
            missing.append(number)
        return self.highest, tuple(missing)
