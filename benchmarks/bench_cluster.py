"""What matching on other machines costs besides: one and two workers, and bytes on the wire.

Run: `python -m benchmarks.bench_cluster [--quick]`. Starts a scheduler and two match workers on
this machine. CPU times are of the processes, so that others on the machine count for little; of the
wall clock they take their part.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from aggregator.cluster.answers import write_report
from aggregator.cluster.identities import Identity
from aggregator.cluster.portions import write_portion
from aggregator.cluster.sealing import Recipient, seal_portion
from aggregator.cluster.workers import DaskWorkers
from aggregator.config import LimitsSection
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.probes import Probes
from aggregator.matching.report import MatchReport
from aggregator.matching.tasks import do_task
from aggregator.matching.workers import MatchTask
from aggregator.store import open_reader, open_store
from benchmarks.cpu_time import cpu_of
from benchmarks.figures import Figure
from benchmarks.printing import print_figures, quiet_logs
from benchmarks.sealed_site import MODEL, SITE, Site, make_site, unit_rows
from demo.match_cluster import MatchCluster
from protocol import hpke
from protocol.epoch_keys import EpochKeys
from protocol.keytree import FACE

SIGHTINGS_A_SEGMENT = 21
SLOTS = 96
SUBJECTS = 10
DAYS = 48
"""Cameras' days in a portion: a fifth of the most that a query over a city is dealt out by
(`aggregator.matching.pool`), and more than a small query's."""
_JOINED_WITHIN_S = 60.0


def run(*, quick: bool = False) -> Iterator[Figure]:
    """Return the figures."""
    cameras, rounds = (12, 1) if quick else (48, 32)
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        site = make_site(cameras, version=2)
        _fill(site, folder)
        keys = [camera.granted() for camera in site.cameras]
        with _cluster(folder) as cluster:
            yield from _measured(cluster, folder, keys * rounds)


def _measured(cluster: MatchCluster, folder: Path, keys: Sequence[EpochKeys]) -> Iterator[Figure]:
    portions = [keys[at : at + DAYS] for at in range(0, len(keys), DAYS)]
    tasks = [_task(days) for days in portions]
    tasks += [replace(task, probes=(), tell_through=1 << 40) for task in tasks]
    reader = open_reader(folder / "state" / "aggregator.db")
    begin, wall = time.process_time(), time.monotonic()
    reports = [do_task(reader, task, {}) for task in tasks]
    here, here_wall = time.process_time() - begin, time.monotonic() - wall
    sightings = sum(report.sightings for report in reports)
    yield Figure("compared here, in one process", here, "CPU s")
    yield Figure("the same", here_wall, "s (wall)")
    workers = DaskWorkers(cluster.section(), calibrations={})
    try:
        walls = []
        for names in (("rack-1",), ("rack-1", "rack-2")):
            for name in names:
                if name not in cluster.services:
                    cluster.start_worker(name)
            _wait_for(workers, len(names))
            for warming in [workers.submit(tasks[0]) for _ in range(2 * len(names))]:
                warming.result(60)
            before = _cpu(cluster)
            begin, wall = time.process_time(), time.monotonic()
            futures = [workers.submit(task) for task in tasks]
            found = sum(future.result(300).sightings for future in futures)
            assert found == sightings, "the same is compared"
            walls.append(time.monotonic() - wall)
            used = {name: cpu - before[name] for name, cpu in _cpu(cluster).items()}
            of_workers = [used[name] for name in names]
            label = f"{len(names)} worker{'s' if len(names) > 1 else ''}"
            yield Figure(f"{label}, all of them", sum(of_workers), "CPU s", "here",
                         sum(of_workers) / here)  # fmt: skip
            yield Figure(f"{label}, the busiest", max(of_workers), "CPU s", "here",
                         max(of_workers) / here)  # fmt: skip
            yield Figure(f"{label}, scheduler", used["scheduler"], "CPU s")
            yield Figure(f"{label}, aggregator", time.process_time() - begin, "CPU s")
            yield Figure(f"{label}, from first to last", walls[-1], "s (wall)", "half of 1 worker",
                         2 * walls[-1] / walls[0])  # fmt: skip
    finally:
        workers.close()
    yield from _carried(cluster, tasks[0], reports[0])
    yield Figure("sightings compared", sightings, "")


def _carried(cluster: MatchCluster, task: MatchTask, report: MatchReport) -> Iterator[Figure]:
    """Yield what a portion is on the wire, and what sealing it takes."""
    tls = cluster.section().tls
    assert tls is not None
    identity = Identity(tls)
    recipients = [Recipient(name, hpke.PrivateKey.generate().public) for name in ("a", "b")]
    begin = time.process_time()
    rounds = 20
    for _ in range(rounds):
        sealed = seal_portion(write_portion(task, {}), recipients, identity)
    took = (time.process_time() - begin) / rounds
    days = len(task.scopes)
    yield Figure("a portion, sealed to two", len(sealed.data) / days, "bytes a camera-day")
    yield Figure("its answer", len(write_report(report)) / days, "bytes a camera-day")
    yield Figure("writing and sealing it", 1e6 * took / days, "CPU us a camera-day")


def _task(keys: Sequence[EpochKeys]) -> MatchTask:
    rows = unit_rows(np.random.default_rng(5), SUBJECTS).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = tuple(f"subject-{number}" for number in range(SUBJECTS))
    probes = Probes(FACE, MODEL, rows, np.full(SUBJECTS, 0.6, np.float32), names)
    return MatchTask(tuple(keys), (probes,), True, 100)


def _fill(site: Site, folder: Path) -> None:
    (folder / "state").mkdir()
    store = open_store(folder / "state" / "aggregator.db")
    intake = Intake(
        store,
        site=SITE,
        directory=lambda: site.directory,
        limits=LimitsSection(),
        retention_days=lambda: 14,
        now_ms=lambda: site.now_ms,
        audit=lambda _kind, _body: None,
    )
    pending: list[Incoming] = []
    messages = site.segments(np.random.default_rng(3), range(SLOTS), size=SIGHTINGS_A_SEGMENT)
    for topic, payload in messages:
        pending.append(Incoming(topic, payload, site.now_ms))
        if len(pending) == 256:
            intake.process(pending)
            pending.clear()
    intake.process(pending)
    store.close()


@contextmanager
def _cluster(folder: Path) -> Iterator[MatchCluster]:
    (folder / "cluster").mkdir()
    cluster = MatchCluster(folder / "cluster", folder / "state")
    try:
        cluster.start_scheduler()
        yield cluster
    finally:
        cluster.close()


def _cpu(cluster: MatchCluster) -> dict[str, float]:
    return {
        name: cpu_of(service.process.pid)
        for name, service in cluster.services.items()
        if service.process is not None
    }


def _wait_for(workers: DaskWorkers, many: int) -> None:
    async def there() -> None:
        while workers.trouble() is not None or workers.parallel != many:
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(there(), _JOINED_WITHIN_S))


if __name__ == "__main__":
    quiet_logs()
    print_figures("cluster", list(run(quick="--quick" in sys.argv)))
