"""What a cluster's scheduler and match workers tell monitoring: who is there, portions done."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aggregator.cluster.config import SchedulerConfig, WorkerConfig
from runtime.metrics import Family, Figures, Metrics, Subject

FAMILIES = (
    Family("sealtrace_scheduler_workers", "Match workers that are connected."),
    Family("sealtrace_scheduler_portions", "Sealed portions that wait or are being compared."),
    Family("sealtrace_worker_joined", "1: this match worker is with its scheduler."),
    Family(
        "sealtrace_worker_portions_total",
        "Portions since the start, by what became of them.",
        ("outcome",),
    ),
)


def metrics_of_scheduler(config: SchedulerConfig, there: Callable[[], tuple[int, int]]) -> Metrics:
    """Return a scheduler's metrics; ``there`` tells how many workers and portions it has."""

    def put(figures: Figures) -> None:
        workers, portions = there()
        figures.put("sealtrace_scheduler_workers", workers)
        figures.put("sealtrace_scheduler_portions", portions)

    return Metrics(
        config.metrics,
        Subject("scheduler", certificates={"cluster": config.tls}),
        families=FAMILIES,
        sources={"scheduler": put},
    )


def metrics_of_worker(
    config: WorkerConfig, done: Mapping[str, int], joined: Callable[[], bool]
) -> Metrics:
    """Return a match worker's metrics; ``done`` is how many portions came to what, as it counts."""

    def put(figures: Figures) -> None:
        figures.put("sealtrace_worker_joined", joined())
        for outcome, count in done.items():
            figures.put("sealtrace_worker_portions_total", count, outcome)

    return Metrics(
        config.metrics,
        Subject("match-worker", certificates={"cluster": config.tls}),
        families=FAMILIES,
        sources={"worker": put},
    )
