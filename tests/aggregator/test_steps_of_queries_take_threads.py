"""Steps of queries have threads of their own, never two of one query; calls ahead keep order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from aggregator.ahead import Ahead
from aggregator.stepping import Steps

ANA, BEA, CAL = b"ana", b"bea", b"cal"


class Gate:
    """Holds whoever comes until it is opened, and says who came."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self) -> None:
        self.came.release()
        assert self.open.wait(30)


@pytest.fixture
def gate() -> Iterator[Gate]:
    one = Gate()
    yield one
    one.open.set()


def test_no_query_is_stepped_twice_at_once_and_others_are_beside_it(gate: Gate) -> None:
    ended = threading.Semaphore(0)
    steps = Steps(ended.release)
    assert steps.begin(ANA, gate)
    assert not steps.begin(ANA, gate)
    assert steps.is_busy(ANA)
    assert steps.begin(BEA, gate)
    assert gate.came.acquire(timeout=30)
    assert gate.came.acquire(timeout=30), "both are under way"
    assert not steps.wait(0.0)
    gate.open.set()
    assert steps.wait(30)
    assert ended.acquire(timeout=30)
    assert ended.acquire(timeout=30)
    assert steps.begin(ANA, gate), "it is free again"
    assert steps.wait(30)


def test_no_more_queries_than_there_may_be_are_stepped_and_the_next_comes_when_one_ends(
    gate: Gate,
) -> None:
    steps = Steps(lambda: None, most=2)
    assert steps.begin(ANA, gate)
    assert steps.begin(BEA, gate)
    assert steps.is_busy(CAL), "there is no thread for it"
    assert not steps.begin(CAL, gate)
    gate.open.set()
    assert steps.wait(30)
    assert steps.begin(CAL, gate)
    assert steps.wait(30)


def test_a_step_that_fails_ends_nothing_and_threads_stay_for_the_next(gate: Gate) -> None:
    ended = threading.Semaphore(0)
    steps = Steps(ended.release)
    names: list[str] = []

    def fail() -> None:
        names.append(threading.current_thread().name)
        raise ValueError("the program is wrong")

    for _ in range(3):
        assert steps.begin(ANA, fail)
        assert ended.acquire(timeout=30)
        assert steps.wait(30)
    assert len(names) == 3
    assert all(name.startswith("query-") for name in names)


def test_calls_are_made_in_order_and_what_one_raises_is_its_own() -> None:
    made: list[int] = []

    def call(number: int) -> int:
        made.append(number)
        return 10 // number

    with Ahead[int]("calls") as ahead:
        futures = [ahead.order(partial(call, number)) for number in (1, 0, 2)]
        assert futures[0].result(30) == 10
        with pytest.raises(ZeroDivisionError):
            futures[1].result(30)
        assert futures[2].result(30) == 5
    assert made == [1, 0, 2]


def test_what_has_not_begun_is_cancelled_and_what_has_is_not_waited_for(gate: Gate) -> None:
    with Ahead[None]("calls") as ahead:
        first, second = ahead.order(gate), ahead.order(gate)
        assert gate.came.acquire(timeout=30)
    assert not first.done()
    assert second.cancelled()
    gate.open.set()
    assert first.result(30) is None
