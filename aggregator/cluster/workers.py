"""Workers on other machines: portions go out sealed over Dask, and come back sealed or again.

The thread ``cluster`` keeps the connection with the scheduler and knows which workers there are;
each portion is sealed to a few of them, and Dask gives it to whichever of these is free. Nothing
that is under way is lost with a worker or the scheduler: it is sealed anew, to who is there then.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog

from aggregator.cluster import closed
from aggregator.cluster.answers import WorkerFailed, read_answer
from aggregator.cluster.identities import (
    AGGREGATOR,
    SCHEDULER,
    ClusterSecurity,
    Distrusted,
    Identity,
)
from aggregator.cluster.portions import write_portion
from aggregator.cluster.sealing import Recipient, SealedPortion, read_introduction, seal_portion
from aggregator.cluster.work import ANSWERED, NOT_FOR_US, run_sealed
from aggregator.config import ClusterSection
from aggregator.matching.report import MatchReport
from aggregator.matching.turns import Turns
from aggregator.matching.workers import MatchingFailed, MatchTask
from protocol.errors import ProtocolError
from runtime.calibration import Calibration
from runtime.config import ConfigError
from runtime.text import harmless

MOST_TRIES = 5
"""So often a portion is handed out before it is given up: something is wrong with it, or them."""
RECIPIENTS = 4
"""A portion is sealed to so many workers: some may die, and not all of them could open it."""
UNREACHED = "the machines that match cannot be reached; it goes on by itself once they can"
NOBODY = "no machine that matches is connected; it goes on by itself once one is"
MOST_WORKERS = 1024
"""So many are looked at, those that joined last."""
_LOOK_S = 1.0
_ANSWER_S = 10.0
_CLOSE_S = 5.0
_CLOSED = "the aggregator stops: what was being compared is compared anew after its start"
_log = structlog.get_logger()


class _Promise(Future[MatchReport]):
    """A future that can be cancelled until its answer is there; who waits for it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.RLock()

    def cancel(self) -> bool:
        """Give it up; nobody waits for the cluster to take notice."""
        with self._turn:
            fresh = not self.cancelled()
            given_up = super().cancel()
            if given_up and fresh:
                self.set_running_or_notify_cancel()
            return given_up

    def begin(self) -> bool:
        """Tell whether its answer may be set; then it can be given up no more."""
        with self._turn:
            return not self.cancelled() and self.set_running_or_notify_cancel()


@dataclass(eq=False, slots=True)
class _Job:
    task: MatchTask
    future: _Promise = field(default_factory=_Promise)
    tries: int = 0
    why: str = ""


class _Lost(Exception):
    """A portion that was handed out will not be answered, or not usefully; says why."""


class _Disconnected(Exception):
    """The scheduler is gone, and with it what it carried; nobody else is to blame."""

    def __str__(self) -> str:
        """Say so."""
        return "the connection is lost"


class DaskWorkers:
    """`aggregator.matching.workers.Workers` on other machines; safe to call from several threads.

    A future stays pending until its answer is there, so that it can be cancelled at any time.

    Args:
        cluster: where the scheduler is, and our certificate.
        calibrations: model id to calibration.

    Raises:
        ConfigError: there is no cluster in the configuration.
        TlsError: our certificate cannot be used, or is not the cluster's.
    """

    def __init__(self, cluster: ClusterSection, *, calibrations: Mapping[str, Calibration]) -> None:
        if not cluster.scheduler or cluster.tls is None:
            raise ConfigError("[cluster] names no scheduler or no certificate; give both")
        self._address = f"tls://{cluster.scheduler}"
        self._identity = Identity(cluster.tls)
        if self._identity.member.duty != AGGREGATOR:
            raise ConfigError(
                f"{cluster.tls.certificate} says {self._identity.member.duty}; give the "
                "aggregator's certificate of the cluster"
            )
        self._security = ClusterSecurity(
            cluster.tls, serves=frozenset(), calls=frozenset({SCHEDULER})
        )
        self._calibrations = dict(calibrations)
        closed.close(AGGREGATOR)
        self._lock = threading.Lock()
        self._jobs: Turns[_Job] = Turns()
        self._open: set[_Job] = set()
        self._closed = False
        self._said: tuple[str | None, str] = (UNREACHED, "")
        self._workers: dict[str, Recipient] = {}
        self._refused: dict[str, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()

    @property
    def parallel(self) -> int:
        """How many tasks are done at once; 1 while nobody is there."""
        return max(1, len(self._workers))

    def trouble(self) -> str | None:
        """Return why nothing can be matched just now, for people; None while something can."""
        return self._said[0]

    def submit(self, task: MatchTask) -> Future[MatchReport]:
        """Have a task done (`Workers.submit`); while nobody is there, it waits.

        Raises:
            MatchingFailed: these workers have been closed.
        """
        job = _Job(task)
        with self._lock:
            if self._closed:
                raise MatchingFailed(_CLOSED)
            self._jobs.append(task.group, job)
            self._open.add(job)
        job.future.add_done_callback(lambda _: self._open.discard(job))
        self._wake()
        return job.future

    def close(self) -> None:
        """Leave the cluster; what has not been done fails."""
        with self._lock:
            self._closed = True
        self._wake()
        self._thread.join(2 * _CLOSE_S)
        for job in list(self._open):
            _settle(job, error=MatchingFailed(_CLOSED))

    # ------------------------------------------------------------------ in the thread

    def _wake(self) -> None:
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(woken.set)

    def _run(self) -> None:
        asyncio.run(self._stay())

    async def _stay(self) -> None:
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not self._closed:
            try:
                await self._session()
            except (Exception, asyncio.CancelledError) as error:
                if self._closed:
                    break
                self._say(UNREACHED, _reason(error))
                await asyncio.sleep(_LOOK_S)
        self._workers = {}

    async def _session(self) -> None:
        """Work with one connection until it is lost or all is closed."""
        client = await closed.ClosedClient(
            self._address,
            security=self._security,
            asynchronous=True,
            set_as_default=False,
            direct_to_workers=False,
            timeout=_ANSWER_S,
            name="aggregator",
        )
        watch = asyncio.create_task(self._watch(client))
        under_way: set[asyncio.Task[None]] = set()
        try:
            while not self._closed and not watch.done():
                assert self._woken is not None  # noqa: S101 - for the type checker
                self._woken.clear()
                under_way = {task for task in under_way if not task.done()}
                while len(under_way) < 2 * len(self._workers) and (job := self._next()):
                    task = asyncio.create_task(self._carry(client, job))
                    task.add_done_callback(lambda _: self._wake())
                    under_way.add(task)
                waking = asyncio.create_task(self._woken.wait())
                await asyncio.wait({waking, watch}, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
                for task in under_way:
                    if task.done():
                        task.result()
            if watch.done():
                watch.result()
        finally:
            self._workers = {}
            for task in (watch, *under_way):
                task.cancel()
            await asyncio.gather(watch, *under_way, return_exceptions=True)
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(client.close(timeout=_CLOSE_S), 2 * _CLOSE_S)

    async def _watch(self, client: Any) -> None:
        """Keep in mind who is there; raises once the scheduler does not answer."""
        while True:
            told = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), _ANSWER_S)
            known = self._workers
            self._workers = self._there(told["workers"])
            for address in known.keys() - self._workers.keys():
                _log.warning("match_worker_gone", worker=known[address].name, address=address)
            self._say(None if self._workers else NOBODY, "start match workers")
            if self._workers.keys() != known.keys():
                self._wake()
            await asyncio.sleep(_LOOK_S)

    def _there(self, said: Mapping[str, Any]) -> dict[str, Recipient]:
        """Return the workers among those of whom the scheduler says that they are there.

        It may say of one that it is there many times, and make up any number of others.
        """
        newest = dict(islice(reversed(list(said.items())), MOST_WORKERS))
        self._refused = {one: what for one, what in self._refused.items() if one in newest}
        there: dict[bytes, tuple[str, Recipient]] = {}
        for address, told in newest.items():
            one = self._workers.get(address) or self._introduced(address, told)
            if one is not None:
                there.setdefault(one.key.raw, (address, one))
        return dict(reversed(there.values()))

    def _introduced(self, address: str, said: Mapping[str, Any]) -> Recipient | None:
        """Return a worker that is new, if it is one: the scheduler only says so."""
        introduction = said.get("introduction")
        if not isinstance(introduction, bytes) or self._refused.get(address) == introduction:
            return None
        try:
            one = read_introduction(introduction, self._identity)
        except (Distrusted, ProtocolError) as error:
            self._refused[address] = introduction
            _log.error("match_worker_refused", address=address, reason=str(error))
            return None
        _log.info("match_worker_joined", worker=one.name, address=address)
        return one

    def _say(self, trouble: str | None, why: str) -> None:
        if (trouble, why) != self._said:
            if trouble is None:
                _log.info("cluster_ready", workers=len(self._workers))
            else:
                _log.warning("cluster_waits", scheduler=self._address, what=trouble, reason=why)
        self._said = (trouble, why)

    def _next(self) -> _Job | None:
        with self._lock:
            while self._jobs:
                job = self._jobs.take()
                if not job.future.cancelled():
                    return job
        return None

    async def _carry(self, client: Any, job: _Job) -> None:
        """Have one job done, or put it back to be done again."""
        try:
            report = await self._handed_out(client, job)
        except _Lost as error:
            job.tries, job.why = job.tries + 1, str(error)
            _log.warning("match_portion_again", tries=job.tries, reason=job.why)
            if job.tries < MOST_TRIES:
                self._put_back(job)
            else:
                why = f"a portion was handed to match workers {job.tries} times: {job.why}"
                _settle(job, error=MatchingFailed(why))
        except (_Disconnected, asyncio.CancelledError):  # or all is closed
            self._put_back(job)
            raise
        except Exception as error:
            _log.exception("match_portion_failed")
            why = f"a portion could not be handed out: {type(error).__name__}: {error}"
            _settle(job, error=MatchingFailed(why))
        else:
            _settle(job, report=report)

    def _put_back(self, job: _Job) -> None:
        with self._lock:
            self._jobs.put_back(job.task.group, job)

    async def _handed_out(self, client: Any, job: _Job) -> MatchReport:
        addresses, sealed = self._sealed(job.task)
        carried = client.submit(
            run_sealed,
            sealed.data,
            key=f"portion-{sealed.portion_id.hex()}",
            pure=False,
            workers=addresses,
            allow_other_workers=False,
        )
        try:
            answer = await self._answer(carried, addresses, job)
        finally:
            carried.release()
        if answer[:1] == NOT_FOR_US:
            raise _Lost("a worker had just started anew")
        if answer[:1] != ANSWERED:
            raise _Lost("a worker gave no answer")
        try:
            return read_answer(sealed.open_answer(answer[1:]), job.task)
        except WorkerFailed as error:
            raise _Lost(f"a match worker failed: {error}") from error
        except ProtocolError as error:
            raise _Lost(f"a match worker's answer was refused: {error}") from error

    def _sealed(self, task: MatchTask) -> tuple[list[str], SealedPortion]:
        there = list(self._workers.items())
        if not there:
            raise _Lost("every match worker has gone")
        chosen = secrets.SystemRandom().sample(there, min(RECIPIENTS, len(there)))
        plain = write_portion(task, self._calibrations)
        try:
            sealed = seal_portion(plain, [one for _, one in chosen], self._identity)
        finally:
            plain[:] = bytes(len(plain))
        return [address for address, _ in chosen], sealed

    async def _answer(self, carried: Any, addresses: Iterable[str], job: _Job) -> bytes:
        """Wait for an answer as long as there is somebody to give it, and who wants it."""
        answering = asyncio.ensure_future(carried.result())
        try:
            while True:
                done, _ = await asyncio.wait({answering}, timeout=_LOOK_S)
                if done:
                    break
                if job.future.cancelled():
                    raise _Lost("nobody waits for it any more")
                if not self._workers.keys() & set(addresses):
                    raise _Lost("the match workers that had it are gone")
            try:
                answer = answering.result()
            except (CancelledError, asyncio.CancelledError) as error:
                raise _Disconnected from error
            except Exception as error:
                raise _Lost(f"it was not done: {_reason(error)}") from error
        finally:
            answering.cancel()
        if not isinstance(answer, bytes):
            raise _Lost("a worker gave no answer")
        return answer


def _settle(
    job: _Job, *, report: MatchReport | None = None, error: Exception | None = None
) -> None:
    if not job.future.begin():
        return
    if error is not None:
        job.future.set_exception(error)
    elif report is not None:
        job.future.set_result(report)


def _reason(error: BaseException) -> str:
    return harmless(str(error) or type(error).__name__)[:300]
