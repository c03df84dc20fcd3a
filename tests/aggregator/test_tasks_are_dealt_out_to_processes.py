"""Tasks of running queries take turns at the processes, and a process that dies loses none."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from laid_down import new_store
from sealed_boxes import (
    MODEL,
    NOW_MS,
    SITE,
    make_box,
    make_directory,
    near,
    sighting,
    unit_vector,
)
from waiting import wait_for

from aggregator.config import LimitsSection
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.pool import Matcher
from aggregator.matching.probes import Probes
from aggregator.matching.processes import LocalProcesses
from aggregator.matching.scopes import MatchReport
from aggregator.matching.workers import MatchingFailed, MatchTask
from aggregator.store.sqlite.store import SqliteStore
from protocol.epoch_keys import EpochKeys
from protocol.keytree import FACE
from protocol.signing import SigningKey

RNG = np.random.default_rng(5)
ANA = unit_vector(RNG)
BOXES = [make_box(number) for number in range(1, 4)]
pytestmark = pytest.mark.processes


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """A store with one sighting of Ana at each of three cameras."""
    kept = new_store(tmp_path / "a.db")
    directory = make_directory(BOXES, SigningKey.generate("aggregator"))
    intake = Intake(
        kept, site=SITE, directory=lambda: directory, limits=LimitsSection(),
        retention_days=lambda: 14, now_ms=lambda: NOW_MS, audit=lambda _kind, _body: None,
    )  # fmt: skip
    for box in BOXES:
        message = box.segment([sighting(near(ANA, 0.9, RNG))])
        assert intake.process([Incoming(*message, NOW_MS)]).stored == 1
    return kept


@pytest.fixture
def one_process(store: SqliteStore) -> Iterator[LocalProcesses]:
    workers = LocalProcesses(store.segments.source, {}, processes=1)
    yield workers
    workers.close()


def ana() -> list[Probes]:
    matrix = ANA.astype(np.float32)[None, :].copy()
    return [Probes(FACE, MODEL, matrix, np.array([0.6], np.float32), ("ana",))]


def task(group: bytes = b"") -> MatchTask:
    return MatchTask((BOXES[0].keys(),), tuple(ana()), True, 20, group=group)


def found(future: Future[MatchReport]) -> int:
    return len(future.result(60).candidates)


def test_a_query_that_comes_later_waits_for_one_task_of_another_and_not_for_all(
    one_process: LocalProcesses,
) -> None:
    done: list[str] = []
    long = [one_process.submit(task(b"long")) for _ in range(20)]
    short = one_process.submit(task(b"short"))
    for future in long:
        future.add_done_callback(lambda _: done.append("long"))
    short.add_done_callback(lambda _: done.append("short"))
    wait([*long, short], timeout=60)
    assert done.index("short") <= 2, "its turn comes after what was under way, and one more"
    assert len(done) == 21


def test_a_process_that_is_killed_loses_no_task(one_process: LocalProcesses) -> None:
    futures = [one_process.submit(task()) for _ in range(3)]
    wait_for(multiprocessing.active_children, "a process starts")
    for process in multiprocessing.active_children():
        process.kill()
    assert [found(future) for future in futures] == [1, 1, 1]


def test_what_is_left_fails_when_all_is_closed_and_nothing_hangs(
    one_process: LocalProcesses,
) -> None:
    futures = [one_process.submit(task()) for _ in range(5)]
    one_process.close()
    done, open_ones = wait(futures, timeout=60)
    assert not open_ones
    failed = [future for future in done if future.exception() is not None]
    assert failed
    assert all(isinstance(future.exception(), MatchingFailed) for future in failed)
    with pytest.raises(MatchingFailed, match="stops"):
        one_process.submit(task())


class Noting:
    """Workers that note of how many scopes each task is, and find nothing."""

    parallel = 2

    def __init__(self) -> None:
        self.days: list[list[int]] = []

    def submit(self, task: MatchTask) -> Future[MatchReport]:
        self.days.append([keys.scope.epoch for keys in task.scopes])
        future: Future[MatchReport] = Future()
        future.set_result(MatchReport())
        return future

    def trouble(self) -> str | None:
        """There is none."""
        return None

    def close(self) -> None:
        """There is nothing to end."""


def test_where_no_thread_can_be_had_the_task_fails_and_the_next_is_done(
    one_process: LocalProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(threading.Thread, "start", start)
        with pytest.raises(MatchingFailed, match="no thread can be had"):
            one_process.submit(task())
    assert found(one_process.submit(task())) == 1


def test_tasks_end_where_what_lies_together_ends(store: SqliteStore) -> None:
    workers = Noting()
    matcher = Matcher(store.segments, workers=workers, pool_from_envelopes=1)
    scope = BOXES[0].keys().scope
    days = [
        EpochKeys(replace(scope, epoch=epoch, first_slot=0, last_slot=47), {}, ())
        for epoch in (1, 2)
        for _ in range(150)
    ]
    a_task = 64 * 48
    with matcher.begin(ana(), contacts=True, max_candidates=5, expected=4 * a_task) as matching:
        matching.add([BOXES[0].keys()])  # there is something, so the rest goes out uncounted
        for keys in days:
            matching.add([keys])
        assert sum(len(done.scopes) for done in matching.rest()) == 301
    assert [len(one) for one in workers.days] == [1 + 64, 64, 22 + 64, 64, 22]
    assert set(workers.days[1]) == {1}
    assert set(workers.days[2]) == {1, 2}, "what is left of a day goes with the next one's first"


def test_a_query_over_fewer_cameras_than_a_shard_has_tasks_for_all_workers(
    store: SqliteStore,
) -> None:
    workers = Noting()
    matcher = Matcher(store.segments, workers=workers, pool_from_envelopes=1)
    scope = replace(BOXES[0].keys().scope, epoch=1, first_slot=0, last_slot=95)
    some = [EpochKeys(scope, {}, ()) for _ in range(60)]
    with matcher.begin(ana(), contacts=True, max_candidates=5, expected=60 * 96) as matching:
        matching.add([BOXES[0].keys(), *some])
        assert sum(len(done.scopes) for done in matching.rest()) == 61
    assert [len(one) for one in workers.days] == [1 + 16, 16, 16, 12]


def test_scopes_that_come_one_after_another_are_all_compared(store: SqliteStore) -> None:
    matcher = Matcher(store.segments, processes=2, pool_from_envelopes=1)
    empty = make_box(7).keys()
    compared, candidates = [], 0
    try:
        with matcher.begin(ana(), contacts=True, max_candidates=20) as matching:
            for keys in [BOXES[0].keys(), empty, *(box.keys() for box in BOXES[1:])]:
                matching.add([keys])
            for done in matching.rest():
                compared += [keys.scope for keys in done.scopes]
                candidates += len(done.report.candidates)
    finally:
        matcher.close()
    wanted = [box.keys().scope for box in BOXES] + [empty.scope]
    assert sorted(compared, key=str) == sorted(wanted, key=str)
    assert candidates == 3
