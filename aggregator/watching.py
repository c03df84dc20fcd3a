"""Add up what boxes tell of their watching and counting in a query's scope, for its officers.

Each segment is looked at once, when its slot's keys have come or when it arrives, and after what
was found has been kept: of a large scope by workers, else so many a step that finds do not wait for
long. What officers read is sealed again at most every `KEEP_S` seconds, and when the query is
complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aggregator.grants import name_in
from aggregator.matching.coverage import Portion, Table, Told, add_counts
from aggregator.store.rows import EpochName
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.epoch_keys import EpochKeys
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH
from protocol.query import Query
from protocol.small_cells import LEAST_SHOWN
from protocol.v2.counts import MOST
from protocol.v2.rows import COVERED, SLOT_S
from protocol.watching import (
    COUNT_COLUMNS,
    COUNTED,
    MAX_BY_SLOT,
    MAX_CAMERAS,
    MAX_COUNTS,
    NO_SEGMENT,
    OPENED,
    SECONDS,
    VERSION_1,
    Watching,
    tell_counts,
)

KEEP_S = 15.0
SHARE = 20
"""Over a whole city that takes seconds: a twentieth of the time at most goes into it."""
SLOTS_A_STEP = 2000
"""About a tenth of a second's work."""
ARRIVAL_MS = 90_000
"""A slot's segments are there so long after it: the grace, the spread over a city, the way.

So long queries stay after their windows."""
_PEOPLE = slice(1, len(COUNTED))
_WATCHED = COVERED.index("watched_s")
_WORST_FIRST = [
    COVERED.index(name) for name in ("offline_s", "frozen_s", "blind_s", "dark_s", "standing_in_s")
]
_EVERYWHERE = np.bool_(True)


@dataclass(frozen=True, slots=True)
class Closed:
    """Slots of one announcement that stay closed, and why.

    Args:
        why: `protocol.watching.NOT_GRANTED` or ``REFUSED``.
    """

    name: EpochName
    slots: range
    why: int


@dataclass(slots=True)
class _Day:
    """What one generation of a camera's day tells, by slot; as in `aggregator.matching.coverage`.

    Args:
        counting, counts: None until anybody was counted.
        version_1: slots that were granted of a generation of version 1, which tells nothing.
        origin: where its pictures are from.
    """

    origin: str = CAMERA_NOW
    segments: Table = field(default_factory=lambda: np.zeros(SLOTS_PER_EPOCH, np.int32))
    seconds: Table = field(
        default_factory=lambda: np.zeros((SLOTS_PER_EPOCH, len(COVERED)), np.int32)
    )
    counting: Table | None = None
    counts: Table | None = None
    version_1: npt.NDArray[np.bool_] = field(
        default_factory=lambda: np.zeros(SLOTS_PER_EPOCH, np.bool_)
    )

    def take(self, told: Told) -> None:
        """Take in what a portion tells."""
        slots = slice(told.scope.first_slot, told.scope.last_slot + 1)
        if told.anew:
            for table in (self.segments, self.seconds, self.counting, self.counts):
                if table is not None:
                    table[slots] = 0
        self.segments[slots] += told.segments
        self.seconds[slots] += told.seconds
        if not told.counting.any():
            return
        if self.counting is None or self.counts is None:
            self.counting = np.zeros(SLOTS_PER_EPOCH, np.int32)
            self.counts = np.zeros((SLOTS_PER_EPOCH, COUNT_COLUMNS), np.int32)
        self.counting[slots] += told.counting
        add_counts(self.counts[slots], told.counts)


@dataclass(slots=True)
class Watch:
    """What one query knows of its cameras' watching while it runs.

    Args:
        portions: envelopes that have not been looked at yet.
        keep_at_s: when what has changed is to be kept for the officers; of a monotonic clock.
        kept_until_ms: until when what was kept last tells.
        pause_s: so long at least until what changes then is kept.
        spans: from when to when (ms) confirmed candidates were seen, of a query that counts who
            came afterwards; it counts nobody at other times.
    """

    portions: list[Portion] = field(default_factory=list)
    keep_at_s: float = math.inf
    kept_until_ms: int | None = None
    pause_s: float = KEEP_S
    spans: frozenset[tuple[int, int]] = frozenset()
    _days: dict[EpochName, _Day] = field(default_factory=dict)

    def is_due(self, now_s: float) -> bool:
        """Tell whether there is something to look at, or something that changed is to be kept."""
        return bool(self.portions) or now_s >= self.keep_at_s

    def note(
        self,
        fresh: Sequence[EpochKeys],
        arrived: Sequence[EpochKeys],
        *,
        after: int,
        through: int,
    ) -> None:
        """Note what is to be looked at.

        Args:
            fresh: keys that have just come: all that is there under them.
            arrived: keys at hand: what has come under them since the cursor ``after``.
            through: how far the store had come.
        """
        self.portions += [Portion(keys, 0, through, anew=True) for keys in fresh]
        self.portions += [Portion(keys, after, through, anew=False) for keys in arrived]
        self._note_origins(fresh)

    def _note_origins(self, fresh: Sequence[EpochKeys]) -> None:
        for keys in fresh:
            if keys.version == 1:
                slots = keys.slots()
                self._day(name_in(keys.scope)).version_1[slots.start : slots.stop] = True
            self._day(name_in(keys.scope)).origin = keys.origin

    def next_portions(self) -> list[Portion]:
        """Return the portions to be looked at in one step: the first ones, one at least."""
        slots, count = 0, 0
        for one in self.portions:
            slots += len(one.keys.slots())
            if count and slots > SLOTS_A_STEP:
                break
            count += 1
        return self.portions[:count]

    def next_fresh(self, slots: range) -> list[Portion]:
        """Return the first portions that are all of their scopes, up to one cursor.

        Args:
            slots: how many they are to have; where there are fewer, nothing is returned.
        """
        size, count = 0, 0
        for one in self.portions:
            more = len(one.keys.slots())
            if not one.anew or one.through != self.portions[0].through or size + more > slots.stop:
                break
            size, count = size + more, count + 1
        return self.portions[:count] if count and size >= slots.start else []

    def take(self, portions: Sequence[Portion], told: Sequence[Told]) -> None:
        """Take in what the first portions told."""
        for one in told:
            self._day(name_in(one.scope)).take(one)
        del self.portions[: len(portions)]

    def changed(self, now_s: float) -> None:
        """Note that officers should be told: at once if they were told nothing yet."""
        pause_s = 0.0 if self.kept_until_ms is None else self.pause_s
        self.keep_at_s = min(self.keep_at_s, now_s + pause_s)

    def kept(self, until_ms: int, *, took_s: float = 0.0) -> None:
        """Note that officers have been told of everything, and what processor time that took."""
        self.keep_at_s, self.kept_until_ms = math.inf, until_ms
        self.pause_s = max(KEEP_S, SHARE * took_s)

    def forget(self) -> None:
        """Let go of everything: the query has ended."""
        self.portions.clear()
        self._days.clear()
        self.keep_at_s = math.inf

    def _day(self, name: EpochName) -> _Day:
        return self._days.setdefault(name, _Day())

    def told(self, query: Query, *, until_ms: int, closed: Iterable[Closed] = ()) -> Watching:
        """Return what is known of a query's cameras.

        Args:
            query: the query.
            until_ms: of which quarter hours: those that end by then.
            closed: what stays closed.
        """
        first = query.window_from_ms // SLOT_MS
        slots = max(0, until_ms // SLOT_MS - first)
        cameras = tuple(query.cameras[:MAX_CAMERAS])
        by_camera: dict[str, dict[str, list[tuple[int, _Day]]]] = {}
        for (box, camera, epoch, _), day in self._days.items():
            by_camera.setdefault(camera, {}).setdefault(box, []).append((epoch, day))
        seconds = np.zeros((len(cameras), len(SECONDS)), np.uint32)
        few = len(cameras) * slots <= MAX_BY_SLOT
        by_slot = np.full((len(cameras), slots), NO_SEGMENT, np.uint16) if few else None
        counted = np.zeros((len(cameras), slots), np.bool_)
        wanted = self._wanted(query, first, slots)
        why = np.full((len(cameras), slots), OPENED, np.uint8) if few else None
        shut: dict[str, list[Closed]] = {}
        for one in closed:
            shut.setdefault(one.name[1], []).append(one)
        counts: list[Table] = []
        for at, camera in enumerate(cameras):
            whole = _put_together(by_camera.get(camera, {}), first, slots)
            missing = whole.segments == 0
            seconds[at, : len(COVERED)] = whole.seconds.sum(axis=0)
            seconds[at, len(COVERED) :] = (
                np.count_nonzero(missing & ~whole.version_1) * SLOT_S,
                np.count_nonzero(missing & whole.version_1) * SLOT_S,
            )
            if by_slot is not None and why is not None:
                by_slot[at, ~missing] = whole.seconds[~missing, _WATCHED]
                why[at, missing & whole.version_1] = VERSION_1
                for one in shut.get(camera, ()):
                    _shut(why[at], one, first)
                why[at, ~missing] = OPENED
            counted[at] = (whole.counting > 0) & wanted
            some = np.flatnonzero(_believed(whole.counts) & wanted)
            where = np.column_stack([np.full(len(some), at), some + first])
            counts.append(np.hstack([where, whole.counts[some]]))
        asked = query.asks.same_place_counts
        exact = np.concatenate(counts) if counts else np.zeros((0, 2 + COUNT_COLUMNS), np.int32)
        listed, beyond = _busiest(exact)
        return Watching(
            query.window_from_ms,
            query.window_from_ms + slots * SLOT_MS,
            cameras,
            seconds,
            by_slot,
            counted.sum(axis=1).astype(np.uint32) if asked else None,
            tell_counts(listed.astype(np.uint32)) if asked else None,
            len(query.cameras) - len(cameras),
            beyond if asked else 0,
            counted_by_slot=counted.astype(np.uint8) if asked and few else None,
            closed=why if why is not None and why.any() else None,
        )

    def _wanted(self, query: Query, first: int, slots: int) -> npt.NDArray[np.bool_]:
        """Tell of which slots of a window people are counted for the officers.

        Args:
            first: number of the window's first slot since 1970.
            slots: how many it has.
        """
        after_ms = query.asks.afterwards_min * 60_000
        if not after_ms:
            return np.ones(slots, np.bool_)
        wanted = np.zeros(slots, np.bool_)
        for first_ms, last_ms in self.spans:
            begin = max(0, first_ms // SLOT_MS - first)
            end = (last_ms + after_ms) // SLOT_MS - first + 1
            wanted[begin : max(begin, end)] = True
        return wanted


def _shut(why: npt.NDArray[np.uint8], closed: Closed, first: int) -> None:
    """Note of a camera's slots which stay closed; where it is said twice, the harder reason."""
    begins = closed.name[2] * SLOTS_PER_EPOCH - first
    low, high = (max(0, begins + at) for at in (closed.slots.start, closed.slots.stop))
    part = why[low:high]
    part[part != VERSION_1] = np.maximum(part[part != VERSION_1], closed.why)


def settled_until_ms(query: Query, now_ms: int) -> int:
    """Return the end of the quarter hours of a query of which all segments should be there."""
    return min(query.window_to_ms, max(query.window_from_ms, _slot_begin_ms(now_ms - ARRIVAL_MS)))


def ended_until_ms(query: Query, now_ms: int) -> int:
    """Return the end of the quarter hours of a query that have ended."""
    return min(query.window_to_ms, max(query.window_from_ms, _slot_begin_ms(now_ms)))


def _slot_begin_ms(time_ms: int) -> int:
    return time_ms // SLOT_MS * SLOT_MS


@dataclass(slots=True)
class _Whole:
    """What one camera tells of each slot of a window."""

    segments: Table
    seconds: Table
    counting: Table
    counts: Table
    version_1: npt.NDArray[np.bool_]


def _put_together(boxes: dict[str, list[tuple[int, _Day]]], first: int, slots: int) -> _Whole:
    """Return what a camera's boxes tell: of one what it tells adds up, of two one counts.

    That is the one that watched longer.

    Args:
        boxes: each one's days with their epochs.
        first: number of the window's first slot since 1970.
        slots: how many it has.
    """
    best = _empty(slots)
    for days in boxes.values():
        whole = _of_one_box(days, first, slots)
        _take_better(best, whole)
        best.version_1 |= whole.version_1
    return best


def _of_one_box(days: list[tuple[int, _Day]], first: int, slots: int) -> _Whole:
    """Return what a box tells: what it saw, and what it imported of the seconds that it missed.

    It tells each second once among what it saw, and once among the films. Where it saw something of
    a quarter hour and imported films of the same, a second that is in both counts as the best that
    was seen in it. If it claims to have watched longer than a quarter hour, one of the two counts.
    """
    imported = [one for one in days if one[1].origin == RECORDING]
    seen = _added_up([one for one in days if one[1].origin != RECORDING], first, slots)
    if not imported:
        return seen
    films = _added_up(imported, first, slots)
    both = (seen.segments > 0) & (films.segments > 0)
    watched = seen.seconds[:, _WATCHED] + films.seconds[:, _WATCHED]
    apart = both & (watched <= SLOT_S)
    _take_better(seen, films, where=~apart)
    seen.segments[apart] += films.segments[apart]
    seen.seconds[apart] += films.seconds[apart]
    _let_the_best_count(seen.seconds, apart)
    seen.counting[apart] += films.counting[apart]
    together = seen.counts[apart]
    add_counts(together, films.counts[apart])
    seen.counts[apart] = together
    return seen


def _added_up(days: list[tuple[int, _Day]], first: int, slots: int) -> _Whole:
    """Return what generations of one origin tell together.

    Who tells more seconds than a slot has is not believed: nothing was watched then.
    """
    whole = _empty(slots)
    for epoch, day in days:
        for mine, theirs in _overlap(epoch * SLOTS_PER_EPOCH - first, slots):
            whole.segments[mine] += day.segments[theirs]
            whole.seconds[mine] += day.seconds[theirs]
            if day.counting is not None and day.counts is not None:
                whole.counting[mine] += day.counting[theirs]
                add_counts(whole.counts[mine], day.counts[theirs])
            whole.version_1[mine] |= day.version_1[theirs]
    whole.seconds[whole.seconds.sum(axis=1) > SLOT_S] = 0
    return whole


def _take_better(
    best: _Whole, other: _Whole, *, where: npt.NDArray[np.bool_] | np.bool_ = _EVERYWHERE
) -> None:
    """Take the slots in which the other watched longer, or alone told anything."""
    better = (
        where
        & (other.segments > 0)
        & ((best.segments == 0) | (other.seconds[:, _WATCHED] > best.seconds[:, _WATCHED]))
    )
    for name in ("segments", "seconds", "counting", "counts"):
        getattr(best, name)[better] = getattr(other, name)[better]


def _let_the_best_count(seconds: Table, where: npt.NDArray[np.bool_]) -> None:
    """Take out what is told twice, in place: offline goes first, what was watched never."""
    over = np.where(where, np.maximum(seconds.sum(axis=1) - SLOT_S, 0), 0)
    for column in _WORST_FIRST:
        less = np.minimum(over, seconds[:, column])
        seconds[:, column] -= less
        over -= less


def _overlap(offset: int, slots: int) -> Iterator[tuple[slice, slice]]:
    """Yield where a day lies in a window, and where that lies in the day."""
    begin, end = max(0, offset), min(slots, offset + SLOTS_PER_EPOCH)
    if begin < end:
        yield slice(begin, end), slice(begin - offset, end - offset)


def _empty(slots: int) -> _Whole:
    return _Whole(
        np.zeros(slots, np.int32),
        np.zeros((slots, len(COVERED)), np.int32),
        np.zeros(slots, np.int32),
        np.zeros((slots, COUNT_COLUMNS), np.int32),
        np.zeros(slots, np.bool_),
    )


def _believed(counts: Table) -> npt.NDArray[np.bool_]:
    """Tell in which rows somebody was counted, and no more than there can be: else a box lies."""
    sightings, people = counts[:, 0], counts[:, _PEOPLE].sum(axis=1)
    within = (sightings > 0) & (sightings <= MOST) & (people <= sightings)
    # Sums of very many segments may have gone round.
    at_once = counts[:, len(COUNTED) :].max(axis=1)
    believed: npt.NDArray[np.bool_] = within & (counts >= 0).all(axis=1) & (at_once <= people)
    return believed


def _busiest(rows: Table) -> tuple[Table, int]:
    """Return the quarter hours with most people, as many as are told, and how many are not.

    Those of fewer than five people are not told of anyway, and not counted here. Numbers below five
    have no part in the choice: that a quarter hour is told of says nothing of them.
    """
    people = rows[:, 2:][:, _PEOPLE].sum(axis=1)
    rows = rows[people >= LEAST_SHOWN]
    if len(rows) <= MAX_COUNTS:
        return rows, 0
    kinds = rows[:, 2:][:, _PEOPLE]
    busy = np.where(kinds < LEAST_SHOWN, 0, kinds).sum(axis=1)
    chosen = np.sort(np.argsort(-busy, kind="stable")[:MAX_COUNTS])
    return rows[chosen], len(rows) - MAX_COUNTS
