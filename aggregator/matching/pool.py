"""Spread a large scope over worker processes; small ones are matched where the call is made.

Processes, not threads: most of the work below a product of 4,096 rows holds the interpreter's lock.
Workers are spawned, named ``matcher-<n>``, open the segments themselves for reading, get keys and
templates through a pipe and nowhere else, and end when the pipe closes.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes, merge_reports
from aggregator.store import ReaderSource, SegmentReader
from protocol.epoch_keys import EpochKeys
from runtime.calibration import Calibration
from runtime.errors import OperationError
from runtime.process import begin

_CHUNK_ENVELOPES = 1000
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_DIED = (
    "a matching process ended in the middle (out of memory?); run the query again, "
    "with fewer matching.processes if it happens again"
)
_log = structlog.get_logger()
_environment = threading.Lock()


class MatchingFailed(OperationError):
    """A worker process died or failed in the middle; nothing of this pass was kept."""


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


class Matcher:
    """Matches scopes for the queries of one aggregator; safe to call from several threads.

    Args:
        reader: the sealed segments.
        calibrations: model id to calibration (`runtime.calibration.calibrations_of`).
        processes: worker processes for large scopes; 0: one a core. With 1 there are none.
        pool_from_envelopes: scopes that hold at least so many envelopes go to the workers.
    """

    def __init__(
        self,
        reader: SegmentReader,
        *,
        calibrations: Mapping[str, Calibration] | None = None,
        processes: int = 0,
        pool_from_envelopes: int = 4000,
    ) -> None:
        self._reader = reader
        self._calibrations = dict(calibrations or {})
        self._processes = processes or os.cpu_count() or 1
        self._pool_from = pool_from_envelopes
        self._pool: list[_Worker] = []
        self._lock = threading.Lock()

    def match(
        self,
        scopes: Sequence[EpochKeys],
        probes: Sequence[Probes],
        *,
        contacts: bool,
        max_candidates: int,
        after: int = 0,
    ) -> MatchReport:
        """Compare what ``scopes`` open with ``probes`` (see `matching.scopes.match_scopes`).

        For a standing query call it with the keys at hand and ``after`` set to the last report's
        ``cursor``; scopes that were granted only now are matched with ``after=0``, since their
        envelopes may have come before their keys. The same sighting may come back when a segment
        replaces live envelopes: its `Candidate.candidate_id` is the same.

        Raises:
            MatchingFailed: a worker died; the pool starts anew at the next call.
            StorageError: the store cannot be read.
        """
        chunks = list(_chunks(self._reader, scopes, after)) if self._processes > 1 else []
        if sum(size for size, _ in chunks) < self._pool_from:
            return match_scopes(
                self._reader,
                scopes,
                probes,
                calibrations=self._calibrations,
                contacts=contacts,
                max_candidates=max_candidates,
                after=after,
            )
        cursor = max(after, self._reader.newest())
        common = {
            "probes": probes,
            "calibrations": self._calibrations,
            "contacts": contacts,
            "max_candidates": max_candidates,
            "after": after,
        }
        with self._lock:
            try:
                reports = self._spread([chunk for _, chunk in chunks], common)
            except BaseException:
                self._end()
                raise
        reports.append(MatchReport(cursor=cursor))
        return merge_reports(reports, max_candidates=max_candidates)

    def close(self) -> None:
        """End the worker processes."""
        with self._lock:
            self._end()

    def _spread(
        self, chunks: Sequence[Sequence[EpochKeys]], common: Mapping[str, Any]
    ) -> list[MatchReport]:
        if not all(worker.process.is_alive() for worker in self._pool):
            _log.warning("matching_process_gone")
            self._end()
        while len(self._pool) < min(self._processes, len(chunks)):
            self._pool.append(_start(self._reader.source, len(self._pool)))
        pending = list(reversed(chunks))
        reports: list[MatchReport] = []
        busy: list[Connection] = []
        for worker in self._pool:
            if pending:
                _send(worker.pipe, pending.pop(), common)
                busy.append(worker.pipe)
        while busy:
            for pipe in wait(busy):
                assert isinstance(pipe, Connection)  # noqa: S101 - for the type checker
                reports.append(_answer(pipe))
                if pending:
                    _send(pipe, pending.pop(), common)
                else:
                    busy.remove(pipe)
        return reports

    def _end(self) -> None:
        for worker in self._pool:
            worker.pipe.close()
        for worker in self._pool:
            worker.process.join(2.0)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(2.0)
        self._pool.clear()


def _chunks(
    reader: SegmentReader, scopes: Sequence[EpochKeys], after: int
) -> Iterator[tuple[int, list[EpochKeys]]]:
    """Group scopes into portions of about a thousand envelopes; those without any are left out."""
    chunk: list[EpochKeys] = []
    held = 0
    for keys in scopes:
        size = reader.count(keys.scope, after=after)
        if not size:
            continue
        chunk.append(keys)
        held += size
        if held >= _CHUNK_ENVELOPES:
            yield held, chunk
            chunk, held = [], 0
    if chunk:
        yield held, chunk


def _send(pipe: Connection, scopes: Sequence[EpochKeys], common: Mapping[str, Any]) -> None:
    request = pickle.dumps({"scopes": scopes, **common}, protocol=pickle.HIGHEST_PROTOCOL)
    try:
        pipe.send_bytes(request)
    except OSError as error:
        raise MatchingFailed(_DIED) from error


def _answer(pipe: Connection) -> MatchReport:
    try:
        answer = pipe.recv()
    except (EOFError, OSError) as error:
        raise MatchingFailed(_DIED) from error
    if isinstance(answer, MatchReport):
        return answer
    raise MatchingFailed(f"a matching process failed: {answer}")


def _start(source: ReaderSource, number: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work, args=(theirs, source), name=f"matcher-{number}", daemon=True
    )
    with _one_blas_thread():
        process.start()
    theirs.close()
    _log.info("matching_process_started", process=process.name, pid=process.pid)
    return _Worker(process, ours)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Have processes started in the block compute on one thread each; BLAS reads it at start."""
    with _environment:
        before = {name: os.environ.get(name) for name in _BLAS_THREADS}
        os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _work(pipe: Connection, source: ReaderSource) -> None:
    """Answer requests until the pipe closes; runs in a worker process."""
    begin()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reader = source.open()
    while True:
        try:
            request = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from our own parent process
        except (EOFError, OSError):
            return
        try:
            answer: object = match_scopes(reader, **request)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        finally:
            for probes in request["probes"]:
                probes.wipe()
        pipe.send(answer)
