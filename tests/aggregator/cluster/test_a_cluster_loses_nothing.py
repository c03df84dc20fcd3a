"""Workers and the scheduler die in the middle of a query, and the same candidates come out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import pytest
from cluster_site import MOST, ClusterSite
from waiting import wait_for

from aggregator.cluster.identities import WORKER, Identity
from aggregator.cluster.sealing import introduce
from aggregator.cluster.workers import MOST_TRIES, MOST_WORKERS, NOBODY, UNREACHED, DaskWorkers
from aggregator.matching.pool import Matcher
from aggregator.matching.report import MatchReport, merge_reports
from aggregator.matching.workers import MatchingFailed
from demo.match_cluster import MatchCluster
from protocol import hpke

pytestmark = pytest.mark.processes
PORTIONS = 12


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> ClusterSite:
    return ClusterSite(tmp_path_factory.mktemp("site") / "state")


@pytest.fixture(scope="module")
def running(site: ClusterSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MatchCluster]:
    made = MatchCluster(tmp_path_factory.mktemp("cluster"), site.state)
    made.start_scheduler()
    yield made
    made.close()


@pytest.fixture
def cluster(running: MatchCluster) -> Iterator[MatchCluster]:
    """One with a scheduler, and no worker yet."""
    if not running.services["scheduler"].running:
        running.start_scheduler()
    yield running
    for name, service in running.services.items():
        if name != "scheduler":
            service.kill()


@pytest.fixture
def workers(cluster: MatchCluster) -> Iterator[DaskWorkers]:
    made = DaskWorkers(cluster.section(), calibrations={})
    yield made
    made.close()


def submitted(workers: DaskWorkers, site: ClusterSite) -> list[Future[MatchReport]]:
    """Hand out everything, a camera's day a portion, again and again."""
    keys = site.keys()
    return [workers.submit(site.task([keys[one % len(keys)]])) for one in range(PORTIONS)]


def expected(site: ClusterSite) -> MatchReport:
    keys = site.keys()
    reports = [site.here(site.task([keys[one % len(keys)]])) for one in range(PORTIONS)]
    return merge_reports(reports, max_candidates=MOST)


def together(futures: list[Future[MatchReport]]) -> MatchReport:
    return merge_reports([one.result(60) for one in futures], max_candidates=MOST)


def stopped(cluster: MatchCluster, name: str, number: signal.Signals) -> None:
    process = cluster.services[name].process
    assert process is not None
    os.kill(process.pid, number)


def test_a_worker_killed_with_portions_in_its_hands_loses_none_and_a_matcher_finds_the_same(
    cluster: MatchCluster, workers: DaskWorkers, site: ClusterSite
) -> None:
    cluster.start_worker("rack-1", wait=False)
    cluster.start_worker("rack-2")
    cluster.services["rack-1"].wait_ready()
    wait_for(lambda: workers.parallel == 2, "both have joined")
    stopped(cluster, "rack-1", signal.SIGSTOP)  # takes portions, and will not answer
    futures = submitted(workers, site)
    wait(futures, timeout=2, return_when="FIRST_COMPLETED")
    assert any(not one.done() for one in futures)
    cluster.services["rack-1"].kill()
    assert together(futures) == expected(site)
    matcher = Matcher(site.desk.store.segments, pool_from_envelopes=1, workers=workers)
    found = matcher.match(site.keys(), site.probes(), contacts=True, max_candidates=MOST)
    assert found == site.here(site.task())


def test_with_nobody_there_a_query_waits_says_why_and_goes_on(
    cluster: MatchCluster, workers: DaskWorkers, site: ClusterSite
) -> None:
    futures = submitted(workers, site)
    wait_for(lambda: workers.trouble() == NOBODY, "it says that nobody is there")
    assert not any(one.done() for one in futures)
    assert futures[-1].cancel(), "what waits can be given up"
    assert not wait(futures[-1:], timeout=30).not_done, "at once"
    assert futures[-1].cancel(), "again, too"
    cluster.start_worker("rack-1")
    futures[-1] = workers.submit(site.task([site.keys()[(PORTIONS - 1) % 5]]))
    assert together(futures) == expected(site)
    assert workers.trouble() is None
    cluster.services["rack-1"].kill()
    wait_for(workers.trouble, "it says that nobody is there any more")
    again = workers.submit(site.task())
    cluster.start_worker("rack-1")
    assert again.result(60) == site.here(site.task())


def test_a_scheduler_that_is_killed_and_started_again_loses_nothing(
    cluster: MatchCluster, workers: DaskWorkers, site: ClusterSite
) -> None:
    cluster.start_worker("rack-1")
    wait_for(lambda: workers.trouble() is None, "it has joined")
    stopped(cluster, "rack-1", signal.SIGSTOP)
    futures = submitted(workers, site)
    wait(futures, timeout=0.5)
    cluster.services["scheduler"].kill()
    wait_for(lambda: workers.trouble() == UNREACHED, "it says so")
    stopped(cluster, "rack-1", signal.SIGCONT)
    cluster.start_scheduler()
    assert together(futures) == expected(site)
    assert cluster.services["rack-1"].running, "the worker joined again by itself"
    assert cluster.services["rack-1"].stop() == 0
    assert cluster.services["scheduler"].stop() == 0


def test_a_portion_that_no_worker_can_do_fails_after_some_tries_and_says_why(
    cluster: MatchCluster, workers: DaskWorkers, site: ClusterSite, tmp_path: Path
) -> None:
    cluster.start_worker("rack-1", state=tmp_path)
    with pytest.raises(MatchingFailed, match=f"{MOST_TRIES} times.*StorageError"):
        workers.submit(site.task()).result(60)


def test_what_is_left_fails_when_all_is_closed_and_nothing_hangs(
    workers: DaskWorkers, site: ClusterSite
) -> None:
    futures = submitted(workers, site)
    workers.close()
    assert all(isinstance(one.exception(10), MatchingFailed) for one in futures)
    with pytest.raises(MatchingFailed, match="stops"):
        workers.submit(site.task())


def test_a_scheduler_that_makes_up_workers_takes_no_memory(running: MatchCluster) -> None:
    section = running.section().model_copy(update={"scheduler": "127.0.0.1:9"})
    workers = DaskWorkers(section, calibrations={})
    try:
        rack = Identity(running.ca.issue("rack-9", WORKER))
        true = introduce(rack, hpke.PrivateKey.generate().public)
        said = {f"tls://10.0.0.1:{port}": {"introduction": true} for port in range(3000)}
        assert list(workers._there(said)) == ["tls://10.0.0.1:2999"], "who joined last"
        for first in range(3):
            made_up = {f"tls://10.{first}.0.1:{n}": {"introduction": b"?"} for n in range(3000)}
            assert not workers._there(made_up)
        assert len(workers._refused) <= MOST_WORKERS
    finally:
        workers.close()
