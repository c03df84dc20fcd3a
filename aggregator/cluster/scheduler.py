"""The scheduler's process: it knows who is there, and carries what it cannot read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aggregator.cluster import closed
from aggregator.cluster.config import SchedulerConfig
from aggregator.cluster.identities import (
    AGGREGATOR,
    SCHEDULER,
    WORKER,
    ClusterSecurity,
    Identity,
)
from aggregator.cluster.process import Report, run_until_stopped
from runtime.config import ConfigError
from runtime.lifecycle import Stop


class SchedulerProcess:
    """The scheduler, from its configuration.

    Raises:
        TlsError: its certificate cannot be used, or is not the cluster's.
        ConfigError: its certificate is somebody else's.
    """

    def __init__(self, config: SchedulerConfig) -> None:
        identity = Identity(config.tls)
        if identity.member.duty != SCHEDULER:
            raise ConfigError(
                f"{config.tls.certificate} says {identity.member.duty}; give the scheduler's"
            )
        self._name = identity.member.name
        self._config = config
        self._scheduler: closed.ClosedScheduler | None = None
        self._security = ClusterSecurity(
            config.tls, serves=frozenset({AGGREGATOR, WORKER}), calls=frozenset({WORKER})
        )

    def run(self) -> int:
        """Serve until a signal; return the exit code."""
        return run_until_stopped(
            self._serve, what="scheduling", name=self._name, metrics=self._metrics()
        )

    def _metrics(self) -> Callable[[Stop], None] | None:
        if not self._config.metrics.listen:
            return None
        from aggregator.cluster.metrics import metrics_of_scheduler  # noqa: PLC0415 - if asked for

        return metrics_of_scheduler(self._config, self._there).run

    def _there(self) -> tuple[int, int]:
        """Return how many workers are there, and how many portions wait or are with them."""
        scheduler = self._scheduler
        return (0, 0) if scheduler is None else (len(scheduler.workers), len(scheduler.tasks))

    async def _serve(self, asked: asyncio.Event, report: Report) -> None:
        closed.close(SCHEDULER)
        scheduler = closed.ClosedScheduler(
            host=self._config.host,
            port=self._config.port,
            protocol="tls",
            security=self._security,
        )
        await scheduler
        self._scheduler = scheduler
        try:
            report(scheduler.address.removeprefix("tls://"))
            await asked.wait()
        finally:
            await scheduler.close(reason="stopped")
