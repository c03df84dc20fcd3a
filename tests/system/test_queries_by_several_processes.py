"""Queries and officers are served by several processes over PostgreSQL; each may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql_server import server
from puppet_box import PuppetBox, person, slots_ago
from query_desk import QueryDesk, template_of
from running_site import RunningSite, plan_with_dan
from waiting import wait_for

from aggregator.processes.shares import share_of_query
from aggregator.store import open_store
from aggregator.store.leases import QUERY
from aggregator.store.place import StorePlace
from demo.local_site import CUSTODIANS
from demo.ports import free_ports
from demo.processes import sealtrace
from protocol.auditlog import parse_checkpoint
from protocol.sightings import quantise_template

HOUR_MS = 3_600_000
WHO = person(7)
PROCESSES = ("upkeep", "queries-1", "queries-2", "api-1", "api-2")


def as_processes(site: RunningSite) -> None:
    """Have the site's aggregator be five processes; two answer officers behind one address."""
    folder = site.folder("aggregator")
    text = (folder / "aggregator.toml").read_text()
    (folder / "api.toml").write_text(text + '\n[processes]\nduties = ["api"]\nshare_port = true\n')
    for name, port in zip(PROCESSES, free_ports(len(PROCESSES)), strict=True):
        duty = name.partition("-")[0]
        serve = ["aggregator", "serve", "--config"]
        if duty == "api":
            serve += [str(folder / "api.toml")]
        else:
            duties = ["--duty", duty, *(["--duty", "ingest"] if duty == "upkeep" else [])]
            serve += [str(folder / "aggregator.toml"), *duties, "--port", str(port)]
        site.local._add(name, sealtrace(*serve), folder)


@pytest.fixture(scope="module")
def url() -> str:
    return server().new_database()


@pytest.fixture(scope="module")
def site(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    cameras = {"cam-1": {"source": "file:none.mp4"}}
    plan = plan_with_dan(cameras, bundle=None, aggregator_settings={"store": {"url": url}})
    one = RunningSite(plan, tmp_path_factory.mktemp("processes"))
    as_processes(one)
    try:
        one.start("broker", *CUSTODIANS, *PROCESSES)
        yield one
    finally:
        one.stop()


def carrier(site: RunningSite, url: str, query_id: str) -> str:
    """Return the process that carries a query."""
    store = open_store(StorePlace(Path("unused"), url))
    try:
        share = share_of_query(bytes.fromhex(query_id))
        held = {lease.number: lease.holder for lease in store.ledger.held(QUERY)}
    finally:
        store.close()
    running = {name: site.local.services[name].process for name in PROCESSES}
    holder = held.get(share, "")
    return next((n for n, it in running.items() if it and holder.startswith(f"{it.pid}-")), "")


def test_a_query_whose_process_is_killed_finds_the_same_once_its_templates_are_brought_again(
    site: RunningSite, url: str
) -> None:
    desk = QueryDesk(site)
    slot_ms = slots_ago(3)
    with PuppetBox(site, "box-1") as box:
        box.show(slot_ms, WHO, person(8))
        window = (slot_ms - HOUR_MS, slot_ms + HOUR_MS)
        case = desk.draft([template_of(*quantise_template(WHO))], ["cam-1"], *window)
        wait_for(lambda: carrier(site, url, case.id), "somebody having the query's share")
        desk.file(case)
        desk.approve(case)
        desk.wait(case, "standing")
        found = wait_for(lambda: desk.candidates(case), "the hit")
        killed = carrier(site, url, case.id)
        site.kill(killed)
        desk.wait(case, "interrupted")
        assert "sealtrace query resume" in desk.show(case)["reason"]
        assert carrier(site, url, case.id) not in {"", killed}
        desk.hand_over(case)
        desk.wait(case, "standing")
        assert [c.name for c in desk.candidates(case)] == [c.name for c in found]
        box.show(slots_ago(2), WHO)  # taken in by one process, found by another, read from a third
        wait_for(lambda: len(desk.candidates(case)) == len(found) + 1, "the second hit")
    # The log is another process's: whoever is asked for it hands the question on.
    checkpoint = site.call("eve", "aggregator", "GET", "/v1/log/checkpoint").text
    assert parse_checkpoint(checkpoint)[0].size > 5


def test_officers_are_answered_while_one_of_two_processes_at_their_address_is_gone(
    site: RunningSite,
) -> None:
    site.kill("api-1")
    for _ in range(3):
        assert site.call("ana", "aggregator", "GET", "/v1/status").json()["site"] == "demo"
    site.start("api-1")
