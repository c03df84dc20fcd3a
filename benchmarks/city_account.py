"""What a query took at headquarters and at the custodians: seconds, memory, what was found."""

from __future__ import annotations

import cProfile
import pstats
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

PROCESSES = 2
"""Matching processes of headquarters, and cores that its machine is thought to have."""


@dataclass
class Spent:
    """CPU seconds of headquarters' own process, its workers together, and each custodian."""

    own: float = 0.0
    workers: float = 0.0
    custodians: dict[str, float] = field(default_factory=dict)

    def since(self, before: Spent) -> Spent:
        """Return what was spent since."""
        apart = {n: s - before.custodians[n] for n, s in self.custodians.items()}
        return Spent(self.own - before.own, self.workers - before.workers, apart)

    @property
    def here(self) -> float:
        """What headquarters' machine spent."""
        return self.own + self.workers

    @property
    def least_s(self) -> float:
        """How long it takes at least, on two idle cores here and one at each custodian.

        The queries' process counts as one thread: Python computes in one at a time.
        """
        each_worker = self.workers / PROCESSES
        return max(self.own, each_worker, self.here / PROCESSES, *self.custodians.values())


@dataclass
class Measured:
    """What one query took.

    Args:
        found_s: from the last approval to the last candidate.
        ended_s: to the query's end.
        granted_s: until the last scope was granted.
        ideal_s: the sum over quarter seconds of what each would have taken on idle cores
            (`Spent.least_s`): what remains of ``ended_s`` when nobody else uses the machine;
            ``ideal_found_s`` is the same of ``found_s``.
        peak: bytes, of all processes of headquarters together: of their own, at the same time.
        touched: the sum of the most that each held, pages of the store's files among them.
        own: of ``peak``, the queries' process and its workers apart.
        hits_s: of the live query: from storing an envelope to the sealed candidate, before the
            large query began.
        hits_meanwhile_s: the same while it ran.
    """

    cameras: int
    camera_days: int
    found_s: float = 0.0
    ended_s: float = 0.0
    granted_s: float = 0.0
    ideal_s: float = 0.0
    ideal_found_s: float = 0.0
    spent: Spent = field(default_factory=Spent)
    peak: int = 0
    own: dict[str, int] = field(default_factory=dict)
    touched: int = 0
    candidates: int = 0
    progress: dict[str, int] = field(default_factory=dict)
    hits_s: list[float] = field(default_factory=list)
    hits_meanwhile_s: list[float] = field(default_factory=list)


class Profiles:
    """What each thread that is started from now on spends its CPU time on."""

    def __init__(self) -> None:
        self._all: list[cProfile.Profile] = []
        threading.setprofile(self._begin)

    def _begin(self, *_: object) -> None:
        profile = cProfile.Profile(time.thread_time)
        self._all.append(profile)
        profile.enable()  # in place of this function, in its thread alone

    def write(self, path: Path) -> None:
        """Write what was spent, of all threads together, for `pstats`."""
        threading.setprofile(None)
        told = [one for one in self._all if one.getstats()]
        if told:
            pstats.Stats(*told).dump_stats(path)
