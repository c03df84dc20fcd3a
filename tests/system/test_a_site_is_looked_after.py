"""Beside real processes: what they tell monitoring, and what the doctor finds."""

from __future__ import annotations

import json
import re

import pytest
from running_site import RunningSite
from waiting import wait_for

from runtime.http import client
from tools.generate import monitoring

WELL = {
    "c1": ("service", "metrics", "directory", "policy", "day keys", "c2", "custodian.db", "keys"),
    "aggregator": ("service", "metrics", "directory", "policy", "day keys", "broker", "c1", "keys"),
}


@pytest.mark.parametrize("role", ["aggregator", "c1"])
def test_a_service_tells_monitoring_and_names_nobody(quiet_site: RunningSite, role: str) -> None:
    with client(quiet_site.url(role), quiet_site.tls("ana")) as http:
        http.get("/v1/status")
    answered = 'sealtrace_http_answers_total{route="/v1/status",status="200"}'
    told = wait_for(lambda: one if answered in (one := quiet_site.metrics(role)) else "", answered)
    assert set(re.findall(r"^sealtrace_[a-z_]+", told, re.MULTILINE)) <= monitoring.names()
    assert not re.search(r"source_failed\{[^}]*\} 1", told)
    for name in ("ana", "box-1", "cam-1", "patient"):
        assert name not in told


@pytest.mark.parametrize("role", sorted(WELL))
def test_the_doctor_finds_a_running_service_well_and_leaves_it_so(
    quiet_site: RunningSite, role: str
) -> None:
    path = str(quiet_site.configuration(role))
    (report,) = json.loads(quiet_site.command("doctor", path, "--json", expect=None))
    levels: dict[str, set[str]] = {}
    for one in report["findings"]:
        levels.setdefault(one["about"], set()).add(one["level"])
    assert {name: levels.get(name) for name in WELL[role]} == {
        name: {"well"} for name in WELL[role]
    }
    assert quiet_site.local.crashed() == []
    assert "database_damaged" not in quiet_site.output(role)
