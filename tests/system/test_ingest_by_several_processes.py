"""Boxes are taken in by several processes over two brokers; either is killed, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from boxes_taken_in import nothing_is_missing, shared_by, who_has
from brokers import mosquitto
from publishing_box import PublishingBox
from running_site import RunningSite, plan_with_dan
from waiting import wait_for

from demo.local_site import PASSPHRASE
from demo.ports import free_ports
from demo.processes import sealtrace
from provisioning.authority.processes import add_process
from provisioning.formats.plan import SitePlan
from provisioning.formats.plan_services import FurtherBrokerPlan
from runtime.config import BrokerAddress, MqttConfig

BOXES = 12
INGEST = ("ingest-2", "ingest-3")
BROKERS = ("broker", "broker-2")


def planned() -> SitePlan:
    """Return the plan of a site with two Mosquittos, and boxes that tests speak for."""
    cameras = {f"cam-{n}": {"source": "file:none.mp4"} for n in range(1, BOXES + 1)}
    settings = {"limits": {"gap_grace_s": 5}, "ingest": {"receipt_interval_ms": 100}}
    plan = plan_with_dan(cameras, bundle=None, broker="mosquitto", aggregator_settings=settings)
    boxes_port, headquarters_port = free_ports(2)
    further = FurtherBrokerPlan(port=boxes_port, headquarters_port=headquarters_port)
    broker = plan.broker.model_copy(update={"further": (further,)})
    return plan.model_copy(update={"broker": broker})


def add_processes(site: RunningSite) -> None:
    """Have the second broker run, and the site's aggregator be three processes."""
    local, folder = site.local, site.folder("aggregator")
    program = mosquitto()
    assert program is not None
    second = local.paths.further_broker(2)
    local._add("broker-2", [program, "-c", "mosquitto.conf"], second)
    local.services["broker-2"].port = site.plan.broker.further[0].port
    main = ["--duty", "api", "--duty", "queries", "--duty", "upkeep"]
    config = str(folder / "aggregator.toml")
    local._add("aggregator", sealtrace("aggregator", "serve", "--config", config, *main), folder)
    for name, port in zip(INGEST, free_ports(len(INGEST)), strict=True):
        number = int(name.removeprefix("ingest-"))
        secret = PASSPHRASE.encode()
        add_process(local.paths.root, number, secret, duties=["ingest"], port=port)
        config = str(folder / f"aggregator-{number}.toml")
        local._add(name, sealtrace("aggregator", "serve", "--config", config), folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mosquitto_program: str) -> Iterator[RunningSite]:
    assert mosquitto_program
    one = RunningSite(planned(), tmp_path_factory.mktemp("processes"))
    add_processes(one)
    try:
        one.start(*BROKERS, "aggregator", *INGEST)
        yield one
    finally:
        one.stop()


def mqtt_of(site: RunningSite, box: str) -> MqttConfig:
    """How a box reaches both brokers."""
    second = BrokerAddress(host="localhost", port=site.plan.broker.further[0].port)
    return site.mqtt(box, further=(second,))


@pytest.fixture
def speak(site: RunningSite, tmp_path: Path) -> Iterator[Callable[[range], list[PublishingBox]]]:
    """Have boxes of these numbers speak."""
    made: list[PublishingBox] = []

    def start(numbers: range) -> list[PublishingBox]:
        for name in (f"box-{number}" for number in numbers):
            made.append(PublishingBox(site, name, tmp_path / name, mqtt_of(site, name)))
        return made

    yield start
    for box in made:
        box.stop()


def test_a_killed_ingest_process_loses_no_sighting_and_makes_no_gap(
    site: RunningSite, speak: Callable[[range], list[PublishingBox]]
) -> None:
    boxes = speak(range(1, 7))
    wait_for(lambda: shared_by(site, 2), "both processes having their share")
    victim = who_has(site, "box-1", INGEST)
    for box in boxes:
        box.see(10)
    wait_for(lambda: all(box.receipted for box in boxes), "everything receipted")
    for number in range(40):
        if number == 15:
            site.kill(victim)
        for box in boxes:
            box.see()
    wait_for(lambda: shared_by(site, 1), "the other having all")
    for box in boxes:
        box.see(5)
    wait_for(lambda: all(box.receipted for box in boxes), "everything receipted again")
    nothing_is_missing(site, boxes)


def test_a_killed_broker_loses_no_sighting_and_makes_no_gap(
    site: RunningSite, speak: Callable[[range], list[PublishingBox]]
) -> None:
    boxes = speak(range(7, BOXES + 1))
    for box in boxes:
        box.see(10)
    wait_for(lambda: all(box.receipted for box in boxes), "everything receipted")
    for number in range(40):
        if number == 15:
            site.kill("broker")
        for box in boxes:
            box.see()
    wait_for(lambda: all(box.receipted for box in boxes), "everything receipted over the other")
    assert all(box.publisher.connections == 2 for box in boxes)
    nothing_is_missing(site, boxes)
