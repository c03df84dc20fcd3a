"""A match worker's process: introduces its sealing key, does portions, joins again when it must."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress

import structlog

from aggregator.cluster import closed, work
from aggregator.cluster.config import WorkerConfig
from aggregator.cluster.identities import SCHEDULER, WORKER, ClusterSecurity, Identity
from aggregator.cluster.matching import PortionDesk
from aggregator.cluster.process import Report, run_until_stopped
from runtime.config import ConfigError
from runtime.fsio import private_folder
from runtime.lifecycle import Stop

_AGAIN_S = 1.0
_STILL_WAITING_S = 30.0
_LEAVE_S = 5.0
_log = structlog.get_logger()


class WorkerProcess:
    """A match worker, from its configuration. Run one for each core that matching may have.

    Raises:
        TlsError: its certificate cannot be used, or is not the cluster's.
        ConfigError: its certificate is somebody else's.
    """

    def __init__(self, config: WorkerConfig) -> None:
        identity = Identity(config.tls)
        if identity.member.duty != WORKER:
            raise ConfigError(
                f"{config.tls.certificate} says {identity.member.duty}; give a match worker's"
            )
        self._name = identity.member.name
        self._config = config
        self._desk = PortionDesk(identity, config.store_place)
        self._joined = False
        self._security = ClusterSecurity(
            config.tls, serves=frozenset({SCHEDULER}), calls=frozenset({SCHEDULER})
        )

    def run(self) -> int:
        """Work until a signal; return the exit code."""
        with tempfile.TemporaryDirectory(prefix="match-worker-") as folder:
            scratch = self._config.scratch_dir
            self._scratch = folder if scratch is None else str(private_folder(scratch))
            return run_until_stopped(
                self._work, what="matching", name=self._name, metrics=self._metrics()
            )

    def _metrics(self) -> Callable[[Stop], None] | None:
        if not self._config.metrics.listen:
            return None
        from aggregator.cluster.metrics import metrics_of_worker  # noqa: PLC0415 - if asked for

        return metrics_of_worker(self._config, self._desk.done, lambda: self._joined).run

    async def _work(self, asked: asyncio.Event, report: Report) -> None:
        closed.close(WORKER)
        work.put_in_place(self._desk.do)
        stopping = asyncio.create_task(asked.wait())
        while not asked.is_set():
            worker = self._worker()
            await self._serve(worker, stopping, report)
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(worker.close(timeout=_LEAVE_S, nanny=False), 2 * _LEAVE_S)
            if not asked.is_set():
                _log.warning("scheduler_lost", scheduler=self._config.scheduler)
                await asyncio.wait({stopping}, timeout=_AGAIN_S)

    def _worker(self) -> closed.ClosedWorker:
        return closed.ClosedWorker(
            f"tls://{self._config.scheduler}",
            host=self._config.host,
            protocol="tls",
            security=self._security,
            name=f"{self._name}-{os.getpid()}-{secrets.token_hex(4)}",
            local_directory=self._scratch,
            startup_information={"introduction": lambda _: self._desk.introduction},
        )

    async def _serve(
        self, worker: closed.ClosedWorker, stopping: asyncio.Task[bool], report: Report
    ) -> None:
        """Join the cluster and work in it until it is lost, or until we are to stop."""

        async def joined() -> None:
            await worker
            report(worker.address.removeprefix("tls://"))
            self._joined = True
            try:
                await worker.finished()  # type: ignore[no-untyped-call]
            finally:
                self._joined = False

        serving = asyncio.create_task(joined())
        while not serving.done() and not stopping.done():
            await asyncio.wait(
                {serving, stopping},
                timeout=_STILL_WAITING_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not serving.done() and worker.status.name == "init":
                _log.warning("scheduler_not_reached", scheduler=self._config.scheduler)
        if serving.done() and not serving.cancelled() and (error := serving.exception()):
            _log.warning("cluster_not_joined", reason=f"{type(error).__name__}: {error}")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
