"""Scopes of a query whose keys do not open what is in store: which, and when to ask again.

Where too few custodians have answered to tell a false key from a true one, those that were silent
can still settle it. They are asked again, ever less often: each time is an entry in every log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.grants import name_in
from aggregator.matching.scopes import Altered, MatchReport
from aggregator.store import Store
from aggregator.store.rows import EpochName
from protocol.directory import BOX, Directory
from protocol.errors import ProtocolError

FIRST_S, MOST_S = 10.0, 900.0


@dataclass(frozen=True, slots=True)
class _Doubt:
    due_s: float
    pause_s: float


@dataclass(slots=True)
class Doubts:
    """The doubted scopes of one query; times are of a monotonic clock, in seconds.

    ``first_s`` is the pause before a scope is asked for again, ``most_s`` what it doubles up to.
    """

    first_s: float = FIRST_S
    most_s: float = MOST_S
    _open: dict[EpochName, _Doubt] = field(default_factory=dict)

    def note(self, names: Collection[EpochName], *, now_s: float) -> None:
        """Note scopes whose keys open nothing; each time the pause before asking doubles."""
        for name in names:
            known = self._open.get(name)
            pause_s = self.first_s if known is None else min(self.most_s, 2 * known.pause_s)
            self._open[name] = _Doubt(now_s + pause_s, pause_s)

    def settle(self, names: Collection[EpochName]) -> None:
        """Note scopes whose keys open what is there."""
        for name in names:
            self._open.pop(name, None)

    def must_wait(self, name: EpochName, *, now_s: float) -> bool:
        """Tell whether a scope is in doubt and was asked for only lately."""
        known = self._open.get(name)
        return known is not None and now_s < known.due_s

    def postpone(self, name: EpochName, *, now_s: float) -> None:
        """Note that a doubted scope is being asked for now; of no effect on any other."""
        known = self._open.get(name)
        if known is not None:
            self._open[name] = _Doubt(now_s + known.pause_s, known.pause_s)

    def next_s(self) -> float:
        """Return when the first scope in doubt is to be asked for again; infinity for none."""
        return min((doubt.due_s for doubt in self._open.values()), default=math.inf)

    def __contains__(self, name: object) -> bool:
        return name in self._open

    def cameras(self) -> list[str]:
        """Return the cameras that are in doubt, in order."""
        return sorted({camera for _box, camera, _epoch, _generation in self._open})


@dataclass(frozen=True, slots=True)
class Judgement:
    """What did not open: because it was altered in store, or for want of the right keys."""

    altered: tuple[Altered, ...]
    doubted: frozenset[EpochName]


def judge(
    report: MatchReport,
    answered: Mapping[EpochName, frozenset[str]],
    *,
    everybody: frozenset[str],
    is_genuine: Callable[[int], bool],
) -> Judgement:
    """Tell envelopes that were altered from those of which the keys at hand are false.

    A scope is in doubt if an envelope that is as its box signed it was sealed under another key,
    and some custodian has not answered yet. If all have, no m of them told the same truth, or the
    box did not seal under the keys that it announced: nothing more can be found out here.

    Args:
        report: what matching found.
        answered: the custodians whose keys went into each scope.
        everybody: all custodians in force.
        is_genuine: tells of an envelope's number whether it is as its box signed it.
    """
    altered: list[Altered] = []
    doubted: set[EpochName] = set()
    for one in report.altered:
        name = None if one.keyless is None else name_in(one.keyless)
        if name is None or everybody <= answered.get(name, frozenset()):
            altered.append(one)
        elif name not in doubted:
            if is_genuine(one.number):
                doubted.add(name)
            else:
                altered.append(one)
    return Judgement(tuple(altered), frozenset(doubted))


def is_genuine(store: Store, directory: Directory, number: int) -> bool:
    """Tell whether an envelope in store is as its box signed it."""
    try:
        store.segments.envelope(number).verify(directory.historic_resolver(BOX))
    except (KeyError, ProtocolError):
        return False
    return True


def listed(cameras: Sequence[str]) -> str:
    """Return the names of a few cameras, and how many more there are."""
    more = f" and {len(cameras) - 4} more cameras" if len(cameras) > 4 else ""
    return ", ".join(cameras[:4]) + more
