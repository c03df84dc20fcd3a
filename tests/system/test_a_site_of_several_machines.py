"""What `make cluster-demo` shows, in small: several processes of each kind, and none is missed.

The ledger is in PostgreSQL, packed segments are in an S3, boxes speak over Mosquitto; two processes
take in, two match, each under its own certificate. In place of boxes with films the test speaks.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from boxes_taken_in import nothing_is_missing, shared_by, who_has
from postgresql_server import server
from publishing_box import PublishingBox
from puppet_box import PuppetBox, person, slots_ago
from query_desk import HOUR_MS, QueryDesk, template_of
from running_site import RunningSite, plan_with_dan
from s3_server import s3_server
from waiting import wait_for

from aggregator.config import AggregatorConfig
from aggregator.store import ObjectsPlace, open_store
from aggregator.store.packed.packing import Packer
from demo.local_site import CUSTODIANS, PASSPHRASE
from demo.ports import free_ports
from demo.processes import sealtrace
from protocol.sightings import quantise_template
from provisioning.authority.processes import add_process
from runtime.clock import system_ms
from runtime.config import load

BOXES = 6
INGEST, WORKERS = ("ingest-2", "ingest-3"), ("matcher-1", "matcher-2")
WHO = person(7)


def add_processes(site: RunningSite, store: dict[str, dict[str, str]]) -> None:
    """Have headquarters be seven processes: one for the rest, two that take in, two that match."""
    local, folder = site.local, site.folder("aggregator")
    (scheduler_port,) = free_ports(1)
    named = [word for name in WORKERS for word in ("--worker", name)]
    scheduler = f"localhost:{scheduler_port}"
    site.command("site", "cluster", str(local.paths.root), "--scheduler", scheduler, *named)
    main = [word for duty in ("api", "queries", "upkeep") for word in ("--duty", duty)]
    config = str(folder / "aggregator.toml")
    local.add("aggregator", sealtrace("aggregator", "serve", "--config", config, *main), folder)
    for name, port in zip(INGEST, free_ports(len(INGEST)), strict=True):
        number = int(name.removeprefix("ingest-"))
        add_process(local.paths.root, number, PASSPHRASE.encode(), duties=["ingest"], port=port)
        config = str(folder / f"aggregator-{number}.toml")
        local.add(name, sealtrace("aggregator", "serve", "--config", config), folder)
    place = local.paths.cluster / "scheduler"
    config = str(place / "scheduler.toml")
    local.add("scheduler", sealtrace("aggregator", "scheduler", "--config", config), place)
    for name in WORKERS:
        place = local.paths.cluster / name
        path = place / "match-worker.toml"
        with path.open("a", encoding="utf-8") as file:
            for section, values in store.items():
                file.write(f"\n[{section}]\n")
                file.writelines(f'{key} = "{value}"\n' for key, value in values.items())
        match = sealtrace("aggregator", "match-worker", "--config", str(path))
        local.add(name, match, place)


def settings(objects: ObjectsPlace) -> dict[str, str]:
    """Return the section ``[objects]`` for a place."""
    credentials = str(objects.credentials)
    return {"place": objects.url, "endpoint": objects.endpoint, "credentials": credentials}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mosquitto_program: str) -> Iterator[RunningSite]:
    assert mosquitto_program
    url, keys = server().new_database(), tmp_path_factory.mktemp("s3")
    store = {"store": {"url": url}, "objects": settings(s3_server().place(keys))}
    plan = plan_with_dan(
        {f"cam-{n}": {"source": "file:none.mp4"} for n in range(1, BOXES + 1)},
        bundle=None,
        broker="mosquitto",
        aggregator_settings={
            **store,
            "matching": {"pool_from_envelopes": 1},
            "limits": {"gap_grace_s": 5},
            "ingest": {"receipt_interval_ms": 100},
        },
    )
    one = RunningSite(plan, tmp_path_factory.mktemp("machines"), database=url)
    add_processes(one, store)
    try:
        one.start("broker", *CUSTODIANS, "scheduler", "aggregator", *INGEST, *WORKERS)
        yield one
    finally:
        one.stop()


def pack(site: RunningSite) -> int:
    """Pack what lies in rows of hours that are over; return how many objects that made."""
    config = load(site.folder("aggregator") / "aggregator.toml", AggregatorConfig)
    store, objects = open_store(config.store_place), config.store_place.objects
    assert objects is not None
    try:
        packer = Packer(store, objects.open(), wait_ms=0, now_ms=system_ms)
        return packer.round(at_once=True).objects
    finally:
        store.close()


def test_a_killed_ingest_process_loses_no_sighting_and_makes_no_gap_in_postgresql(
    site: RunningSite, tmp_path: Path
) -> None:
    wait_for(lambda: shared_by(site, 2), "both processes having their share")
    with ExitStack() as stack:
        boxes = []
        for name in (f"box-{number}" for number in range(1, 5)):
            boxes.append(PublishingBox(site, name, tmp_path / name))
            stack.callback(boxes[-1].stop)
        for box in boxes:
            box.see(10)
        wait_for(lambda: all(box.receipted for box in boxes), "everything receipted")
        for number in range(40):
            if number == 15:
                site.kill(who_has(site, "box-1", INGEST))
            for box in boxes:
                box.see()
        wait_for(lambda: shared_by(site, 1), "the other having all")
        for box in boxes:
            box.see(5)
        wait_for(lambda: all(box.receipted for box in boxes), "everything receipted again")
        nothing_is_missing(site, boxes)


def test_a_query_over_packed_segments_finds_the_same_when_a_match_worker_is_killed_in_it(
    site: RunningSite,
) -> None:
    desk, headquarters = QueryDesk(site), site.local.services["aggregator"]
    slot_ms = slots_ago(8)
    cameras = ("cam-5", "cam-6")
    for camera in cameras:
        with PuppetBox(site, camera.replace("cam-", "box-")) as box:
            box.show(slot_ms, WHO, person(8), person(9))
    for camera in cameras:
        wait_for(partial(site.stored, camera), f"the segment of {camera}")
    assert pack(site) >= 1
    assert not any(site.stored(camera) for camera in cameras), "no row is left of them"
    for name in WORKERS:
        site.signal(name, signal.SIGSTOP)  # whoever is given the portion has it in hand, undone
    window = (slot_ms - HOUR_MS, slot_ms + HOUR_MS)
    case = desk.draft([template_of(*quantise_template(WHO))], cameras, *window)
    desk.file(case)
    desk.approve(case)
    granted = f"the keys of {len(cameras)} cameras"
    wait_for(lambda: desk.show(case)["progress"].get("scopes") == len(cameras), granted)
    site.kill("matcher-1")
    site.signal("matcher-2", signal.SIGCONT)
    desk.wait(case, "complete")
    assert sorted(found.address.camera for found in desk.candidates(case)) == [*cameras]
    wait_for(lambda: headquarters.events("match_worker_gone"), "the lost worker being told of")
    assert site.local.services["matcher-2"].running
