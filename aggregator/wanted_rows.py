"""The rows of one query that are to be opened: which, within its cap, and what was released.

Custodians count the distinct rows that they release for a query, so who asks chooses once and for
all: a row that was asked for takes its place for good, opened or not. Nothing here asks, or reads a
clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.matching.found import Found
from aggregator.matching.shares import fair_shares
from protocol.names import SightingName
from protocol.results import Candidate, Opening, candidate_id_of

Values = Mapping[int, bytes]
"""What one custodian released of a row: root number to 32 bytes."""
MOST_NOES = 3
_UNMATCHED = -2.0


@dataclass(slots=True)
class WantedRow:
    """A row that was chosen.

    Args:
        founds: what it was found as: once a subject and envelope.
        values: custodian to what it released.
        refused: custodian to why asking it again is no use.
        silent: custodian to why it has not answered yet.
        noes: how often each has said no: its clock may be behind, so once is not for ever.
        disputed: enough released it, and contradict one another.
    """

    founds: list[Found]
    values: dict[str, Values] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    noes: Counter[str] = field(default_factory=Counter)
    disputed: bool = False

    def note_values(self, custodian: str, values: Values) -> None:
        """Note what a custodian released."""
        self.values[custodian] = values
        self.silent.pop(custodian, None)

    def note_no(self, custodian: str, reason: str, *, for_good: bool) -> None:
        """Note that a custodian said no; for good, or until it has said so three times."""
        self.noes[custodian] += 1
        if for_good or self.noes[custodian] >= MOST_NOES:
            self.silent.pop(custodian, None)
            self.refused[custodian] = reason
        else:
            self.silent[custodian] = reason

    def note(self, found: Found) -> None:
        """Keep another find of the same row, unless it tells nothing new."""
        if found not in self.founds:
            self.founds.append(found)


@dataclass(slots=True)
class WantedRows:
    """The rows of one query, in memory until it ends.

    Args:
        waiting: chosen, not open yet.
        opened: those that are open.
        closed: given up, and why.
        held: finds that there may be room for when nothing more can come.
        earlier: marks (`mark_of`) of the rows that an earlier process had custodians release;
            None: not looked up.
        release_ids: of all answers that were taken.
        known: candidates that were stored before this process began.
        fresh: finds that have not been looked at yet.
        openings, ready, untold, lying: what came of asking, in which releases, and how many times
            of which cameras cannot be true; not stored yet.
        listed: rows that some opening lists.
        retry_at_s: when those that were silent are asked again; of a monotonic clock.
        moved: a late answer came, with which rows may have opened since the query was looked at.
    """

    waiting: dict[SightingName, WantedRow] = field(default_factory=dict)
    opened: dict[SightingName, WantedRow] = field(default_factory=dict)
    closed: dict[SightingName, str] = field(default_factory=dict)
    held: list[Found] = field(default_factory=list)
    earlier: frozenset[bytes] | None = None
    release_ids: set[bytes] = field(default_factory=set)
    known: frozenset[bytes] = frozenset()
    fresh: list[Found] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    ready: list[Candidate] = field(default_factory=list)
    untold: list[bytes] = field(default_factory=list)
    lying: Counter[str] = field(default_factory=Counter)
    listed: set[SightingName] = field(default_factory=set)
    retry_at_s: float = math.inf
    moved: bool = False

    def is_due(self, now_s: float) -> bool:
        """Tell whether rows wait that are to be asked for again by now."""
        return bool(self.waiting) and now_s >= self.retry_at_s

    def take(
        self,
        founds: Sequence[Found],
        *,
        digest: bytes,
        cap: int,
        one_camera: bool,
        more_may_come: bool,
    ) -> Counter[str]:
        """Choose among finds; those that get in are in ``waiting``, or in ``opened`` by now.

        While more may come no camera takes more than half of the room: what a box makes up early
        keeps nobody out who is found later. What is beyond that is held, and gets what is left.

        Args:
            founds: of a pass; those of rows that are open already are of no concern here.
            digest: of the query.
            cap: distinct rows of the query in all.
            one_camera: the query asks of one, of which one box tells: it displaces nobody.
            more_may_come: the query's window has not ended.

        Returns:
            How many finds there is no room for, by camera.
        """
        if not founds and not self.held:
            return Counter()
        fresh: list[Found] = []
        for found in founds:
            known = self.waiting.get(found.name)
            if known is not None:
                known.note(found)
            elif found.name not in self.opened and found.name not in self.closed:
                fresh.append(found)
        by_name: dict[SightingName, list[Found]] = {}
        for found in [*self.held, *fresh]:
            by_name.setdefault(found.name, []).append(found)
        for name in list(by_name):
            if mark_of(digest, name) in (self.earlier or ()):  # it has its place already
                self.waiting[name] = WantedRow(by_name.pop(name))
        most = cap if one_camera or not more_may_come else max(1, cap // 2)
        within, over = self._within_shares(list(by_name.values()), most)
        chosen, left_out = _fair(within, cap - self._taken(digest))
        for row in chosen:
            self.waiting[row[0].name] = WantedRow(row)
        self._drop_strays()
        held, beyond = _fair(over, cap - self._taken(digest))
        self.held = [found for finds_of_row in held for found in finds_of_row]
        return Counter(finds_of_row[0].name.camera for finds_of_row in [*left_out, *beyond])

    def give_up(self, name: SightingName, reason: str) -> None:
        """Note that a row stays closed."""
        self.waiting.pop(name, None)
        self.closed[name] = reason

    def open(self, name: SightingName) -> None:
        """Note that a row is open."""
        self.opened[name] = self.waiting.pop(name)

    def told(self, listed: set[SightingName]) -> None:
        """Note that what came of asking is stored, and which rows are listed by now."""
        self.openings, self.ready, self.untold, self.lying = [], [], [], Counter()
        self.listed = listed

    def words(self) -> str:
        """Say which hits wait and for whom, empty if none do."""
        if not self.waiting:
            return ""
        silent: dict[str, str] = {}
        for row in self.waiting.values():
            silent |= row.silent
        named = "; ".join(f"{name}: {why}" for name, why in sorted(silent.items()))
        return (
            f"{_wait(len(self.waiting))} for custodian {', '.join(sorted(silent))} to open what is "
            f"known ({named}); asked again"
            if silent
            else f"{_wait(len(self.waiting))} to be opened"
        )

    def words_of_closed(self) -> str:
        """Say how many rows stayed closed and why, empty if none did."""
        if not self.closed:
            return ""
        reasons = "; ".join(sorted(set(self.closed.values()))[:3])
        return f"what is known of {_hits(len(self.closed))} stayed closed ({reasons})"

    def _names(self) -> Collection[SightingName]:
        return [*self.waiting, *self.opened, *self.closed]

    def _taken(self, digest: bytes) -> int:
        return len((self.earlier or frozenset()).union(mark_of(digest, n) for n in self._names()))

    def _within_shares(
        self, rows: list[list[Found]], most: int
    ) -> tuple[list[list[Found]], list[list[Found]]]:
        """Return the rows with which no camera has more than ``most`` in all, and the others."""
        counts = Counter((name.box, name.camera) for name in self._names())
        within: list[list[Found]] = []
        over: list[list[Found]] = []
        for row in sorted(rows, key=lambda one: -_strength(_best(one))):
            camera = (row[0].name.box, row[0].name.camera)
            counts[camera] += 1
            (within if counts[camera] <= most else over).append(row)
        return within, over

    def _drop_strays(self) -> None:
        """Drop rows of episodes of which the hit itself did not get in and nobody was asked."""
        known = {_in_generation(name) for name in self._names()}
        for name, row in list(self.waiting.items()):
            if row.values or row.silent or row.refused:
                continue
            row.founds[:] = [
                found
                for found in row.founds
                if found.through is None or _in_generation(found.name, found.through) in known
            ]
            if not row.founds:
                del self.waiting[name]


def mark_of(query_digest: bytes, name: SightingName) -> bytes:
    """Return by what a row is known on the disk; it tells nothing by itself: ids are random."""
    return candidate_id_of(query_digest, "", name)


def _in_generation(name: SightingName, sighting_id: bytes | None = None) -> tuple[object, ...]:
    which = name.sighting_id if sighting_id is None else sighting_id
    return (name.box, name.camera, name.epoch, name.generation, which)


def _fair(rows: list[list[Found]], room: int) -> tuple[list[list[Found]], list[list[Found]]]:
    return fair_shares(
        rows,
        room,
        camera=lambda one: (one[0].name.box, one[0].name.camera, _best(one).subject),
        score=lambda one: _strength(_best(one)),
    )


def _best(founds: list[Found]) -> Found:
    return max(founds, key=_strength)


def _strength(found: Found) -> float:
    return _UNMATCHED if found.score is None else found.score


def _hits(count: int) -> str:
    return "1 hit" if count == 1 else f"{count} hits"


def _wait(count: int) -> str:
    return f"{_hits(count)} {'waits' if count == 1 else 'wait'}"
