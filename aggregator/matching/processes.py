"""Worker processes of this machine, between which the tasks of running queries are dealt out.

Processes, not threads: most of the work below a product of 4,096 rows holds the interpreter's lock.
They are spawned when there is work, named ``matcher-<n>``, open the segments themselves for
reading, get keys and templates through a pipe and nowhere else, and end when the pipe closes. Each
is fed by a thread ``feed-matcher-<n>``.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import structlog

from aggregator.matching.report import MatchReport
from aggregator.matching.tasks import do_task
from aggregator.matching.turns import Turns
from aggregator.matching.workers import MatchingFailed, MatchTask
from aggregator.store import ReaderSource
from runtime.calibration import Calibration
from runtime.process import begin

MOST_TRIES = 3
"""So many processes may die over one task before it is given up."""
_JOIN_S = 2.0
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_DIED = (
    f"{MOST_TRIES} matching processes ended in the middle of one task (out of memory?); run the "
    "query again, with fewer matching.processes if it happens again"
)
_CLOSED = "the aggregator stops: what was being compared is compared anew after its start"
_log = structlog.get_logger()
_environment = threading.Lock()


@dataclass(eq=False, slots=True)
class _Job:
    task: MatchTask
    future: Future[MatchReport] = field(default_factory=Future)
    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


class _Died(Exception):
    """The process is gone."""


class LocalProcesses:
    """`Workers` on this machine.

    Args:
        source: opens the segments in another process.
        calibrations: model id to calibration.
        processes: how many at most; they start when there is work.
    """

    def __init__(
        self, source: ReaderSource, calibrations: Mapping[str, Calibration], *, processes: int
    ) -> None:
        self._source = source
        self._calibrations = dict(calibrations)
        self._processes = processes
        self._turn = threading.Condition()
        self._waiting: Turns[_Job] = Turns()
        self._idle = 0
        self._feeders: list[threading.Thread] = []
        self._workers: dict[int, _Worker] = {}
        self._closed = False

    @property
    def parallel(self) -> int:
        """How many tasks are done at once."""
        return self._processes

    def trouble(self) -> str | None:
        """Return None: processes are started when there is work."""
        return None

    def submit(self, task: MatchTask) -> Future[MatchReport]:
        """Have a task done (`Workers.submit`).

        Raises:
            MatchingFailed: these workers have been closed, or there is no thread for any.
        """
        job = _Job(task)
        with self._turn:
            if self._closed:
                raise MatchingFailed(_CLOSED)
            if not self._idle and len(self._feeders) < self._processes:
                self._begin_to_feed(len(self._feeders))
            self._waiting.append(task.group, job)
            self._turn.notify()
        return job.future

    def close(self) -> None:
        """End the processes; what has not been done fails."""
        with self._turn:
            self._closed = True
            waiting = list(self._waiting.take_all())
            for worker in self._workers.values():
                worker.process.kill()  # it reads only: nothing can be left half done
            self._turn.notify_all()
        for job in waiting:
            if job.tries or job.future.set_running_or_notify_cancel():
                job.future.set_exception(MatchingFailed(_CLOSED))
        for feeder in self._feeders:
            feeder.join(2 * _JOIN_S)

    def _begin_to_feed(self, number: int) -> None:
        feeder = threading.Thread(
            target=self._feed, args=(number,), name=f"feed-matcher-{number}", daemon=True
        )
        try:
            feeder.start()
        except RuntimeError as error:  # the next time there may be one
            _log.error("matching_waits_for_a_thread", error=str(error))
            if not self._feeders:
                raise MatchingFailed(f"no thread can be had to match with: {error}") from error
            return
        self._feeders.append(feeder)

    def _feed(self, number: int) -> None:
        """Have one process do job after job until all is closed."""
        while (job := self._next()) is not None:
            if not job.tries and not job.future.set_running_or_notify_cancel():
                continue
            job.tries += 1
            try:
                answer = _exchange(self._worker(number), job.task)
            except _Died:
                self._drop(number)
                self._again(job)
            except (
                Exception
            ) as error:  # no process can be had, or no memory: that task's misfortune
                self._drop(number)
                failed = f"a matching process could not be used: {type(error).__name__}: {error}"
                job.future.set_exception(MatchingFailed(failed))
            else:
                if isinstance(answer, MatchReport):
                    job.future.set_result(answer)
                else:
                    failed = f"a matching process failed: {answer}"
                    job.future.set_exception(MatchingFailed(failed))
            del job  # keys and templates: not held while waiting for the next
        self._drop(number)

    def _next(self) -> _Job | None:
        """Wait for a job: each group's first in turn; None when all is closed."""
        with self._turn:
            self._idle += 1
            try:
                while not self._waiting:
                    if self._closed:
                        return None
                    self._turn.wait()
                return self._waiting.take()
            finally:
                self._idle -= 1

    def _again(self, job: _Job) -> None:
        """Give a job of a process that died to another, before all else of its group."""
        with self._turn:
            closed = self._closed
            if not closed and job.tries < MOST_TRIES:
                self._waiting.put_back(job.task.group, job)
                self._turn.notify()
                return
        job.future.set_exception(MatchingFailed(_CLOSED if closed else _DIED))

    def _worker(self, number: int) -> _Worker:
        with self._turn:
            known = self._workers.get(number)
        if known is not None and known.process.is_alive():
            return known
        if known is not None:
            self._drop(number)
        worker = _start(self._source, self._calibrations, number)
        with self._turn:
            self._workers[number] = worker
            if self._closed:
                worker.process.kill()
        return worker

    def _drop(self, number: int) -> None:
        with self._turn:
            worker = self._workers.pop(number, None)
            closed = self._closed
        if worker is None:
            return
        if not closed:
            _log.warning("matching_process_gone", process=worker.process.name)
        worker.pipe.close()
        worker.process.join(_JOIN_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(_JOIN_S)


def _exchange(worker: _Worker, task: MatchTask) -> object:
    """Send a task, return what came of it; the buffer with keys and templates is overwritten.

    Raises:
        _Died: the process ended.
    """
    buffer = io.BytesIO()
    pickle.dump(task, buffer, protocol=pickle.HIGHEST_PROTOCOL)
    view = buffer.getbuffer()
    try:
        worker.pipe.send_bytes(view)
    except OSError as error:
        raise _Died from error
    finally:
        view[:] = bytes(len(view))
        view.release()
    try:
        return worker.pipe.recv()
    except (EOFError, OSError) as error:
        raise _Died from error


def _start(source: ReaderSource, calibrations: Mapping[str, Calibration], number: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work, args=(theirs, source, calibrations), name=f"matcher-{number}", daemon=True
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


def _work(pipe: Connection, source: ReaderSource, calibrations: Mapping[str, Calibration]) -> None:
    """Answer tasks until the pipe closes; runs in a worker process."""
    begin()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reader = source.open()
    while True:
        try:
            task: MatchTask = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from our own parent
        except (EOFError, OSError):
            return
        try:
            answer: object = do_task(reader, task, calibrations)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        finally:
            for probes in task.probes:
                probes.wipe()
        del task
        with suppress(BrokenPipeError):
            pipe.send(answer)
