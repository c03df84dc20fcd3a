"""Whoever carries portions, and the network, see no key, template, name or find of a query."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_site import SUBJECTS, ClusterSite
from distributed.comm import tcp
from distributed.protocol import pickle as carried

from aggregator.cluster import closed
from aggregator.cluster.answers import write_report
from aggregator.cluster.identities import AGGREGATOR, SCHEDULER, WORKER, ClusterSecurity
from aggregator.cluster.portions import write_portion
from aggregator.cluster.workers import DaskWorkers
from aggregator.matching.report import MatchReport
from aggregator.matching.workers import MatchTask
from demo.match_cluster import MatchCluster
from protocol.keytree import FACE, LIVE
from runtime.tls import CLUSTER_SCHEDULER

pytestmark = pytest.mark.processes


@contextmanager
def scheduler_in_this_process(cluster: MatchCluster) -> Iterator[closed.ClosedScheduler]:
    """Run the scheduler where a test can look into it."""
    started, stopping = threading.Event(), threading.Event()
    held: list[closed.ClosedScheduler] = []

    async def serve() -> None:
        tls = cluster.ca.issue("scheduler", CLUSTER_SCHEDULER)
        make: Any = closed.ClosedScheduler
        scheduler = await make(
            host="127.0.0.1",
            port=0,
            protocol="tls",
            security=ClusterSecurity(
                tls, serves=frozenset({AGGREGATOR, WORKER}), calls=frozenset({WORKER})
            ),
        )
        held.append(scheduler)
        started.set()
        await asyncio.get_running_loop().run_in_executor(None, stopping.wait)
        await scheduler.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    cluster.port = int(held[0].address.rpartition(":")[2])
    try:
        yield held[0]
    finally:
        stopping.set()
        thread.join(30)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All frames that this process reads of anybody, below TLS and before anything is unpacked."""
    frames_read: list[bytes] = []
    unpack = getattr(tcp, "from_frames")  # noqa: B009 - a name of its inside

    async def kept(frames: Any, **options: Any) -> Any:
        frames_read.extend(bytes(one) for one in frames)
        return await unpack(frames, **options)

    monkeypatch.setattr(tcp, "from_frames", kept)
    monkeypatch.setattr(carried, "loads", carried.loads)
    closed.close(SCHEDULER)
    return frames_read


def secrets_of(site: ClusterSite, task: MatchTask, report: MatchReport) -> dict[str, bytes]:
    """What nobody but a worker and the aggregator may see."""
    found = report.found[0]
    slot = found.name.slot
    keys = task.scopes[0]
    root = site.boxes[0].roots(found.name.epoch)[0]
    vector = np.asarray(site.subjects[0], np.float32)
    return {
        "a key": keys.key(slot, FACE).key,
        "the live key": keys.key(slot, LIVE).key,
        "a leaf": site.boxes[0].leaf(root, FACE, slot),
        "a template": vector.tobytes()[:16],
        "a subject": SUBJECTS[0].encode(),
        "a camera": found.address.camera.encode(),
        "a box": found.name.box.encode(),
        "a find": found.sealed[:16],
        "its id": found.name.sighting_id,
        "its header": found.header[:16],
    }


def test_neither_what_is_carried_nor_what_the_scheduler_holds_tells_anything(
    tmp_path: Path, read: list[bytes]
) -> None:
    site = ClusterSite(tmp_path / "state")
    cluster = MatchCluster(tmp_path, tmp_path / "state")
    try:
        with scheduler_in_this_process(cluster) as scheduler:
            worker = cluster.start_worker("rack-1")
            workers = DaskWorkers(cluster.section(), calibrations={})
            closed.close(SCHEDULER)  # this process is both
            task = site.task()
            report = workers.submit(task).result(60)
            assert report == site.here(task)
            carried_bytes = b"\0".join(read)
            held = repr(vars(scheduler)).encode() + b"".join(
                bytes(part)
                for one in scheduler.tasks.values()
                for part in getattr(one.run_spec, "args", ())
            )
            logged = worker.log.read_bytes()
            workers.close()
    finally:
        cluster.close()
    assert b"rack-1" in carried_bytes, "what is carried is looked at before it is unpacked"
    for what, needle in secrets_of(site, task, report).items():
        assert len(needle) >= 4
        for where in (carried_bytes, held, logged):
            assert needle not in where, f"{what} is carried in the clear"
    plain = bytes(write_portion(task, {})) + write_report(report)
    pieces = [plain[at : at + 16] for at in range(0, len(plain) - 16, 48)]
    telling = [piece for piece in pieces if len(set(piece)) > 8]
    assert len(telling) > 50
    assert len(carried_bytes) > 2 * len(plain), "there and back, past the scheduler each time"
    assert not any(piece in carried_bytes for piece in telling), "in no other form either"
    files = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert not any(path.stat().st_size for path in files)
