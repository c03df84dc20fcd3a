"""Monitoring is told of a custodian's keys and clock, and of nothing that was asked of it."""

from __future__ import annotations

import protocol_samples as s
from custodian_site import Make, Time

from custodian.custodian import Custodian
from custodian.metrics import FAMILIES, metrics_of
from protocol.names import EPOCH_MS, epoch_of
from runtime.metrics import COMMON


def figures(custodian: Custodian) -> dict[str, float]:
    lines = metrics_of(custodian).text().decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def test_keys_and_clock_are_told(make: Make) -> None:
    custodian = make()
    told = figures(custodian)
    last = epoch_of(s.NOW_MS) + custodian.config.days_ahead
    ends_s = told["sealtrace_custodian_day_keys_end_timestamp_seconds"]
    assert abs(ends_s - last * EPOCH_MS / 1000) <= EPOCH_MS / 1000
    assert told["sealtrace_custodian_clock_in_doubt"] == 0
    assert told["sealtrace_policy_version"] == s.POLICY.version
    assert told["sealtrace_log_entries_total"] == custodian.log.size
    assert told['sealtrace_certificate_end_timestamp_seconds{certificate="http"}'] > 0


def test_a_clock_in_doubt_is_told(make: Make, time: Time) -> None:
    custodian = make()
    time.set_by = 40 * EPOCH_MS
    custodian.go_round()
    assert figures(custodian)["sealtrace_custodian_clock_in_doubt"] == 1


def test_everything_that_is_told_is_declared(make: Make) -> None:
    told = figures(make())
    ours = {key.partition("{")[0] for key in told if key.startswith("sealtrace_")}
    assert ours <= {one.name for one in (*COMMON, *FAMILIES)}
    assert not [key for key in told if "source_failed" in key and told[key]]
