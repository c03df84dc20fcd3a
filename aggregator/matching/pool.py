"""Compare a query's scopes as their keys come: small ones at once and here, others by workers.

A pass takes scopes in as custodians release them, and has tasks of fair size done meanwhile: no
more at once than keeps the workers busy, so that memory does not grow with the scope.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, replace
from types import TracebackType

from aggregator.matching.coverage import Portion, Told, tell_portions
from aggregator.matching.probes import Probes
from aggregator.matching.processes import LocalProcesses
from aggregator.matching.scopes import MatchReport, match_scopes, merge_reports
from aggregator.matching.workers import MatchingFailed, MatchTask, Workers
from aggregator.store import SegmentReader
from protocol.epoch_keys import EpochKeys
from runtime.calibration import Calibration

__all__ = ["Done", "Matcher", "MatchingFailed", "Pass"]
LEAST_A_TASK, MOST_A_TASK = 1_000, 256 * 96
"""Envelopes of a task: enough to be worth sending, and a second's work or so (256 whole days)."""


_TOLD_A_WORKER = 2 * MOST_A_TASK
"""Slots of which each worker tells in one step of a query: a second's work or two."""
SHARD = 64
"""Cameras of a day whose segments lie together once packed: one worker reads all of them, where the
keys come in the order of the streams."""
LOOK_S = 1.0
"""So often who waits for workers may look at something else."""


@dataclass(frozen=True, slots=True)
class Done:
    """Scopes that have been compared, and what was found in them."""

    scopes: tuple[EpochKeys, ...]
    report: MatchReport


class Matcher:
    """Matches scopes for the queries of one aggregator; safe to call from several threads.

    Args:
        reader: the sealed segments.
        calibrations: model id to calibration (`runtime.calibration.calibrations_of`).
        processes: worker processes for large scopes; 0: one a core. With 1 there are none.
        pool_from_envelopes: scopes that hold at least so many envelopes go to the workers.
        workers: other workers than processes of this machine.
    """

    def __init__(
        self,
        reader: SegmentReader,
        *,
        calibrations: Mapping[str, Calibration] | None = None,
        processes: int = 0,
        pool_from_envelopes: int = 4000,
        workers: Workers | None = None,
    ) -> None:
        self._reader = reader
        self._calibrations = dict(calibrations or {})
        self._pool_from = pool_from_envelopes
        processes = processes or os.cpu_count() or 1
        self._workers: Workers | None = workers
        if workers is None and processes > 1:
            self._workers = LocalProcesses(reader.source, self._calibrations, processes=processes)

    def match(
        self,
        scopes: Sequence[EpochKeys],
        probes: Sequence[Probes],
        *,
        contacts: bool,
        max_candidates: int,
        after: int = 0,
        group: bytes = b"",
    ) -> MatchReport:
        """Compare what ``scopes`` open with ``probes`` (see `matching.scopes.match_scopes`).

        For a standing query call it with the keys at hand and ``after`` set to the last report's
        ``cursor``; scopes that were granted only now are matched with ``after=0``, since their
        envelopes may have come before their keys. The same sighting may come back when a segment
        replaces live envelopes: its `Candidate.candidate_id` is the same.

        Args:
            group: whose tasks they are: those of different ones take turns.

        Raises:
            MatchingFailed: workers died again and again; they start anew at the next call.
            StorageError: the store cannot be read.
        """
        cursor = max(after, self._reader.newest())
        size = sum(len(keys.slots()) for keys in scopes)
        with self.begin(
            probes, contacts=contacts, max_candidates=max_candidates, group=group, expected=size
        ) as matching:
            matching.add(scopes, after=after)
            reports = [done.report for done in matching.rest() if done.report.cursor]
        if len(reports) == 1 and reports[0].cursor >= cursor:
            return reports[0]
        reports.append(MatchReport(cursor=cursor))
        return merge_reports(reports, max_candidates=max_candidates)

    def begin(
        self,
        probes: Sequence[Probes],
        *,
        contacts: bool,
        max_candidates: int,
        group: bytes = b"",
        expected: int = 0,
        tell_through: int = 0,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Pass:
        """Begin a pass over scopes that come one portion after another.

        Args:
            probes: stay the caller's, who wipes them after the pass has been closed; none where
                what was watched is told.
            contacts, max_candidates, group: as in :meth:`match`.
            expected: about how many slots will come in all.
            tell_through: have workers tell what the cameras watched (`MatchTask`); what is done
                here tells nothing.
            meanwhile: called about once a second while workers are waited for; what it raises ends
                the waiting.
        """
        task = MatchTask(
            (), tuple(probes), contacts, max_candidates, tell_through=tell_through, group=group
        )
        return Pass(
            self._reader,
            self._calibrations,
            self._workers,
            task,
            pool_from=self._pool_from,
            expected=expected,
            meanwhile=meanwhile,
        )

    @property
    def tells_at_once(self) -> range:
        """How many slots workers had better tell of at once; empty where there are none."""
        if self._workers is None:
            return range(0)
        return range(self._pool_from, max(self._pool_from, _TOLD_A_WORKER * self._workers.parallel))

    def tell(
        self,
        portions: Sequence[Portion],
        *,
        group: bytes = b"",
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[Told]:
        """Have workers tell what portions tell, as `tell_portions` does here.

        Args:
            portions: each all of a scope, until one and the same cursor.
            group, meanwhile: as in :meth:`begin`.

        Raises:
            MatchingFailed: workers died again and again.
            StorageError: the store cannot be read.
        """
        told: list[Told] = []
        of = {id(one.keys): one for one in portions}
        slots = sum(len(one.keys.slots()) for one in portions)
        with self.begin(
            (), contacts=False, max_candidates=1, group=group, expected=slots,
            tell_through=portions[0].through, meanwhile=meanwhile,
        ) as telling:  # fmt: skip
            telling.add([one.keys for one in portions])
            for done in telling.rest():
                if done.report.told is not None:
                    told += done.report.told
                else:
                    told += tell_portions(self._reader, [of[id(keys)] for keys in done.scopes])
        return told

    def trouble(self) -> str | None:
        """Return why nothing can be compared just now, for people; None while something can."""
        return None if self._workers is None else self._workers.trouble()

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()


class Pass:
    """One pass; used by one thread, as a context that ends with nothing left under way."""

    def __init__(
        self,
        reader: SegmentReader,
        calibrations: Mapping[str, Calibration],
        workers: Workers | None,
        task: MatchTask,
        *,
        pool_from: int,
        expected: int,
        meanwhile: Callable[[], object],
    ) -> None:
        self._reader = reader
        self._calibrations = calibrations
        self._workers = workers
        self._task = task
        self._pool_from = pool_from
        self._meanwhile = meanwhile
        parallel = 1 if workers is None else workers.parallel
        self._most_waiting = 2 * parallel + 1
        share = expected // (2 * parallel)
        self._task_size = min(max(share, LEAST_A_TASK), MOST_A_TASK)
        self._spread = False
        self._held: dict[int, list[EpochKeys]] = {}
        self._empty: list[EpochKeys] = []
        self._size = 0
        self._epoch, self._in_day = -1, 0
        self._under_way: dict[Future[MatchReport], tuple[EpochKeys, ...]] = {}
        self._done: list[Done] = []

    def __enter__(self) -> Pass:
        """Return the pass."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Have nothing under way."""
        self.close()

    def close(self) -> None:
        """Cancel what has not begun, wait for what has: nobody uses the probes after this."""
        wait([future for future in self._under_way if not future.cancel()])
        self._under_way.clear()

    def add(self, scopes: Sequence[EpochKeys], *, after: int = 0) -> None:
        """Take in scopes; returns when few enough tasks wait.

        Args:
            scopes: keys as combined from the custodians' grants.
            after: compare only envelopes that arrived after this cursor.

        Raises:
            MatchingFailed: workers failed.
            StorageError: the store cannot be read.
        """
        for keys in scopes:
            if keys.scope.epoch != self._epoch:
                self._epoch, self._in_day = keys.scope.epoch, 0
            self._in_day += 1
            if self._workers is not None and not self._spread:
                size = self._reader.count(keys.scope, after=after)
                if not size:
                    self._empty.append(keys)
                    continue
            else:  # that there are many is known: no look for each
                size = len(keys.slots())
            self._held.setdefault(after, []).append(keys)
            self._size += size
            if self._workers is None:
                if self._size >= MOST_A_TASK:
                    self._compare_here()
                continue
            self._spread = self._spread or self._size >= self._pool_from
            if self._spread and self._is_task(len(keys.slots())):
                self._hand_out(self._workers)
                self._collect(self._most_waiting)

    def _is_task(self, slots: int) -> bool:
        """Tell whether what is held makes a task: of a fair size, and ending with a shard.

        A small task ends with the half of one, or a quarter, so that all workers have something.
        """
        fit = max(1, self._task_size // slots)
        unit = min(SHARD, 1 << (fit.bit_length() - 1))
        whole = self._in_day % unit == 0
        return self._size >= (self._task_size if whole else 2 * self._task_size)

    def done(self) -> list[Done]:
        """Return what has been compared since this was called last.

        Raises:
            MatchingFailed: workers failed.
        """
        self._collect(len(self._under_way))
        done, self._done = self._done, []
        return done

    def rest(self) -> Iterator[Done]:
        """Yield what has not been returned yet, when it has been compared; empty scopes at last.

        Raises:
            MatchingFailed: workers failed.
            StorageError: the store cannot be read.
        """
        if self._spread and self._workers is not None:
            self._hand_out(self._workers)
        else:
            self._compare_here()
        while self._under_way or self._done:
            yield from self.done()
            if self._under_way:
                self._collect(len(self._under_way) - 1)
        if self._empty:
            empty, self._empty = tuple(self._empty), []
            yield Done(empty, MatchReport(told=()))

    def _compare_here(self) -> None:
        for after, scopes in self._held.items():
            report = match_scopes(
                self._reader,
                scopes,
                self._task.probes,
                calibrations=self._calibrations,
                contacts=self._task.contacts,
                max_candidates=self._task.max_candidates,
                after=after,
            )
            self._done.append(Done(tuple(scopes), report))
        self._held, self._size = {}, 0

    def _hand_out(self, workers: Workers) -> None:
        for after, scopes in self._held.items():
            part, tell = tuple(scopes), 0 if after else self._task.tell_through
            task = replace(self._task, scopes=part, after=after, tell_through=tell)
            self._under_way[workers.submit(task)] = part
        self._held, self._size = {}, 0

    def _collect(self, most: int) -> None:
        """Take in what is done, and wait until no more than ``most`` are under way."""
        while self._under_way:
            enough = len(self._under_way) <= most
            finished, _ = wait(
                self._under_way, timeout=0 if enough else LOOK_S, return_when=FIRST_COMPLETED
            )
            if not (finished or enough):
                self._meanwhile()
            for future in finished:
                scopes = self._under_way.pop(future)
                try:
                    self._done.append(Done(scopes, future.result()))
                except CancelledError as error:
                    raise MatchingFailed("the comparison was given up") from error
            if enough:
                return
