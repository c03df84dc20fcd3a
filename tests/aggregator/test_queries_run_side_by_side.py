"""A query that takes long holds up no other, and loses nothing that it has when it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import protocol_samples as s
import pytest
from quiet_site import QuietSite
from waiting import wait_for

import aggregator.opening
from aggregator.matching.pool import Matcher
from aggregator.matching.report import MatchReport
from aggregator.matching.workers import MatchTask
from protocol.about_queries import Withdrawal
from protocol.auditlog import Entry
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.grant import GrantRequest
from protocol.signing import Signed
from runtime.lifecycle import Stop

MakeSite = Callable[..., QuietSite]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSite]:
    made: list[QuietSite] = []

    def make_site(**sizes: int) -> QuietSite:
        made.append(QuietSite(tmp_path, monkeypatch, **sizes))
        return made[0]

    yield make_site
    for site in made:
        site.close()


@pytest.fixture
def in_portions(make: MakeSite, monkeypatch: pytest.MonkeyPatch) -> QuietSite:
    """One query over four cameras, which custodians are asked for one after another."""
    monkeypatch.setattr(aggregator.opening, "ANNOUNCEMENTS_A_REQUEST", 1)
    return make(queries=1, cameras=4)


@contextmanager
def running(site: QuietSite) -> Iterator[Stop]:
    stop = Stop()
    thread = threading.Thread(target=site.runner.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set("test over")
        site.desk.changed.set()
        thread.join(30)
        assert not thread.is_alive()


def state(site: QuietSite, number: int = 0) -> str:
    return site.desk.get(site.ids[number]).state


def found(site: QuietSite, number: int = 0) -> int:
    return site.desk.count_results(site.desk.get(site.ids[number]).digest)


def cameras_of(request: GrantRequest) -> list[str]:
    listed = [Signed.parse(data, kind=EPOCH_KIND) for data in request.announcements]
    return [Announcement.parse(one.payload, box=one.signer).address.camera for one in listed]


@pytest.mark.slow
def test_a_live_query_shows_its_hit_while_custodians_keep_another_waiting(make: MakeSite) -> None:
    site, answered = make(queries=2, cameras=2), threading.Event()

    def keep_waiting(_name: str, query_id: bytes, _request: GrantRequest) -> None:
        if query_id == site.ids[0]:
            answered.wait(30)

    site.on_ask = keep_waiting
    try:
        with running(site):
            wait_for(lambda: state(site, 1) == "standing", "the other query to stand")
            site.see("cam-1")
            site.desk.changed.set()
            wait_for(lambda: found(site, 1) == 1, "its find", timeout_s=20.0, every_s=0.02)
            assert (state(site, 0), found(site, 0)) == ("running", 0)
            answered.set()
            wait_for(lambda: found(site, 0) == 1, "the find of the query that was kept waiting")
    finally:
        answered.set()


@pytest.mark.slow
def test_a_step_that_is_under_way_ends_soon_when_the_process_stops(make: MakeSite) -> None:
    site, asked, answered = make(queries=1, cameras=2), threading.Event(), threading.Event()

    def keep_waiting(*_: object) -> None:
        asked.set()
        answered.wait(30)

    site.on_ask = keep_waiting
    try:
        with running(site) as stop:
            assert asked.wait(30)
            stop.set("the test says so")
            assert site.runner.wait(20.0), "it does not wait for custodians"
    finally:
        answered.set()
    assert state(site) == "running", "it was given up, and nothing is said against it"


def test_custodians_answer_the_next_portion_while_one_is_compared(
    in_portions: QuietSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = in_portions
    site.see("cam-1")
    asked_of = threading.Semaphore(0)
    site.on_ask = lambda *_: asked_of.release()
    probes, seen = site.desk.probes, []

    def compared(*what: object, **more: object) -> object:
        for _ in range(2 * len(s.CUSTODIANS)):  # before the first portion has been compared
            seen.append(asked_of.acquire(timeout=30))
        return probes(*what, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(site.desk, "probes", compared)
    site.look()
    assert seen == [True] * 2 * len(s.CUSTODIANS)
    assert (state(site), found(site)) == ("standing", 1)
    assert site.asked == 4 * len(s.CUSTODIANS)


def test_a_withdrawal_in_the_middle_ends_the_query_before_all_is_asked_for(
    in_portions: QuietSite,
) -> None:
    site = in_portions
    digest = site.desk.get(site.ids[0]).digest
    gone = Withdrawal(digest, "recovered", site.now_ms).sign(s.signing_key("ana")).to_bytes()
    site.on_ask = lambda *_: site.desk.withdraw(site.ids[0], gone)
    site.look()
    site.look()
    assert state(site) == "withdrawn"
    assert site.asked < 4 * len(s.CUSTODIANS)


def test_the_log_tells_of_grants_too_that_come_when_a_step_was_given_up(
    in_portions: QuietSite,
) -> None:
    site, given_up = in_portions, threading.Event()
    digest = site.desk.get(site.ids[0]).digest
    gone = Withdrawal(digest, "recovered", site.now_ms).sign(s.signing_key("ana")).to_bytes()

    asked_before: set[str] = set()
    asked_of = threading.Semaphore(0)

    def ask(name: str, *_: object) -> None:
        asked_of.release()
        if name in asked_before:  # the second portion, while the first is compared
            assert given_up.wait(60)
        asked_before.add(name)

    probes = site.desk.probes

    def compared(*what: object, **more: object) -> object:
        for _ in range(2 * len(s.CUSTODIANS)):  # else some would not be asked a second time
            assert asked_of.acquire(timeout=60)
        site.desk.withdraw(site.ids[0], gone)
        return probes(*what, **more)  # type: ignore[arg-type]

    site.on_ask = ask
    site.desk.probes = compared  # type: ignore[method-assign, assignment]
    site.look()
    site.look()
    assert state(site) == "withdrawn"
    given_up.set()
    wait_for(lambda: site.asked == 2 * len(s.CUSTODIANS), "the second portion being answered")
    wait_for(
        lambda: (
            [Entry.parse(one).kind for one in site.log.entries()].count("grant-received")
            == 2 * len(s.CUSTODIANS)
        ),
        "the log telling of what was granted and not used",
    )


def test_what_was_granted_before_custodians_fell_silent_is_kept_and_not_asked_for_again(
    in_portions: QuietSite,
) -> None:
    site, asked = in_portions, []
    for camera in ("cam-1", "cam-4"):
        site.see(camera)

    def only_the_first_two(_name: str, _query_id: bytes, request: GrantRequest) -> None:
        asked.extend(cameras_of(request))
        if not {"cam-1", "cam-2"}.issuperset(asked):
            raise ValueError("this custodian is out of order")

    site.on_ask = only_the_first_two
    site.look()
    assert (state(site), found(site)) == ("blocked", 1)
    asked.clear()
    site.on_ask = lambda _name, _query_id, request: asked.extend(cameras_of(request))
    site.now_ms += 1000
    site.announce("cam-2", generation=s.GENERATION + 1)
    for run in site.runner._runs.values():
        run.retry_at_s = 0.0
    site.look()
    assert (state(site), found(site)) == ("standing", 2)
    assert sorted(set(asked)) == ["cam-2", "cam-3", "cam-4"], "cam-2's new generation, and the rest"


class Nobody:
    """Workers of which none is there: what is submitted waits."""

    parallel = 1

    def __init__(self) -> None:
        self.waiting: list[Future[MatchReport]] = []
        self.why: str | None = "nobody is there"

    def trouble(self) -> str | None:
        return self.why

    def submit(self, _task: MatchTask) -> Future[MatchReport]:
        self.waiting.append(Future())
        return self.waiting[-1]

    def close(self) -> None:
        """There is nothing to end."""


@pytest.mark.slow
def test_a_withdrawal_ends_a_query_that_waits_for_workers(make: MakeSite) -> None:
    site, nobody = make(queries=1, cameras=2), Nobody()
    site.see("cam-1")
    site.runner._comparing.matcher = Matcher(
        site.store.segments, pool_from_envelopes=1, workers=nobody
    )
    digest = site.desk.get(site.ids[0]).digest
    gone = Withdrawal(digest, "recovered", site.now_ms).sign(s.signing_key("ana")).to_bytes()
    with running(site):
        wait_for(lambda: nobody.waiting, "a task to wait")
        site.desk.withdraw(site.ids[0], gone)
        wait_for(lambda: state(site) == "withdrawn", "the end")
    assert nobody.waiting[0].cancelled()


@pytest.mark.slow
def test_a_query_that_waits_for_workers_says_so_until_there_is_one(make: MakeSite) -> None:
    site, nobody = make(queries=1, cameras=2), Nobody()
    site.see("cam-1")
    site.runner._comparing.matcher = Matcher(
        site.store.segments, pool_from_envelopes=1, workers=nobody
    )

    def said() -> tuple[str, str]:
        record = site.desk.get(site.ids[0])
        return record.state, record.reason

    with running(site):
        wait_for(lambda: said() == ("running", "nobody is there"), "the reason to be told")
        nobody.why = None
        wait_for(lambda: said() == ("running", ""), "it to be taken back")
