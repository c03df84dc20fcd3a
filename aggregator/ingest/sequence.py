"""Where a camera's stream of messages stands: what is next, what is missing, what cannot be.

A box numbers a camera's envelopes and announcements without a gap, for ever; each announcement has
a higher generation than any before. Of what it sees one generation is open at a time; of films one
for each day, beside that and beside each other, so that their envelopes come in any order. A box
that lost its counters begins at 0 again with a generation never seen: that is a new **run**. Pure
bookkeeping, in memory: `aggregator.ingest.intake` keeps it in the store.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from protocol.epoch import RECORDING
from protocol.telemetry import MAX_MISSING

CLOCKS_APART_MS = 120_000
MAX_DAYS = 256
"""So many days of films are told apart: more than any policy keeps."""


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


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a message says of its place in its stream.

    Args:
        origin: `protocol.epoch.CAMERA_NOW` or `RECORDING`.
        announces: whether it begins its generation.
        made_ms: when, by its box; None where that cannot be believed.
    """

    sequence: int
    generation: int
    epoch: int
    origin: str
    announces: bool
    made_ms: int | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The generations that have begun in a stream: which are over shows by them.

    Args:
        newest: of all.
        live: the newest of what the box sees itself.
        floor: with which the run began.
    """

    newest: int = 0
    live: int = 0
    floor: int = 0


@dataclass(slots=True)
class Position:
    """The state of one stream. ``gaps`` are sorted and disjoint.

    Args:
        recorded: by day the newest generation of films.
    """

    stream: int
    run: int = 0
    highest: int = -1
    begun: Begun = Begun()
    gaps: list[Gap] = field(default_factory=list)
    filled_ms: int = 0
    recorded: dict[int, int] = field(default_factory=dict)

    def place(self, said: Numbers) -> Place:
        """Tell where a message falls; changes nothing."""
        if said.sequence > self.highest:
            return Place.REPLAYED if self._is_over(said) else Place.AHEAD
        gap = self.gap_with(said.sequence)
        if said.generation > self.begun.newest and not _was_missed(gap, said):
            return Place.RESTARTED
        return Place.SEEN if gap is None else Place.FILLS

    def _is_over(self, said: Numbers) -> bool:
        """Tell whether nobody can honestly write under a generation any more."""
        if said.announces and said.generation < self.begun.newest:
            return True
        if said.generation < self.begun.floor:
            return True
        if said.origin == RECORDING:
            return said.generation < self.recorded.get(said.epoch, 0)
        return said.generation < self.begun.live

    def begin(self, said: Numbers, *, anew: bool = False) -> bool:
        """Note the generation of a message that was taken in; tell whether that is news.

        Args:
            anew: a run begins with it.
        """
        before, generation = self.begun, said.generation
        live, floor = before.live, generation if anew else before.floor
        if said.origin == RECORDING:
            known = self.recorded.get(said.epoch, 0)
            self.recorded[said.epoch] = max(known, generation)
            if len(self.recorded) > MAX_DAYS:
                del self.recorded[min(self.recorded)]
        else:
            live = max(live, generation)
        self.begun = Begun(max(before.newest, generation), live, floor)
        return self.begun != before

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


def _was_missed(gap: Gap | None, said: Numbers) -> bool:
    """Tell whether a message of a new generation is one that was missed, and begins no new run.

    Those that were numbered after it came before it. So it was made before its gap was noticed; a
    box that lost its counters makes its first messages later than that.
    """
    if gap is None:
        return False
    return said.made_ms is None or said.made_ms <= gap.opened_ms + CLOCKS_APART_MS
