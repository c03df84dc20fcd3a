"""The candidates that an officer decides on, in their order, and what may be shown of each.

Order is time and never score, save where clothes alone were asked for: there the score says nothing
of who it is, and a ranking is all that was asked for. Nobody sees another officer's word before
giving their own: stays are put together by the reader's own verdicts. Travel times are held against
what is confirmed.
Pure: no clock, no files, no keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from officers.desk.fit import Contradiction
from officers.desk.fitting import contradictions_of
from officers.desk.ground import WALK_MPS, Ground
from officers.desk.phrases import phrase
from officers.desk.results import Results
from officers.desk.traces import UNDECIDED, Numbered, Stay, stays_of
from protocol.results import CONFIRMED, REJECTED
from runtime.errors import OperationError

WAITING, SETTLED = "waiting", "settled"
_NEAR_MS = 2 * 3_600_000
_MOST_NEAR = 100
_GOOD, _FAIR = 0.65, 0.5
GOOD, FAIR, POOR = "good", "fair", "poor"


@dataclass(frozen=True, slots=True)
class Entry:
    """A stay to decide on: one sighting, or several that the board says are one person's.

    Args:
        stay: by the reader's own words; its verdict is none that anybody else gave.
        items: its candidates that were compared, in order of time: a verdict signs each of them.
        state: `WAITING` for the reader's word, their own ``confirmed`` or ``rejected``, or
            `SETTLED` by others, of whom enough have confirmed it.
        others: officer to their word; empty until the reader has given their own.
    """

    stay: Stay
    items: tuple[Numbered, ...]
    state: str
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """By which it is called: of its candidates that were compared the lowest number."""
        return min(item.number for item in self.items)

    @property
    def ids(self) -> tuple[bytes, ...]:
        """Of its candidates, in order."""
        return tuple(item.candidate_id for item in self.items)

    @property
    def best(self) -> Numbered:
        """The sighting of best quality: the one whose still is looked at."""
        return max(self.items, key=lambda item: (item.candidate.quality, -item.number))

    @property
    def quality(self) -> str:
        """How much its best picture is worth, in a word."""
        value = self.best.candidate.quality
        return GOOD if value >= _GOOD else FAIR if value >= _FAIR else POOR

    @property
    def verdict(self) -> str:
        """What all officers' words come to; not for a page before the reader's own."""
        return self.items[0].verdict


@dataclass(frozen=True, slots=True)
class Queue:
    """One subject's candidates.

    Args:
        entries: in order of time; of clothes alone, those most alike first.
        impossible: what was opened and cannot be true.
    """

    subject: str
    entries: tuple[Entry, ...]
    impossible: tuple[Numbered, ...]

    @property
    def by_likeness(self) -> bool:
        """Whether it is a ranked list of people dressed alike, and in that order."""
        return bool(self.entries) and all(_of_clothes_alone(one.stay) for one in self.entries)

    @property
    def waiting(self) -> tuple[Entry, ...]:
        """Those that wait for the reader."""
        return tuple(one for one in self.entries if one.state == WAITING)

    def entry(self, number: int) -> Entry:
        """Return the entry that a candidate's number is in.

        Raises:
            OperationError: there is none.
        """
        for one in self.entries:
            if any(item.number == number for item in one.items):
                return one
        raise OperationError(phrase("there is no candidate {number} to decide on", number=number))

    def after(self, entry: Entry) -> Entry | None:
        """Return the next one that waits, in their order and round again; None if none does."""
        at = self.entries.index(entry)
        round_again = (*self.entries[at + 1 :], *self.entries[:at])
        return next((one for one in round_again if one.state == WAITING), None)


@dataclass(frozen=True, slots=True)
class Travel:
    """From a confirmed stay to another, or back.

    Args:
        numbers: of the confirmed one's candidates.
        camera: where it was.
        after: whether the one that is looked at came after it.
        gap_s: between the two; 0 where they overlap.
        walk_s: how long the way takes on foot; None where it is not known.
        contradiction: why both cannot be one person's; None where nothing says so.
    """

    numbers: tuple[int, ...]
    camera: str
    after: bool
    gap_s: float
    walk_s: float | None
    contradiction: Contradiction | None


def queues_of(results: Results) -> tuple[Queue, ...]:
    """Return each subject's queue, in the query's order."""
    own = [_blind(item, results.reader) for item in results.candidates]
    by_number = {item.number: item for item in results.candidates}
    stays = stays_of(own)
    queues = []
    for subject in results.case.query.subjects:
        name = subject.pseudonym
        entries = [
            _entry(stay, by_number, results.reader)
            for stay in stays
            if stay.subject == name and set(stay.numbers) - set(stay.unmatched)
        ]
        impossible = tuple(one for one in results.impossible if one.candidate.subject == name)
        if all(_of_clothes_alone(one.stay) for one in entries):
            entries.sort(key=lambda one: -(one.stay.score or 0.0))
        queues.append(Queue(name, tuple(entries), impossible))
    return tuple(queues)


def _of_clothes_alone(stay: Stay) -> bool:
    return stay.by_appearance and not stay.follows


def travels(entry: Entry, queue: Queue, ground: Ground) -> tuple[Travel, ...]:
    """Return the ways to an entry from the confirmed ones before and after it, the nearest each.

    Confirmed is what the reader has confirmed, and what enough officers have.
    """
    sure = [one for one in queue.entries if one is not entry and _is_sure(one)]
    before = [one for one in sure if _order(one.stay) <= _order(entry.stay)]
    after = [one for one in sure if _order(one.stay) > _order(entry.stay)]
    nearest = [
        *([max(before, key=lambda one: one.stay.to_ms)] if before else []),
        *([min(after, key=lambda one: one.stay.from_ms)] if after else []),
    ]
    return tuple(_travel(one.stay, entry.stay, ground) for one in nearest)


def clashes(entry: Entry, queue: Queue, ground: Ground) -> tuple[Contradiction, ...]:
    """Return which others that are not decided, and near in time, cannot be the same person."""
    stay = entry.stay
    near = [
        one.stay
        for one in queue.waiting
        if one is not entry
        and one.stay.from_ms - stay.to_ms < _NEAR_MS
        and stay.from_ms - one.stay.to_ms < _NEAR_MS
    ]
    near.sort(key=lambda other: max(other.from_ms - stay.to_ms, stay.from_ms - other.to_ms))
    found = []
    for other in near[:_MOST_NEAR]:
        for one in contradictions_of((stay, other), ground):
            mine, theirs = stay.numbers, other.numbers
            found.append(replace(one, numbers=mine, others=theirs))
    return tuple(found)


def _blind(item: Numbered, reader: str) -> Numbered:
    """Return a candidate as if nobody but the reader had spoken, unless enough have confirmed."""
    word = item.said.get(reader)
    if word is not None:
        return replace(item, verdict=word, said={reader: word})
    alone = item.needed == 1
    verdict = item.verdict if alone or item.verdict == CONFIRMED else UNDECIDED
    return replace(item, verdict=verdict, said={})


def _entry(stay: Stay, by_number: Mapping[int, Numbered], reader: str) -> Entry:
    numbers = set(stay.numbers) - set(stay.unmatched)
    items = sorted(
        (by_number[number] for number in numbers),
        key=lambda item: (item.candidate.first_seen_ms, item.number),
    )
    spoken = all(reader in item.said for item in items)
    unspoken = WAITING if stay.verdict == UNDECIDED else SETTLED
    state = stay.verdict if spoken else unspoken
    others = _others(items, reader) if state != WAITING else {}
    return Entry(stay, tuple(items), state, others)


def _others(items: Iterable[Numbered], reader: str) -> dict[str, str]:
    """Return others' words: who rejected any of a stay rejects, who confirmed all confirms."""
    said: dict[str, set[str | None]] = {}
    items = list(items)
    for name in sorted({name for item in items for name in item.said} - {reader}):
        said[name] = {item.said.get(name) for item in items}
    words = {}
    for name, given in said.items():
        if REJECTED in given:
            words[name] = REJECTED
        elif given == {CONFIRMED}:
            words[name] = CONFIRMED
    return words


def _is_sure(one: Entry) -> bool:
    return one.state == CONFIRMED or (one.state == SETTLED and one.verdict == CONFIRMED)


def _order(stay: Stay) -> tuple[int, int, Sequence[int]]:
    return (stay.from_ms, stay.to_ms, stay.numbers)


def _travel(sure: Stay, stay: Stay, ground: Ground) -> Travel:
    after = _order(sure) <= _order(stay)
    first, second = (sure, stay) if after else (stay, sure)
    cameras = (sure.address.camera, stay.address.camera)
    walk_s = 0.0 if cameras[0] == cameras[1] else ground.walk_s(*cameras)
    if walk_s is None and (metres := ground.metres(*cameras)) is not None:
        walk_s = metres / WALK_MPS
    found = contradictions_of((sure, stay), ground)
    return Travel(
        sure.numbers,
        cameras[0],
        after,
        max(0, second.from_ms - first.to_ms) / 1000,
        walk_s,
        found[0] if found else None,
    )
