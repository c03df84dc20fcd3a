"""Whoever sets the clock destroys nothing; who was off for weeks still destroys what is due."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from custodian_site import (
    DAY_MS,
    HOUR_MS,
    Asked,
    Make,
    Time,
    approved,
    make_announcement,
    read_grant,
)
from examples import examples, step
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from custodian.clock import LARGEST_LAG_MS, Clock, confirm
from custodian.custodian import Custodian
from custodian.destruction import GRACE_MS
from custodian.store import Store
from protocol.errors import QueryExpired
from protocol.policy import sign_policy
from runtime.clock import with_drift

MINUTE_MS = 60_000
WEEKS_MS = 21 * DAY_MS
TODAY = s.EPOCH


def run_on(custodian: Custodian, time: Time, ms: int, *, step_ms: int = HOUR_MS) -> None:
    """Let ``ms`` pass with a round now and then."""
    for _ in range(ms // step_ms):
        time.ms += step_ms
        custodian.rounds.go()


def recent(custodian: Custodian) -> list[int]:
    """The days from yesterday on: the keys of older ones end by themselves while a test runs."""
    return [epoch for epoch in custodian.ring.epochs() if epoch >= TODAY - 1]


def vouch(custodian: Custodian, time: Time, *parties: str) -> None:
    """Have other parties sign the true time, as they do when they cosign the log."""
    for party in parties:
        custodian.cosigned(party, time.ms // 1000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "custodian.db")
    yield opened
    opened.close()


def test_steps_of_47_hours_a_minute_destroy_nothing_and_are_alarmed(make: Make, time: Time) -> None:
    c1 = make("c1")
    held = c1.ring.epochs()
    with capture_logs() as logs:
        for _ in range(60):
            time.ms += MINUTE_MS
            time.set_by += 47 * HOUR_MS
            c1.rounds.go()
    assert set(held) <= set(c1.ring.epochs())
    assert set(c1.rounds.waiting) <= {TODAY - 14}, "whose last day this is anyway"
    assert c1.clock.in_doubt
    assert c1.status()["clock_in_doubt"]
    assert "clock_leapt_ahead" in [
        line["event"] for line in logs if line["log_level"] == "critical"
    ]
    time.set_by = 0
    c1.rounds.go()
    assert not c1.clock.in_doubt


@pytest.mark.slow
@pytest.mark.parametrize("by_ms", [MINUTE_MS, HOUR_MS, 47 * HOUR_MS, 400 * DAY_MS])
def test_steps_of_any_size_for_days_move_the_believed_time_as_real_time_passes(
    store: Store, time: Time, by_ms: int
) -> None:
    clock = Clock(store, machine=time.clocks)
    for _ in range(0, 2 * 24 * 60, step()):
        time.ms += MINUTE_MS * step()
        time.set_by += by_ms
        clock.tick()
    passed = time.ms - s.NOW_MS
    assert s.NOW_MS + passed <= clock.believed_ms <= s.NOW_MS + with_drift(passed)


def test_a_clock_that_runs_at_twice_its_speed_is_not_followed(store: Store, time: Time) -> None:
    clock = Clock(store, machine=time.clocks)
    for _ in range(0, 24 * 60, step()):
        time.ms += MINUTE_MS * step()
        time.set_by += MINUTE_MS * step()
        clock.tick()
    assert clock.believed_ms <= s.NOW_MS + with_drift(DAY_MS)
    assert clock.in_doubt


@pytest.mark.parametrize("machine_restarts", [False, True])
def test_restarts_between_the_steps_gain_nothing(
    store: Store, time: Time, machine_restarts: bool
) -> None:
    for _ in range(200):
        clock = Clock(store, machine=time.clocks)
        clock.tick()
        time.ms += MINUTE_MS
        time.set_by += 47 * HOUR_MS
        if machine_restarts:
            time.restart()
    assert clock.believed_ms <= s.NOW_MS + with_drift(200 * MINUTE_MS)
    assert clock.ran_ms == 0


@given(
    moves=st.lists(
        st.tuples(
            st.integers(0, 10 * HOUR_MS),
            st.integers(-400 * DAY_MS, 400 * DAY_MS),
            st.sampled_from(["run", "restart", "pause", "reopen"]),
        ),
        max_size=40,
    )
)
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_believed_time_never_outruns_real_time_nor_goes_back(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int, str]]
) -> None:
    time = Time()
    store = Store(tmp_path_factory.mktemp("clock") / "custodian.db")
    clock = Clock(store, machine=time.clocks)
    clock.heard("c2", s.NOW_MS + 10_000 * DAY_MS)  # one liar alone moves nothing
    before_ms = clock.believed_ms
    for passes_ms, set_by, how in moves:
        time.set_by = set_by
        if how == "pause":
            time.pause(passes_ms)
        else:
            time.ms += passes_ms
        if how == "restart":
            time.restart()
        if how != "run":
            clock = Clock(store, machine=time.clocks)
            clock.heard("c2", s.NOW_MS + 10_000 * DAY_MS)
        clock.tick()
        assert before_ms <= clock.believed_ms <= s.NOW_MS + with_drift(time.ms - s.NOW_MS)
        assert clock.now_ms() >= clock.believed_ms
        before_ms = clock.believed_ms
    store.close()


def test_an_old_database_put_back_brings_no_destruction_nearer(
    make: Make, time: Time, tmp_path: Path
) -> None:
    c1 = make("c1")
    run_on(c1, time, DAY_MS)
    held = c1.ring.epochs()
    for again in range(4):
        c1.close()
        if again == 0:
            shutil.copy(tmp_path / "c1/state/custodian.db", tmp_path / "old.db")
        else:
            shutil.copy(tmp_path / "old.db", tmp_path / "c1/state/custodian.db")
        time.set_by += 10 * DAY_MS
        time.restart()
        c1 = make("c1", again=True)
        run_on(c1, time, 2 * HOUR_MS)
    assert set(held) <= set(c1.ring.epochs())


def test_a_database_that_was_removed_makes_no_clock_believed(
    make: Make, time: Time, tmp_path: Path
) -> None:
    c1 = make("c1")
    held = c1.ring.epochs()
    c1.close()
    for path in (tmp_path / "c1/state").glob("custodian.db*"):
        path.unlink()
    time.set_by = 400 * DAY_MS
    c1 = make("c1", again=True)
    run_on(c1, time, 30 * HOUR_MS)
    assert set(held) <= set(c1.ring.epochs())
    assert c1.clock.in_doubt


def test_a_site_whose_clocks_were_all_set_ahead_destroys_nothing_while_it_runs(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    held = recent(c1)
    time.set_by = 400 * DAY_MS
    for _ in range(30):
        for party in ("c2", "c3", "aggregator"):
            c1.cosigned(party, (time.ms + time.set_by) // 1000)
        run_on(c1, time, HOUR_MS)
    assert set(held) <= set(c1.ring.epochs())
    assert set(held).isdisjoint(c1.rounds.waiting)


def test_corrections_by_ntp_are_followed_without_an_alarm(store: Store, time: Time) -> None:
    clock = Clock(store, machine=time.clocks)
    with capture_logs() as logs:
        for set_by in (0, 5_000, 5 * MINUTE_MS, -30_000, 0):
            time.set_by = set_by
            for _ in range(60):
                time.ms += MINUTE_MS
                clock.tick()
                assert not clock.in_doubt
    assert [line for line in logs if line["log_level"] in {"error", "critical"}] == [
        {"event": "clock_went_back", "log_level": "error", "by_s": 270}
    ]
    assert clock.lag_ms < MINUTE_MS


def test_a_machine_that_restarts_every_night_keeps_the_time_with_the_word_of_two_others(
    store: Store, time: Time
) -> None:
    for _ in range(20):
        clock = Clock(store, machine=time.clocks)
        for party in ("c2", "aggregator"):
            clock.heard(party, time.ms)
        for _ in range(16):
            time.ms += HOUR_MS
            clock.tick()
        assert clock.lag_ms == 0
        time.restart(off_ms=8 * HOUR_MS)
    assert clock.ran_ms == 20 * 16 * HOUR_MS


def test_after_three_weeks_off_two_others_vouch_and_a_day_of_running_passes(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    ended = [epoch for epoch in recent(c1) if epoch < TODAY + 21 - 14]
    c1.close()
    time.restart(off_ms=WEEKS_MS)
    c1 = make("c1", again=True)
    assert c1.clock.in_doubt
    vouch(c1, time, "c2")
    run_on(c1, time, 2 * DAY_MS)
    assert set(ended) <= set(c1.ring.epochs())  # one word is not enough
    vouch(c1, time, "c2", "aggregator")
    with capture_logs() as logs:
        c1.rounds.go()
    assert not c1.clock.in_doubt
    assert "day_keys_destined" in [x["event"] for x in logs if x["log_level"] == "critical"]
    told = c1.status()["to_be_destroyed"]
    assert isinstance(told, list)
    assert {"epoch": ended[0], "in_ms": GRACE_MS} in told
    run_on(c1, time, GRACE_MS - HOUR_MS)
    assert set(ended) <= set(c1.ring.epochs())
    run_on(c1, time, HOUR_MS)
    assert set(ended).isdisjoint(c1.ring.epochs())


def test_the_day_of_waiting_is_counted_in_running_time(make: Make, time: Time) -> None:
    c1 = make("c1")
    held = c1.ring.epochs()[1:]  # the oldest waits for what was left of this day alone
    c1.close()
    time.restart(off_ms=WEEKS_MS)
    for _ in range(4):
        c1 = make("c1", again=True)
        vouch(c1, time, "c2", "aggregator")
        run_on(c1, time, 5 * HOUR_MS)
        assert held[0] in c1.ring.epochs()
        c1.close()
        time.restart(off_ms=30 * HOUR_MS)
    c1 = make("c1", again=True)
    run_on(c1, time, 5 * HOUR_MS)
    assert held[0] not in c1.ring.epochs()


def test_what_a_person_confirms_is_destroyed_within_a_minute(make: Make, time: Time) -> None:
    c1 = make("c1")
    ended = [epoch for epoch in c1.ring.epochs() if epoch < TODAY + 21 - 14]
    c1.close()
    time.restart(off_ms=WEEKS_MS)
    c1 = make("c1", again=True)
    # Keys for the day that the clock shows are made all the same: boards must go on sealing.
    assert TODAY + 21 in c1.ring.epochs()
    assert set(ended) <= set(c1.ring.epochs())
    confirm(c1.store, now_ms=time.ms)
    run_on(c1, time, MINUTE_MS, step_ms=MINUTE_MS)
    assert not c1.clock.in_doubt
    assert set(ended).isdisjoint(c1.ring.epochs())


def test_a_virtual_machine_that_was_paused_waits_for_a_person(make: Make, time: Time) -> None:
    c1 = make("c1")
    held = recent(c1)
    time.pause(WEEKS_MS)
    vouch(c1, time, "c2", "aggregator")  # as an attacker on the network's time would have them do
    run_on(c1, time, 2 * DAY_MS)
    assert c1.clock.in_doubt
    assert set(held) <= set(c1.ring.epochs())
    confirm(c1.store, now_ms=time.ms)
    c1.rounds.go()
    assert held[0] not in c1.ring.epochs()


def test_a_policy_that_keeps_less_destroys_after_a_day_of_running(
    make: Make, time: Time, tmp_path: Path
) -> None:
    c1 = make("c1")
    run_on(c1, time, 5 * DAY_MS)
    shorter = s.POLICY_TEXT.replace(b"version = 1", b"version = 2")
    shorter = shorter.replace(b"retention_days = 14", b"retention_days = 1")
    (tmp_path / "c1/policy.toml").write_bytes(shorter)
    (tmp_path / "c1/policy.toml.sig").write_bytes(sign_policy(shorter, s.authority()))
    c1.reload()
    assert TODAY in c1.ring.epochs()
    run_on(c1, time, GRACE_MS)
    assert TODAY not in c1.ring.epochs()


def test_a_clock_set_back_does_not_revive_an_expired_query(make: Make, time: Time) -> None:
    c1 = make("c1")
    _, message = make_announcement([c1])
    case = approved(s.NOW_MS)
    asked = Asked(case, [message], s.NOW_MS)
    assert read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    time.ms += 2 * DAY_MS
    c1.rounds.go()
    time.set_by = -2 * DAY_MS
    c1.rounds.go()
    assert c1.clock.now_ms() == s.NOW_MS + 2 * DAY_MS
    with pytest.raises(QueryExpired):
        c1.granter.grant(Asked(case, [message], c1.clock.now_ms()).to_bytes())


def test_a_clock_set_back_revives_nothing_though_its_time_was_not_believed_yet(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    c1.close()
    time.restart(off_ms=2 * DAY_MS)
    c1 = make("c1", again=True)
    assert c1.clock.in_doubt
    time.set_by = -2 * DAY_MS
    assert c1.clock.now_ms() == time.ms


def test_a_clock_that_leaps_and_comes_back_is_believed_again(make: Make, time: Time) -> None:
    c1 = make("c1")
    time.set_by = 400 * DAY_MS
    c1.rounds.go()
    assert c1.clock.in_doubt
    time.set_by = 0
    time.ms += HOUR_MS
    c1.rounds.go()
    assert not c1.clock.in_doubt
    assert c1.clock.now_ms() == time.ms


def test_the_alarm_begins_beyond_an_hour(store: Store, time: Time) -> None:
    clock = Clock(store, machine=time.clocks)
    time.set_by = LARGEST_LAG_MS
    clock.tick()
    assert not clock.in_doubt
    time.set_by += 1
    clock.tick()
    assert clock.in_doubt


def test_the_state_of_the_former_version_is_gone_on_from(store: Store, time: Time) -> None:
    store.set_fact("clock_known_ms", str(s.NOW_MS - WEEKS_MS))
    clock = Clock(store, machine=time.clocks)
    assert clock.believed_ms == s.NOW_MS - WEEKS_MS
    for party in ("c2", "aggregator"):
        clock.heard(party, time.ms)
    clock.tick()
    assert clock.believed_ms == time.ms


def test_a_clock_that_leapt_over_and_over_leaves_room_for_the_keys_of_true_days(
    make: Make, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("custodian.keystore.MAX_DAYS_HELD", 100)
    monkeypatch.setattr("custodian.rounds.MANY_DAYS", 50)
    c1 = make("c1")
    for _ in range(30):
        time.set_by += 47 * 24 * HOUR_MS
        c1.rounds.go()
    assert len(c1.ring.epochs()) <= 100
    c1.close()
    c1 = make("c1", again=True)  # and it still opens
    time.set_by = 0
    time.ms += DAY_MS
    c1.rounds.go()
    assert max(c1.ring.epochs()) < TODAY + 60
    assert TODAY + 8 in c1.ring.epochs()


def test_where_the_system_names_no_start_of_the_machine_time_goes_on_within_one_run(
    store: Store, time: Time
) -> None:
    nameless = replace(time.clocks, boot_id=lambda: "")
    clock = Clock(store, machine=nameless)
    for _ in range(0, 24 * 60, step()):
        time.ms += MINUTE_MS
        clock.tick()
    assert clock.lag_ms == 0
    time.set_by = 47 * HOUR_MS
    clock = Clock(store, machine=nameless)
    clock.tick()
    assert clock.believed_ms == time.ms
