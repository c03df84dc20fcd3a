"""Monitoring is told how many match workers there are, and what became of portions."""

from __future__ import annotations

from pathlib import Path

from aggregator.cluster.config import SchedulerConfig, WorkerConfig
from aggregator.cluster.metrics import FAMILIES, metrics_of_scheduler, metrics_of_worker
from runtime.config import TlsConfig
from runtime.metrics import COMMON, Metrics

TLS = TlsConfig(ca=Path("ca.pem"), certificate=Path("certificate.pem"))


def figures(metrics: Metrics) -> dict[str, float]:
    lines = metrics.text().decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    found = {name: float(value) for name, value in rows if name.startswith("sealtrace_")}
    assert {key.partition("{")[0] for key in found} <= {one.name for one in (*COMMON, *FAMILIES)}
    return found


def test_a_scheduler_tells_who_is_there() -> None:
    told = figures(metrics_of_scheduler(SchedulerConfig(tls=TLS), lambda: (3, 40)))
    assert told["sealtrace_scheduler_workers"] == 3
    assert told["sealtrace_scheduler_portions"] == 40


def test_a_worker_tells_whether_it_has_joined_and_what_it_has_done() -> None:
    config = WorkerConfig(scheduler="10.0.0.5:8786", tls=TLS)
    done = {"answered": 7, "refused": 1}
    told = figures(metrics_of_worker(config, done, lambda: False))
    assert told["sealtrace_worker_joined"] == 0
    assert told['sealtrace_worker_portions_total{outcome="answered"}'] == 7
    assert told['sealtrace_worker_portions_total{outcome="refused"}'] == 1
